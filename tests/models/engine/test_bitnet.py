"""BitNet b1.58 on a generated checkpoint, layer by layer against the arithmetic of its definition.

The reference below is written from ``modeling_bitnet.py`` and shares no code with the engine: it
unpacks the weights one by one, keeps them as integers, and computes in float64.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from aiki_kernel.models.bitnet import CHAT_TEMPLATE, BitNet
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet
from aiki_kernel.models.bitnet_weights import PackedMatrix
from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.decoder import Span
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.gguf_writer import TensorPlan, write_gguf
from aiki_kernel.models.local import LocalModel
from aiki_kernel.models.template import plain_text

PLACEHOLDER = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + '\n\nBITNETAssistant: ' "
    "+ eos_token }}{% endif %}{% endfor %}"
)
IDS = np.random.default_rng(5).integers(0, 256, 21)


class Definition:
    """BitNet b1.58 in float64, from the raw bytes of a file."""

    def __init__(self, file: GGUF) -> None:
        self.file = file
        self.hidden: list[Any] = []

    def vector(self, name: str) -> Any:
        return self.file.raw(name).view(np.float32).astype(np.float64)

    def matrix(self, name: str) -> tuple[Any, float]:
        """Codes -1, 0, 1 and their scale."""
        tensor, raw = self.file.tensor(name), self.file.raw(name)
        if tensor.quant.name == "I2_S":
            packed = raw[:-32].reshape(-1, 32)
            planes = [(packed >> shift) & 3 for shift in (6, 4, 2, 0)]
            codes = np.concatenate(planes, axis=1).astype(np.int64) - 1
            scale = float(raw[-32:-28].view(np.float32)[0])
        else:
            kind = gguf.GGMLQuantizationType[tensor.quant.name]
            floats = gguf.quants.dequantize(raw.reshape(-1, tensor.quant.nbytes), kind)
            scale = float(np.abs(floats).max())
            codes = np.rint(floats / scale).astype(np.int64)
        return codes.reshape(tensor.shape), scale

    def norm(self, x: Any, name: str) -> Any:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * self.vector(name)

    def linear(self, x: Any, name: str) -> Any:
        codes, weight_scale = self.matrix(name)
        scale = 127 / np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        integers = np.clip(np.rint(x * scale), -128, 127).astype(np.int64)
        return (integers @ codes.T) / scale * weight_scale

    def rotate(self, x: Any) -> Any:
        inverse = 500_000.0 ** (-np.arange(0, 64, 2) / 64)
        angle = np.arange(len(x))[:, None] * inverse
        cosine, sine = (np.tile(f(angle), 2)[:, None] for f in (np.cos, np.sin))
        turned = np.concatenate([-x[..., 32:], x[..., :32]], axis=-1)
        return x * cosine + turned * sine

    def run(self, ids: Any) -> Any:
        embedding = self.file.raw("token_embd.weight").view(np.float16).astype(np.float64)
        embedding = embedding.reshape(TINY.vocabulary, TINY.width)
        x, count = embedding[ids], len(ids)
        for number in range(TINY.layers):
            block = f"blk.{number}."
            normed = self.norm(x, block + "attn_norm.weight")
            query = self.linear(normed, block + "attn_q.weight").reshape(count, 4, 64)
            key = self.linear(normed, block + "attn_k.weight").reshape(count, 2, 64)
            value = self.linear(normed, block + "attn_v.weight").reshape(count, 2, 64)
            query, key = self.rotate(query), self.rotate(key)
            seen = np.zeros((count, 4, 64))
            for head in range(4):
                scores = query[:, head] @ key[:, head // 2].T / 8
                scores[np.triu_indices(count, 1)] = -np.inf
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                weights /= weights.sum(-1, keepdims=True)
                seen[:, head] = weights @ value[:, head // 2]
            inner = self.norm(seen.reshape(count, -1), block + "attn_sub_norm.weight")
            x = x + self.linear(inner, block + "attn_output.weight")
            normed = self.norm(x, block + "ffn_norm.weight")
            gate = np.maximum(self.linear(normed, block + "ffn_gate.weight"), 0)
            inner = gate * gate * self.linear(normed, block + "ffn_up.weight")
            inner = self.norm(inner, block + "ffn_sub_norm.weight")
            x = x + self.linear(inner, block + "ffn_down.weight")
            self.hidden.append(x)
        return self.norm(x, "output_norm.weight") @ embedding.T


@pytest.fixture(scope="module", params=["I2_S", "TQ2_0", "TQ1_0"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bitnet")
    return write_bitnet(folder / "tiny.gguf", TINY, ternary=request.param, seed=3)


def test_every_layer_is_the_definitions(path: Path) -> None:
    with GGUF(path) as file:
        definition = Definition(file)
        scores = definition.run(IDS)
        model = BitNet(file)
        state = model.new_state()
        state.reserve(len(IDS))
        span = Span.after(0, len(IDS), model._frequencies)
        x = model.embed(IDS)
        for number in range(TINY.layers):
            model.layer(number, x, span, state)
            np.testing.assert_allclose(x, definition.hidden[number], rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(model.scores(x[-1:]), scores[-1], rtol=1e-3, atol=1e-3)


def test_a_prompt_in_pieces_gives_the_same_scores(path: Path) -> None:
    with GGUF(path) as file:
        model, never = BitNet(file), threading.Event()
        whole = model.forward(IDS.tolist(), model.new_state(), never)
        state = model.new_state()
        model.forward(IDS[:8].tolist(), state, never)
        for token in IDS[8:]:
            last = model.forward([int(token)], state, never)
        np.testing.assert_allclose(last, whole, rtol=1e-3, atol=1e-3)


def test_the_file_is_one_that_others_read(path: Path) -> None:
    with GGUF(path) as file:
        if file.tensor("blk.0.attn_q.weight").quant.name == "I2_S":
            return  # the package refuses files with such tensors
    peer = gguf.GGUFReader(path)
    assert peer.fields["general.architecture"].contents() == "bitnet-b1.58"
    assert len(peer.tensors) == 11 * TINY.layers + 2
    with GGUF(path) as file:
        for tensor in peer.tensors:
            assert file.raw(tensor.name).tobytes() == tensor.data.tobytes()


@pytest.mark.parametrize("template", [None, PLACEHOLDER, CHAT_TEMPLATE])
def test_it_speaks_as_it_was_trained(tmp_path: Path, template: str | None) -> None:
    """Without a template, and with the placeholder of Microsoft's converter, too."""
    file = write_bitnet(tmp_path / "b.gguf", TINY, template=template)
    model = LocalModel.load(file, cache=tmp_path)
    assert model.template is not None
    said = model.template.render(
        [ChatMessage("system", "Be brief."), ChatMessage("user", " Hi <|eot_id|> the end ")]
    )
    assert plain_text(said) == (
        "<|begin_of_text|>System: Be brief.<|eot_id|>User: Hi <|eot_id|> the end<|eot_id|>"
        "Assistant: "
    )
    assert [part.text for part in said if part.control] == [
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|eot_id|>",
    ]
    ids = model.prompt_ids([ChatMessage("user", "the")])
    tokens = [model.tokenizer.tokens[number] for number in ids]
    assert tokens.count("<|begin_of_text|>") == 1
    assert "Ġthe" in tokens
    assert model.tokenizer.tokens.index("<|eot_id|>") in model.tokenizer.ends


def test_another_template_is_kept(tmp_path: Path) -> None:
    own = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
    model = LocalModel.load(write_bitnet(tmp_path / "b.gguf", TINY, template=own), cache=tmp_path)
    assert model.template is not None
    assert plain_text(model.template.render([ChatMessage("user", "x")])) == "[x]"


@pytest.mark.parametrize("name", ["bitnet", "bitnet-25", "bitnet-b1.58"])
def test_it_answers_under_every_name(tmp_path: Path, name: str) -> None:
    file = write_bitnet(tmp_path / "b.gguf", TINY, architecture=name, embedding="Q8_0")
    model = LocalModel.load(file, cache=tmp_path)
    events = list(
        model.generate([ChatMessage("user", "the and")], temperature=0, max_tokens=5, seed=1)
    )
    assert events[-1].reason in ("stop", "length")
    assert events[-1].detail["quantisation"] == "I2_S"


def test_a_scale_beside_the_matrix_counts(tmp_path: Path) -> None:
    """Some converters store the scale as a tensor of its own."""
    codes = np.zeros(64, np.uint8)
    raw = codes.tobytes() + np.float32(2).tobytes() + bytes(28)
    plans = [
        TensorPlan("m.weight", (2, 128), "I2_S", lambda: [raw]),
        TensorPlan("m.scale", (1,), "F32", lambda: [np.float32(3).tobytes()]),
    ]
    with GGUF(write_gguf(tmp_path / "m.gguf", {}, plans)) as file:
        matrix = PackedMatrix.read(file, "m.weight", 2, 128)
        assert matrix.scale == 6
        np.testing.assert_array_equal(matrix.times(np.ones((1, 128), np.float32)), -128 * 6)

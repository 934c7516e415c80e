"""The Mojo engine against the NumPy one: the same scores, near enough, and the same manners."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from aiki_kernel.compute import native
from aiki_kernel.errors import ModelError
from aiki_kernel.models import bench_divergence, llama_cpp, mojo_engine
from aiki_kernel.models.bitnet import BitNet
from aiki_kernel.models.bitnet_sample import TINY, write_bitnet
from aiki_kernel.models.chat import ChatMessage, Finished
from aiki_kernel.models.gguf import GGUF
from aiki_kernel.models.llama import Llama
from aiki_kernel.models.local import LocalModel, log_softmax
from aiki_kernel.models.mojo_engine import MojoModel

pytestmark = pytest.mark.skipif(
    native.load_best("language").library is None, reason=native.load_best("language").reason
)

NEVER = threading.Event()
NEAR_TIE = 0.05  # difference of log-probabilities below which either token may win
SHARED = Path(os.environ.get("AIKI_SHARED") or Path(__file__).parents[4] / "shared")
REFERENCE = SHARED / "data" / "smollm2_reference.json"
TEXT = "The tide comes in, the tide goes out; Harald watches from Bergen and counts the boats. "


def loaded(path: Path, **how: Any) -> MojoModel:
    with GGUF(path) as file:
        return MojoModel(file, **how)


def judge(path: Path) -> Llama:
    with GGUF(path) as file:
        return Llama(file)


def scores(model: Any, ids: list[int]) -> np.ndarray:
    return model.forward(ids, model.new_state(), NEVER)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def divergence(reference: np.ndarray, found: np.ndarray) -> float:
    """Kullback-Leibler, in nats."""
    p, q = log_softmax(reference), log_softmax(found)
    return float((np.exp(p) * (p - q)).sum())


@pytest.mark.slow
def test_it_follows_the_reference_engine(smollm: LocalModel, swift: LocalModel) -> None:
    ids = smollm.prompt_ids([ChatMessage("user", "Write a sentence about the sea.")])
    ours, theirs = swift.engine.new_state(), smollm.engine.new_state()
    found, expected = (
        swift.engine.forward(ids, ours, NEVER),
        smollm.engine.forward(ids, theirs, NEVER),
    )
    divergences = []
    for step in range(32):
        divergences.append(divergence(expected, found))
        first, second = np.sort(log_softmax(expected))[-1:-3:-1]
        token = int(expected.argmax())
        assert int(found.argmax()) == token or first - second < NEAR_TIE, f"step {step}"
        found = swift.engine.forward([token], ours, NEVER)
        expected = smollm.engine.forward([token], theirs, NEVER)
    assert np.mean(divergences) < 0.0015
    assert max(divergences) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_greedy_answers_are_the_references(smollm_path: Path, threads: int) -> None:
    """Whole answers, token by token, against the probabilities of float32 that are kept."""
    if not REFERENCE.is_file():
        pytest.skip(f"GREEDY NOT CHECKED: {REFERENCE} is absent; set AIKI_SHARED to its folder")
    cache = smollm_path.parent / ".cache"
    model = LocalModel.load(smollm_path, cache=cache, engine="mojo", threads=threads)
    for row in json.loads(REFERENCE.read_text("utf-8"))["rows"]:
        state, tokens = model.engine.new_state(), row["prompt_ids"]
        for step, (token, top) in enumerate(zip(row["tokens"], row["top5"], strict=True)):
            logs = log_softmax(model.engine.forward(tokens, state, NEVER))
            (_, first), (_, second) = top[:2]
            near = first - second < NEAR_TIE
            assert int(logs.argmax()) == token or near, f"{row['prompt']}, step {step}"
            worst = max(abs(logs[number] - expected) for number, expected in top[:2])
            assert worst < NEAR_TIE, f"{row['prompt']}, step {step}: off by {worst}"
            tokens = [token]


@pytest.mark.slow
def test_its_divergence_is_below_llama_cpps(
    smollm: LocalModel, swift: LocalModel, smollm_path: Path
) -> None:
    """As `aiki bench generate` measures it, at a few positions."""
    try:
        program = llama_cpp.find("llama-server", llama_cpp.fetch())
    except ModelError as error:
        pytest.skip(f"NO LLAMA.CPP HERE: {error}")
    assert program is not None
    ids = tuple(swift.tokenizer.encode(TEXT * 20)[:300])
    passage = bench_divergence.Passage("tides", ids, (20, 40, 300))
    engine = swift.engine
    with bench_divergence.serving(program, smollm_path, 1, engine.vocabulary) as server:
        judge = bench_divergence.EngineReader("numpy", smollm.engine)
        ours = bench_divergence.EngineReader("mojo", engine)
        rows = bench_divergence.compare(judge, [ours, server], [passage])
    total = bench_divergence.summed(rows, ["mojo", "llama.cpp"])
    assert total["positions"] == 3
    assert 0 < total["mojo"]["mean"] < total["llama.cpp"]["mean"] < 0.1


@pytest.mark.slow
def test_long_contexts_agree_too(smollm: LocalModel, swift: LocalModel) -> None:
    ids = smollm.tokenizer.encode(TEXT * 32)[:300]
    for length in (300, 13, 5, 2):
        kl = divergence(smollm.logprobs(ids[:length]), swift.logprobs(ids[:length]))
        assert kl < 0.01, f"{length} tokens"


@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_single_tokens_and_threads_agree(swift: LocalModel, threads: int) -> None:
    engine = swift.engine
    assert isinstance(engine, MojoModel)
    ids = swift.tokenizer.encode(TEXT * 4)[:70]
    whole = scores(engine, ids)
    state = engine.new_state()
    for number in ids[:40]:
        engine.forward([number], state, NEVER)
    parts = engine.forward(ids[40:], state, NEVER)
    assert divergence(whole, parts) < 2e-3
    assert state.length == len(ids)


def test_the_number_of_threads_changes_not_one_bit(smollm_path: Path) -> None:
    """A busy machine gives a step to one thread: a seeded answer must be the same there."""
    engine = loaded(smollm_path, threads=2)
    if engine.threads == 1:
        pytest.skip("ONE CPU HERE: there is no other number of threads")
    ids = list(range(40, 270))
    found = []
    for threads in (1, 2):
        for pace in engine._paces:
            pace.threads = 1  # nothing is tried
            pace.using = threads
        state = engine.new_state()
        rows = [engine.forward(ids[:200], state, NEVER)]
        rows += [engine.forward([id], state, NEVER) for id in ids[200:230]]
        found.append(np.stack(rows))
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize("count", [1, 40])
def test_a_probe_with_another_number_of_threads_changes_no_score(
    smollm_path: Path, count: int
) -> None:
    model = loaded(smollm_path, threads=2)
    if model.threads == 1:
        pytest.skip("ONE CPU HERE: there is no other number of threads")
    pace = model._paces[int(count > mojo_engine.MOST_SEGMENTS)]
    ids = list(range(40, 40 + count))
    scores(model, ids)  # the first step is not timed
    for using in (2, 1):
        pace.using, pace.probing = using, False
        expected = scores(model, ids)
        pace.using, pace.probing = using, True
        found = scores(model, ids)
        assert not pace.probing
        assert np.allclose(found, expected, atol=1e-3)


def test_a_short_prompt_says_nothing_about_the_pace(tiny_path: Path) -> None:
    model = loaded(tiny_path, threads=2)
    noted: list[int] = []
    for pace in model._paces:
        pace.note = lambda threads, seconds: noted.append(threads)  # type: ignore[method-assign]
    for count, times in ((5, 0), (1, 1), (40, 2)):
        scores(model, list(range(40, 40 + count)))
        assert len(noted) == times


TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def write_typed(path: Path, kind: str, *, width: int = 256, hidden: int = 512) -> Path:
    """A Llama of one layer whose matrices are all of one type; random blocks where the gguf
    package cannot quantise."""
    random = np.random.default_rng(11)
    heads, groups, vocabulary = 4, 2, 300
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {
        "block_count": 1,
        "context_length": 128,
        "embedding_length": width,
        "feed_forward_length": hidden,
        "attention.head_count": heads,
        "attention.head_count_kv": groups,
    }.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    tensor_type = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[tensor_type]

    def matrix(name: str, rows: int, columns: int) -> None:
        data = (random.standard_normal((rows, columns)) * columns**-0.5).astype(np.float32)
        if kind in ("Q4_K", "Q5_K", "Q6_K"):
            raw = random.integers(0, 256, (rows, columns // block, size), np.uint8)
            places = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}[kind]
            for place in places:
                small = (random.random((rows, columns // block)) * 2e-4).astype(np.float16)
                raw[..., place : place + 2] = small[..., None].view(np.uint8)
            writer.add_tensor(name, raw.reshape(rows, -1), raw_dtype=tensor_type)
        else:
            packed = gguf.quants.quantize(data, tensor_type)
            writer.add_tensor(name, packed, raw_dtype=tensor_type)

    def vector(name: str) -> None:
        writer.add_tensor(name, random.standard_normal(width).astype(np.float32))

    matrix("token_embd.weight", vocabulary, width)
    vector("output_norm.weight")
    vector("blk.0.attn_norm.weight")
    vector("blk.0.ffn_norm.weight")
    matrix("blk.0.attn_q.weight", width, width)
    matrix("blk.0.attn_k.weight", width // 2, width)
    matrix("blk.0.attn_v.weight", width // 2, width)
    matrix("blk.0.attn_output.weight", width, width)
    matrix("blk.0.ffn_gate.weight", hidden, width)
    matrix("blk.0.ffn_up.weight", hidden, width)
    matrix("blk.0.ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", [*TYPES, "Q4_K", "Q5_K", "Q6_K"])
def test_every_tensor_type_gives_the_reference_scores(kind: str, tmp_path: Path) -> None:
    path = write_typed(tmp_path / "typed.gguf", kind)
    fast, slow = loaded(path), judge(path)
    for length in (1, 3, 30):
        ids = np.random.default_rng(length).integers(0, 300, length).tolist()
        found, expected = scores(fast, ids), scores(slow, ids)
        least = 0.999999 if kind in ("F32", "F16", "BF16") else 0.998
        assert cosine(found, expected) > least, f"{length} tokens"


@pytest.mark.parametrize("variant", native.runnable("language"))
def test_every_variant_that_runs_here_agrees(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = native.load_library("language", variant)
    monkeypatch.setattr(
        mojo_engine, "load_best", lambda part: native.Loaded(library, variant, "by the test")
    )
    for kind in ("Q4_1", "Q8_0", "Q6_K", "F16"):
        path = write_typed(tmp_path / f"{kind}.gguf", kind)
        ids = list(range(17))
        found, expected = scores(loaded(path), ids), scores(judge(path), ids)
        assert cosine(found, expected) > 0.998, kind


def test_several_conversations_in_one_step(swift: LocalModel) -> None:
    engine = swift.engine
    assert isinstance(engine, MojoModel)
    prompts = [swift.tokenizer.encode(TEXT)[: 3 + 4 * n] for n in range(6)]
    for count in (1, 2, 3, 6):
        alone, together = [], []
        for ids in prompts[:count]:
            state = engine.new_state()
            engine.forward(ids[:-1], state, NEVER)
            together.append(state)
            other = state.fork(state.length)
            alone.append(engine.forward(ids[-1:], other, NEVER))
        found = engine.step([ids[-1] for ids in prompts[:count]], together)
        for one, expected in zip(found, alone, strict=True):
            assert divergence(expected, one) < 5e-3
    with pytest.raises(ValueError):
        engine.step([1, 2], [together[0], together[0]])


@pytest.mark.alone
def test_a_prompt_is_left_soon(swift: LocalModel) -> None:
    ids = (swift.tokenizer.encode(TEXT) * 200)[:4000]
    for wait in (0.05, 0.3):
        stop, state = threading.Event(), swift.engine.new_state()
        said: list[float] = []

        def set_later(stop: threading.Event = stop, said: list[float] = said) -> None:
            said.append(time.perf_counter())
            stop.set()

        timer = threading.Timer(wait, set_later)
        timer.start()
        with pytest.raises(mojo_engine.CancelledError):
            swift.engine.forward(ids, state, stop)
        assert time.perf_counter() - said[0] < 0.25
        assert state.length < len(ids)


def test_repacked_weights_are_stored_and_mapped(tiny_path: Path, tmp_path: Path) -> None:
    first = LocalModel.load(tiny_path, cache=tmp_path, engine="mojo")
    assert isinstance(first.engine, MojoModel)
    assert first.engine.storing is not None
    first.engine.storing.join()
    assert {path.suffix for path in tmp_path.iterdir()} >= {".tiles"}
    assert not list(tmp_path.glob("*.weights*"))
    second = LocalModel.load(tiny_path, cache=tmp_path, engine="mojo")
    assert isinstance(second.engine, MojoModel)
    assert second.engine.weights.mapped
    ids = [70, 71, 72, 90]
    assert np.array_equal(first.logprobs(ids), second.logprobs(ids))


def test_without_a_library_numpy_computes_and_says_so(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = native.Loaded(None, "", "installed without compiled kernels")
    monkeypatch.setattr(mojo_engine, "load_best", lambda part: none)
    model = LocalModel.load(tiny_path, cache=tmp_path)
    assert model.engine_name == "numpy"
    *_, last = model.generate([ChatMessage("user", "hello")], max_tokens=2)
    assert isinstance(last, Finished)
    assert last.detail["notes"] == ["NumPy computes, slowly: installed without compiled kernels"]
    with pytest.raises(ModelError, match="installed without compiled kernels"):
        LocalModel.load(tiny_path, cache=tmp_path, engine="mojo")


def test_auto_is_mojo(tiny_path: Path, tmp_path: Path) -> None:
    model = LocalModel.load(tiny_path, cache=tmp_path)
    assert (model.engine_name, model.note) == ("mojo", "")


def test_rows_that_do_not_divide_fall_back(
    write_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiki_kernel.models.mojo_weights.BLOCK", 128)
    model = LocalModel.load(write_model(tmp_path / "odd.gguf"), cache=tmp_path)
    assert model.engine_name == "numpy"
    assert "divide" in model.note


def test_a_fork_of_the_process_computes_too(tiny_path: Path) -> None:
    import os

    model = loaded(tiny_path, threads=2)
    before = scores(model, [70, 71, 72])
    child = os.fork()
    if child == 0:
        os._exit(0 if np.allclose(scores(model, [70, 71, 72]), before, atol=1e-3) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0", "I2_S"])
@pytest.mark.parametrize("threads", [1, 2])
def test_bitnet_is_the_reference_engines(kind: str, threads: int, tmp_path: Path) -> None:
    path = write_bitnet(tmp_path / "bit.gguf", TINY, ternary=kind)
    fast = loaded(path, threads=threads)
    with GGUF(path) as file:
        slow = BitNet(file)
        for length in (1, 3, 5, 40):
            ids = np.random.default_rng(length).integers(0, 300, length).tolist()
            assert cosine(scores(fast, ids), scores(slow, ids)) > 0.9995, f"{length} tokens"

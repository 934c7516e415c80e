"""Metadata made to do harm: tokenizers that contradict themselves, wrong types, sizes that wrap."""

from __future__ import annotations

import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st

from aiki_kernel.errors import ModelError
from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.local import LocalModel
from aiki_kernel.models.model_file import describe

MORE_MEMORY = 250 * 1024  # kB that all examples of a test together may add
QUIET = settings(
    max_examples=80,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def value_end(data: bytes, kind: int, at: int) -> int:
    if kind == 8:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    if kind == 9:
        inner, count = struct.unpack_from("<IQ", data, at)
        at += 12
        for _ in range(count):
            at = value_end(data, inner, at)
        return at
    return at + _SIZES[kind]


def pairs(data: bytes) -> tuple[dict[str, bytes], bytes]:
    """Key -> its whole pair, and what comes after the metadata (tensor infos and data)."""
    (count,) = struct.unpack_from("<Q", data, 16)
    at, found = 24, {}
    for _ in range(count):
        begin = at
        (length,) = struct.unpack_from("<Q", data, at)
        key = data[at + 8 : at + 8 + length].decode()
        at += 8 + length
        (kind,) = struct.unpack_from("<I", data, at)
        at = value_end(data, kind, at + 4)
        found[key] = data[begin:at]
    return found, data[at:]


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key.encode()) + struct.pack("<I", kind) + value


def texts(*values: bytes) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


def with_pairs(whole: bytes, changed: dict[str, bytes | None]) -> bytes:
    """The file with these pairs in place of its own; tensors keep their alignment."""
    found, rest = pairs(whole)
    kept = {**found, **changed}
    body = b"".join(one for one in kept.values() if one is not None)
    count = sum(one is not None for one in kept.values())
    tensors = struct.unpack_from("<Q", whole, 8)[0]
    infos = infos_end(rest, tensors)
    # Data begin at the next multiple of 32 behind the infos.
    before = len(whole) - len(rest)
    data = rest[-(-(before + infos) // 32) * 32 - before :]
    head = struct.pack("<4sIQQ", b"GGUF", 3, tensors, count) + body + rest[:infos]
    return head + bytes(-len(head) % 32) + data


def infos_end(rest: bytes, count: int) -> int:
    at = 0
    for _ in range(count):
        at += 8 + struct.unpack_from("<Q", rest, at)[0]
        at += 4 + 8 * struct.unpack_from("<I", rest, at)[0] + 12
    return at


def judge(path: Path, data: bytes) -> str:
    """Described and run, or refused in one line; which."""
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    said = ""
    try:
        describe(path, measure=False)
        model = LocalModel.load(path, cache=path.parent / "cache")
        with np.errstate(all="ignore"):
            list(model.generate([ChatMessage("user", "the 12 æøå <|im_end|>")], max_tokens=2))
    except ModelError as error:
        said = str(error)
        assert 10 < len(said) < 1000
    assert "\n" not in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MORE_MEMORY
    assert time.monotonic() - begun < 60
    return said


@pytest.fixture(scope="module")
def whole(tiny_path: Path) -> bytes:
    return tiny_path.read_bytes()


def test_the_rewriter_leaves_a_whole_file_whole(whole: bytes, tmp_path: Path) -> None:
    assert judge(tmp_path / "same.gguf", with_pairs(whole, {})) == ""


TOKENIZER = [
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.chat_template",
    "general.architecture",
    "general.name",
    "llama.context_length",
    "llama.rope.freq_base",
]
scalars = st.one_of(
    st.tuples(st.just(4), st.integers(0, 2**32 - 1).map(lambda n: struct.pack("<I", n))),
    st.tuples(st.just(5), st.integers(-(2**31), 2**31 - 1).map(lambda n: struct.pack("<i", n))),
    st.tuples(st.just(10), st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n))),
    st.tuples(st.just(6), st.floats(width=32).map(lambda x: struct.pack("<f", x))),
    st.tuples(st.just(12), st.floats().map(lambda x: struct.pack("<d", x))),
    st.tuples(st.just(7), st.integers(0, 255).map(lambda n: bytes([n]))),
    st.tuples(st.just(8), st.binary(max_size=40).map(text)),
)
arrays = st.one_of(
    st.lists(st.binary(max_size=12), max_size=8).map(lambda some: texts(*some)),
    st.lists(st.integers(-5, 2**31 - 1), max_size=8).map(
        lambda some: struct.pack(f"<IQ{len(some)}i", 5, len(some), *some)
    ),
    st.integers(1, 30).map(lambda n: struct.pack("<IQ", 9, 1) * n + struct.pack("<IQ", 4, 0)),
    st.integers(0, 6).map(lambda n: struct.pack("<IQ", 9, n) + struct.pack("<IQ", 9, 0) * n),
).map(lambda value: (9, value))


@seed(5)
@QUIET
@given(
    st.dictionaries(
        st.sampled_from(TOKENIZER),
        st.one_of(st.none(), scalars, arrays),
        min_size=1,
        max_size=3,
    )
)
@example({"tokenizer.ggml.tokens": (9, texts())})
@example({"tokenizer.ggml.tokens": (9, texts(*[b"same"] * 300))})
@example({"tokenizer.ggml.merges": (9, texts(b"a b", b"ab a", b"no", b" ", b"x y z"))})
@example({"tokenizer.ggml.eos_token_id": (4, struct.pack("<I", 2**32 - 1))})
@example({"tokenizer.ggml.token_type": (9, struct.pack("<IQ", 8, 0))})
@example({"llama.rope.freq_base": (6, struct.pack("<f", float("nan")))})
@example({"tokenizer.chat_template": (9, texts(b"{{ 1 }}"))})
def test_values_of_all_sorts(whole: bytes, tmp_path: Path, changed) -> None:
    new = {key: None if value is None else pair(key, *value) for key, value in changed.items()}
    judge(tmp_path / "changed.gguf", with_pairs(whole, new))


BOMBS = {
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "wide": "{{ 'x' * 10**9 }}",
    "doubling": "{% set n = namespace(t='xxxxxxxx') %}{% for i in range(60) %}"
    "{% set n.t = n.t ~ n.t %}{% endfor %}",
    "recursion": "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "two macros in a circle": "{% macro a() %}{{ b() }}{% endmacro %}"
    "{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "escape": "{{ ''.__class__.__base__.__subclasses__() }}",
    "escape by attr": "{{ messages | attr('__class__') }}",
    "escape by format": "{{ '{0.__class__}'.format(messages) }}",
    "import": "{% import 'os' as os %}{{ os }}",
    "include": "{% include '/etc/passwd' %}",
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep blocks": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "long": "x" * 2_000_000,
    "not text": "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"),
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_a_chat_template_that_goes_off(whole: bytes, tmp_path: Path, source: str) -> None:
    changed = {"tokenizer.chat_template": pair("tokenizer.chat_template", 8, text(source.encode()))}
    said = judge(tmp_path / "bomb.gguf", with_pairs(whole, changed))
    assert "root:" not in said
    assert "<class" not in said


@pytest.mark.parametrize("alignment", [0, 1, 3, 64, 4096, 2**20, 2**31, 2**32 - 1])
def test_an_alignment_that_does_not_fit(whole: bytes, tmp_path: Path, alignment: int) -> None:
    key = "general.alignment"
    judge(
        tmp_path / "aligned.gguf",
        with_pairs(whole, {key: pair(key, 4, struct.pack("<I", alignment))}),
    )


@pytest.mark.parametrize("alignment", [(5, b"\xe0\xff\xff\xff"), (8, text(b"32")), (7, b"\1")])
def test_an_alignment_of_another_type(whole: bytes, tmp_path: Path, alignment) -> None:
    key = "general.alignment"
    said = judge(tmp_path / "aligned.gguf", with_pairs(whole, {key: pair(key, *alignment)}))
    assert said


@pytest.mark.parametrize(
    ("dims", "offset"),
    [
        ((4,), 2**64 - 32),  # the end wraps around to the beginning
        ((2**61,), 0),  # so does the size in bytes
        ((2**32, 2**30), 32),
        ((4,), 2**63),
        ((2**63, 2), 2**63),
    ],
)
def test_sizes_and_offsets_that_wrap(tmp_path: Path, dims: tuple[int, ...], offset: int) -> None:
    info = text(b"t") + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, offset)
    data = struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + info
    assert judge(tmp_path / "wraps.gguf", data + bytes(256))

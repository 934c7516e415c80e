"""The tokenizer in Mojo, in Python, and that of the `tokenizers` library."""

from __future__ import annotations

import random

import numpy as np
import pytest
from encoder_parts import vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from aiki_kernel.compute.encoder import Tokenizer as Ours
from aiki_kernel.compute.encoder_mojo import MojoTokenizer
from aiki_kernel.compute.encoder_pieces import META, PlainTokenizer
from aiki_kernel.compute.encoder_store import aligned
from aiki_kernel.compute.native import runnable

VARIANTS = runnable("encoder")
LETTERS = "abcå\u00df好🙂" + META
RANDOM = random.Random(4)
PIECES = {"<unk>": 0.0} | {
    "".join(RANDOM.choices(LETTERS, k=RANDOM.randint(1, 5))): -RANDOM.uniform(2, 12)
    for _ in range(400)
}
MAPPING = {"\t": " ", "\n": " ", "\x01": "", "½": "1/2", "A": "a", "ﷺ": "abc" * 6}
VOCABULARY = vocabulary(PIECES, MAPPING)
PLAIN = PlainTokenizer(VOCABULARY)
IMAGE = aligned(VOCABULARY.image())
NATIVE: list[Ours] = [MojoTokenizer(VOCABULARY, IMAGE, variant) for variant in VARIANTS]

texts = st.text(alphabet=st.sampled_from("abcå\u00df好🙂 ▁A½\t\n\x01ﷺxyz"), max_size=80)


@settings(max_examples=300)
@given(texts | st.text(max_size=40).filter(lambda s: s.isprintable()))
def test_the_compiled_tokenizer_finds_the_same_pieces(text: str) -> None:
    expected = PLAIN.tokens(text)
    assert len(expected) >= 1
    for native in NATIVE:
        assert np.array_equal(native.tokens(text), expected)


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("abcå好"), max_size=60))
def test_the_library_cuts_with_the_same_total_score(text: str) -> None:
    pieces = list(PIECES.items())
    # every letter is a piece here: the library would join unknown ones
    pieces += [(c, -30.0) for c in LETTERS if c not in PIECES]
    ours = PlainTokenizer(vocabulary(dict(pieces), {}))
    theirs = Tokenizer(models.Unigram(pieces, unk_id=0)).encode(META + text).ids
    found = ours.tokens(text).tolist()
    scores = [score for _, score in pieces]
    assert sum(scores[i] for i in found) == pytest.approx(sum(scores[i] for i in theirs), abs=1e-4)


@pytest.mark.parametrize("text", ["", " ", "   ", "\x01", "ﷺ" * 30, "x" * 5000, "a  b", "  a"])
def test_odd_texts(text: str) -> None:
    for native in NATIVE:
        assert np.array_equal(native.tokens(text), PLAIN.tokens(text))


def test_hash_table_finds_every_piece() -> None:
    for native in NATIVE:
        for piece in PIECES:
            if piece.startswith(META) and piece.count(META) == 1:
                text = piece.removeprefix(META)
                assert np.array_equal(native.tokens(text), PLAIN.tokens(text))


@pytest.mark.skipif(not VARIANTS, reason="built without compiled kernels")
def test_an_image_with_numbers_out_of_range_is_refused() -> None:
    good = VOCABULARY.image()
    for at in range(64, len(good) - len(VOCABULARY.blob), 64):
        bad = bytearray(good)
        bad[at : at + 64] = b"\xff" * 64
        try:
            tokenizer = MojoTokenizer(VOCABULARY, aligned(bad), VARIANTS[0])
        except ValueError:
            continue
        tokenizer.tokens("abc å 好 ½ xyz" * 5)  # what was damaged can only cost the answer
    with pytest.raises(ValueError, match="does not hold"):
        MojoTokenizer(VOCABULARY, aligned(good[:-64]), VARIANTS[0])

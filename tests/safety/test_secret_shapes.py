"""Secrets as their issuers make them: none gets through, whole or in pieces; the rest stays."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiki_kernel.errors import ConfigError
from aiki_kernel.safety.numbers import is_card, is_identity, luhn
from aiki_kernel.safety.secret_samples import samples
from aiki_kernel.safety.secrets import MARK, cleaned, find, redact, refuse, told
from aiki_kernel.safety.veil import Veil


@pytest.mark.parametrize("seed", range(5))
def test_no_sample_is_left_in_its_sentence(seed):
    for one in samples(500, seed):
        assert one.secret not in redact(one.text), one.kind
        middle = one.secret[len(one.secret) // 3 :][:12]
        assert middle not in redact(one.text), one.kind


def test_the_words_around_a_secret_stay():
    for one in samples(250, 11):
        before, _, after = one.text.partition(one.secret)
        clean = redact(one.text)
        assert clean.startswith(before.rstrip("«'\"`"))
        assert clean.endswith(after.lstrip("»'\"`"))


BENIGN = [
    "The order number is 4000 1234 5678 9011 and the invoice 12345678901.",
    "Ring meg på 912 34 567 eller +47 22 33 44 55 før kl. 16.",
    "IBAN NO93 8601 1117 947, konto 8601 11 17947",
    "The commit 3f786850e387550fdab836ed7e6dc881de23001b fixes it.",
    "id 550e8400-e29b-41d4-a716-446655440000, md5 d41d8cd98f00b204e9800998ecf8427e",
    "password: correct horse battery staple",
    "passord: skriv det du vil her",
    "The password is stored in the vault; ask Kari for the password.",
    "postgres://user:password@localhost/db and postgres://kari:<password>@db/app",
    "postgres://user:$DB_PASSWORD@localhost/db",
    "https://example.org:8443/a@b?key=value",
    "api_key = settings.openai_api_key, token=os.environ['TOKEN_2024_PRODUCTION']",
    "secret_key: see-the-manual-of-2024",
    "sk-learn, AIza, AKIA, hf_ and ghp_ are beginnings of keys",
    "sklearn.model_selection.train_test_split_2024_version",
    "The basic idea of authorization is simple.",
    "3.141592653589793238 and 2.718281828459045",
    "2026-11-21T09:30:00.123456+00:00 1763717400123456789",
    "SG.1 is a score, MNO.pqr.stu a joke",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBa\n-----END",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 kari@example",
]


@pytest.mark.parametrize("text", BENIGN)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


def test_a_certificate_is_public_but_a_key_is_cut_even_without_its_end():
    assert redact("x\n-----BEGIN PRIVATE KEY-----\nMIIE1234").endswith(MARK)


def test_cards_and_identity_numbers_need_their_check_digits():
    # Numbers that the issuers publish for tests, and the tax office's example.
    for card in ("4111111111111111", "5555555555554444", "378282246310005", "30569309025904"):
        assert is_card(card)
        broken = card[:-1] + str((int(card[-1]) + 1) % 10)
        assert not luhn(broken)
        assert not is_card(broken)
    assert not is_card("1234567812345670")  # Luhn is right, but nobody issues such
    chance = random.Random(4)
    drawn = [f"{chance.randrange(10**10, 10**11)}" for _ in range(20_000)]
    assert sum(map(is_identity, drawn)) < 30
    assert redact("kort 4111 1111 1111 1111.") == "kort [card number removed]."


def test_a_mark_is_not_a_secret_and_redacting_twice_changes_nothing():
    for one in samples(250, 12):
        once = redact(one.text)
        assert redact(once) == once


def test_what_was_found_is_told_by_kind_and_refused_without_repeating_it():
    text = "a ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5" + " and 4111 1111 1111 1111"
    clean, kinds = cleaned(text)
    assert kinds == {"GitHub token": 1, "card number": 1}
    assert "4111" not in clean
    assert told({"GitHub token": 2, "password": 1}) == "2 GitHub tokens and 1 password"
    with pytest.raises(ConfigError, match="card number") as caught:
        refuse("4111 1111 1111 1111")
    assert "4111" not in str(caught.value)


def through(text: str, sizes: list[int]) -> tuple[str, list[str]]:
    veil, shown, at, turn = Veil(), [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        shown.append(veil.feed(text[at : at + size]))
        at, turn = at + size, turn + 1
    shown.append(veil.end())
    return "".join(shown), shown


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    seed=st.integers(0, 10_000),
    number=st.integers(0, 56),
)
def test_a_secret_across_deltas_is_never_shown_in_part(sizes, seed, number):
    one = samples(57, seed)[number]
    out, _ = through(one.text, sizes)
    for start in range(8, len(one.secret) - 8):
        piece = one.secret[start : start + 8]
        if piece in redact(one.text):
            continue  # a PEM's dashes, which stand for nothing
        assert piece not in out, one.kind


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(alphabet=st.sampled_from("abc sk-_:./=@ 0123\nØæ,;«»"), min_size=1, max_size=200),
    sizes=st.lists(st.integers(1, 10), min_size=1, max_size=5),
)
def test_other_text_comes_out_as_it_went_in(text, sizes):
    if not find(text):
        assert through(text, sizes)[0] == text


def test_ordinary_words_are_not_held_back():
    veil = Veil()
    for word in ["The ", "quick ", "brown ", "fox, ", "Øyvind ", "og ", "andre. "]:
        assert veil.feed(word) == word
    assert veil.feed("unfin") == "unfin"
    assert veil.feed("ished") == "ished"

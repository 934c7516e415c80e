"""The rule of permissions by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki_kernel.safety.permissions import (
    NOBODY,
    TOOLS,
    TRUSTS,
    Grant,
    Rights,
    only_default,
    owner,
    owners,
    trusted,
)

ANYTHING = st.none() | st.text() | st.integers() | st.lists(st.text())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), frozenset()),
        (("own",), {"trisha"}),
        (("shared",), {"default"}),
        (("own", "kari"), {"trisha", "kari"}),
        (("own", "all"), None),
    ],
)
def test_scope_words_stand_for_owners(words: tuple[str, ...], expected: object) -> None:
    assert owners(words, "trisha") == expected


@given(ANYTHING, st.sampled_from(TRUSTS), st.text())
def test_what_is_not_said_is_denied(agent: object, trust: str, operation: str) -> None:
    for grant in (NOBODY, Rights().grant("trisha"), Grant("trisha")):
        assert not grant.may_read(agent, trust)
        assert not grant.may_write(agent)
        assert not any(grant.may(tool.removeprefix("memory.")) for tool in TOOLS)
    assert not NOBODY.may(operation)
    assert not NOBODY.may("recall")
    assert Rights().grant("trisha").reads_nothing


@given(ANYTHING)
def test_nobodys_memories_are_shared_and_what_is_no_name_is_nobody_elses(agent: object) -> None:
    shared = Rights(("shared",), ("shared",)).grant("trisha")
    assert shared.may_read(agent) == (agent in (None, "", "default"))
    assert (owner(agent) is None) == (agent is not None and not isinstance(agent, str))
    assert Rights(("all",)).grant("trisha").may_read(agent)


def test_trust_is_an_order() -> None:
    assert trusted("") == ()
    assert trusted("user") == ("user",)
    assert trusted("import") == TRUSTS
    careful = Rights(("all",), min_trust="model").grant("curator")
    assert [trust for trust in (*TRUSTS, "", "forged") if careful.may_read("kari", trust)] == [
        "model",
        "user",
    ]


def test_without_personas_there_is_default_alone() -> None:
    assert only_default("default").may_read("kari")
    assert only_default("default").may_write("default")
    assert not only_default("default").may_write("kari")
    assert only_default("kari") is NOBODY

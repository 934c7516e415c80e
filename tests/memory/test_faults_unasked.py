"""What the health daemon noted is recalled for who asks of faults, and found by every search."""

from __future__ import annotations

import pytest

from aiki_kernel.memory.asking.faults import about_faults
from aiki_kernel.memory.records import Scope
from aiki_kernel.memory.service import MemoryService

ISSUE = (
    "Health issue: since Saturday 2026-11-21 15:12 (afternoon) the Local model is down. "
    "What is wrong: the model is not on this machine."
)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("What was wrong last night?", True),
        ("Hva var galt i natt?", True),
        ("Why is the answer so slow today?", True),
        ("Is the disk full?", True),
        ("Er tjenesten nede?", True),
        ("My bike is a red Brompton.", False),
        ("Hva heter søsteren min?", False),
        ("The glass is half full.", False),
    ],
)
def test_which_messages_speak_of_faults(text: str, about: bool) -> None:
    assert about_faults(text) is about


def test_they_are_not_recalled_for_other_messages(memory: MemoryService) -> None:
    scope = Scope("alice")
    noted = memory.add(ISSUE, scope, kind="issue", provenance={"source": "health"})
    own = memory.add("Issue 12: the bike shed has no light.", scope, kind="issue")
    told = memory.recall("My bike is a red Brompton.", scope, 8)
    assert [hit.id for hit in told.hits] == [own.id]
    assert [(one.id, one.why) for one in told.dropped] == [(noted.id, "health")]
    assert noted.id in {hit.id for hit in memory.recall("What was wrong?", scope, 8).hits}
    assert noted.id in {hit.id for hit in memory.search("My bike", scope, 8).hits}
    listed = memory.recall("My bike is a red Brompton.", scope, 8, kinds=("issue",))
    assert noted.id in {hit.id for hit in listed.hits}

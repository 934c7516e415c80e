"""A rerun replaces its own turn and nothing else."""

from __future__ import annotations

from aiki_kernel.memory.records import new_id, now
from aiki_kernel.mind.conversation import Conversation, Exchange, Message


def exchange(text: str, cell: str | None) -> Exchange:
    return Exchange(new_id(), text, f"answer to {text}", "test/ok", now(), cell_id=cell)


def test_turns_follow_each_other_in_the_order_they_came() -> None:
    talk = Conversation()
    for name in ("a", "b", "c"):
        talk.put(exchange(name, name))
    assert [e.question for e in talk.before(Message("d", cell_id="d"))] == ["a", "b", "c"]


def test_a_rerun_sees_only_what_stands_above_it_and_marks_the_rest_stale() -> None:
    talk = Conversation()
    for name in ("a", "b", "c"):
        talk.put(exchange(name, name))
    again = Message("b, better", cell_id="b")
    assert [e.question for e in talk.before(again)] == ["a"]
    replaced = talk.replaced_by(again)
    assert replaced is not None
    assert replaced.question == "b"
    talk.put(exchange("b, better", "b"))
    assert [(e.question, e.stale) for e in talk.exchanges] == [
        ("a", False),
        ("b, better", False),
        ("c", True),
    ]


def test_without_a_cell_id_each_message_is_a_new_turn() -> None:
    talk = Conversation()
    talk.put(exchange("a", None))
    talk.put(exchange("a", None))
    assert len(talk.exchanges) == 2
    assert talk.replaced_by(Message("a")) is None


def test_clear_begins_a_new_session() -> None:
    talk = Conversation()
    before = talk.session_id
    talk.put(exchange("a", "a"))
    talk.clear()
    assert talk.exchanges == ()
    assert talk.session_id != before

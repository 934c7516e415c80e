"""What a persona may do with the memory. Pure: no store, no files, no settings.

A memory belongs to the persona that wrote it (its ``agent_id``); what ``default`` wrote, or
nobody who is named, is shared. A persona's file says whose memories it may read and whose it
may write: ``own``, ``shared``, ``all``, or a persona's name. What it does not say is denied,
and so is everything to a persona that nobody knows. Recall, and remembering a turn, follow
from reading and writing; every other operation is a tool that the file has to name.

``trusts`` limits what is read further: with a least trust of ``user``, only what the user
himself said. The user himself (no persona at all) is not limited by any of this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SHARED = "default"
"""The persona whose memories belong to all; so do those of nobody."""

OWN, ALL, SHARED_WORD = "own", "all", "shared"
SCOPES = (OWN, SHARED_WORD, ALL)
"""What may stand for whose memories, beside the names of personas."""

TRUSTS = ("import", "tool", "sensor", "model", "user")
"""Who vouches for a memory, the least trusted first."""

LOOP = ("recall", "search", "remember")
"""What needs no tool: recall (a search is one) and remembering a turn."""

TOOLS = (
    "memory.list",
    "memory.get",
    "memory.history",
    "memory.ask",
    "memory.export",
    "memory.add",
    "memory.update",
    "memory.forget",
)
"""What a persona may be allowed to do with memories besides."""


@dataclass(frozen=True)
class Grant:
    """The rights of one persona. ``read`` and ``write`` are owners; None stands for all.

    ``tools`` are of :data:`TOOLS`; ``trusts`` of :data:`TRUSTS`, empty for any.
    """

    persona: str
    read: frozenset[str] | None = frozenset()
    write: frozenset[str] | None = frozenset()
    tools: frozenset[str] = frozenset()
    trusts: tuple[str, ...] = ()
    known: bool = True

    def may_read(self, agent_id: Any, trust: Any = "user") -> bool:
        """Whether a memory of this owner, vouched for by ``trust``, may be given to it."""
        return _within(self.read, agent_id) and (not self.trusts or trust in self.trusts)

    def may_write(self, agent_id: Any) -> bool:
        """Whether it may add, change or remove memories of this owner."""
        return _within(self.write, agent_id)

    def may(self, operation: str) -> bool:
        """Whether it may do ``operation`` ("recall", "list", "update", ...) at all."""
        if not self.known:
            return False
        return operation in LOOP or f"memory.{operation}" in self.tools

    @property
    def reads_nothing(self) -> bool:
        return self.read is not None and not self.read

    @property
    def readable(self) -> tuple[str, ...]:
        """The ``agent_id`` values it may read, "" for none; empty when there is no limit.

        Ask :attr:`reads_nothing` first: to read nothing is not to have no limit.
        """
        if self.read is None:
            return ()
        return tuple(sorted(self.read | ({""} if SHARED in self.read else set())))


NOBODY = Grant("", known=False)
"""Nothing is allowed."""


@dataclass(frozen=True)
class Rights:
    """What a persona's file says of the memory, in its own words."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    min_trust: str = ""

    def grant(self, persona: str) -> Grant:
        """The same as rights of ``persona``."""
        return Grant(
            persona,
            owners(self.read, persona),
            owners(self.write, persona),
            frozenset(self.tools),
            trusted(self.min_trust),
        )


def owners(words: Iterable[str], persona: str) -> frozenset[str] | None:
    """Owners that scope words stand for, None for all of them."""
    found = set(words)
    if ALL in found:
        return None
    meant = {OWN: persona, SHARED_WORD: SHARED}
    return frozenset(meant.get(word, word) for word in found)


def trusted(least: str) -> tuple[str, ...]:
    """The trusts from ``least`` upward; empty for no limit."""
    return TRUSTS[TRUSTS.index(least) :] if least else ()


def owner(agent_id: Any) -> str | None:
    """Whose a memory with this ``agent_id`` is; None where that is no name at all."""
    if agent_id is None or agent_id == "":
        return SHARED
    return agent_id if isinstance(agent_id, str) else None


def only_default(persona: str) -> Grant:
    """Rights where no personas are configured: ``default`` reads all and writes what is
    shared, anybody else is unknown."""
    if persona == SHARED:
        return Grant(SHARED, None, frozenset({SHARED}), frozenset(TOOLS))
    return NOBODY


def _within(allowed: frozenset[str] | None, agent_id: Any) -> bool:
    return allowed is None or owner(agent_id) in allowed

"""Access: the one place where a scope becomes a filter, and where a persona is refused.

Whoever reads or writes asks for a :class:`View` of a scope first. The view makes the store's
filter, and looks at each record once more before it is given out, so that neither a store's
idea of a match nor an id that was guessed opens what the scope does not hold. A scope without
a persona is the user himself: his filter is his own name, and nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiki_kernel.errors import RefusedError, StoreError
from aiki_kernel.memory.records import Draft, Record, Scope, Turn
from aiki_kernel.memory.store import Where
from aiki_kernel.safety.permissions import SHARED, TOOLS, Grant, only_default, owner

Grants = Callable[[str], Grant]
"""The rights of a persona by its name; of one that is unknown, none."""

Told = Callable[[str, str, str], None]
"""Told of each refusal: the persona, the operation, and the line that it was given."""

_NOBODYS = "\x00"
"""An owner that no memory has: what a persona without a readable scope is filtered by."""


@dataclass(frozen=True)
class View:
    """What one scope may see. ``grant`` is None for the user himself."""

    scope: Scope
    grant: Grant | None = None

    @property
    def actor(self) -> str:
        """Who acts, for the account that is kept of it."""
        return self.scope.persona or self.scope.user_id

    @property
    def where(self) -> Where:
        """The filter of the store."""
        scope, grant = self.scope, self.grant
        where = Where(user_id=scope.user_id, agent_id=scope.agent_id, run_id=scope.run_id)
        if grant is None:
            return where
        readable = (_NOBODYS,) if grant.reads_nothing else grant.readable
        return replace(where, agent_ids=readable, trusts=grant.trusts, quarantined=False)

    def sees(self, record: Record) -> bool:
        """Whether ``record`` lies within the scope."""
        scope, grant = self.scope, self.grant
        return (
            record.user_id == scope.user_id
            and scope.agent_id in (None, record.agent_id)
            and scope.run_id in (None, record.run_id)
            and (grant is None or _readable(grant, record))
        )

    def changes(self, record: Record) -> bool:
        """Whether ``record`` lies within the scope and may be changed or removed."""
        return self.sees(record) and (self.grant is None or self.grant.may_write(record.agent_id))

    def given(self, record: Record) -> Record:
        """``record`` as it is given out: a persona gets no copy of what stood before it."""
        if self.grant is None or not record.previous:
            return record
        return replace(record, previous="")


class Access:
    """Rights of personas, applied. ``told`` hears of every refusal."""

    def __init__(self, grants: Grants = only_default, told: Told | None = None) -> None:
        self._grants = grants
        self._told = told

    def view(self, scope: Scope | None, operation: str) -> View | None:
        """The view of ``scope`` for ``operation``; None where there is no scope to keep to.

        Raises :class:`RefusedError` for a persona that is unknown or may not do that at all.
        """
        if scope is None:
            return None
        if not scope.persona:
            return View(scope)
        grant = self._grants(scope.persona)
        if not grant.may(operation):
            raise self.refused(scope.persona, operation, _why_not(grant, scope.persona, operation))
        return View(scope, grant)

    def must(self, scope: Scope, operation: str) -> View:
        """As :meth:`view`, for a scope that is there."""
        found = self.view(scope, operation)
        assert found is not None
        return found

    def change(self, view: View | None, record: Record, operation: str) -> None:
        """Raise :class:`RefusedError` unless ``view`` may change ``record``."""
        if view is None or view.grant is None or view.grant.may_write(record.agent_id):
            return
        name = view.scope.persona
        raise self.refused(name, operation, _not_theirs(name, owner(record.agent_id)))

    def drafts(
        self, drafts: Iterable[Draft], there: Callable[[list[str]], Mapping[str, Record]]
    ) -> list[Draft]:
        """``drafts`` with their owners filled in; a persona's own name is what it writes under.

        ``there`` gives the records that ids have now: an id keeps its owner. Raises
        :class:`RefusedError` for what a persona may not write, before anything is written.
        """
        checked = [self._owned(draft) for draft in drafts]
        known = there([draft.id for draft in checked if draft.id])
        for draft in checked:
            old = known.get(draft.id or "")
            if old is None:
                continue
            # Wherever the new one is to lie, the old one has to be within reach as it is.
            wide = replace(draft.scope, agent_id=None, run_id=None)
            view = self.view(wide, "add") if wide.persona else None
            if view is not None and not view.sees(old):
                raise self.refused(
                    draft.scope.persona, "add", f"The id {old.id} is taken: leave it out."
                )
            self.change(view, old, "add")
            if owner(old.agent_id) != owner(draft.scope.agent_id):
                raise StoreError(
                    f"Memory {old.id} is {owner(old.agent_id)}'s: forget it first, or leave the "
                    "id out."
                )
        return checked

    def turn(self, turn: Turn) -> None:
        """Raise :class:`RefusedError` when the persona of ``turn`` may not remember it.

        A persona that is unknown here raises :class:`StoreError`: its file may come back, and
        until then the turn waits.
        """
        if not turn.persona:
            return
        grant = self._grants(turn.persona)
        if not grant.known:
            raise StoreError(
                f"There is no usable persona {turn.persona!r} to remember this for: "
                "`aiki persona list` says why."
            )
        if not grant.may_write(turn.persona):
            raise self.refused(
                turn.persona,
                "remember",
                f"{turn.persona} may not write memories of its own: this turn is not kept "
                f"(memory.write in its file).",
            )

    def ends(self, record: Record, by: Turn) -> bool:
        """Whether the turn ``by`` may take the place of ``record``: in its own session the user
        ran a cell again, whoever answered then; elsewhere the persona must be allowed to."""
        if not by.persona or record.run_id == by.session_id:
            return True
        return self._grants(by.persona).may_write(record.agent_id)

    def refused(self, persona: str, operation: str, line: str) -> RefusedError:
        """The refusal to raise, told to whoever keeps account of them."""
        if self._told is not None:
            self._told(persona, operation, line)
        return RefusedError(line)

    def _owned(self, draft: Draft) -> Draft:
        name = draft.scope.persona
        if not name:
            return draft
        view = self.must(draft.scope, "add")
        agent = draft.scope.agent_id or name
        assert view.grant is not None
        if not view.grant.may_write(agent):
            raise self.refused(name, "add", _not_theirs(name, owner(agent)))
        # What a persona writes, it says itself: nobody is made to vouch for it but a model.
        return replace(draft, scope=replace(draft.scope, agent_id=agent), trust="model")


def _readable(grant: Grant, record: Record) -> bool:
    # What is held back is the user's to look at.
    held = record.metadata.get("quarantined") is True
    return not held and grant.may_read(record.agent_id, record.trust)


def _why_not(grant: Grant, persona: str, operation: str) -> str:
    if not grant.known:
        return (
            f"There is no usable persona {persona!r}, so nothing of the memory is open to it: "
            "`aiki persona list` shows those there are."
        )
    if f"memory.{operation}" in TOOLS:
        return f"{persona} may not use memory.{operation}: name it under tools in its file."
    return f"{persona} may not {operation}: only the user may, without a persona."


def _not_theirs(persona: str, whose: str | None) -> str:
    what = "what is shared" if whose == SHARED else f"memories of {whose}" if whose else "that"
    return f"{persona} may not change {what}: memory.write in its file says whose it may."


def since_last_end(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history of a memory as it lives now: what an id meant before a DELETE is not its."""
    last = max((n for n, row in enumerate(rows) if row.get("event") == "DELETE"), default=-1)
    return rows[last + 1 :]

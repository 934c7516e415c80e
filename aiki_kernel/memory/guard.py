"""What happens to every memory before it is written: secrets out, trust set, planted text held.

``trust`` says who vouches for a text: ``user``, ``model``, ``import``, ``sensor`` or ``tool``.
Text of low trust (import, model, tool) that looks like planted instructions is quarantined:
kept, shown by ``aiki memory audit``, and not recalled until somebody releases it. The user's
own words are only flagged (``suspicion``). The score is a label; the defence is the fence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.records import Draft, Record, now
from aiki_kernel.safety.planted import Label, label
from aiki_kernel.safety.secrets import cleaned

if TYPE_CHECKING:
    from aiki_kernel.safety.audit import AuditLog

TRUSTS = ("user", "model", "import", "sensor", "tool")
LOW = ("import", "model", "tool")

_MADE_BY_MODELS = ("insight", "summary")
_OURS = ("quarantine", "released", "suspicion")
"""Keys that only the guard writes: an import cannot vouch for itself."""
_DEPTH = 4


class Guard:
    """Looks at drafts on their way in. What was taken out is counted in the audit log."""

    def __init__(self, audit: AuditLog) -> None:
        self.audit = audit

    def admitted(self, draft: Draft, *, screen: bool = True) -> Draft:
        """``draft`` as it may be stored; without ``screen`` it has to be looked at later.

        Raises :class:`StoreError` for a trust that does not exist.
        """
        trust = draft.trust
        if trust not in TRUSTS:
            raise StoreError(f"{trust!r} is no trust: choose of {', '.join(TRUSTS)}.")
        if trust == "user" and (draft.role == "assistant" or draft.kind in _MADE_BY_MODELS):
            trust = "model"
        found: Counter[str] = Counter()
        metadata = {
            key: _clean(value, found) for key, value in draft.metadata.items() if key not in _OURS
        }
        if metadata.get("quarantined") is not True:
            metadata.pop("quarantined", None)
        text = _clean(draft.text, found)
        draft = replace(
            draft,
            text=text,
            previous=_clean(draft.previous, Counter()),
            metadata=metadata,
            trust=trust,
        )
        if found:
            self.audit.record("secret.found", where=trust, kinds=found, id=draft.id)
        if screen:
            notes = marks(label(text), trust)
            draft = replace(draft, metadata={**metadata, **notes})
        return draft

    def cleaned(self, text: str, id: str) -> str:
        """The new text of a memory, without secrets."""
        found: Counter[str] = Counter()
        text = _clean(text, found)
        if found:
            self.audit.record("secret.found", where="update", kinds=found, id=id)
        return text


def marks(found: Label, trust: str) -> dict[str, Any]:
    """The metadata that a label means for a text of this ``trust``."""
    if not found.planted:
        return {}
    if trust not in LOW:
        return {"suspicion": found.score}
    return {
        "quarantined": True,
        "quarantine": {
            "reason": f"looks planted: {', '.join(found.signs)}",
            "score": found.score,
            "at": now(),
            "by": "score",
        },
    }


def missed(record: Record) -> dict[str, Any]:
    """The marks that a stored memory should have and does not; nothing for a released one."""
    if record.metadata.get("quarantined") or record.metadata.get("released"):
        return {}
    notes = marks(label(record.data), record.trust)
    return {} if "suspicion" in notes and "suspicion" in record.metadata else notes


def _clean(value: Any, found: Counter[str], depth: int = _DEPTH) -> Any:
    if isinstance(value, str):
        text, kinds = cleaned(value)
        found.update(kinds)
        return text
    if depth and isinstance(value, Mapping):
        return {key: _clean(inner, found, depth - 1) for key, inner in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_clean(inner, found, depth - 1) for inner in value]
    return value

"""A message as it was typed into a message as it is sent.

Values take the place of names where they fit into a sentence. Frames, figures and files are
attached: a placeholder stands in the sentence, the thing itself goes beside it. All text that is
attached passes the filter for secrets, and what was taken out is said.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.attachments import documents, files, frames, pictures, records
from aiki_kernel.attachments.interpolation import Found, is_data, replaced, resolve, written
from aiki_kernel.attachments.table import summary
from aiki_kernel.mind.attachment import Attachment
from aiki_kernel.models.tokens import estimate
from aiki_kernel.safety.secrets import cleaned, redact, told

if TYPE_CHECKING:
    from aiki_kernel.config_attachments import Attachments

_MOST_SLIPS = 3
_SLIP = 2  # characters that a mistyped name may be longer or shorter
_MARK = re.compile(r"\[(?:key|password|(?:card|identity) number) removed\]")


@dataclass(frozen=True)
class Composed:
    """``text`` has values and placeholders; ``typed`` is what was typed where that differs.

    ``notes`` are lines on what looks like a slip: braces that were sent as they stand.
    """

    text: str
    typed: str = ""
    attached: tuple[Attachment, ...] = ()
    notes: tuple[str, ...] = ()


class Composer:
    """Composes messages of one place: its names, its folder, its settings.

    ``home`` is ``AIKI_HOME``, of which nothing is ever read.
    """

    def __init__(
        self,
        settings: Attachments,
        namespace: Mapping[str, Any],
        home: Path,
        folder: Path | None = None,
    ) -> None:
        self._settings = settings
        self._namespace = namespace
        self._home = home
        self._folder = folder or Path.cwd()

    def compose(self, text: str) -> Composed:
        """``text`` with all its references taken up. Reads files and draws figures: call it from
        a thread. Raises :class:`aiki_kernel.attachments.errors.AttachmentError`, one line."""
        attached: dict[str, Attachment] = {}
        notes: dict[str, None] = {}

        def shown(found: Found) -> str | None:
            if found.typed in attached:
                return attached[found.typed].placeholder
            made = self._file(found.path, text) if found.path else self._value(found, text)
            if isinstance(made, Attachment):
                attached[found.typed] = made = _discreet(made)
                return made.placeholder
            if made is None and (slip := self._slip(found)):
                notes[slip] = None
            return None if made is None else self._bounded(found, made, notes)

        done = replaced(text, shown)
        typed = text if done != text else ""
        return Composed(done, typed, tuple(attached.values()), tuple(notes)[:_MOST_SLIPS])

    def _is_long(self, value: Any) -> bool:
        """Whether ``value`` is a list that would take more than a text may."""
        if not records.is_column(value):
            return False
        most = self._settings.text_tokens
        return len(value) > most or estimate(written(value) or "") > most

    def _bounded(self, found: Found, text: str, notes: dict[str, None]) -> str:
        """``text`` without secrets, within the tokens that a text may have; what is left out
        is said. A key that was typed is sent as it was; one in a variable nobody may think of."""
        most = self._settings.text_tokens
        text, secrets = cleaned(text)
        if secrets:
            notes[f"Taken out of {found.typed} before it was sent: {told(secrets)}."] = None
        if len(text) <= most or estimate(text) <= most:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if estimate(text[:middle]) <= most else (low, middle - 1)
        notes[
            f"Of {found.typed} the first {low:,} characters were sent: attachments.text_tokens "
            f"({most:,}) holds no more."
        ] = None
        return f"{text[:low]}… (more is left out here)"

    def _slip(self, found: Found) -> str:
        """A line on braces that are sent as they stand, where they look like a slip; braces
        that name nothing like a variable are prose, and nothing is said of them."""
        stands = f"{{{found.typed}}} was sent as it stands."
        if found.name in self._namespace:
            if found.steps and is_data(self._namespace[found.name]):
                return f"{found.name} has no plain value {''.join(found.steps)}: {stands}"
            return ""
        known = [name for name, value in list(self._namespace.items()) if is_data(value)]
        public = [name for name in known if not name.startswith("_")]
        near = difflib.get_close_matches(found.name, public, 1, 0.6)
        if not near or abs(len(near[0]) - len(found.name)) > _SLIP:
            return ""
        return f"There is no variable {found.name} (did you mean {near[0]}?): {stands}"

    def _file(self, path: str, question: str) -> Attachment:
        found = files.place(path, self._folder, self._settings.folders, self._home)
        data = files.read(path, found, self._settings.file_mb)
        name = " ".join(found.name.split())
        return documents.attach(name, found, data, self._settings, question)

    def _value(self, found: Found, question: str) -> Attachment | str | None:
        value = resolve(found, self._namespace)
        if not is_data(value):
            return None
        if pictures.is_picture(value):
            return pictures.attach(found.typed, value, self._settings)
        if frames.is_frame(value):
            table = frames.table_of(value)
        elif records.is_records(value) or self._is_long(value):
            table = records.table_of(value)
        else:
            return written(value)
        budget = self._settings.table_tokens
        return Attachment(found.typed, "table", table.title, summary(table, budget, question))


def _discreet(one: Attachment) -> Attachment:
    """The same without secrets in anything that is text."""
    text, found = cleaned(one.text)
    image = one.image
    if image is not None:
        words, more = cleaned(image.words)
        image = replace(image, words=words, name=redact(image.name))
        found = {**found, **more}
    notes = one.notes
    if found:
        notes = (*notes, f"Taken out of {one.name} before it was sent: {told(found)}.")
    elif _MARK.search(f"{text} {image.words if image else ''}"):  # taken out before a cut
        notes = (*notes, f"Taken out of {one.name} before it was sent: what looks like a secret.")
    return replace(one, title=redact(one.title), text=text, image=image, notes=notes)

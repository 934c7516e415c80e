"""What goes with a message besides its words: a table's summary, a file's text, an image.

The words of the message hold a placeholder with the name and size; that is what is recalled
by, routed by and remembered. What is attached stands before the question, between two lines
with a random mark that it cannot know, as data. Images are neither remembered nor sent again
with later messages.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiki_kernel.models.image import Image
from aiki_kernel.models.tokens import estimate

Kind = Literal["table", "text", "image"]
ATTACHED = "Attached to the question, as data ("


@dataclass(frozen=True)
class Attachment:
    """One thing that is attached. ``title`` says what it is and how large; ``text`` is sent.

    An ``image`` is sent beside the text to a model that sees. ``notes`` are lines that the
    user should see under the answer.
    """

    name: str
    kind: Kind
    title: str
    text: str = ""
    image: Image | None = None
    notes: tuple[str, ...] = ()

    @property
    def placeholder(self) -> str:
        """What stands for it in the words of the message, and in memory."""
        return f"[{self.name}: {self.title}]"

    @property
    def tokens(self) -> int:
        """What it adds to a message, about."""
        return estimate(self.text) + (self.image.tokens if self.image else 0)

    @property
    def digest(self) -> str:
        """A mark of what is sent, the same for the same content."""
        data = self.image.data if self.image else b""
        return hashlib.sha256(self.text.encode() + b"\0" + data).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What metadata and previews say of it."""
        return {"name": self.name, "kind": self.kind, "title": self.title, "tokens": self.tokens}


def fenced(attached: Sequence[Attachment]) -> str:
    """The texts of ``attached`` between two lines with a mark that is new each time; "" for
    none."""
    texts = [one for one in attached if one.text]
    if not texts:
        return ""
    mark = secrets.token_hex(4)
    while any(mark in one.text for one in texts):
        mark = secrets.token_hex(4)
    parts = [f"{ATTACHED}{mark}):"]
    parts += [f"## {one.name}: {one.title}\n{one.text}" for one in texts]
    return "\n\n".join([*parts, f"(end of {mark})"])


def question(text: str, attached: Sequence[Attachment]) -> str:
    """The question as it is sent: what is attached, then ``text``."""
    block = fenced(attached)
    return f"{block}\n\nQuestion: {text}" if block else text


def images(attached: Sequence[Attachment]) -> tuple[Image, ...]:
    """The images among them."""
    return tuple(one.image for one in attached if one.image is not None)

"""Chat templates: the Jinja program inside a model file, run as untrusted code on untrusted text.

Two strangers meet here. The *template* comes with the file: it is rendered in Jinja's immutable
sandbox, in a thread of its own with a deadline, and operations that multiply text are bounded.
The *messages* come from people and from memory: a message that contains ``<|im_end|>`` must stay
a message. A template joins both into one text, so the messages are marked before: behind every
sign that begins a control token stands a guard, a private character that occurs nowhere else.
A control token found in the rendered text has no guard inside, hence the template wrote it. The
guards are taken out before the text between the control tokens becomes tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiki_kernel.errors import ModelError
from aiki_kernel.models.chat import ChatMessage
from aiki_kernel.models.sandbox import TemplateRefusedError, compile_template, run_bounded

T = TypeVar("T")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Part:
    """A stretch of a rendered conversation: one control token, or text that holds none."""

    text: str
    control: bool


class ChatTemplate:
    """Turns a conversation into the text that a model was trained on."""

    def __init__(
        self, source: str, controls: Sequence[str], *, bos: str = "", eos: str = "", name: str = ""
    ) -> None:
        """Compile ``source``. ``controls`` are the texts of all control tokens.

        Raises :class:`ModelError` when the template is not valid.
        """
        self._name = name or "The model"
        self._bos, self._eos = bos, eos
        longest_first = sorted(controls, key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._starts = re.compile(
            "[" + "".join(sorted({re.escape(text[0]) for text in controls})) + "]"
            if controls
            else r"(?!)"
        )
        self._source = source
        self._template = self._bounded(lambda: compile_template(source))

    def render(
        self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = True
    ) -> tuple[Part, ...]:
        """The conversation in parts. Raises :class:`ModelError` when the template refuses."""
        if not messages:
            raise ModelError("There is nothing to answer: the conversation has no message.")
        for message in messages:
            if message.role not in _ROLES:
                raise ModelError(
                    f"A message has the role {message.role!r}: use {', '.join(_ROLES)}."
                )
        guard = self._free_character(messages)
        sure = self._parts(messages, add_generation_prompt, self._starts, guard)
        if not any(self._starts.search(message.content) for message in messages):
            return sure
        # Some templates look into messages (`</think>`), which a guard behind every "<" would
        # hide. Guards inside whole control tokens alone keep that, and are enough unless the
        # template builds a control token out of pieces; then the two disagree and the sure one
        # is taken.
        lenient = self._parts(messages, add_generation_prompt, self._controls, guard)
        return lenient if _controls_of(lenient) == _controls_of(sure) else sure

    def _parts(
        self,
        messages: Sequence[ChatMessage],
        add_generation_prompt: bool,
        guarded: re.Pattern[str],
        guard: str,
    ) -> tuple[Part, ...]:
        def protect(match: re.Match[str]) -> str:
            found = match.group()
            return found[0] + guard + found[1:]

        text = self._render(
            [
                {"role": message.role, "content": guarded.sub(protect, message.content)}
                for message in messages
            ],
            add_generation_prompt,
        )
        parts, position = [], 0
        for match in self._controls.finditer(text):
            parts.append(Part(text[position : match.start()].replace(guard, ""), control=False))
            parts.append(Part(match.group(), control=True))
            position = match.end()
        parts.append(Part(text[position:].replace(guard, ""), control=False))
        return tuple(part for part in parts if part.text)

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        values: Mapping[str, Any] = {
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self._bos,
            "eos_token": self._eos,
            "tools": None,
            "documents": None,
        }
        limit = 64 * 1024 + 4 * sum(len(message["content"]) + 64 for message in messages)
        return self._bounded(lambda: self._template(values, limit))

    def _bounded(self, work: Callable[[], T]) -> T:
        try:
            return run_bounded(work)
        except TemplateRefusedError as refusal:
            raise ModelError(
                f"{self._name}'s chat template does not take this conversation ({refusal})."
            ) from None

    def _free_character(self, messages: Sequence[ChatMessage]) -> str:
        """A private-use character that nobody uses here."""
        used = {*self._source, *self._bos, *self._eos}.union(*(m.content for m in messages))
        return next(sign for sign in map(chr, range(0xF0000, 0xFFFFD)) if sign not in used)


def plain_text(parts: Sequence[Part]) -> str:
    """What the template rendered, as one text."""
    return "".join(part.text for part in parts)


def _controls_of(parts: Sequence[Part]) -> list[str]:
    return [part.text for part in parts if part.control]

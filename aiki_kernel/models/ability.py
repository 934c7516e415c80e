"""What a model cannot take is put into words for it, and that is said.

A model that does not see (its card says so) gets the words of an image in its place; one whose
card says that it takes no JSON schema gets none. What nobody knows is tried: a refusal that
names it is learnt from (``quirks``).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aiki_kernel.models.tokens import estimate

if TYPE_CHECKING:
    from aiki_kernel.models.cards import ModelCard
    from aiki_kernel.models.chat import ChatMessage, ChatRequest


def fitted(request: ChatRequest, card: ModelCard) -> tuple[ChatRequest, list[str]]:
    """``request`` as ``card``'s model can take it, and a line for each thing that it cannot."""
    notes = []
    if card.vision is False and has_images(request.messages):
        before = sum(_tokens(message) for message in request.messages)
        messages = in_words(request.messages)
        less = before - sum(_tokens(message) for message in messages)
        prompt = max(1, request.prompt_tokens - less) if request.prompt_tokens else 0
        notes.append(unseen(card.name, request.messages))
        request = replace(request, messages=messages, prompt_tokens=prompt)
    form = request.response_format
    if card.json_schema is False and form is not None and form.get("type") == "json_schema":
        request = replace(request, response_format=None)
        notes.append(f"{card.name} takes no JSON schema: it was asked for JSON in words.")
    return request, notes


def has_images(messages: Sequence[ChatMessage]) -> bool:
    """Whether an image goes with any of them."""
    return any(message.images for message in messages)


def in_words(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The same without images: what is known of each stands behind the text, as data."""
    return tuple(_described(one) if one.images else one for one in messages)


def unseen(name: str, messages: Sequence[ChatMessage]) -> str:
    """The line that says that a model was not shown the images of ``messages``."""
    names = [image.name for message in messages for image in message.images]
    what = f"the image {names[0]}" if len(names) == 1 else f"the images {', '.join(names)}"
    return (
        f"{name} does not see: {what} went as a description in words. "
        "`--model NAME` asks one that sees."
    )


def _described(message: ChatMessage) -> ChatMessage:
    mark = secrets.token_hex(4)
    parts = [
        f"You cannot see the attached image{'s' if len(message.images) > 1 else ''}. What is known "
        f"instead, as data ({mark}):"
    ]
    parts += [f"{one.name}: {one.words or one.size}" for one in message.images]
    told = "\n".join([*parts, f"(end of {mark})"])
    return replace(message, content=f"{message.content}\n\n{told}", images=())


def _tokens(message: ChatMessage) -> int:
    return estimate(message.content) + message.image_tokens

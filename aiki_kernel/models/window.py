"""Whether a message and its answer fit into a model's context window: the rule, and its words.

The rule, in this order: what is not in the window's card is not checked; the answer may take
what the message leaves, up to ``max_tokens``; where less than a quarter of ``max_tokens``
(256 tokens at most) would be left, the call is refused before it is made. Tokens of the
message are our own estimate. History is cut before this, by whole turns (``mind.context``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki_kernel.errors import ModelError

if TYPE_CHECKING:
    from aiki_kernel.models.cards import ModelCard

_LEAST_ANSWER = 256


def answer_tokens(card: ModelCard, prompt_tokens: int, max_tokens: int) -> int:
    """How long the answer may be, in tokens: ``max_tokens``, or what the window leaves.

    Raises :class:`ModelError` with cause "context" when the window leaves too little.
    """
    if card.window is None:
        return max_tokens
    left = card.window - prompt_tokens
    if left < least_answer(max_tokens):
        raise ModelError(
            f"The message has about {prompt_tokens:,} tokens and {card.name} takes "
            f"{card.window:,} with its answer: shorten it, or choose a model with a larger "
            "window (`aiki model list`).",
            stage="connect",
            cause="context",
        )
    return min(left, max_tokens)


def least_answer(max_tokens: int) -> int:
    """The shortest room for an answer that is worth a call, in tokens."""
    return max(1, min(_LEAST_ANSWER, max_tokens // 4))


def prompt_budget(card: ModelCard, context_tokens: int, max_tokens: int) -> int:
    """Tokens that system, history, recall and question may take: ``context_tokens``, or what
    the window leaves beside an answer of ``max_tokens`` (beside half the window at least)."""
    if card.window is None:
        return context_tokens
    return min(context_tokens, max(card.window - max_tokens, card.window // 2))


def shortened(card: ModelCard, limit: int) -> str:
    """The line that says that an answer has less room than it was meant to have."""
    return (
        f"The answer could have {limit:,} tokens at most: the message takes the rest of "
        f"{card.name}'s window of {card.window:,}."
    )

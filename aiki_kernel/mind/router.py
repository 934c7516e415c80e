"""Which model answers. For now the one that was chosen: for the message, the session, or in
the settings, in this order."""

from __future__ import annotations

from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Decision
from aiki_kernel.models.catalogue import AUTO, LOCAL


def decide(message: Message, conversation: Conversation, default: str) -> Decision:
    """The model that the nearest choice names, and the reason in words."""
    if message.model:
        return Decision(message.model, "chosen for this message")
    if conversation.model == AUTO:
        return Decision(_fixed(default), "handed over to the router, which takes your default")
    if conversation.model:
        return Decision(conversation.model, "chosen for this session")
    return Decision(_fixed(default), "the default of your settings")


def _fixed(default: str) -> str:
    return LOCAL if default == AUTO else default

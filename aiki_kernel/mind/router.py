"""Which model answers. For now the one that was chosen: for the message, the session, or in
the settings, in this order."""

from __future__ import annotations

from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Decision


def decide(message: Message, conversation: Conversation, default: str) -> Decision:
    """The model that the nearest choice names, and the reason in words."""
    if message.model:
        return Decision(message.model, "chosen for this message")
    if conversation.model:
        return Decision(conversation.model, "chosen for this session")
    return Decision(default, "the default of your settings")

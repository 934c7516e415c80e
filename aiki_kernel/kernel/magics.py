"""The magics face of the commands: thin stubs, one a noun, that import on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiki_kernel.commands.registry import nouns
from aiki_kernel.kernel.chat import Chat, place
from aiki_kernel.kernel.document import notebook_path

if TYPE_CHECKING:
    from aiki_kernel.commands.command import Context, Result

PREFIX = "aiki_"
_MESSAGES = {"session": "preview", "route": "explain"}


def register(shell: Any, chat: Chat) -> list[str]:
    """Register ``%aiki_<noun>`` for every noun with a magics face; returns their names."""
    names = []
    for noun in nouns("magic"):
        shell.register_magic_function(_magic(noun, chat), "line", PREFIX + noun)
        names.append(PREFIX + noun)
    return names


def unregister(shell: Any, names: list[str]) -> None:
    """Take them away again."""
    for name in names:
        shell.magics_manager.magics["line"].pop(name, None)


def context(chat: Chat) -> Context:
    """Where commands of this notebook are called from."""
    from aiki_kernel.commands.command import Context

    made = Context(
        "magic",
        make_aiki=lambda: chat.bridge.aiki,
        conversation=chat.conversation,
        namespace=chat.shell.user_ns,
    )
    if chat.bridge.started:
        made._aiki = chat.bridge.aiki
    return made


def _magic(noun: str, chat: Chat) -> Callable[[str], None]:
    def magic(line: str) -> None:
        from aiki_kernel.commands import registry

        # The words of a message go as they were typed: its braces are not IPython's.
        if not line.startswith(_MESSAGES.get(noun, "\n")):
            line = chat.shell.var_expand(line, depth=2)
        here = place(chat.shell)
        if noun == "session" and here.live and notebook_path():
            # What it shows and exports is the notebook's, also before its first message.
            chat.document.open_now(chat.bridge.aiki, chat.conversation, here)
        result = registry.run([noun, *registry.split(line)], context(chat))
        if result.widget is not None and place(chat.shell).live:
            chat.boards.show(result.widget())
        else:
            show(chat.shell, result)

    magic.__doc__ = f"{registry_summary(noun)}. `%{PREFIX}{noun} -h` says more."
    magic.__name__ = PREFIX + noun
    magic._ipython_magic_no_var_expand = True  # type: ignore[attr-defined]
    return magic


def registry_summary(noun: str) -> str:
    """What a noun is about, in one line."""
    from aiki_kernel.commands.registry import NOUNS

    return NOUNS[noun][0]


def show(shell: Any, result: Result) -> None:
    """Display a command's result: its text, and its HTML where there is one."""
    data = {"text/plain": result.text}
    if result.html:
        data["text/html"] = result.html
    if result.text or result.html:
        shell.display_pub.publish(data)

"""``%load_ext aiki_kernel``: the magics and ``%%aiki`` in any IPython kernel.

A cell magic of IPython cannot be asynchronous, and a synchronous one could not be stopped
or let Tab through. So ``%%aiki`` is an input transform here too: the cell becomes an
``await``. Stock ipykernel hears an interrupt only when its event loop next wakes; a
heartbeat while an answer is made sees to that.
"""

from __future__ import annotations

import asyncio
import atexit
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import UsageError
from aiki_kernel.kernel import magics
from aiki_kernel.kernel.cells import classify
from aiki_kernel.kernel.chat import Chat, place
from aiki_kernel.kernel.shell import Interrupted

if TYPE_CHECKING:
    from aiki_kernel.mind.reply import Reply

_HEARTBEAT_S = 0.05
_CLOSE_S = 2.0
_NAME = "_aiki_extension"


def load(shell: Any) -> None:
    """Add the magics and ``%%aiki`` to ``shell``; twice is as good as once."""
    if hasattr(getattr(shell, "kernel", None), "chatter") or hasattr(shell, _NAME):
        return
    setattr(shell, _NAME, Extension(shell))


def unload(shell: Any) -> None:
    """Take everything away again and close what was opened."""
    extension = getattr(shell, _NAME, None)
    if extension is not None:
        extension.close()
        delattr(shell, _NAME)


class Extension:
    """What ``%load_ext`` adds to one shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.chat = Chat(shell)
        self._names = magics.register(shell, self.chat)
        shell.register_magic_function(_not_alone, "cell", "aiki")
        shell.input_transformers_cleanup.insert(0, self._transform)
        atexit.register(self.chat.bridge.stop, _CLOSE_S)

    def close(self) -> None:
        self.shell.input_transformers_cleanup.remove(self._transform)
        magics.unregister(self.shell, self._names)
        self.shell.magics_manager.magics["cell"].pop("aiki", None)
        atexit.unregister(self.chat.bridge.stop)
        self.chat.stop()
        self.chat.boards.end()
        self.chat.bridge.stop(_CLOSE_S)

    def _transform(self, lines: list[str]) -> list[str]:
        text = "".join(lines)
        if not text.lstrip().startswith("%%aiki"):
            return lines
        cell = classify(text)
        if cell.kind != "message":
            return lines
        return [f"await get_ipython().{_NAME}.answer({cell.body!r}, {cell.options!r})\n"]

    async def answer(self, text: str, options: str) -> None:
        """Answer a message in the output of the running cell; ``reply`` and ``Out`` hold it."""
        task = asyncio.current_task()
        heart = asyncio.create_task(_beat())
        try:
            reply: Reply = await self.chat.answer(text, options=options, place=place(self.shell))
        except asyncio.CancelledError:
            # A KeyboardInterrupt may only be raised where IPython will catch it.
            if task is not None and getattr(task.get_coro(), "__name__", "") == "run_cell_async":
                raise Interrupted("the answer was stopped.") from None
            raise
        finally:
            heart.cancel()
        if "preview" not in reply.metadata:
            self.shell.displayhook.update_user_ns(reply)


async def _beat() -> None:
    while True:  # noqa: ASYNC110 - the waking is all it is for
        await asyncio.sleep(_HEARTBEAT_S)


def _not_alone(line: str, cell: str) -> None:
    """``%%aiki [--model NAME] [--persona NAME] [--temperature T] ...``: ask a question.

    The rest of the cell is the message; ``{name}`` in it becomes the value of a variable.
    """
    raise UsageError("%%aiki must be the first line of a cell of its own.")

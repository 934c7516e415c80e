"""The shell of the AIKI kernel: IPython's, with one line for a cell that was stopped."""

# mypy: allow-untyped-calls
# (IPython and ipykernel are only partly typed)
from __future__ import annotations

import asyncio
import traceback
from types import TracebackType
from typing import Any

from ipykernel.zmqshell import ZMQInteractiveShell


class Interrupted(KeyboardInterrupt):
    """The cell was stopped. One line instead of a stack."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


class AikiShell(ZMQInteractiveShell):
    """Renders the cancellation of a cell as :class:`Interrupted`.

    IPython would show asyncio's ``CancelledError`` with a stack, and spend a quarter of a
    second on rendering it.
    """

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: bool = False) -> bool:
        failed: bool = await super().run_code(code_obj, result, async_=async_)
        if result is not None and self._was_stopped(result.error_in_exec):
            result.error_in_exec = Interrupted(_place(result.error_in_exec.__traceback__))
        return failed

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        try:
            _, value, stack = self._get_exc_info(exc_tuple)
        except ValueError:
            value, stack = None, None
        if self._was_stopped(value):
            error = Interrupted(_place(stack))
            exc_tuple = (Interrupted, error, stack)
        elif isinstance(value, KeyboardInterrupt):
            _cut_handler(stack)
        super().showtraceback(exc_tuple, *args, **kwargs)

    def _was_stopped(self, error: BaseException | None) -> bool:
        if not isinstance(error, asyncio.CancelledError) or self.kernel is None:
            return False
        task = asyncio.current_task()
        return task is not None and self.kernel.cells.was_stopped(task)


def _cut_handler(stack: TracebackType | None) -> None:
    """Take the kernel's own signal handler off the end of a stack."""
    while stack is not None and stack.tb_next is not None:
        if stack.tb_next.tb_frame.f_globals.get("__name__") == "aiki_kernel.kernel.interrupts":
            stack.tb_next = None
        stack = stack.tb_next


def _place(stack: TracebackType | None) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(stack)
        if "ipykernel_" in frame.filename or frame.filename.startswith("<ipython")
    ]
    return f"the cell was stopped at line {lines[0]}." if lines else "the cell was stopped."

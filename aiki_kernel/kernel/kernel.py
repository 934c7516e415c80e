"""The kernel: an IPython kernel in which a cell is a message.

Everything that IPython does for a cell it still does: history with the raw text, counts,
events, ``Out``, ``silent``, errors. A message is turned into one line of Python before
IPython sees it (:mod:`aiki_kernel.kernel.cells`), and that line lands in :meth:`chat`.

Nothing heavy is imported before the first message.
"""

# mypy: allow-untyped-calls
# (ipykernel is only partly typed)
from __future__ import annotations

import asyncio
import contextvars
import inspect
from typing import TYPE_CHECKING, Any

from traitlets import Type, Unicode

from aiki_kernel.errors import UsageError
from aiki_kernel.kernel.cells import awaits_more, classify, transform
from aiki_kernel.kernel.chat import Chat, place
from aiki_kernel.kernel.interrupts import InterruptibleKernel
from aiki_kernel.kernel.shell import AikiShell, Interrupted
from aiki_kernel.version import __version__

if TYPE_CHECKING:
    from aiki_kernel.mind.reply import Reply

_WHILE_BUSY = {"complete_request", "inspect_request", "is_complete_request"}
_CLOSE_S = 2.0
"""Seconds for writes at shutdown: jupyter_client sends a signal after two and a half."""


class AikiKernel(InterruptibleKernel):
    """A cell is a message; ``%%python`` cells and magics share its namespace."""

    implementation = "aiki"
    implementation_version = __version__
    banner = (
        f"AIKI kernel {__version__}: a cell is a message. %%python for Python, "
        "%aiki_model to choose who answers, %aiki_memory to look into memory."
    )
    language_info = {  # noqa: RUF012 - a trait of the base class
        "name": "aiki",
        "version": __version__,
        "mimetype": "text/x-aiki",
        "file_extension": ".aiki",
        # Our lab extension's language; where it is not there, Markdown.
        "codemirror_mode": {"name": "aiki", "mime": "text/x-markdown"},
        "pygments_lexer": "markdown",
        "nbconvert_exporter": "script",
    }
    help_links: list[dict[str, str]] = []  # noqa: RUF012
    shell_class = Type(AikiShell)
    kept_answers = Unicode(
        "", help="A file of pinned answers, handed over by papermill's engine."
    ).tag(config=True)
    if TYPE_CHECKING:  # declared optional in the base; both are there in a running kernel
        shell: Any
        session: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._inside = contextvars.ContextVar("aiki_inside_a_cell", default=0)
        self.chatter = Chat(self.shell, kept_answers=self.kept_answers)
        self.consoles: set[str | None] = set()
        """The sessions of clients that have asked whether a line may go on."""
        self.shell.input_transformers_cleanup.insert(0, self._transform)
        self.shell.events.register("pre_execute", self._enter)
        self.shell.events.register("post_execute", self._leave)
        from aiki_kernel.kernel.magics import register

        register(self.shell, self.chatter)
        # 7.4 brought the argument; without it Tab waits for the cell, as in stock ipykernel.
        self._concurrent = "concurrent" in inspect.signature(self.dispatch_shell).parameters

    # -- cells ------------------------------------------------------------------------------

    def _transform(self, lines: list[str]) -> list[str]:
        # Only the cell itself is a message. What IPython transforms while a cell runs
        # (%time's line, get_ipython().run_cell) is code.
        if self._inside.get():
            cell = classify("".join(lines))
            python = cell.kind == "python" and cell.header
            return cell.body.splitlines(keepends=True) if python else lines
        return transform(lines)

    def _enter(self) -> None:
        self._inside.set(self._inside.get() + 1)

    def _leave(self) -> None:
        # An async cell runs in a task with a context of its own: there is nothing to undo.
        self._inside.set(max(0, self._inside.get() - 1))

    async def chat(self, text: str, *, options: str = "") -> Reply | None:
        """Answer a message in the output of the running cell.

        ``reply`` and ``Out[n]`` hold the answer; nothing is returned to a cell, so that it is
        not displayed twice. Raises :class:`AikiError`; :class:`Interrupted` when stopped.
        """
        task = asyncio.current_task()
        try:
            reply = await self.chatter.answer(text, options=options, place=place(self.shell))
        except asyncio.CancelledError:
            # In a task of the user's own a KeyboardInterrupt would end the event loop.
            if task in self.cells:
                raise Interrupted("the answer was stopped.") from None
            raise
        if "preview" not in reply.metadata:
            self.shell.displayhook.update_user_ns(reply)
        return None

    def refuse(self, problem: str) -> None:
        """Fail the cell with one line (used by the transform)."""
        raise UsageError(problem)

    def stop(self, answer_id: str | None = None) -> bool:
        """Stop one running answer (or all) from any thread; whether there was any."""
        return self.chatter.stop(answer_id)

    def is_answering(self, cell: asyncio.Future[Any]) -> bool:
        return any(answering.task is cell for answering in list(self.chatter.running.values()))

    # -- while a cell runs ------------------------------------------------------------------

    async def shell_main(self, subshell_id: str | None, msg: Any) -> None:
        """Answer Tab and Shift-Tab at once; everything else waits its turn as usual."""
        if not self._concurrent or not self._is_busy(subshell_id):
            await super().shell_main(subshell_id, msg)
            return
        try:
            _, frames = self.session.feed_identities(msg, copy=False)
            header = self.session.deserialize(frames, content=False, copy=False)["header"]
        except Exception:
            header = {}  # the base class reports malformed messages
        if header.get("msg_type") not in _WHILE_BUSY:
            await super().shell_main(subshell_id, msg)
            return
        parent = self.get_parent("shell")
        ident = self._get_shell_context_var(self._shell_parent_ident)
        try:
            await asyncio.create_task(
                self.dispatch_shell(msg, subshell_id=subshell_id, concurrent=True),
                context=contextvars.copy_context(),
            )
        finally:
            self.set_parent(ident, parent, channel="shell")

    def _is_busy(self, subshell_id: str | None) -> bool:
        if subshell_id is None:
            return bool(self._main_asyncio_lock.locked())
        lock = self.shell_channel_thread.manager.get_subshell_asyncio_lock(subshell_id)
        return bool(lock.locked())

    @property
    def kernel_info(self) -> dict[str, Any]:
        """What this kernel can do: everything IPython's can, except being debugged."""
        info: dict[str, Any] = dict(super().kernel_info)
        info["supported_features"] = [
            feature for feature in info["supported_features"] if feature != "debugger"
        ]
        return info

    # -- editing ----------------------------------------------------------------------------

    async def do_is_complete(self, code: str) -> Any:
        """Prose is complete as it stands, but for a code fence that is still open or a line that
        ends in a backslash; ``%%aiki`` with an empty line, as IPython's cell magics; a Python
        cell with an expression that shows something, or with an empty line."""
        self.consoles.add((self.get_parent("shell").get("header") or {}).get("session"))
        cell = classify(code)
        if cell.kind == "python" and cell.header and awaits_more(cell.body):
            return {"status": "incomplete", "indent": ""}
        if cell.kind != "message" or cell.problem:
            return super().do_is_complete(code)
        fences = sum(line.lstrip().startswith("```") for line in cell.body.splitlines())
        under_magic = cell.header and not code.endswith("\n")
        if fences % 2 or not cell.body or cell.body.endswith("\\") or under_magic:
            return {"status": "incomplete", "indent": ""}
        return {"status": "complete"}

    async def do_complete(self, code: str, cursor_pos: int) -> Any:
        """Tab: Python in Python cells; magics, models and ``{variables}`` in prose."""
        from aiki_kernel.kernel import completion

        python = completion.body_of(code, cursor_pos)
        if python is not None:
            body, header = python
            found = super().do_complete(body, cursor_pos - header)
            found["cursor_start"] += header
            found["cursor_end"] += header
            return found
        found = await completion.complete(self.chatter, code, cursor_pos)
        return super().do_complete(code, cursor_pos) if found is None else found

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> Any:
        """Shift-Tab: IPython's answer, and what commands, models and variables are."""
        from aiki_kernel.kernel import completion

        python = completion.body_of(code, cursor_pos)
        if python is not None:
            code, cursor_pos = python[0], cursor_pos - python[1]
        else:
            text = await completion.inspect(self.chatter, code, cursor_pos)
            if text:
                data = {"text/plain": text}
                return {"status": "ok", "found": True, "data": data, "metadata": {}}
            name = completion.variable_at(code, cursor_pos)
            if name is not None:
                code, cursor_pos = name, len(name)
        return super().do_inspect(code, cursor_pos, detail_level, omit_sections)

    # -- the end ----------------------------------------------------------------------------

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """Stop answers, let what is being remembered become durable, then go."""
        self.chatter.stop()
        self.chatter.boards.end()
        await asyncio.get_running_loop().run_in_executor(None, self.chatter.bridge.stop, _CLOSE_S)
        self.shell.exit_now = True
        return {"status": "ok", "restart": restart}

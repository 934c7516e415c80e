"""A notebook without a browser: a real kernel process, driven over ZMQ as a front end does it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from jupyter_client.manager import KernelManager

PYTHON = "%%python\n"


@dataclass
class Ran:
    """One cell that ran: what came on iopub, when (``time.monotonic()``), and the reply."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    sent_at: float = 0.0
    idle_at: float = 0.0

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The contents of the messages of these kinds, in order."""
        return [m["content"] for m in self.messages if m["msg_type"] in kinds]

    @property
    def kinds(self) -> list[str]:
        return [m["msg_type"] for m in self.messages]

    @property
    def stdout(self) -> str:
        return "".join(c["text"] for c in self.of("stream") if c["name"] == "stdout")

    @property
    def answers(self) -> list[dict[str, Any]]:
        """Displays and updates that carry Markdown: the answer."""
        shown = self.of("display_data", "update_display_data")
        return [content for content in shown if "text/markdown" in content["data"]]

    @property
    def answer(self) -> str:
        return str(self.answers[-1]["data"]["text/plain"])

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.answers[-1]["metadata"]["aiki"])

    @property
    def error(self) -> dict[str, Any]:
        (error,) = self.of("error")
        return error


class Notebook:
    """A kernel and its client."""

    def __init__(self, name: str = "aiki", env: Mapping[str, str] | None = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(env={**os.environ, **(env or {})})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self, *, now: bool = False) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=now)

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.pid)

    def send(
        self, code: str, *, cell: str | None = None, subshell: str | None = None, **more: Any
    ) -> str:
        """Send an execute request; returns its id."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
            **more,
        }
        message = self.client.session.msg("execute_request", content)
        if cell is not None:
            message["metadata"] = {"cellId": cell}
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def collect(
        self, *ids: str, timeout: float = 40, on: Callable[[dict[str, Ran]], Any] | None = None
    ) -> list[Ran]:
        """Wait until all of ``ids`` are idle; ``on`` is called about every 10 ms."""
        found = {id_: Ran(sent_at=time.monotonic()) for id_ in ids}
        until = time.monotonic() + timeout
        while any(not ran.idle_at for ran in found.values()):
            if time.monotonic() > until:
                raise TimeoutError(f"no idle within {timeout} s: {found}")
            if on is not None:
                on(found)
            try:
                message = self.client.get_iopub_msg(timeout=0.01 if on else 0.2)
            except Empty:
                continue
            self.seen.append(message)
            ran = found.get(message["parent_header"].get("msg_id", ""))
            if ran is None:
                continue
            ran.messages.append(message)
            ran.times.append(time.monotonic())
            if message["content"].get("execution_state") == "idle":
                ran.idle_at = ran.times[-1]
        for id_, ran in found.items():
            ran.reply = self.reply(id_)
        return list(found.values())

    def run(self, code: str, **options: Any) -> Ran:
        """Run one cell to its end."""
        timeout = options.pop("timeout", 40)
        on = options.pop("on", None)
        return self.collect(self.send(code, **options), timeout=timeout, on=on)[0]

    def python(self, code: str) -> str:
        """Run Python and return what it printed. Fails the test when it fails."""
        ran = self.run(PYTHON + code)
        assert ran.status == "ok", ran.reply
        return ran.stdout.strip()

    def reply(self, id_: str, timeout: float = 10) -> dict[str, Any]:
        """The shell reply to ``id_``; replies to others are kept for later."""
        kept = self.__dict__.setdefault("_replies", {})
        until = time.monotonic() + timeout
        while id_ not in kept:
            message = self.client.get_shell_msg(timeout=max(0.01, until - time.monotonic()))
            kept[message["parent_header"]["msg_id"]] = message["content"]
        content: dict[str, Any] = kept.pop(id_)
        return content

    def ask(self, kind: str, content: dict[str, Any], *, timeout: float = 10) -> dict[str, Any]:
        """Send another shell request (complete, inspect, ...) and wait for its reply."""
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        return self.reply(message["header"]["msg_id"], timeout)

    def complete(self, code: str, cursor: int | None = None) -> dict[str, Any]:
        position = len(code) if cursor is None else cursor
        return self.ask("complete_request", {"code": code, "cursor_pos": position})

    def inspect(self, code: str, cursor: int | None = None) -> dict[str, Any]:
        position = len(code) if cursor is None else cursor
        content = {"code": code, "cursor_pos": position, "detail_level": 0}
        return self.ask("inspect_request", content)

    def control(self, kind: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """A control request and its reply."""
        message = self.client.session.msg(kind, content or {})
        self.client.control_channel.send(message)
        while True:
            answer = self.client.get_control_msg(timeout=10)
            if answer["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                found: dict[str, Any] = answer["content"]
                return found

    def interrupt(self, how: str) -> None:
        """By ``signal`` or by ``message``, without waiting."""
        if how == "signal":
            os.kill(self.pid, signal.SIGINT)
        else:
            message = self.client.session.msg("interrupt_request", {})
            self.client.control_channel.send(message)

    @contextmanager
    def subshell(self) -> Iterator[str]:
        """A subshell's id; it is deleted afterwards."""
        id_ = self.control("create_subshell_request")["subshell_id"]
        try:
            yield id_
        finally:
            self.control("delete_subshell_request", {"subshell_id": id_})

    def comm(self, comm_id: str, data: dict[str, Any], subshell: str | None = None) -> None:
        """Send a widget message, as a front end does."""
        message = self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)


def card_id(ran: Ran) -> str | None:
    """The comm of the card that a running answer has opened."""
    for content in ran.of("comm_open"):
        if content["data"]["state"].get("_model_name") == "AnyModel":
            return str(content["comm_id"])
    return None


def stop_by_card(notebook: Notebook, ran: Ran, subshell: str | None = None) -> None:
    """Press Stop on the card under a running answer."""
    comm = card_id(ran)
    assert comm is not None
    data = {"method": "custom", "content": {"type": "stop"}}
    notebook.comm(comm, data, subshell)

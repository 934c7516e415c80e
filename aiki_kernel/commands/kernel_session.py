"""A kernel driven as JupyterLab drives it, with a clock: what its cells show, and when."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any, cast

from aiki_kernel.commands.bench_start import wait_for_port
from aiki_kernel.errors import AikiError

LIMIT_S = 120.0


@dataclass
class Cell:
    """A cell that ran. Seconds count from when it was sent; ``first_s`` is when the sign that was
    waited for could be read, None if it never could. ``outputs`` are nbformat's."""

    source: str
    cell_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    messages: int = 0
    first_s: float | None = None
    done_s: float = 0.0

    def saved(self) -> dict[str, Any]:
        """As nbformat 4.5 writes it."""
        return {
            "cell_type": "code",
            "execution_count": 1,
            "id": self.cell_id,
            "metadata": {},
            "outputs": self.outputs,
            "source": self.source.splitlines(keepends=True),
        }

    @property
    def output_bytes(self) -> int:
        """What its outputs add to the file of the notebook."""
        whole = json.dumps(self.saved(), indent=1, ensure_ascii=False, sort_keys=True)
        bare = json.dumps({**self.saved(), "outputs": []}, indent=1, ensure_ascii=False)
        return len(whole.encode()) - len(bare.encode())


class KernelSession:
    """One kernel process from its start to its end; ``start_s`` is to the answer to kernel_info."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager

        name = f"k{uuid.uuid4().hex[:8]}"
        (folder / name).mkdir(parents=True)
        spec = {"argv": [*argv, "-f", "{connection_file}"], "display_name": name, "language": ""}
        (folder / name / "kernel.json").write_text(json.dumps(spec), "utf-8")
        specs = KernelSpecManager(kernel_dirs=[str(folder)], ensure_native_kernel=False)
        self.manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
        self._log = (folder / name / "log").open("wb")
        began = time.perf_counter()
        self.manager.start_kernel(
            env=dict(environment), cwd=str(folder), stderr=self._log, stdout=subprocess.DEVNULL
        )
        try:
            wait_for_port(self.manager.ip, self.manager.shell_port, name, LIMIT_S)
            self.client = self.manager.blocking_client()
            self.client.start_channels(stdin=False, hb=False)
            self.client.kernel_info()
            self.client.get_shell_msg(timeout=LIMIT_S)
            self.start_s = time.perf_counter() - began
            self._hear()
        except (Empty, AikiError):
            self.close()
            raise AikiError(
                f"The kernel of {' '.join(argv[:3])} did not start in {LIMIT_S:.0f} s."
            ) from None

    @property
    def pid(self) -> int:
        return int(cast(Any, self.manager.provisioner).pid)

    def run(self, source: str, *, sign: str = "", limit_s: float = LIMIT_S) -> Cell:
        """Run a cell to its end. Raises :class:`AikiError` when it does not come to one."""
        cell = Cell(source)
        shown: dict[str, list[dict[str, Any]]] = {}
        clearing = False
        message = self.client.session.msg(
            "execute_request",
            {
                "code": source,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )
        message["metadata"] = {"cellId": cell.cell_id}
        began = time.perf_counter()
        self.client.shell_channel.send(message)
        own = message["header"]["msg_id"]
        while not cell.done_s:
            try:
                got = self.client.get_iopub_msg(timeout=limit_s + began - time.perf_counter())
            except (Empty, ValueError):
                raise AikiError(f"A cell was not done in {limit_s:.0f} s: {source[:60]}") from None
            if got["parent_header"].get("msg_id") != own:
                continue
            cell.messages += 1
            now, kind, content = time.perf_counter() - began, got["msg_type"], got["content"]
            if content.get("execution_state") == "idle":
                cell.done_s = now
            elif kind == "clear_output":
                clearing = bool(content["wait"])
                if not clearing:
                    cell.outputs.clear()
            elif kind == "update_display_data":
                for display in shown.get(content["transient"]["display_id"], []):
                    display.update(data=content["data"], metadata=content["metadata"])
            elif (output := _output(kind, content)) is not None:
                if clearing:
                    cell.outputs.clear()
                    clearing = False
                _put(cell.outputs, output)
                if name := content.get("transient", {}).get("display_id"):
                    shown.setdefault(name, []).append(output)
            if sign and cell.first_s is None and sign in json.dumps(cell.outputs):
                cell.first_s = now
        while True:
            reply = self.client.get_shell_msg(timeout=LIMIT_S)
            if reply["parent_header"].get("msg_id") == own:
                cell.status = reply["content"]["status"]
                return cell

    def close(self) -> None:
        client = getattr(self, "client", None)
        if client is not None:
            client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self._log.close()

    def _hear(self) -> None:
        """Wait until what the kernel publishes is heard: a subscription takes a moment."""
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            self.client.kernel_info()
            self.client.get_shell_msg(timeout=LIMIT_S)
            try:
                self.client.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            return


def _output(kind: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
    if kind == "stream":
        return {"output_type": "stream", "name": content["name"], "text": content["text"]}
    if kind == "display_data":
        return {"output_type": kind, "data": content["data"], "metadata": content["metadata"]}
    if kind == "execute_result":
        return {
            "output_type": kind,
            "data": content["data"],
            "metadata": content["metadata"],
            "execution_count": 1,
        }
    if kind == "error":
        return {"output_type": kind, **{key: content[key] for key in ("ename", "evalue")}}
    return None


def _put(outputs: list[dict[str, Any]], output: dict[str, Any]) -> None:
    """Behind the others; what one stream says goes on where it stopped."""
    last = outputs[-1] if outputs else {}
    if output["output_type"] == "stream" and output["name"] == last.get("name"):
        last["text"] += output["text"]
    else:
        outputs.append(output)

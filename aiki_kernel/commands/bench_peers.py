"""``aiki bench peers``: our kernel beside others that answer in a cell, in one run."""

from __future__ import annotations

import html
import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands import fixed_answer
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.fixed_answer import Served
from aiki_kernel.commands.kernel_session import Cell, KernelSession
from aiki_kernel.commands.peer_kernels import (
    OURS,
    PEERS,
    Peer,
    PeerError,
    environment,
    install,
    versions,
)
from aiki_kernel.commands.progress import Step, progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import AikiError, UsageError

QUESTIONS = ("What is perihelion?", "Say it again, please.", "And once more?")
FIGURES = {
    "start_s": "start s",
    "first_answer_s": "first answer s",
    "wait_s": "both s",
    "next_answer_s": "next s",
    "bytes": "bytes an answer",
    "resident_mb": "kernel MB",
    "all_mb": "all MB",
}
"""Of one run; the table shows medians of all. ``wait_s`` is what a reader waits from opening a
notebook to the first words; ``all_mb`` has the processes that the kernel started besides."""

COUNTS = ("cells", "right", "calls")
"""Of all runs: cells asked; those whose question reached the model whole and whose answer is whole
on the page; calls that the model had."""


@command("bench peers")
def peers(
    context: Context,
    repeats: Annotated[int, Arg("how often each kernel is started")] = 5,
    only: Annotated[str, Arg("names of peers to compare with, commas between them")] = "",
    environments: Annotated[
        Path | None, Arg("folder where the peers' environments are kept for the next time")
    ] = None,
) -> Result:
    """Measure start, first answer, page weight and memory against other chat kernels.

    Each peer is installed from PyPI into a virtual environment of its own. All ask one model
    server on loopback that gives one answer at once, so that only the kernels differ. A peer that
    cannot be installed, does not answer or shows less than the answer is named, the others go on,
    and the status is 1.
    """
    if repeats < 1:
        raise UsageError("--repeats must be at least 1.")
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    if unknown := wanted - {peer.name for peer in PEERS}:
        known = ", ".join(peer.name for peer in PEERS if peer.requirements)
        raise UsageError(f"There is no peer {sorted(unknown)[0]!r}: known are {known}.")
    chosen = [peer for peer in PEERS if not (wanted and peer.requirements) or peer.name in wanted]
    with ExitStack() as stack:
        if environments is None:
            kept = stack.enter_context(tempfile.TemporaryDirectory(prefix="aiki-peers-"))
            environments = Path(kept)
        else:
            environments = environments.expanduser().absolute()
            environments.mkdir(parents=True, exist_ok=True)
        with progress(context, "Installing peers") as step:
            pythons, missing = _installed(chosen, environments, step)
        with progress(context, "Asking") as step:
            data = measure(pythons, repeats, step)
    data["missing"] = {**missing, **data["missing"]}
    columns = [*FIGURES.values(), "right"]
    table = Table(["kernel", *(Column(name, right=True) for name in columns)], _rows(data))
    said = [
        f"Medians of {repeats} runs, every peer's ratio to ours in brackets. One model server on "
        "loopback, one fixed answer. Ours has its memory on, in a new home for each run: its "
        "daemon starts with the first answer, or is there, and is counted under all MB.",
        "Right: questions that reached the model whole and whose whole answer was shown, of all.",
        _spread_line(data),
        _versions_line(data),
        *(f"NOT COMPARED: {why}" for why in data["missing"].values()),
    ]
    shown = "\n".join(said)
    page = table.html() + "".join(f"<p>{html.escape(line)}</p>" for line in said)
    wrong = any(row["right"] < row["cells"] for row in data["answers"].values())
    status = int(bool(data["missing"]) or wrong)
    return Result(data, f"{table.text(context)}\n\n{shown}", page, status=status)


def measure(pythons: Mapping[Peer, Path], repeats: int, step: Step) -> dict[str, Any]:
    """Figures of every run, their medians, and the ratio of each peer's to ours.

    One run of each goes before and is not counted: it fills the disk cache and compiles what is
    imported. Peers take turns, the order changes, so that what else the machine does falls on all.
    """
    runs: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in pythons}
    missing: dict[str, str] = {}
    total = (repeats + 1) * len(pythons)
    with fixed_answer.serving() as served, tempfile.TemporaryDirectory(prefix="aiki-peer-") as name:
        for turn in range(repeats + 1):
            for peer in list(pythons)[:: 1 if turn % 2 else -1]:
                if peer.name in missing:
                    continue
                folder = Path(name) / f"{list(pythons).index(peer)}-{turn}"
                try:
                    figures = one_run(peer, pythons[peer], served, folder)
                except AikiError as error:
                    missing[peer.name] = f"{peer.name}: {error}"
                    continue
                if turn:
                    runs[peer.name].append(figures)
                step(sum(map(len, runs.values())) + 1, total)
    rows = {
        name: {
            figure: round(statistics.median(run[figure] for run in all_), 4) for figure in FIGURES
        }
        for name, all_ in runs.items()
        if all_ and name not in missing
    }
    answers = {name: {key: sum(int(r[key]) for r in runs[name]) for key in COUNTS} for name in rows}
    spread = {
        name: {
            f: [round(pick(run[f] for run in runs[name]), 4) for pick in (min, max)]
            for f in FIGURES
        }
        for name in rows
    }
    ours = rows.get(OURS)
    ratios = {
        name: {figure: round(row[figure] / ours[figure], 2) for figure in FIGURES}
        for name, row in rows.items()
        if ours and name != OURS
    }
    return {
        "repeats": repeats,
        "answer_bytes": len(fixed_answer.ANSWER.encode()),
        "kernels": rows,
        "ratios": ratios,
        "spread": spread,
        "answers": answers,
        "python": platform.python_version(),
        "versions": {peer.name: versions(peer, python) for peer, python in pythons.items()},
        "runs": runs,
        "missing": missing,
    }


def one_run(peer: Peer, python: Path, served: Served, folder: Path) -> dict[str, float]:
    """Start ``peer`` in ``folder``, ask it three times, end it. Raises :class:`AikiError`."""
    home = folder / "h"
    given = environment(peer, served.url, home)
    asked = len(served.asked)
    words = [str(python), "-m", peer.module]
    if peer.before:
        _before(peer, python, given)
    session = KernelSession(words, given, folder / "k")
    try:
        setup = session.run(peer.setup).done_s if peer.setup else 0.0
        cells = [session.run(peer.ask + question, sign=fixed_answer.SIGN) for question in QUESTIONS]
        for cell in cells:
            if cell.first_s is None:
                raise PeerError(f"it showed no answer but {str(cell.outputs)[:300]}")
        resident, all_ = _memory(session.pid, given)
    finally:
        session.close()
        _end(given)
        shutil.rmtree(folder, ignore_errors=True)
    firsts = [cell.first_s or 0.0 for cell in cells]
    calls = served.asked[asked:]
    return {
        "cells": len(cells),
        "right": sum(map(whole, cells, QUESTIONS, [calls] * len(cells))),
        "calls": len(calls),
        "start_s": session.start_s,
        "first_answer_s": setup + firsts[0],
        "wait_s": session.start_s + setup + firsts[0],
        "next_answer_s": statistics.median(firsts[1:]),
        "bytes": statistics.median(cell.output_bytes for cell in cells),
        "messages": statistics.median(cell.messages for cell in cells),
        "resident_mb": resident,
        "all_mb": all_,
    }


def whole(cell: Cell, question: str, calls: Sequence[str]) -> bool:
    """Whether the model was asked ``question`` and the cell shows every word of the answer."""

    def words(text: str) -> str:
        return re.sub(r"[\W_]+", " ", text).strip()

    shown: list[str] = []
    for output in cell.outputs:
        for text in (output.get("text", ""), *output.get("data", {}).values()):
            said = text if isinstance(text, str) else json.dumps(text)
            shown += [said, html.unescape(re.sub(r"<[^>]+>", " ", said))]
    answer = words(fixed_answer.ANSWER)
    asked = any(words(question) in words(call) for call in calls)
    return asked and any(answer in words(text) for text in shown)


def _spread_line(data: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {row['wait_s'][0]:.2f} to {row['wait_s'][1]:.2f}"
        for name, row in data["spread"].items()
    ]
    return f"Both s, lowest to highest: {'; '.join(parts)}."


def _versions_line(data: Mapping[str, Any]) -> str:
    found = {
        f"{package} {version}": None
        for row in data["versions"].values()
        for package, version in row.items()
    }
    return f"Python {data['python']}; {', '.join(found)}."


def _installed(
    chosen: Sequence[Peer], folder: Path, step: Step
) -> tuple[dict[Peer, Path], dict[str, str]]:
    pythons: dict[Peer, Path] = {}
    missing: dict[str, str] = {}
    for number, peer in enumerate(chosen):
        step(number, len(chosen))
        try:
            pythons[peer] = install(peer, folder)
        except PeerError as error:
            missing[peer.name] = str(error)
    step(len(chosen), len(chosen))
    return pythons, missing


def _memory(pid: int, given: Mapping[str, str]) -> tuple[float, float]:
    """Resident megabytes of the kernel, and of all processes that its run has started."""
    import psutil

    kernel = psutil.Process(pid)
    family = {kernel.pid: kernel} | {child.pid: child for child in kernel.children(recursive=True)}
    for other in psutil.process_iter():
        try:
            if other.environ().get("HOME") == given["HOME"]:
                family[other.pid] = other
        except (psutil.Error, OSError):
            continue  # not ours to look into, or gone
    sizes = {}
    for number, process in family.items():
        try:
            sizes[number] = process.memory_info().rss / 1e6
        except psutil.Error:
            continue
    return sizes[pid], sum(sizes.values())


def _before(peer: Peer, python: Path, given: Mapping[str, str]) -> None:
    words = [str(python), "-m", *peer.before]
    ran = subprocess.run(words, env=dict(given), capture_output=True, text=True, check=False)
    if ran.returncode:
        raise PeerError(f"{' '.join(peer.before)} failed: {ran.stderr.strip()[-300:]}")


def _end(given: Mapping[str, str]) -> None:
    """Our kernel's daemon ends with the run; peers have none."""
    if "AIKI_HOME" in given:
        words = [sys.executable, "-m", "aiki_kernel.cli", "daemon", "stop"]
        subprocess.run(words, env=dict(given), capture_output=True, check=False, timeout=60)


def _rows(data: Mapping[str, Any]) -> list[list[str]]:
    said: list[list[str]] = []
    forms: dict[str, Callable[[float], str]] = {"bytes": "{:.0f}".format}
    forms |= dict.fromkeys(("resident_mb", "all_mb"), "{:.0f}".format)
    for name, row in data["kernels"].items():
        ratio, counted = data["ratios"].get(name), data["answers"][name]
        said.append(
            [
                name,
                *(
                    forms.get(figure, "{:.2f}".format)(row[figure])
                    + (f" ({ratio[figure]:.1f})" if ratio else "")
                    for figure in FIGURES
                ),
                f"{counted['right']} of {counted['cells']}",
            ]
        )
    return said

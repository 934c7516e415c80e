"""``aiki bench notebook``: whether a long notebook slows down, and how it is taken up again."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands import fixed_answer
from aiki_kernel.commands.bench_peers import whole
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.fixed_answer import Served
from aiki_kernel.commands.kernel_session import Cell, KernelSession
from aiki_kernel.commands.peer_kernels import PEERS, environment
from aiki_kernel.commands.progress import Step, progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import AikiError, UsageError

TEN = 10
TARGET = 1.2
_OF = (
    "orbit",
    "comet",
    "moon",
    "tide",
    "eclipse",
    "meteor",
    "season",
    "planet",
    "crater",
    "aurora",
)


@command("bench notebook")
def notebook(
    context: Context,
    cells: Annotated[int, Arg("how many messages the notebook has")] = 200,
) -> Result:
    """Measure a long notebook: its last ten answers against its first ten.

    The real kernel with its memory on, in a home of its own, driven as JupyterLab drives it; a
    model server on loopback answers at once, so that the time is ours. One message goes before
    and is not counted: it starts the daemon. Then the notebook is opened anew in a second kernel.
    """
    if cells < 2 * TEN:
        raise UsageError(f"--cells must be at least {2 * TEN}.")
    with progress(context, "Asking") as step:
        data = measure(cells, step)
    data |= {"target": TARGET, "met": data["ratio"] <= TARGET}
    table = Table(
        ["cells", *(Column(name, right=True) for name in ("seconds", "median ms", "most ms"))],
        [
            (name, f"{row['s']:.2f}", f"{row['median_ms']:.1f}", f"{row['max_ms']:.1f}")
            for name, row in data["tens"].items()
        ],
    )
    said = (
        f"The last ten took {data['ratio']:.2f} times the first ten (at most {TARGET}); all "
        f"{cells} answers are whole. The file has {data['file_bytes'] / cells / 1000:.1f} kB a "
        f"cell. Opened anew, it answers after {data['reopened_s']:.2f} s ({data['first_s']:.2f} s "
        f"when it was empty), all {cells} in context."
    )
    return Result(data, f"{table.text(context)}\n\n{said}", f"{table.html()}<p>{said}</p>")


def question(number: int) -> str:
    """One that no other cell has."""
    return f"Note {number}: what should I know about {_OF[number % len(_OF)]}?"


def measure(cells: int, step: Step) -> dict[str, Any]:
    """Run the cells one after another, then open the notebook in a second kernel.

    ``tens`` has the first, the middle and the last ten cells; ``first_s`` and ``reopened_s`` are
    seconds to the first words, of the empty notebook in a new home and of the full one. Raises
    :class:`AikiError` when an answer is not whole.
    """
    with fixed_answer.serving() as served, tempfile.TemporaryDirectory(prefix="aiki-book-") as name:
        folder, book = Path(name), Path(name) / "book.ipynb"
        given = {
            **environment(PEERS[0], served.url, folder / "h"),
            "JPY_SESSION_NAME": str(book),
        }
        try:
            before, *ran = _run(given, folder / "k", cells + 1, served, step)
            book.write_text(json.dumps(_book([before, *ran]), indent=1), "utf-8")
            (after,) = _run(given, folder / "k2", 1, served, lambda done, total: None)
        finally:
            words = [sys.executable, "-m", "aiki_kernel.cli", "daemon", "stop"]
            subprocess.run(words, env=given, capture_output=True, check=False, timeout=60)
        size = book.stat().st_size
    if f"{cells + 1} earlier exchanges" not in json.dumps(after.outputs):
        raise AikiError("The notebook was opened anew without what was said in it.")
    seconds = [cell.done_s for cell in ran]
    middle = (cells - TEN) // 2
    tens = {
        "first ten": seconds[:TEN],
        "middle ten": seconds[middle : middle + TEN],
        "last ten": seconds[-TEN:],
    }
    return {
        "cells": cells,
        "ratio": round(sum(seconds[-TEN:]) / sum(seconds[:TEN]), 3),
        "tens": {
            name: {
                "s": round(sum(some), 4),
                "median_ms": round(statistics.median(some) * 1000, 2),
                "max_ms": round(max(some) * 1000, 2),
            }
            for name, some in tens.items()
        },
        "first_s": round(before.first_s or 0.0, 4),
        "reopened_s": round(after.first_s or 0.0, 4),
        "file_bytes": size,
        "seconds": [round(one, 4) for one in seconds],
    }


def _run(
    given: Mapping[str, str], folder: Path, count: int, served: Served, step: Step
) -> list[Cell]:
    """A kernel from its start to its end, and ``count`` messages."""
    session = KernelSession([sys.executable, "-m", PEERS[0].module], given, folder)
    cells: list[Cell] = []
    try:
        for number in range(count):
            cell = session.run(question(number), sign=fixed_answer.SIGN)
            if not whole(cell, question(number), served.asked[-1:]):
                raise AikiError(f"Cell {number} has no whole answer: {str(cell.outputs)[:300]}")
            cells.append(cell)
            step(number + 1, count)
    finally:
        session.close()
    return cells


def _book(cells: Sequence[Cell]) -> dict[str, Any]:
    """As nbformat 4.5 writes a notebook of our kernel."""
    spec = {"name": "aiki", "display_name": "AIKI", "language": "aiki"}
    return {
        "cells": [cell.saved() for cell in cells],
        "metadata": {"kernelspec": spec},
        "nbformat": 4,
        "nbformat_minor": 5,
    }

"""``aiki bench search``: our kernels against NumPy and other libraries, recall beside each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands.bench_chart import charted
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import UsageError

LEAST, MOST = 100, 5_000_000
Row = dict[str, Any]


@command("bench search")
def search(
    context: Context,
    sizes: Annotated[str, Arg("numbers of memories, with commas between them")] = (
        "922,10000,100000"
    ),
    data: Annotated[Path | None, Arg("an .npz with codes and queries: real embeddings")] = None,
    peers: Annotated[bool, Arg("leave out faiss, usearch and qdrant-edge")] = True,
    limit: Annotated[float, Arg("seconds that one index may take to build")] = 300.0,
) -> Result:
    """Measure vector search: our kernels against NumPy and other libraries, recall beside each.

    A ratio is how many times faster a method is than the best NumPy in the same run: on one
    thread, and on as many as NumPy takes by itself. Without --data, real embeddings are looked
    for where AIKI_BENCH_DATA says, in bench/ of AIKI_HOME and beside a checkout; where there are
    none, vectors that imitate them are made, and the answer says so. Three sizes with all peers
    take about a quarter of an hour, 1000000 --no-peers a few minutes. Exit status 1 when one
    of our own methods failed; a peer that fails is a row with its reason.
    """
    from aiki_kernel.compute.bench import search_table
    from aiki_kernel.compute.sentences import find_data
    from aiki_kernel.display.search_chart import search_chart

    numbers = _sizes(sizes)
    if data is not None and not data.expanduser().is_file():
        raise UsageError(f"There is no {data}.")
    if limit <= 0:
        raise UsageError("--limit must be more than 0 seconds.")
    file = data.expanduser() if data else find_data(context.paths.home)
    found = search_table(numbers, data=file, peers=peers, limit=limit, progress=_progress(context))
    tables, told = tables_of(found), notes_of(found)
    chart = search_chart(found) if any("p50_ms" in row for row in found["rows"]) else None
    status = 1 if found["failed"] else 0
    return charted(context, found, chart, tables, told, status=status)


def _sizes(text: str) -> list[int]:
    try:
        numbers = sorted({int(size.replace("_", "")) for size in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < LEAST or numbers[-1] > MOST:
        raise UsageError(f"--sizes takes numbers from {LEAST} to {MOST:,}, e.g. 922,10000.")
    return numbers


def _progress(context: Context) -> Any:
    if context.report is not None:
        return context.report
    return lambda text, done, total: print(  # noqa: T201
        f"[{done}/{total}] {text}", file=sys.stderr, flush=True
    )


def tables_of(found: dict[str, Any]) -> list[Table]:
    """What :func:`aiki_kernel.compute.bench.search_table` found: a table a size, batches, and
    each method of ours beside the fastest index of others that finds as much.
    """
    numbers = sorted({row["n"] for row in found["rows"]})
    return [
        *(_of_size(found["rows"], n) for n in numbers),
        *_batches(found["batches"]),
        *_against_peers(found["summary"]),
    ]


def recall_table(found: dict[str, Any]) -> Table:
    """Recall of every method at every size."""
    numbers = sorted({row["n"] for row in found["rows"]})
    by = {(row["method"], row["n"]): row for row in found["rows"]}
    return Table(
        ["recall@10", *(Column(f"{n:,}", right=True) for n in numbers)],
        [
            (method, *(_number(by.get((method, n), {}), "recall", 4) for n in numbers))
            for method in dict.fromkeys(row["method"] for row in found["rows"])
        ],
    )


def _of_size(rows: list[Row], n: int) -> Table:
    heads = ("p50 ms", "p95 ms", "times 1 thread", "times default", "recall@10", "build s")
    return Table(
        ["method", *(Column(head, right=True) for head in heads), "why not"],
        [
            (
                row["method"],
                _number(row, "p50_ms", 4),
                _number(row, "p95_ms", 4),
                _times(row.get("ratio")),
                _times(row.get("ratio_default")),
                _number(row, "recall", 4),
                _number(row, "build_s", 1),
                row.get("missing", ""),
            )
            for row in rows
            if row["n"] == n
        ],
        title=f"{n:,} memories",
    )


def _batches(rows: list[Row]) -> list[Table]:
    heads = ("memories", "batch", "ms", "times 1 thread", "times default", "recall@10")
    table = Table(
        ["batches", *(Column(head, right=True) for head in heads)],
        [
            (
                row["method"],
                row["n"],
                row["batch"],
                _number(row, "ms", 3),
                _times(row.get("ratio")),
                _times(row.get("ratio_default")),
                _number(row, "recall", 4),
            )
            for row in sorted(rows, key=lambda row: (row["n"], row["batch"]))
        ],
    )
    return [table] if rows else []


def _against_peers(rows: list[Row]) -> list[Table]:
    table = Table(
        [
            Column("memories", right=True),
            "method",
            Column("p50 ms", right=True),
            Column("recall@10", right=True),
            "fastest other library at equal or better recall",
            Column("its p50 ms", right=True),
            Column("its recall", right=True),
            Column("times", right=True),
        ],
        [
            (
                row["n"],
                row["method"],
                _number(row, "p50_ms", 4),
                _number(row, "recall", 4),
                row.get("peer", "none reached it"),
                _number(row, "peer_p50_ms", 4),
                _number(row, "peer_recall", 4),
                _times(row.get("ratio")),
            )
            for row in rows
        ],
    )
    return [table] if any("peer" in row for row in rows) else []


def notes_of(found: dict[str, Any]) -> list[str]:
    """What stands under the tables, a line each: threads, memory floors, where vectors are from."""
    lines = []
    for row in found["threads"]:
        what = (
            f"{row['gain']:.2f} times the searches a second of one "
            f"({row['two_per_s']:,.0f} and {row['one_per_s']:,.0f})"
            if "gain" in row
            else f"not measured: {row['missing']}"
        )
        lines.append(f"Two threads at {row['n']:,}: {what}.")
    lines += [
        f"Memory floor at {row['n']:,}: {row['ms']:.4f} ms to read the {row['floor']} once "
        f"({row['bytes'] / 1e6:,.1f} MB at {row['bytes_per_s'] / 1e9:.0f} GB/s)."
        for row in found["floors"]
    ]
    sources: dict[str, list[str]] = {}
    for one in found["data"]:
        sources.setdefault(one["source"], []).append(f"{one['n']:,}")
    lines += [f"Vectors ({', '.join(sizes)}): {text}." for text, sizes in sources.items()]
    lines.append(f"{found['dim']} dimensions; {found['kernels']}; {found['cpus']} CPUs.")
    lines += [f"FAILED: {failure}" for failure in found["failed"]]
    return lines


def _number(row: Row, key: str, digits: int) -> str:
    return f"{row[key]:,.{digits}f}" if key in row else ""


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.1f}" if ratio >= 0.1 else f"{ratio:.1g}"

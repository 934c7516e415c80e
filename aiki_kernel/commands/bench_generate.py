"""``aiki bench generate``: tokens a second of the engines for language models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands.bench_chart import charted
from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import UsageError


@command("bench generate")
def generate(
    context: Context,
    file: Annotated[Path | None, Arg("a GGUF file; else the default model of this machine")] = None,
    threads: Annotated[str, Arg("numbers of threads, with commas between them")] = "1,2",
    repeats: Annotated[int, Arg("how often each is measured")] = 3,
    peers: Annotated[bool, Arg("leave out llama.cpp (else fetched once)")] = True,
    texts: Annotated[str, Arg("files of text to compare probabilities on, commas between")] = "",
    reference: Annotated[Path | None, Arg("JSON of greedy answers to compare on as well")] = None,
    torch: Annotated[str, Arg("a Python with transformers and torch; else this one")] = "",
) -> Result:
    """Measure tokens a second: the Mojo engine, the NumPy engine and llama.cpp on the same file.

    ``times`` is how many times as fast the Mojo engine is than that row, in the same run. With a
    busy process on each core, it is how many times as fast all threads are than that row's one.
    """
    from aiki_kernel.display.roofline_chart import roofline_chart
    from aiki_kernel.models import weights
    from aiki_kernel.models.bench_divergence import read_text
    from aiki_kernel.models.bench_generate import measure

    try:
        counts = [int(count) for count in threads.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or repeats < 1:
        raise UsageError("--threads takes numbers from 1, e.g. 1,2, and --repeats one from 1.")
    path = (
        file.expanduser() if file else weights.installed(context.paths.models).get(weights.DEFAULT)
    )
    if path is None or not path.is_file():
        raise UsageError(f"No model to measure: run `aiki model pull {weights.DEFAULT}`.")
    data = measure(
        path,
        context.paths.models / "cache",
        threads=counts,
        repeats=repeats,
        peers=peers,
        texts={Path(name).name: read_text(Path(name)) for name in texts.split(",") if name},
        reference=reference,
        torch=torch or sys.executable,
        say=lambda text: print(text, file=sys.stderr),  # noqa: T201
    )
    return charted(context, data, roofline_chart(data), [speeds_table(data)], [told_of(data)])


def speeds_table(data: Mapping[str, Any]) -> Table:
    """All rows of what :func:`aiki_kernel.models.bench_generate.measure` returned."""
    names = ("threads", "tokens/s", "times", "GB/s", "of bandwidth")
    return Table(
        ["work", "engine", *(Column(name, right=True) for name in names)],
        [
            (
                row["work"],
                row["engine"],
                str(row["threads"]),
                f"{row['tokens_s']:.1f}",
                f"{row['mojo_times']:.2f}" if "mojo_times" in row else "",
                f"{row['bytes_s'] / 1e9:.1f}" if "bytes_s" in row else "",
                f"{row['of_bandwidth']:.0%}" if "of_bandwidth" in row else "",
            )
            for row in data["rows"]
        ],
        title=data["model"],
    )


def told_of(data: Mapping[str, Any]) -> str:
    """What is not in the table: how near the answers are to float32's, two conversations at
    once, memory, a second turn, and what could not be measured."""
    told = (
        f"{_divergence(data['kl'])} Two conversations at once give "
        f"{data['two_of_one']:.2f} times the tokens of one; "
        f"resident {data['resident_bytes'] / 1e6:.0f} MB."
    )
    if "second_of_first" in data:
        told += f" A second turn takes {data['second_of_first']:.0%} of the first to begin."
    return " ".join([told, *data["notes"]])


def _divergence(kl: Mapping[str, Any]) -> str:
    """What is told of it in words."""
    told = [
        f"{name} {kl[name]['mean']:.6f} (at most {kl[name]['max']:.5f}; another likeliest token "
        f"{kl[name]['other_tokens']} times, float32's first two at most "
        f"{kl[name]['widest_gap']:.3f} apart)"
        for name in ("mojo", "llama.cpp")
        if name in kl
    ]
    return f"KL to float32 over {kl['positions']} positions: {'; '.join(told)}."

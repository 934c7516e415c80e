"""``aiki bench curate``: how clean curation leaves a memory, what it loses, what it costs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.progress import progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.daemon.engine import Engine
    from aiki_kernel.memory.curation import Describer


@command("bench curate")
def curate(
    context: Context,
    data: Annotated[Path | None, Arg("LoCoMo dialogues, as JSON")] = None,
    model: Annotated[str, Arg("who reads long texts: rules, local, or a model by name")] = "rules",
    junk: Annotated[float, Arg("junk messages for each message of a dialogue")] = 1.0,
    conversations: Annotated[int, Arg("only the first so many; 0 is all")] = 0,
    most: Annotated[int, Arg("texts that the model reads at most; 0 is no limit")] = 0,
    seed: Annotated[int, Arg("of the junk")] = 1,
    embedder: Annotated[str, Arg("another embedder than that of the settings")] = "",
    cache: Annotated[Path | None, Arg("folder where vectors are kept between runs")] = None,
) -> Result:
    """Measure curation on dialogues with labelled junk among them, English and Norwegian.

    Junk is greetings and acknowledgements, start-up texts, restated system prompts, exact and near
    repeats, and answers that repeat recalled text; all of it is made by templates and chance, so
    that what is left can be counted. Evidence are the turns that answer the questions of the data.
    A model that costs money is asked for real, and booked. Exit status 1 when less than 0.97 of
    the evidence is kept.
    """
    from aiki_kernel.memory.curation_bench import LEAST_EVIDENCE, bench_curate

    if data is None or not data.expanduser().is_file():
        raise UsageError("Name the file with --data: LoCoMo dialogues, as JSON.")
    if junk < 0 or conversations < 0 or most < 0:
        raise UsageError("--junk, --conversations and --most cannot be below 0.")
    memory = context.settings.memory.model_copy(
        update={
            "url": "",
            "curate_model": model,
            **({"embedder": embedder} if embedder else {}),
        }
    )
    settings = context.settings.model_copy(update={"memory": memory})
    home = Path(tempfile.mkdtemp(prefix="aiki-bench-"))
    engine = _engine(context, settings, home)
    try:
        describer = _describer(engine, model, most)
        with progress(context, "Curating") as step:
            found = bench_curate(
                data.expanduser(),
                settings=settings,
                describer=describer,
                junk=junk,
                conversations=conversations,
                seed=seed,
                cache=cache,
                progress=step,
            )
        found["cost_usd"] = _spent(home)
    finally:
        engine.close()
        shutil.rmtree(home, ignore_errors=True)
    kinds, facts = _kinds(found), _facts(found)
    verdict = (
        f"{100 * found['evidence_kept']:.2f} % of the evidence is kept "
        f"(at least {100 * LEAST_EVIDENCE:.0f} %); junk rate {100 * found['junk_rate'][0]:.1f} % "
        f"before, {100 * found['junk_rate'][1]:.1f} % after."
    )
    text = "\n\n".join([facts.text(context), kinds.text(context), verdict])
    shown = f"{facts.html()}{kinds.html()}<p>{verdict}</p>"
    return Result(found, text, shown, status=0 if found["met"] else 1)


class _Few:
    """A describer that reads no more than so many texts."""

    def __init__(self, inner: Describer, most: int) -> None:
        self._inner, self._left = inner, most
        self.name, self.trusted, self.once = inner.name, inner.trusted, inner.once

    def wants(self, text: str) -> bool:
        return self._left > 0 and self._inner.wants(text)

    def describe(self, text: str, record: Any) -> Any:
        self._left -= 1
        return self._inner.describe(text, record)


def _engine(context: Context, settings: Any, home: Path) -> Engine:
    """An engine in a home of its own, with the models of the user's."""
    from aiki_kernel.config import Paths
    from aiki_kernel.daemon.engine import Engine

    if context.paths.models.is_dir():
        (home / "models").symlink_to(context.paths.models)
    return Engine(settings, Paths(home))


def _describer(engine: Engine, model: str, most: int) -> Describer | None:
    from aiki_kernel.daemon.curation_model import describer_for

    found: Describer | None = describer_for(engine)
    if found is None and model not in ("rules", "off", ""):
        raise UsageError("There is no local model here: `aiki model pull` fetches one.")
    return _Few(found, most) if found is not None and most else found


def _spent(home: Path) -> float:
    from aiki_kernel.mind.ledger import Ledger

    ledger = Ledger(home / "ledger.sqlite")
    try:
        return float(ledger.totals()["cost_usd"])
    finally:
        ledger.close()


def _facts(found: dict[str, Any]) -> Table:
    def two(name: str, percent: bool = False) -> tuple[str, str]:
        before, after = found[name]
        if percent:
            return f"{100 * before:.1f} %", f"{100 * after:.1f} %"
        return f"{before:,}", f"{after:,}"

    rows = [
        ("memories", *two("stored")),
        ("labelled junk", *two("junk")),
        ("junk rate", *two("junk_rate", percent=True)),
        ("same words as another", *two("repeats")),
        ("dialogue messages", *two("dialogue")),
        ("Norwegian facts", *two("norwegian_facts")),
        ("recall@10", *two("recall10", percent=True)),
        ("evidence turns", f"{found['evidence']:,}", f"{100 * found['evidence_kept']:.2f} %"),
        ("merged, ended", "", f"{found['merged']:,}, {found['ended']:,}"),
        ("ms a memory, by rules", "", f"{found['ms_each']:.1f}"),
        ("texts read by the model", "", f"{found['described']:,}"),
        ("its summaries taken", "", f"{found['summaries_taken']:,}"),
        ("its words not in the text", "", f"{found['dropped_labels']:,}"),
        ("s a text, by the model", "", f"{found['model_s_each']:.2f}"),
        ("USD", "", f"{found['cost_usd']:.4f}"),
    ]
    return Table(
        [found["by"], Column("before", right=True), Column("after", right=True)],
        rows,
        title=f"{found['data']}, {found['embedder']}",
    )


def _kinds(found: dict[str, Any]) -> Table:
    rows = [
        (kind, f"{count['before']:,}", f"{count['after']:,}")
        for kind, count in found["kinds"].items()
    ]
    heads = [Column("before", right=True), Column("after", right=True)]
    return Table(["junk, by kind", *heads], rows)

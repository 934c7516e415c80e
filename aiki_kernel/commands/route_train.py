"""``aiki route train`` and ``aiki route eval``: learning from labels, and how well it does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.progress import progress
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.errors import AikiError, ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aiki_kernel.mind.labels import Label

Embedder = Literal["auto", "wordllama", "multilingual-e5-small", "none"]
_BATCH = 64

Data = Annotated[Path | None, Arg("JSONL (.gz) of prompt, weak, strong, domain", metavar="FILE")]


@command("route train")
def train(
    context: Context,
    data: Data = None,
    embed: Annotated[bool, Arg("learn from measures and words alone")] = True,
) -> Result:
    """Fit the learned router from your labels (or from a file) and keep it under AIKI_HOME.

    Embeddings are the memory's own. Too few labels are refused with their number.
    """
    from aiki_kernel.memory.records import now
    from aiki_kernel.mind.routing import learned, validation
    from aiki_kernel.mind.routing.components import Inputs

    if data is None:
        labels = _labels(context)
        answered = validation.from_labels(labels)
        local = sum(label.tier == "local" for label in labels)
        only_local = local > 0 and not any(label.tier == "cheap" for label in labels)
        source = "your own"
    else:
        answered = validation.read(data)
        source, only_local = data.name, False
    learned.check(answered.weak)
    embedder = context.settings.memory.embedder if embed else ""
    vectors = vectors_of(context, answered.texts, embedder) if embedder else None
    about = learned.About(
        created_at=now(),
        source=source,
        labels=len(answered),
        paired=len(answered.paired),
        weak_mean=learned.smoothed(answered.weak, 0.7),
        strong_mean=learned.smoothed(answered.strong, 0.85),
        embedder=embedder,
        cheap_is_local=only_local,
    )
    fitted = learned.fit(Inputs.of(answered.texts, vectors), answered.weak, answered.strong, about)
    path = learned.place(context.paths.home)
    learned.save(fitted, path)
    told = {**learned.summary(about), "file": str(path)}
    text = (
        f"Learned from {about.labels} messages ({about.paired} with answers of both sides): {path}."
    )
    if context.settings.routing.router != "learned":
        text += (
            "\nIt decides after `aiki config set routing.router learned`, or `%aiki_route auto`."
        )
    return Result(told, text)


@command("route eval")
def eval_(
    context: Context,
    data: Data = None,
    embedder: Annotated[
        Embedder, Arg("whose embeddings: auto is wordllama where it is installed")
    ] = "auto",
    nested: Annotated[bool, Arg("also with weights picked anew without the held-out part")] = False,
) -> Result:
    """Print how routers would have chosen: APGR, CPT(50), CPT(80), strong calls for 95 %.

    Five folds in-domain, and with whole domains left out, against random, prompt length, the
    best single model and the oracle. Without --data on your own labels.
    """
    from aiki_kernel.mind.routing import validation

    answered = validation.from_labels(_labels(context)) if data is None else validation.read(data)
    validation.check(answered)
    name = _chosen(embedder)
    vectors = vectors_of(context, answered.texts, name) if name else None
    with progress(context, "Held-out folds") as step:
        sections = validation.table(answered, vectors, step, nested=nested)
    text = [_text(context, section) for section in sections]
    html = "".join(_table(section).html() for section in sections)
    notes = [note for section in sections if (note := validation.plateau(section))]
    told = {
        "data": str(data) if data else "ledger",
        "embedder": name or None,
        "sections": sections,
        "notes": notes,
    }
    return Result(told, "\n\n".join([*text, *notes]), html)


def vectors_of(context: Context, texts: Sequence[str], embedder: str) -> NDArray[np.float32]:
    """Embeddings (n, d) of ``texts``, from a cache under AIKI_HOME where they are there."""
    import numpy as np

    from aiki_kernel.memory.embedders import embedder as make

    said = hashlib.sha256("\0".join((embedder, *texts)).encode("utf-8", "replace")).hexdigest()
    kept = context.paths.home / "cache" / f"vectors-{said[:16]}.npy"
    if kept.exists():
        found: NDArray[np.float32] = np.load(kept, allow_pickle=False)
        return found
    made = make(embedder)
    out = np.zeros((len(texts), made.dimension), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with progress(context, f"Embedding by {embedder}") as step:
        for begin in range(0, len(order), _BATCH):
            part = order[begin : begin + _BATCH]
            out[part] = made.embed_documents([texts[i] for i in part])
            step(min(begin + _BATCH, len(order)), len(order))
    if embedder != "wordllama":  # which is quicker than the disk
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, out, allow_pickle=False)
    return out


def _chosen(embedder: str) -> str:
    if embedder == "none":
        return ""
    if embedder != "auto":
        return embedder
    from aiki_kernel.memory.wordllama import WordLlama

    try:
        WordLlama()
    except ConfigError:
        return ""
    return "wordllama"


def _labels(context: Context) -> list[Label]:
    from aiki_kernel.mind.labels import Labels

    return [_with_tier(context, label) for label in Labels(context.paths.ledger).all()]


def _with_tier(context: Context, label: Label) -> Label:
    """A rerun's label knows its model, not its tier: that is read off the cards here."""
    from aiki_kernel.models.cards import card

    if label.tier:
        return label
    try:
        return replace(label, tier=card(context.settings, label.model).tier or "")
    except AikiError:
        return label


def _table(section: dict[str, Any]) -> Table:
    best = section["best_single"]
    title = (
        f"{section['set']}, {section['held_out']}: {section['questions']:,} questions, "
        f"cheap {_percent(section['weak'])}, smart {_percent(section['strong'])} right; "
        f"best single model: {best['model']}, {_percent(best['quality'])}"
    )
    names = ("APGR", "CPT(50)", "CPT(80)", "95 % of smart")
    columns: list[Column | str] = ["router"]
    columns += [Column(name, right=True, whole=True) for name in names]
    rows = [
        [
            row["router"],
            None if row["apgr"] is None else f"{row['apgr']:.3f}",
            *(_percent(row[key]) for key in ("cpt50", "cpt80", "strong_share_95")),
        ]
        for row in section["rows"]
    ]
    return Table(columns, rows, title)


def _text(context: Context, section: dict[str, Any]) -> str:
    return _table(section).text(context)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"

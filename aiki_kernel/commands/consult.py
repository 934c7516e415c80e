"""``aiki consult``: stored insights, how far claims have held, and what the policy would cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, usd, when
from aiki_kernel.errors import UsageError

if TYPE_CHECKING:
    from aiki_kernel.mind.policies import Step
    from aiki_kernel.models.cards import ModelCard

_REUSE = (0.0, 0.25, 0.5, 0.75)
_WAYS = (
    ("caches cold", {"warm": False}),
    ("caches warm", {"warm": True}),
    ("smart model's cache warm, cheap model's cold", {"warm": True, "warm_executor": False}),
)


def _models(context: Context, prefix: str) -> Iterable[str]:
    from aiki_kernel.commands.model import names

    return names(context, prefix)


@command("consult")
def consult(context: Context) -> Result:
    """Show whether a smart model is consulted, the stored insights, and how claims have held.

    `%aiki_route consult` forces a consultation before each answer of a session.
    """
    from aiki_kernel.mind import calibration
    from aiki_kernel.mind.labels import Labels

    settings = context.settings.consult
    claimed, right = calibration.outcomes(Labels(context.paths.ledger).all())
    fitted = calibration.fit(claimed, right)
    found = _insights(context)
    data = {
        "when": settings.when,
        "threshold": settings.confidence,
        "insights": len(found),
        "calibration": {"method": fitted.method, "outcomes": fitted.outcomes},
        "reliability": calibration.reliability(claimed, right),
    }
    ended = f"{fitted.outcomes} consultations have ended, {sum(right):.0f} well"
    how = "claims are taken as they are" if fitted.method == "none" else f"by {fitted.method}"
    text = (
        f"Consulting: {settings.when}. {len(found)} insights are stored. {ended}; calibration: "
        f"{how}. Below {settings.confidence:.2f} the smart model does the work itself."
    )
    return Result(data, text)


@command("consult list")
def list_(
    context: Context, limit: Annotated[int, Arg("how many at most", short="-k")] = 20
) -> Result:
    """List stored insights, newest first."""
    found = _insights(context)[:limit]
    if not found:
        return Result({"insights": []}, "No insight is stored yet.")
    table = Table(
        [
            Column("from", whole=True),
            "insight",
            "applies when",
            Column("claimed", right=True),
            "model",
            Column("cost", right=True),
        ],
        [
            (
                when(one.valid_from),
                one_line(one.insight.insight, 120),
                one_line(one.insight.applies_when, 80),
                f"{one.insight.confidence:.2f}",
                one.model,
                usd(one.cost_usd),
            )
            for one in found
        ],
    )
    data = {"insights": [{"id": one.id, **one.metadata()} for one in found]}
    return Result(data, table.text(context), table.html())


@command("consult eval")
def eval_(
    context: Context,
    trace: Annotated[
        Path | None,
        Arg("JSONL: context_tokens, output_tokens; smart, cheap, consult: 0 to 1", metavar="FILE"),
    ] = None,
    smart: Annotated[str, Arg("the model that is consulted", complete=_models)] = "",
    cheap: Annotated[str, Arg("the model that does the work", complete=_models)] = "",
    reuse: Annotated[float | None, Arg("share of insights used again; else 0 to 75 %")] = None,
    escalated: Annotated[float, Arg("share of insights that are not trusted")] = 0.0,
    cached: Annotated[float, Arg("share of a context that a warm cache holds")] = 0.9,
) -> Result:
    """Replay messages through smart-only, cheap-only and consultant at today's prices.

    With cold and warm prompt caches; the cost of one correct answer where the trace is labelled.
    Without --trace over your own ledger. No model is called: what an insight does to quality is
    not simulated, only read off labels.
    """
    from aiki_kernel.mind.policies import Terms, replay

    for name, share in (("reuse", reuse), ("escalated", escalated), ("cached", cached)):
        if share is not None and not 0.0 <= share <= 1.0:
            raise UsageError(f"--{name} is a share from 0 to 1, not {share:g}.")
    steps = _own(context) if trace is None else _read(trace)
    pair = (_card(context, smart, "smart"), _card(context, cheap, "cheap"))
    settings = context.settings.consult
    sections = []
    for title, ways in _WAYS:
        rows: list[dict[str, Any]] = []
        for rate in _REUSE if reuse is None else (reuse,):
            terms = Terms(
                problem=settings.problem_tokens + 200,
                insight=settings.insight_tokens,
                reuse=rate,
                escalated=escalated,
                cached=cached,
                **ways,
            )
            found = replay(steps, *pair, terms)
            rows += found[:2] if not rows else []
            rows.append({**found[2], "reuse": rate})
        sections.append({"caches": title, "rows": rows})
    data = {
        "trace": str(trace) if trace else "ledger",
        "messages": len(steps),
        "smart": pair[0].name,
        "cheap": pair[1].name,
        "prices": [one.source for one in pair],
        "escalated": escalated,
        "cached": cached,
        "sections": sections,
    }
    head = (
        f"{len(steps)} messages; {pair[0].name} ({pair[0].source}) consulted, {pair[1].name} "
        f"works; a warm cache holds {cached:.0%} of a context."
    )
    tables = [_table(section) for section in sections]
    text = "\n\n".join([head, *(table.text(context) for table in tables)])
    from html import escape

    return Result(data, text, f"<p>{escape(head)}</p>" + "".join(t.html() for t in tables))


def _insights(context: Context) -> list[Any]:
    from aiki_kernel.mind.insight import KIND, Stored

    records = context.aiki.memory.list(limit=200, kind=KIND)
    return [one for record in records if (one := Stored.read(record)) is not None]


def _own(context: Context) -> list[Step]:
    """The answers of the ledger. Raises UsageError when there are none."""
    from aiki_kernel.commands.cost import ledger
    from aiki_kernel.mind.policies import Step

    rows = [row for row in ledger(context).rows() if row.stage == "generate" and not row.error]
    steps = [Step(row.input_tokens, row.output_tokens, {}) for row in rows if row.input_tokens]
    if not steps:
        raise UsageError("Your ledger has no answers to replay yet: give a file with --trace.")
    return steps


def _read(path: Path) -> list[Step]:
    from aiki_kernel.mind.policies import Step

    steps = []
    number = 0
    try:
        for line in path.read_text("utf-8").split("\n"):
            number += 1
            if line.strip():
                steps.append(Step.read(json.loads(line)))
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}: give one with --trace.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}): is it JSONL?") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"Line {number} of {path} does not fit: each is one JSON object with context_tokens "
            "and output_tokens (and smart, cheap, consult from 0 to 1)."
        ) from None
    if not steps:
        raise UsageError(f"{path} has no messages: each line is one.")
    return steps


def _card(context: Context, name: str, tier: str) -> ModelCard:
    """The card of ``name``, or of the first model of ``tier``, with a key or without."""
    from aiki_kernel.models import cards

    if name:
        return cards.card(context.settings, name)
    chain = cards.chain(context.settings, tier)  # type: ignore[arg-type]
    usable = [one for one in chain if cards.usable(one)] or list(chain)
    if not usable:
        raise UsageError(f"No {tier} model is known: name one with --{tier} ENDPOINT/MODEL.")
    return usable[0]


def _table(section: dict[str, Any]) -> Table:
    names = ("cost", "a message", "saved", "right", "a correct answer")
    columns: list[Column | str] = ["policy"]
    columns += [Column(name, right=True, whole=True) for name in names]
    return Table(columns, [_row(row) for row in section["rows"]], section["caches"])


def _row(row: dict[str, Any]) -> Sequence[Any]:
    policy = row["policy"]
    if "reuse" in row:
        policy += f", {100 * row['reuse']:.0f} % used again"
    saved = (
        None if row["saved"] is None or policy == "smart-only" else f"{100 * row['saved']:.0f} %"
    )
    right = None if row["right"] is None else f"{100 * row['right']:.0f} %"
    correct = None if row["usd_per_correct"] is None else usd(row["usd_per_correct"])
    return [policy, usd(row["usd"]), usd(row["usd_per_message"]), saved, right, correct]


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"

"""The model on this machine: its file, whether it is loaded, its speed, the memory it takes."""

from __future__ import annotations

from pathlib import Path

from aiki_kernel.health.exchange import NoAnswerError
from aiki_kernel.health.moment import Moment
from aiki_kernel.health.probes.memory import resident
from aiki_kernel.health.reading import DOWN, OK, Reading, size

_SPEED = """SELECT sum(output_tokens), sum(latency_s - coalesce(first_token_s, 0)) FROM entry
 WHERE at >= ?
 AND provider = 'local' AND error IS NULL AND latency_s > coalesce(first_token_s, 0)"""


class LocalModel:
    """The local model that the settings name, or any that is loaded."""

    name, title, timeout_s = "local_model", "Local model", 0.0

    def measure(self, moment: Moment) -> Reading | None:
        plan = moment.plan
        wanted = plan.model.partition("/")[0] == "local"
        there = bool(plan.local_file) and Path(plan.local_file).is_file()
        if wanted and not there:
            name = plan.local_model or "local"
            where = f" ({plan.local_file} is gone)" if plan.local_file else ""
            return Reading(
                DOWN,
                (
                    f"The model {name} is not on this machine{where}: run `aiki model pull "
                    f"{name}`, or choose another with `aiki config set model NAME`."
                ),
            )
        try:
            health = moment.daemon()
        except NoAnswerError:
            health = {}
        listed = health.get("models")
        loaded = (
            [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        )
        if not wanted and not loaded:
            return None
        speed = _tokens_per_second(moment)
        pid = health.get("pid")
        taken = resident(pid) if isinstance(pid, int) else None
        facts = {
            "loaded": [str(one.get("name")) for one in loaded],
            "engine": [str(one.get("engine")) for one in loaded],
            "tokens_per_second": speed,
            "resident_bytes": taken,
            "file_bytes": Path(plan.local_file).stat().st_size if there else None,
        }
        if not loaded:
            return Reading(
                OK,
                f"{plan.local_model} is loaded by the first message that needs it.",
                speed,
                "tokens/s",
                facts,
            )
        names = ", ".join(f"{one.get('name')} ({one.get('engine')})" for one in loaded)
        weight = f"; the daemon takes {size(taken)}" if taken else ""
        return Reading(OK, f"Loaded: {names}{weight}.", speed, "tokens/s", facts)


def _tokens_per_second(moment: Moment) -> float | None:
    """Of the last hour's answers, while they were written."""
    with moment.ledger() as ledger:
        if ledger is None:
            return None
        tokens, seconds = ledger.execute(_SPEED, (moment.wall - 3600,)).fetchone()
    return round(tokens / seconds, 2) if tokens and seconds else None

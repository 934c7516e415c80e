"""What broke and what is well again, as memories: on change only, never a stream of repeats.

An issue begins with the first bad sample of a probe, and ends with two good ones in a row. One
that breaks again within ten minutes is not told anew: it flaps, which is told once, and it then
has to be well for longer and longer before its end is told. At its end the memory of its
beginning is given an end, too: what is over must not be recalled as if it were so.

What is to be told waits in this file, beside the state that it follows from, until the memory
has acknowledged it; both are written in one step, and a memory carries the id of its event, so a
crash between the two tells nothing twice.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiki_kernel.health.exchange import NoAnswerError, ask
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.reading import OK, Reading, span
from aiki_kernel.health.sampler import Sample
from aiki_kernel.health.status_file import iso, write

SCHEMA = 1
GOOD_SAMPLES = 2
QUIET_S = 600.0
_CALM_S, _LONGEST_CALM_S = 120.0, 3600.0
_MOST_WAITING = 500
_AT_ONCE = 8
_PATIENCE_S = 5.0

Event = dict[str, Any]
Tell = Callable[[Event], bool]
"""Whether an event need not be told again: the memory has it, or will never take it."""


class Issues:
    """The issues of one home, in the file at ``path``. For one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self.open: dict[str, dict[str, Any]] = {}
        self.closed: dict[str, dict[str, Any]] = {}
        self.waiting: list[Event] = []
        self._read()

    def update(self, sample: Sample) -> list[Event]:
        """Take a sample in; what there is to tell of it. It is on disk on return.

        Raises ``OSError`` when it cannot be written; it is then tried with the next sample.
        """
        before = json.dumps([self.open, self.closed])
        events = []
        seen = {reading.probe: reading for reading in sample.readings}
        for reading in sample.readings:
            if reading.bad:
                events += self._bad(reading, sample)
            elif reading.state == OK and reading.probe in self.open:
                events += self._good(reading.probe, sample)
        for probe in [name for name in self.open if name not in seen]:
            events += self._good(probe, sample)  # what is not watched any more is nobody's issue
        old = sample.wall - 86_400
        self.closed = {k: v for k, v in self.closed.items() if v["until"] > old}
        self.waiting += events
        if len(self.waiting) > _MOST_WAITING:
            dropped = len(self.waiting) - _MOST_WAITING
            del self.waiting[:dropped]
            self.notes.append(f"{dropped} old issues were never remembered: the memory is away.")
        if events or before != json.dumps([self.open, self.closed]):
            self._write()
        return events

    def deliver(self, tell: Tell) -> int:
        """Tell what waits, oldest first, until one is not taken; how many were."""
        told = 0
        for event in self.waiting[:_AT_ONCE]:
            if not tell(event):
                break
            told += 1
        if told:
            del self.waiting[:told]
            self._write()
        return told

    # -- within -------------------------------------------------------------------------

    def _bad(self, reading: Reading, sample: Sample) -> list[Event]:
        known = self.open.get(reading.probe)
        if known is not None:
            if known["good"]:
                known["flaps"] += 1
            known["good"], known["well_since"] = 0, None
            if reading.state == "down" and known["worst"] != "down":
                known |= {"worst": "down", "reason": reading.reason}
            return []
        last = self.closed.pop(reading.probe, None)
        again = last is not None and 0 <= sample.wall - last["until"] < QUIET_S
        fresh = {
            "title": reading.title,
            "since": sample.wall,
            "worst": reading.state,
            "reason": reading.reason,
            "good": 0,
            "well_since": None,
            "flaps": 0,
            "told_flapping": False,
            "told": None,
        }
        if again and last is not None:
            fresh |= {"since": last["since"], "flaps": last["flaps"] + 1}
            fresh["told_flapping"] = True
        self.open[reading.probe] = fresh
        if again and last is not None and last["told_flapping"]:
            return []
        event = self._event("flaps" if again else "broke", reading.probe, fresh, sample)
        fresh["told"] = event
        return [event]

    def _good(self, probe: str, sample: Sample) -> list[Event]:
        known = self.open[probe]
        known["good"] += 1
        if known["well_since"] is None or known["well_since"] > sample.monotonic:
            known["well_since"] = sample.monotonic
        flaps = known["flaps"]
        calm = min(_LONGEST_CALM_S, _CALM_S * 2.0 ** min(flaps - 1, 10)) if flaps else 0.0
        if known["good"] < GOOD_SAMPLES or sample.monotonic - known["well_since"] < calm:
            return []
        del self.open[probe]
        self.closed[probe] = {
            "until": sample.wall,
            "since": known["since"],
            "flaps": flaps,
            "told_flapping": known["told_flapping"],
        }
        told = known.get("told")
        if told:
            ended = {**told["metadata"], "valid_to": iso(sample.wall, utc=True)}
            self.waiting.append({**told, "metadata": ended})  # the same id: it is replaced
        return [self._event("recovered", probe, known, sample)]

    def _event(self, what: str, probe: str, known: Mapping[str, Any], sample: Sample) -> Event:
        since, now = float(known["since"]), sample.wall
        seconds = max(0.0, now - since)
        title, worst = str(known["title"]), str(known["worst"])
        reason = str(known["reason"])
        if what == "broke":
            text = (
                f"Health issue: since {_when(since)} the {title} is {worst}. What is wrong: "
                f"{reason}"
            )
        elif what == "flaps":
            text = (
                f"Health issue: the {title} comes and goes since {_when(since)}; it was well in "
                f"between and is {worst} again. What is wrong: {reason}"
            )
        else:
            often = f" on and off ({known['flaps'] + 1} times)" if known["flaps"] else ""
            text = (
                f"Health issue that is over: the {title} was {worst}{often} from {_when(since)} "
                f"to {_when(now)} ({span(seconds)}) and is well again. What was wrong: {reason}"
            )
        return {
            "id": _uuid(),
            "text": text,
            "created_at": iso(now, utc=True),
            "metadata": _told(
                {
                    "dedup_key": f"health:{probe}",
                    "event": what,
                    "probe": probe,
                    "state": worst if what != "recovered" else OK,
                    "since": iso(since),
                    "until": iso(now) if what == "recovered" else None,
                    "duration_s": round(seconds, 1) if what == "recovered" else None,
                }
            ),
        }

    def _read(self) -> None:
        try:
            data = json.loads(self.path.read_text("utf-8"))
            if data["schema_version"] != SCHEMA:
                raise ValueError(f"its format is {data['schema_version']!r}")
            self.open, self.closed = dict(data["open"]), dict(data["closed"])
            self.waiting = list(data["waiting"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.notes.append(f"{self.path} cannot be read ({error}): issues begin anew.")
        for known in self.open.values():
            known["well_since"] = None  # of another process, perhaps of another boot

    def _write(self) -> None:
        data = {
            "schema_version": SCHEMA,
            "open": self.open,
            "closed": self.closed,
            "waiting": self.waiting,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(self.path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def teller(plan: Plan, say: Callable[[str], None]) -> Tell:
    """Telling the memory daemon over its socket. It is not started for that."""

    def tell(event: Event) -> bool:
        scope = {"user_id": plan.user_id}
        body = {**event, "kind": "issue", "scope": scope, "provenance": {"source": "health"}}
        try:
            answer = ask(
                "http://aiki.local/memory/add",
                method="POST",
                body=json.dumps(body).encode(),
                unix=plan.socket,
                timeout=_PATIENCE_S,
            )
        except NoAnswerError:
            return False
        if answer.status in (400, 413, 422):  # it will never be taken
            say(f"The memory refuses an issue ({answer.status}): {event['text']}")
            return True
        return answer.status == 200

    return tell


def _told(data: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of an event."""
    return {name: value for name, value in data.items() if value is not None}


def _when(wall: float) -> str:
    """A moment in words, as people ask for it: with the day, and the part of the day."""
    moment = time.localtime(wall)
    parts = ((5, "night"), (12, "morning"), (17, "afternoon"), (22, "evening"), (24, "night"))
    part = next(name for hour, name in parts if moment.tm_hour < hour)
    return time.strftime(f"%A %Y-%m-%d %H:%M ({part})", moment)


def _uuid() -> str:
    """A random id. It is kept beside its event, so that telling twice writes one memory."""
    digits = os.urandom(16).hex()  # no hash: hashlib would load all of OpenSSL
    return "-".join(
        (digits[:8], digits[8:12], f"4{digits[13:16]}", f"8{digits[17:20]}", digits[20:])
    )

"""A sample in Prometheus' text format: for a scrape, or node_exporter's textfile collector.

Names carry base units and counters end in ``_total``. Labels are names of services, models,
personas and stages, never a word that a user or a model wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiki_kernel.health.counters import Counters, Histogram
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.reading import STATES
from aiki_kernel.health.sampler import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Values = Iterable[tuple[Labels, float | int | None]]


class Page:
    """Families of metrics, one after the other; a family without values is left out."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def gauge(self, name: str, help_: str, values: Values) -> None:
        self._family(name, help_, "gauge", values)

    def counter(self, name: str, help_: str, values: Values) -> None:
        self._family(name, help_, "counter", values)

    def histogram(self, name: str, help_: str, values: Iterable[tuple[Labels, Histogram]]) -> None:
        lines = []
        for labels, one in values:
            for bound, count in one.cumulative():
                lines.append(f"{name}_bucket{_labels({**labels, 'le': bound})} {count}")
            lines.append(f"{name}_sum{_labels(labels)} {one.total!r}")
            lines.append(f"{name}_count{_labels(labels)} {sum(one.counts)}")
        self._add(name, help_, "histogram", lines)

    def text(self) -> str:
        return "\n".join([*self._lines, ""])

    def _family(self, name: str, help_: str, kind: str, values: Values) -> None:
        lines = [f"{name}{_labels(labels)} {_number(v)}" for labels, v in values if v is not None]
        self._add(name, help_, kind, lines)

    def _add(self, name: str, help_: str, kind: str, lines: list[str]) -> None:
        if lines:
            self._lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *lines]


def render(sample: Sample, plan: Plan, counters: Counters, samples: int, skipped: int) -> str:
    """All metrics of this moment."""
    page = Page()
    nothing: Labels = {}
    page.gauge("aiki_build_info", "The version that looks.", [({"version": plan.version}, 1)])
    page.gauge(
        "aiki_service_up",
        "Whether a service works: 1 for ok and degraded, 0 for down and unknown.",
        [({"service": r.probe}, int(r.state in STATES[:2])) for r in sample.readings],
    )
    page.gauge(
        "aiki_service_state",
        "State of a service: 0 ok, 1 degraded, 2 down, 3 unknown.",
        [({"service": r.probe}, STATES.index(r.state)) for r in sample.readings],
    )
    page.gauge(
        "aiki_probe_duration_seconds",
        "How long the last look took.",
        [({"service": r.probe}, round(r.seconds, 6)) for r in sample.readings],
    )
    page.gauge(
        "aiki_health_sample_timestamp_seconds",
        "When the last sample was taken.",
        [(nothing, round(sample.wall, 3))],
    )
    page.counter(
        "aiki_health_samples_total", "Samples since the health daemon began.", [(nothing, samples)]
    )
    page.counter(
        "aiki_health_samples_skipped_total",
        "Samples that were left out because an earlier one took too long.",
        [(nothing, skipped)],
    )
    _machine(page, sample)
    _memory(page, sample)
    _money(page, sample, plan)
    _models(page, counters)
    return page.text()


def _machine(page: Page, sample: Sample) -> None:
    for probe, fact, name, help_ in (
        ("disk", "free_bytes", "aiki_disk_free_bytes", "Room on the disk of AIKI_HOME."),
        ("disk", "size_bytes", "aiki_disk_size_bytes", "Size of the disk of AIKI_HOME."),
        ("ram", "available_bytes", "aiki_ram_available_bytes", "Memory that programs can get."),
        ("ram", "size_bytes", "aiki_ram_size_bytes", "Memory of the machine or container."),
        ("load", "load1", "aiki_load1", "Programs that want to run, average of one minute."),
        ("spool", "turns", "aiki_spool_turns", "Turns that wait for the memory."),
        ("spool", "bytes", "aiki_spool_size_bytes", "Size of what waits in the spool."),
        ("spool", "age_s", "aiki_spool_oldest_seconds", "Age of the oldest turn that waits."),
    ):
        page.gauge(name, help_, [({}, _fact(sample, probe, fact))])
    cpu, battery = sample.reading("cpu"), sample.reading("battery")
    page.gauge("aiki_cpu_busy_ratio", "Share of the processors in use.", [({}, cpu and cpu.value)])
    percent = battery.value if battery else None
    page.gauge(
        "aiki_battery_charge_ratio",
        "Charge of the battery.",
        [({}, percent / 100 if percent is not None else None)],
    )
    cards = _fact(sample, "gpu", "cards", list)
    for key, name, help_ in (
        ("used_bytes", "aiki_gpu_memory_used_bytes", "Memory of a GPU in use."),
        ("size_bytes", "aiki_gpu_memory_size_bytes", "Memory of a GPU."),
        ("busy", "aiki_gpu_busy_ratio", "Share of time that a GPU is in use."),
        ("celsius", "aiki_gpu_temperature_celsius", "Temperature of a GPU."),
    ):
        values = [({"gpu": str(n)}, card.get(key)) for n, card in enumerate(cards or [])]
        page.gauge(name, help_, values)


def _memory(page: Page, sample: Sample) -> None:
    daemon = "memory_daemon"
    page.gauge(
        "aiki_memory_daemon_resident_bytes",
        "Memory that the memory daemon takes.",
        [({}, _fact(sample, daemon, "resident_bytes"))],
    )
    page.gauge(
        "aiki_memory_daemon_answer_seconds",
        "How long the memory daemon took to tell how it is.",
        [({}, _fact(sample, daemon, "answered_in_s"))],
    )
    page.gauge(
        "aiki_memory_records", "Memories in the store.", [({}, _fact(sample, "index", "memories"))]
    )
    backend = _fact(sample, daemon, "backend", str)
    page.gauge(
        "aiki_backend_in_use",
        "What searches the memory.",
        [({"backend": backend}, 1)] if backend else [],
    )
    by = _fact(sample, "queue", "by_priority", dict) or {}
    for key in ("waiting", "running"):
        values = [
            ({"priority": str(kind)}, counts.get(key))
            for kind, counts in by.items()
            if isinstance(counts, dict)
        ]
        page.gauge(f"aiki_generation_queue_{key}", f"Generations that are {key}.", values)
    for key in ("served", "refused", "preempted"):
        page.counter(
            f"aiki_generation_{key}_total",
            f"Generations that were {key} since the memory daemon began.",
            [({}, _fact(sample, "queue", key))],
        )
    page.gauge(
        "aiki_generation_oldest_wait_seconds",
        "Wait of the oldest generation in the queue.",
        [({}, _fact(sample, "queue", "oldest_wait_s"))],
    )
    local = sample.reading("local_model")
    page.gauge(
        "aiki_local_model_tokens_per_second",
        "Speed of local answers, last hour.",
        [({}, local and local.value)],
    )


def _money(page: Page, sample: Sample, plan: Plan) -> None:
    page.gauge(
        "aiki_cost_today_usd",
        "What today's model calls have cost.",
        [({}, _fact(sample, "cost", "usd"))],
    )
    page.gauge("aiki_budget_day_usd", "The cap of a day.", [({}, plan.day_usd)])


def _models(page: Page, counters: Counters) -> None:
    page.counter(
        "aiki_llm_tokens_total",
        "Tokens of model calls; cached ones are part of the input.",
        [
            ({"direction": direction, "model": model, "persona": persona}, count)
            for (direction, model, persona), count in sorted(counters.tokens.items())
        ],
    )
    page.counter(
        "aiki_llm_cost_usd_total",
        "Cost of model calls whose price is known.",
        [({"model": k.model, "persona": k.persona}, v) for k, v in sorted(counters.cost.items())],
    )
    page.counter(
        "aiki_llm_unpriced_calls_total",
        "Model calls whose price nobody knows.",
        [
            ({"model": k.model, "persona": k.persona}, v)
            for k, v in sorted(counters.unpriced.items())
        ],
    )
    for values, name, help_ in (
        (counters.calls, "aiki_llm_calls_total", "Model calls."),
        (counters.errors, "aiki_llm_errors_total", "Model calls that failed."),
        (counters.interrupted, "aiki_llm_interrupted_total", "Model calls that a user stopped."),
    ):
        page.counter(
            name,
            help_,
            [({"stage": s, "model": m}, count) for (s, m), count in sorted(values.items())],
        )
    page.histogram(
        "aiki_stage_duration_seconds",
        "Duration of a stage of the loop.",
        [({"stage": stage}, one) for stage, one in sorted(counters.stages.items())],
    )
    page.counter(
        "aiki_recall_searches_total",
        "Searches of the memory for an answer, by what searched.",
        [({"backend": name}, count) for name, count in sorted(counters.backends.items())],
    )
    if sum(counters.hits.counts):
        page.histogram(
            "aiki_recall_hits", "Memories recalled for an answer.", [({}, counters.hits)]
        )
    if counters.stages:
        page.histogram(
            "aiki_first_token_seconds", "Wait for the first token.", [({}, counters.first_token)]
        )


def _fact(sample: Sample, probe: str, name: str, kind: Any = (int, float)) -> Any:
    """A fact of a probe, when it is there and of the right kind."""
    reading = sample.reading(probe)
    value = reading.facts.get(name) if reading is not None else None
    return value if isinstance(value, kind) else None


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")[:200]


def _number(value: float | int | None) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value or 0))

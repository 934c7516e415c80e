"""Metrics: judged by promtool, grown from the ledger, and free of what users write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from fault_server import closed_port
from health_files import booked

import aiki_kernel.health
from aiki_kernel.config import Paths
from aiki_kernel.health.counters import BUCKETS, Counters, Histogram
from aiki_kernel.health.metrics import render
from aiki_kernel.health.moment import Moment
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.probe import probes
from aiki_kernel.health.reading import Reading
from aiki_kernel.health.sampler import Sample, Sampler
from aiki_kernel.mind.ledger import Ledger

ALERTS = Path(aiki_kernel.health.__file__).parent / "alerts.yml"


def promtool(*words: str | Path, text: str = "") -> str:
    """What promtool says; the test is skipped where it is not installed. Fails with it."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian package 'prometheus')")
    done = subprocess.run(
        [program, *map(str, words)], input=text, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def counted(plan: Plan, counters: Counters | None = None) -> Counters:
    counters = counters or Counters()
    with Moment(plan).ledger() as ledger:
        if ledger is not None:
            counters.update(ledger)
    return counters


def page(plan: Plan) -> str:
    return render(Sampler(plan, probes(plan)).sample(), plan, counted(plan), 3, 1)


QUEUE = {
    "by_priority": {"cell": {"running": 1, "waiting": 2}, "curation": {"running": 0, "waiting": 0}},
    "served": 9,
    "refused": 1,
    "preempted": 0,
    "oldest_wait_s": 0.5,
}
CARD = {"name": "X", "used_bytes": 1.0, "size_bytes": 2.0, "busy": 0.5, "celsius": None}


def everything() -> Sample:
    """A sample in which every metric has a value."""
    return Sample(
        1.8e9,
        5.0,
        (
            Reading("ok", "", facts={"resident_bytes": 5, "answered_in_s": 0.1, "backend": "mojo"},
                    probe="memory_daemon"),
            Reading("ok", "", facts={"memories": 7}, probe="index"),
            Reading("degraded", "", 2.0, facts=QUEUE, probe="queue"),
            Reading("down", "", facts={"turns": 1, "bytes": 2, "age_s": 3.0}, probe="spool"),
            Reading("unknown", 'a "reason"\nof two lines', 61.5, probe="local_model"),
            Reading("ok", "", facts={"cards": [CARD]}, probe="gpu"),
            Reading("ok", "", 80.0, probe="battery"),
            Reading("ok", "", 0.25, probe="cpu"),
            Reading("ok", "", facts={"free_bytes": 1, "size_bytes": 2}, probe="disk"),
            Reading("ok", "", facts={"available_bytes": 1, "size_bytes": 2}, probe="ram"),
            Reading("ok", "", facts={"load1": 1.5}, probe="load"),
            Reading("ok", "", facts={"usd": 0.5}, probe="cost"),
        ),
        0.1,
    )  # fmt: skip


def test_promtool_finds_nothing_to_say(plan: Plan, paths: Paths) -> None:
    booked(paths, 3, first_token_s=0.4, input_tokens=10, output_tokens=5)
    booked(paths, 1, model='odd"na\\me\n', error="it failed", cost_usd=None)
    for text in (
        page(plan),
        render(everything(), plan._replace(day_usd=1.0), counted(plan), 3, 1),
    ):
        assert promtool("check", "metrics", text=text).strip() == ""
    assert promtool("check", "rules", ALERTS)
    with pytest.raises(AssertionError):
        promtool("check", "metrics", text="# TYPE aBadName counter\naBadName 1\n")


def test_the_shipped_alerts_fire_when_they_should(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yml", tmp_path)
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "alerts_test.yml")


def test_every_metric_of_an_alert_is_one_of_ours(plan: Plan, paths: Paths) -> None:
    import re

    booked(paths, 1, first_token_s=0.4)
    text = render(everything(), plan._replace(day_usd=1.0), counted(plan), 3, 1)
    used = set(re.findall(r"\baiki_[a-z_0-9]+", ALERTS.read_text("utf-8")))
    assert used
    assert not [name for name in used if f"\n{name}" not in f"\n{text}"]


def test_counters_come_from_the_ledger_and_grow_over_restarts(plan: Plan, paths: Paths) -> None:
    booked(paths, 2, input_tokens=10, output_tokens=5, cached_tokens=4, persona="analyst")
    first = counted(plan)
    text = render(everything(), plan, first, 1, 0)
    assert 'aiki_llm_tokens_total{direction="input",model="m",persona="analyst"} 20' in text
    assert 'aiki_llm_cost_usd_total{model="m",persona="analyst"} 0.002' in text
    assert 'aiki_stage_duration_seconds_bucket{stage="generate",le="2.5"} 2' in text
    assert 'aiki_stage_duration_seconds_bucket{stage="generate",le="1"} 0' in text
    booked(paths, 1, recall_s=0.012, route_s=0.001, hits=3, backend="mojo", model="r")
    text = render(everything(), plan, counted(plan), 1, 0)
    assert 'aiki_stage_duration_seconds_bucket{stage="recall",le="0.02"} 1' in text
    assert 'aiki_stage_duration_seconds_count{stage="route"} 1' in text
    assert 'aiki_recall_hits_bucket{le="4"} 1' in text
    assert 'aiki_recall_searches_total{backend="mojo"} 1' in text
    assert 'stage="remember"' not in text
    ledger = Ledger(paths.ledger)
    ledger.remembered(0.004)
    assert 'stage="remember"' not in render(everything(), plan, counted(plan), 1, 0)
    ledger.close()
    text = render(everything(), plan, counted(plan), 1, 0)
    assert 'aiki_stage_duration_seconds_bucket{stage="remember",le="0.005"} 1' in text
    booked(paths, 1, ago_s=9e6, input_tokens=1, persona="analyst")  # booked late
    assert counted(plan, first).tokens == counted(plan).tokens
    assert first.tokens["input", "m", "analyst"] == 21
    paths.ledger.unlink()
    booked(paths, 1, input_tokens=1)
    assert counted(plan, first).calls == {("generate", "m"): 1}


def test_a_histogram_counts_each_second_once() -> None:
    one = Histogram()
    for seconds in (0.05, 0.06, 1000.0, *BUCKETS):
        one.observe(seconds)
    cumulative = [count for _, count in one.cumulative()]
    assert cumulative == sorted(cumulative)
    assert cumulative[BUCKETS.index(0.05)] == BUCKETS.index(0.05) + 2
    assert cumulative[-1] == len(BUCKETS) + 3


def test_no_word_of_a_user_or_of_an_error_is_in_the_metrics(plan: Plan, paths: Paths) -> None:
    booked(paths, 4, error="my-secret-words failed", session_id="my-session", cell_id="my-cell")
    text = page(plan)
    assert "my-" not in text
    assert "reason" not in render(everything(), plan, Counters(), 1, 0)


@pytest.mark.long
def test_a_real_prometheus_scrapes_the_daemon_and_fires(paths: Paths, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs prometheus (Debian package 'prometheus')")
    port, own = closed_port(), closed_port()
    fast = ALERTS.read_text("utf-8").replace("for: 2m", "for: 2s")
    (tmp_path / "alerts.yml").write_text(fast, "utf-8")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [alerts.yml]\n"
        "scrape_configs:\n"
        "  - job_name: aiki\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n",
        "utf-8",
    )
    promtool("check", "config", tmp_path / "prometheus.yml")
    environment = {
        **os.environ,
        "AIKI_HEALTH__INTERVAL_S": "0.5",
        "AIKI_HEALTH__HTTP_PORT": str(port),
        "AIKI_ENDPOINTS": json.dumps({"dead": {"base_url": "http://127.0.0.1:9/v1"}}),
    }
    booked(paths, 3, first_token_s=0.4, input_tokens=10)
    words = [program, f"--config.file={tmp_path / 'prometheus.yml'}"]
    words += [f"--storage.tsdb.path={tmp_path / 'tsdb'}", f"--web.listen-address=127.0.0.1:{own}"]
    daemon = subprocess.Popen([sys.executable, "-P", "-m", "aiki_kernel.health"], env=environment)
    scraper = subprocess.Popen(words, stderr=subprocess.DEVNULL)

    def asked(query: str) -> list[dict]:  # type: ignore[type-arg]
        url = f"http://127.0.0.1:{own}/api/v1/query?query={query}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]["result"]  # type: ignore[no-any-return]
        except OSError:
            return []

    try:
        deadline, fired, tokens = time.monotonic() + 90, [], []
        while not (fired and tokens) and time.monotonic() < deadline:
            time.sleep(0.5)
            tokens = asked("aiki_llm_tokens_total")
            alerts = asked("ALERTS")
            fired = [
                one["metric"]
                for one in alerts
                if one["metric"]["alertname"] == "AikiServiceDown"
                and one["metric"]["alertstate"] == "firing"
                and one["metric"]["service"] == "provider_dead"
            ]
        assert fired
        assert {one["value"][1] for one in tokens} >= {"30"}
    finally:
        for child in (daemon, scraper):
            child.terminate()
            child.wait(20)

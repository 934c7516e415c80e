"""Samples: side by side, within their time, whatever one probe does; and the machine's probes."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from aiki_kernel.health.moment import Moment
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.probe import Probe, probes
from aiki_kernel.health.probes.gpu import Gpu
from aiki_kernel.health.probes.machine import Battery, Cpu, Disk, Load, Ram
from aiki_kernel.health.probes.units import Units
from aiki_kernel.health.reading import DEGRADED, OK, Reading
from aiki_kernel.health.sampler import Sampler


class Own:
    """A user's probe."""

    title, timeout_s = "Own", 0.0

    def __init__(self, name: str = "own", does: object = None) -> None:
        self.name = name
        self.does = does
        self.asked = 0

    def measure(self, moment: Moment) -> Reading | None:
        self.asked += 1
        if callable(self.does):
            self.does()
        return Reading(OK, "well", 1.0, "things")


def raises() -> None:
    raise ZeroDivisionError("1/0")


def test_one_that_raises_and_one_that_hangs_harm_nobody(plan: Plan) -> None:
    gate = threading.Event()
    hanging, well = Own("hangs", gate.wait), Own("well")
    sampler = Sampler(plan._replace(timeout_s=0.2), [hanging, Own("raises", raises), well])
    before = threading.active_count()
    try:
        for _ in range(3):
            began = time.monotonic()
            states = {r.probe: r for r in sampler.sample().readings}
            assert time.monotonic() - began < 2.0
            assert states["hangs"].state == "unknown"
            assert "has not come back" in states["hangs"].reason
            assert "ZeroDivisionError" in states["raises"].reason
            assert states["well"].state == "ok"
        assert hanging.asked == 1  # not called again while it hangs
        assert threading.active_count() == before + 1
    finally:
        gate.set()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    back = sampler.sample().reading("hangs")
    assert back is not None
    assert back.state == "ok"


@pytest.mark.parametrize(
    "reading",
    [
        Reading("splendid", "x"),
        Reading("ok", "x", float("nan")),
        Reading("ok", "x", "many"),  # type: ignore[arg-type]
        Reading("ok", "x", facts={"thing": object()}),
        "ok",
    ],
)
def test_what_cannot_be_written_down_is_unknown(plan: Plan, reading: object) -> None:
    class Odd(Own):
        def measure(self, moment: Moment) -> Reading | None:
            return reading  # type: ignore[return-value]

    (found,) = Sampler(plan, [Odd()]).sample().readings
    assert found.state == "unknown"
    assert "The probe failed" in found.reason


def test_they_run_side_by_side(plan: Plan) -> None:
    meeting = threading.Barrier(5)  # passes only when five wait at once
    made: list[Probe] = [Own(f"p{n}", lambda: meeting.wait(5.0)) for n in range(5)]
    sample = Sampler(plan._replace(timeout_s=10.0), made).sample()
    assert [r.state for r in sample.readings] == ["ok"] * 5


def test_a_probe_of_a_users_package_by_entry_point(plan: Plan) -> None:
    name = f"{__name__}:Own"
    import sys

    sys.modules[__name__] = sys.modules.get(__name__) or __import__(__name__)
    found = probes(plan._replace(probes=(name, "no_such_package:Probe")))
    sample = Sampler(plan, [p for p in found if p.name in ("own", "Probe")]).sample()
    assert sample.reading("own") is not None
    broken = sample.reading("Probe")
    assert broken is not None
    assert (broken.state, "no_such_package" in broken.reason) == ("unknown", True)
    skipped = probes(plan._replace(probes=(name,), skip=("own", "disk")))
    assert not {"own", "disk"} & {p.name for p in skipped}


def test_a_disk_that_is_nearly_full(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Disk().measure(Moment(plan)).state in ("ok", "degraded")
    real = os.statvfs(plan.home)

    def full(free: float, files: int = 1000) -> None:
        fields = list(real)
        fields[0] = fields[1] = 1
        fields[4], fields[6] = int(free), files
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))

    full(1e9)
    nearly = Disk().measure(Moment(plan))
    assert (nearly.state, "make room" in nearly.reason) == ("degraded", True)
    full(1e8)
    assert Disk().measure(Moment(plan)).state == "down"


def test_memory_processor_and_load_have_figures(plan: Plan) -> None:
    moment = Moment(plan)
    ram, cpu, load = Ram().measure(moment), Cpu().measure(moment), Load().measure(moment)
    assert ram.value
    assert 0 < ram.value <= ram.facts["size_bytes"]
    assert cpu.value is not None
    assert 0 <= cpu.value <= 1
    assert load.facts["cpus"] == os.cpu_count()
    assert Load().measure(Moment(plan._replace(load_per_cpu=1e-9))).state in ("degraded", "ok")
    assert Ram().measure(Moment(plan._replace(ram_free=(1.1, 0.0)))).state == "degraded"


def test_a_battery_and_those_that_are_none(plan: Plan, tmp_path: Path) -> None:
    def supply(name: str, **files: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        for file, text in files.items():
            (tmp_path / name / file).write_text(f"{text}\n", "ascii")

    battery = Battery(str(tmp_path))
    supply("AC", type="Mains")
    supply("mouse", type="Battery", scope="Device", capacity="1", status="Discharging")
    assert battery.measure(Moment(plan)) is None
    supply("BAT0", type="Battery", capacity="80", status="Charging")
    assert battery.measure(Moment(plan)).state == "ok"  # type: ignore[union-attr]
    supply("BAT0", capacity="12", status="Discharging")
    low = battery.measure(Moment(plan))
    assert low is not None
    assert (low.state, "plug" in low.reason, low.value) == ("degraded", True, 12.0)
    supply("BAT0", capacity="3")
    assert battery.measure(Moment(plan)).state == "down"  # type: ignore[union-attr]


def test_a_gpu_by_its_files(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = Moment(plan)
    none = str(tmp_path / "none")
    assert Gpu(none, none).measure(moment) is None
    card = tmp_path / "drm" / "card0" / "device"
    card.mkdir(parents=True)
    (card / "mem_info_vram_total").write_text("1000\n", "ascii")
    (card / "mem_info_vram_used").write_text("990\n", "ascii")
    found = Gpu(none, str(tmp_path / "drm")).measure(moment)
    assert found is not None
    assert (found.state, found.value) == ("degraded", 990.0)

    there = tmp_path / "version"
    there.touch()
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for script, state in (
        ("echo 'NVIDIA X, 100, 81559, 3, 41'", "ok"),
        ("echo 'NVIDIA X, [N/A], [N/A], [N/A], 95'", "degraded"),
        ("echo 'Driver/library version mismatch' >&2; exit 18", "down"),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n", "ascii")
        program.chmod(0o755)
        seen = Gpu(str(there), none).measure(moment)
        assert seen is not None
        assert seen.state == state, seen.reason


def test_units_of_the_users_systemd(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd itself needs a machine of its own: a program of its name prints what it would."""
    program = tmp_path / "systemctl"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def says(restarts: int, state: str) -> None:
        block = f"Id=a.service\nLoadState=loaded\nActiveState={state}\nSubState=x\n"
        block += f"NRestarts={restarts}\nResult=exit-code"
        other = "Id=b.service\nLoadState=not-found\nActiveState=inactive"
        program.write_text(f"#!/bin/sh\ncat <<END\n{block}\n\n{other}\nEND\n", "ascii")
        program.chmod(0o755)

    probe = Units()
    moment = Moment(plan._replace(units=("a.service", "b.service")))
    says(0, "active")
    assert probe.measure(moment) is None  # no user manager here
    (Path(os.environ["XDG_RUNTIME_DIR"]) / "systemd").mkdir()
    found = probe.measure(moment)
    assert found is not None
    assert (found.state, found.value, set(found.facts)) == ("ok", 1.0, {"a.service"})
    says(2, "active")
    again = probe.measure(moment)
    assert again is not None
    assert (again.state, "Restarted" in again.reason) == (DEGRADED, True)
    says(2, "failed")
    failed = probe.measure(moment)
    assert failed is not None
    assert (failed.state, "journalctl --user -u a.service" in failed.reason) == ("down", True)

"""Interrupts reach a model that computes on this machine, in this process and in the daemon."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest
from notebook_driver import Notebook

from aiki_kernel.models.weights import for_tests

pytestmark = pytest.mark.slow

LIMIT_S = 0.25


@pytest.mark.parametrize("daemon", ["off", "auto"])
def test_the_engine_on_this_machine_stops(daemon: str, environment: dict[str, str]) -> None:
    models = Path(environment["AIKI_HOME"]) / "models"
    models.mkdir(parents=True, exist_ok=True)
    weights = for_tests()
    if not (models / weights.name).exists():
        shutil.copyfile(weights, models / weights.name)
    variables = {"AIKI_MODEL": "local/smollm2-135m", "AIKI_DAEMON": daemon}
    kernel = Notebook(env={**environment, **variables})
    try:
        answered = kernel.run("%%aiki --max-tokens 4\nSay hello.", cell="a", timeout=90)
        assert answered.status == "ok", answered.reply
        with kernel.subshell() as subshell:
            for how, shell, after in (
                ("message", None, 0.1),
                ("signal", None, 1.5),
                ("message", subshell, 1.5),
            ):
                took = []
                for _ in range(5):
                    took.append(_stop(kernel, how, shell, after))
                    if took[-1] <= LIMIT_S:
                        break
                assert min(took) <= LIMIT_S, (how, shell, took)
        assert kernel.run("%%aiki --max-tokens 3\nAnd now?", cell="c").status == "ok"
    finally:
        kernel.close()
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "aiki_kernel.daemon" in words and _home(process) == environment["AIKI_HOME"]:
                process.terminate()


def _stop(kernel: Notebook, how: str, subshell: str | None, after: float) -> float:
    import time

    id_ = kernel.send("%%aiki --max-tokens 200\nTell a long story.", cell="b", subshell=subshell)
    sent = 0.0

    def press(found: dict[str, object]) -> None:
        nonlocal sent
        times = found[id_].times
        if not sent and times and time.monotonic() - times[0] > after:
            sent = time.monotonic()
            kernel.interrupt(how)

    (ran,) = kernel.collect(id_, on=press)
    assert ran.reply["ename"] == "Interrupted"
    assert kernel.python("print('alive')") == "alive"
    return ran.idle_at - sent


def _home(process: psutil.Process) -> str:
    try:
        return process.environ().get("AIKI_HOME", "")
    except psutil.Error:
        return ""

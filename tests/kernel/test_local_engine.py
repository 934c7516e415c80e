"""Interrupts reach a model that computes on this machine, in this process and in the daemon."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import psutil
import pytest
from notebook_driver import Notebook, Ran

from aiki_kernel.models.weights import for_tests

pytestmark = [pytest.mark.slow, pytest.mark.alone]

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
            for how, shell, decoding in (
                ("message", None, False),
                ("signal", None, True),
                ("message", subshell, True),
            ):
                took: list[float] = []
                for _ in range(12):  # a story may end by itself before Stop is pressed
                    stopped = _stop(kernel, how, shell, decoding)
                    if stopped is not None:
                        took.append(stopped)
                    if len(took) == 5 or any(one <= LIMIT_S for one in took):
                        break
                assert took, f"no answer was long enough to be stopped: {how}, {shell}"
                assert min(took) <= LIMIT_S, (how, shell, took)
        assert kernel.run("%%aiki --max-tokens 3\nAnd now?", cell="c").status == "ok"
    finally:
        kernel.close()
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "aiki_kernel.daemon" in words and _home(process) == environment["AIKI_HOME"]:
                process.terminate()


def _stop(kernel: Notebook, how: str, subshell: str | None, decoding: bool) -> float | None:
    """Seconds from Stop to idle; ``None`` when the answer was complete before Stop came.

    Stop is pressed while the prompt is read, or, when ``decoding``, once text is on screen. A
    new session and no chance in the sampling: this model then writes until its limit of tokens,
    while a short answer in its history would be repeated.
    """
    assert kernel.run("%aiki_session new", cell="s").status == "ok"
    id_ = kernel.send(
        "%%aiki --max-tokens 900 --temperature 0\nTell a long story.", cell="b", subshell=subshell
    )
    sent = 0.0

    def press(found: dict[str, Ran]) -> None:
        nonlocal sent
        ran = found[id_]
        if sent or not ran.times:
            return
        if decoding:
            now = len(ran.answers) > 1 and bool(ran.answer.strip())
        else:
            now = time.monotonic() - ran.times[0] > 0.05
        if now:
            sent = time.monotonic()
            kernel.interrupt(how)

    (ran,) = kernel.collect(id_, on=press)
    if ran.status == "ok":
        return None
    assert ran.reply["ename"] == "Interrupted"
    assert kernel.python("print('alive')") == "alive"
    return ran.idle_at - sent


def _home(process: psutil.Process) -> str:
    try:
        return process.environ().get("AIKI_HOME", "")
    except psutil.Error:
        return ""

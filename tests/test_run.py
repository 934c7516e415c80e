"""The test command's own decisions: which marks, how many workers, what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import run


@pytest.mark.parametrize(
    ("words", "marks", "rest"),
    [
        ([], "not long", []),
        (["tests/kernel", "-x"], "not long", ["tests/kernel", "-x"]),
        (["-m", "long", "-x"], "long", ["-x"]),
        (["-mlong"], "long", []),
        (["-m=slow or long", "tests"], "slow or long", ["tests"]),
        (["--maxfail=1"], "not long", ["--maxfail=1"]),
    ],
)
def test_marks_are_told_from_other_words(words: list[str], marks: str, rest: list[str]) -> None:
    assert run.marked(words) == (marks, rest)


def test_a_program_under_another_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run.missing() == list(run.PROGRAMS)
    for name in ("google-chrome", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert set(run.PROGRAMS) - set(run.missing()) == {"chromium", "npm"}


def test_what_is_missing_is_loud_and_fails_in_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get either
    monkeypatch.delenv("CI", raising=False)
    run.install_programs()
    said = capsys.readouterr().out
    for name in run.PROGRAMS:
        assert f"{name.upper()} IS MISSING: its tests will be SKIPPED" in said
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SystemExit, match="In CI these must be there: chromium, "):
        run.install_programs()


def test_there_is_a_worker_for_each_processor_that_may_be_used() -> None:
    assert 1 <= run.workers() <= max(1, run.processors())

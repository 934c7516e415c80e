"""The files of a deployment, judged by the programs that will read them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.commands.deploy import TARGETS
from aiki_kernel.commands.deployment.place import Made, Place
from aiki_kernel.commands.deployment.systemd import assignment, command, units
from aiki_kernel.errors import AikiError, UsageError

pytestmark = pytest.mark.usefixtures("aiki_home")


def _run(*words: str) -> registry.Result:
    context = Context("cli")
    try:
        return registry.run(list(words), context)
    finally:
        context.close()


def _needs(program: str, package: str) -> None:
    if shutil.which(program) is None:
        assert not os.environ.get("CI"), f"In CI {program} must be there (package {package})."
        pytest.skip(f"{program.upper()} IS MISSING (package {package})")


def _analyze(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        cwd=folder,
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},  # it wants one, whichever
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("home", ["plain", "with space and 100 % ' \" $HOME"])
def test_systemd_takes_the_units_and_finds_them_shut_in(tmp_path: Path, home: str) -> None:
    _needs("systemd-analyze", "systemd")
    _judge(units(Place((sys.executable, "-m", "aiki_kernel.cli"), tmp_path / home)), tmp_path)


def test_systemd_takes_the_timers_of_both_notebooks(tmp_path: Path) -> None:
    _needs("systemd-analyze", "systemd")
    files = _run("deploy", "show", "notebooks").data["files"]
    assert sorted(Path(name).suffix for name in files) == 2 * [".service"] + 2 * [".timer"]
    _judge([Made(name, text) for name, text in files.items()], tmp_path)


def _judge(made: list[Made], tmp_path: Path) -> None:
    """`verify` has nothing to say, and no service is exposed beyond 4.0."""
    for one in made:
        (tmp_path / one.name).write_text(one.text, "utf-8")
    verified = _analyze("verify", "--user", *[one.name for one in made], folder=tmp_path)
    # An unknown key is only a line on stderr, with exit status 0.
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    for one in made:
        if not one.name.endswith(".service"):
            continue
        judged = _analyze(
            "security", "--user", "--offline=true", "--no-pager", one.name, folder=tmp_path
        )
        score = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
        assert score, judged.stderr
        assert float(score[1]) <= 4.0, judged.stdout


def test_an_unknown_key_would_be_noticed(tmp_path: Path) -> None:
    _needs("systemd-analyze", "systemd")
    (one, _) = units(Place((sys.executable,), tmp_path))
    (tmp_path / one.name).write_text(one.text.replace("UMask=", "UMasque="), "utf-8")
    assert "UMasque" in _analyze("verify", "--user", one.name, folder=tmp_path).stderr


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
    ],
)
def test_what_systemd_would_read_otherwise_is_quoted(word: str, written: str) -> None:
    assert command([word]) == written


def test_a_dollar_in_an_environment_means_itself() -> None:
    assert assignment("A", "$b") == "A=$b"


def test_compose_takes_the_stack(tmp_path: Path) -> None:
    _needs("docker-compose", "docker-compose")
    _run("deploy", "write", "compose", str(tmp_path / "stack"))
    folder = tmp_path / "stack"
    call = ["docker-compose", "config"]
    (folder / ".env").write_text("AIKI_MODEL_FILE=\n")
    refused = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "name a GGUF file in .env" in refused.stderr
    shutil.copyfile(folder / ".env.example", folder / ".env")
    taken = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    assert taken.returncode == 0, taken.stderr
    for service in ("qdrant", "model", "memory", "health", "lab"):
        assert f"  {service}:\n" in taken.stdout


def test_promtool_takes_the_configuration_and_its_rules(tmp_path: Path) -> None:
    _needs("promtool", "prometheus")
    _run("deploy", "write", "prometheus", str(tmp_path))
    call = ["promtool", "check", "config", "prometheus.yml"]
    checked = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "rules found" in checked.stdout
    assert "127.0.0.1:9464" in (tmp_path / "prometheus.yml").read_text()


def test_the_container_is_well_while_the_daemon_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = yaml.safe_load(_run("deploy", "show", "compose").data["files"]["docker-compose.yml"])
    (_, program, flag, code) = stack["services"]["health"]["healthcheck"]["test"]
    assert (program, flag) == ("python", "-c")
    code = code.replace("/data/", f"{tmp_path}/")
    for age, status in ((10, 0), (1000, 1)):
        seen = {"wall_s": time.time() - age, "stale_after_s": 180}
        (tmp_path / "system_health.json").write_text(json.dumps(seen))
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == status


def test_the_settings_of_the_stack_are_ours(aiki_home: Path) -> None:
    stack = yaml.safe_load(_run("deploy", "show", "compose").data["files"]["docker-compose.yml"])
    given = stack["services"]["memory"]["environment"]
    code = "from aiki_kernel.config import load; print(load().model_dump_json())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["memory"]["url"] == "http://qdrant:6333"
    assert told["endpoints"]["served"]["models"] == ["model"]
    assert told["model"] == "served/model"


def test_every_service_has_a_limit_and_all_but_the_lab_a_health_check() -> None:
    stack = _run("deploy", "show", "compose").data["files"]["docker-compose.yml"]
    assert stack.count("limits:") == 5
    assert stack.count("healthcheck:") == 4
    assert "0.0.0.0:" not in stack  # no port is open beyond this machine
    assert stack.count("ports:") == stack.count('ports: ["127.0.0.1:')


def test_the_list_names_every_target_and_show_prints_its_files() -> None:
    listed = _run("deploy")
    assert [row["target"] for row in listed.data["targets"]] == list(TARGETS)
    for name in TARGETS:
        shown = _run("deploy", "show", name)
        for file, text in shown.data["files"].items():
            assert f"# --- {file}\n" in shown.text
            assert text.rstrip("\n") in shown.text


def test_a_file_of_yours_is_not_replaced_unasked(tmp_path: Path) -> None:
    folder = tmp_path / "units"
    assert len(_run("deploy", "write", "systemd", str(folder)).data["written"]) == 2
    assert _run("deploy", "write", "systemd", str(folder)).data["written"] == []
    mine = folder / "aiki-memory-daemon.service"
    mine.write_text("[Unit]\n")
    (folder / "aiki-health-daemon.service").unlink()
    with pytest.raises(UsageError, match="--force"):
        _run("deploy", "write", "systemd", str(folder))
    assert mine.read_text() == "[Unit]\n"
    assert not (folder / "aiki-health-daemon.service").exists()
    assert len(_run("deploy", "write", "systemd", str(folder), "--force").data["written"]) == 2


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AikiError, match="cannot be written"):
        _run("deploy", "write", "compose", str(tmp_path / "file"))


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user manager that takes notes: none runs in a container. Its file of calls."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    script = programs / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ ! -e {tmp_path}/refuse ] || exit 1\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return calls


def test_install_starts_the_units_and_uninstall_takes_them_away(
    manager: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "config" / "systemd" / "user"
    names = "aiki-memory-daemon.service aiki-health-daemon.service"
    _run("deploy", "install")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names.split())
    assert manager.read_text().splitlines() == [
        "--user daemon-reload",
        f"--user enable --now {names}",
    ]
    manager.write_text("")
    _run("deploy", "uninstall")
    assert list(folder.iterdir()) == []
    assert manager.read_text().splitlines()[0] == f"--user disable --now {names}"
    assert "No unit" in _run("deploy", "uninstall").text


def test_a_manager_that_refuses_is_one_line(manager: Path, tmp_path: Path) -> None:
    (tmp_path / "refuse").write_text("")
    with pytest.raises(AikiError, match="`systemctl --user daemon-reload` was refused"):
        _run("deploy", "install")


def test_no_systemctl_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(AikiError, match="aiki deploy write systemd FOLDER"):
        _run("deploy", "install")
    assert not (tmp_path / "systemd").exists()

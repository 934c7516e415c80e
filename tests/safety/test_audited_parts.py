"""What the parts of the house write into the audit log, and the command that reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "memory"))

from memory_parts import WordBag

from aiki_kernel.aiki import Aiki
from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.config import Memory, Paths, load
from aiki_kernel.memory.records import Scope
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.safety.audit import audit_of


@pytest.fixture
def service(aiki_home):
    settings = load(memory=Memory(embedder="wordbag", user_id="kari"))
    made = MemoryService(settings, Paths(aiki_home), embedder=WordBag())
    yield made
    made.close()


def events(home: Path) -> list[str]:
    return [line["event"] for line in reversed(audit_of(home).recent(1000))]


def test_every_write_update_and_delete_of_a_memory(service, aiki_home, tmp_path):
    scope = Scope("kari")
    record = service.add("Kari bor i Tromsø", scope)
    service.update(record.id, "Kari bor i Bodø")
    service.forget(record.id)
    lines = tmp_path / "in.jsonl"
    lines.write_text(json.dumps({"id": "1", "memory": "en ting", "user_id": "kari"}) + "\n")
    service.import_(lines, scope)
    service.snapshot(tmp_path / "snapshot.tar.gz")
    service.restore(tmp_path / "snapshot.tar.gz")
    list(service.export(scope))
    assert events(aiki_home) == [
        "memory.write",
        "memory.update",
        "memory.delete",
        "memory.write",
        "memory.import",
        "memory.snapshot",
        "memory.restore",
        "memory.export",
    ]
    written = audit_of(aiki_home).recent(1000)[-1]["facts"]
    assert (written["ids"], written["kinds"], written["actor"]) == (
        [record.id],
        {"fact": 1},
        "kari",
    )
    assert "Tromsø" not in audit_of(aiki_home).path.read_text()
    assert not audit_of(aiki_home).verify().faults


def test_every_model_call_of_the_loop(aiki_home, fault_server, monkeypatch):
    for name, value in fault_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    with Aiki() as aiki:
        reply = aiki.ask("En hemmelig sak om Kari")
    calls = audit_of(aiki_home).recent(event="model.call")
    assert [call["facts"]["turn_id"] for call in calls] == [reply.metadata["turn_id"]]
    assert calls[0]["facts"]["name"] == "fault/ok"
    writes = audit_of(aiki_home).recent(event="memory.write")
    assert writes[0]["facts"]["trust"] == {"user": 1, "model": 1}
    assert "hemmelig" not in audit_of(aiki_home).path.read_text()


def run(*words: str) -> registry.Result:
    context = Context("cli")
    try:
        return registry.run(words, context)
    finally:
        context.close()


def test_settings_are_named_when_they_change_and_never_told(aiki_home):
    run("config", "set", "generation.system", "A very private prompt")
    run("config", "unset", "generation.system")
    change, back = reversed(audit_of(aiki_home).recent(event="config.change"))
    assert change["facts"] == {"file": "aiki.toml", "set": ["generation.system"], "removed": []}
    assert back["facts"]["removed"] == ["generation.system"]
    assert "private" not in audit_of(aiki_home).path.read_text()


def test_the_command_shows_and_verifies_and_fails_where_a_line_was_changed(aiki_home, monkeypatch):
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    assert run("memory", "audit").data["quarantined"] == []
    run("config", "set", "model", "local")
    run("config", "set", "model", "openai/gpt-5")
    shown = run("memory", "audit", "--event", "config", "-k", "1")
    assert [event["seq"] for event in shown.data["events"]] == [3]
    assert "config.change" in shown.text
    good = run("memory", "audit", "--verify", "--json")
    assert (good.status, json.loads(good.text)["whole"]) == (0, True)
    path = aiki_home / "audit.jsonl"
    path.write_text(path.read_text().replace("daemon.start", "daemon.stare", 1))
    bad = run("memory", "audit", "--verify")
    assert bad.status == 1
    assert "audit.jsonl line 1" in bad.text
    assert run("memory", "audit", "--verify", "--expect", good.data["head"]).status == 1

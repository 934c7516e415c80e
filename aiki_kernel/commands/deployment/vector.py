"""Vector: what the daemons write in the journal, and what ``aiki health`` finds, sent onward.

``aiki health --json --follow`` is a source as it is: one JSON document a line on stdout, logs
on stderr. Each document becomes one event a probe, in words a person reads, then goes three
ways: all of it into files by day, figures to Prometheus, what is wrong to an HTTP address.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from aiki_kernel.commands.deployment.place import Made, Place
from aiki_kernel.commands.deployment.systemd import HEALTH, MEMORY

SPLIT = """\
. = unnest!(.probes)
"""
"""VRL: a sample becomes one event a probe."""

SAY = """\
found = object!(.probes)
state = string(found.state) ?? "unknown"
title = string(found.title) ?? string(found.probe) ?? "a probe"
reason = string(found.reason) ?? ""
said = title + " is " + state
if reason != "" {
  said = said + ": " + reason
}
up = 1
if state == "down" {
  up = 0
}
. = {
  "timestamp": .at,
  "message": said,
  "service": found.probe,
  "state": state,
  "value": found.value,
  "unit": found.unit,
  "up": up,
  "seconds": found.seconds
}
"""
"""VRL: a probe's event in words, with the few fields that metrics need."""

WRONG = '.state != "ok"'
"""VRL: what somebody should hear of."""

JOURNAL = """\
. = {
  "timestamp": .timestamp,
  "message": .message,
  "service": ._SYSTEMD_USER_UNIT,
  "state": "log"
}
"""
"""VRL: a line of the journal in the same shape."""


def files(place: Place) -> list[Made]:
    """``vector.toml``."""
    return [Made("vector.toml", _toml(place))]


def _toml(place: Place) -> str:
    log = place.home / "log"
    return f"""\
# vector --config vector.toml
# AIKI_SINK is the address that hears what is wrong.
data_dir = {_text(log / "vector")}

[sources.aiki_journal]
type = "journald"
current_boot_only = true
include_matches._SYSTEMD_USER_UNIT = {_list([MEMORY, HEALTH])}

[sources.aiki_samples]
type = "exec"
command = {_list([*place.aiki, "health", "--json", "--follow"])}
mode = "streaming"
include_stderr = false
environment = {{ AIKI_HOME = {_text(place.home)} }}
streaming.respawn_on_exit = true
streaming.respawn_interval_secs = 10
decoding.codec = "json"

[transforms.aiki_split]
type = "remap"
inputs = ["aiki_samples"]
source = '''
{SPLIT}'''

[transforms.aiki_words]
type = "remap"
inputs = ["aiki_split"]
drop_on_error = true
source = '''
{SAY}'''

[transforms.aiki_log]
type = "remap"
inputs = ["aiki_journal"]
source = '''
{JOURNAL}'''

[transforms.aiki_wrong]
type = "filter"
inputs = ["aiki_words"]
condition = '{WRONG}'

[transforms.aiki_figures]
type = "log_to_metric"
inputs = ["aiki_words"]

[[transforms.aiki_figures.metrics]]
type = "gauge"
field = "up"
namespace = "aiki"
name = "probe_up"
tags.probe = "{{{{service}}}}"

[[transforms.aiki_figures.metrics]]
type = "gauge"
field = "seconds"
namespace = "aiki"
name = "probe_duration_seconds"
tags.probe = "{{{{service}}}}"

[sinks.aiki_files]
type = "file"
inputs = ["aiki_words", "aiki_log"]
path = {_text(log / "health-%Y-%m-%d.json")}
encoding.codec = "json"

[sinks.aiki_prometheus]
type = "prometheus_exporter"
inputs = ["aiki_figures"]
address = "127.0.0.1:9598"

[sinks.aiki_http]
type = "http"
inputs = ["aiki_wrong"]
uri = "${{AIKI_SINK:-http://127.0.0.1:8687/}}"
method = "post"
encoding.codec = "json"
healthcheck.enabled = false
"""


def _text(value: str | Path) -> str:
    """A TOML string. Vector itself reads ``$`` as a variable, and ``$$`` as the sign."""
    return json.dumps(str(value).replace("$", "$$"), ensure_ascii=False)


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"

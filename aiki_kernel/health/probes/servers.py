"""Servers of models: those that ``aiki model serve`` watches, and each configured provider.

A provider is asked for its list of models, which costs no tokens; of the answer only the status
is read.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from aiki_kernel.health.exchange import Answer, NoAnswerError, ask
from aiki_kernel.health.keys import key
from aiki_kernel.health.moment import Moment
from aiki_kernel.health.plan import Endpoint
from aiki_kernel.health.reading import DEGRADED, DOWN, OK, Reading, span


class Served:
    """llama.cpp and BitNet servers of this home; what was stopped on purpose is left out."""

    name, title, timeout_s = "model_servers", "Model servers", 0.0

    def measure(self, moment: Moment) -> Reading | None:
        states = [one for one in _states(moment) if one.get("state") != "stopped"]
        if not states:
            return None
        found = [_server(moment, one) for one in states]
        bad = [reading for reading in found if reading.bad]
        facts = {str(s["name"]): r.state for s, r in zip(states, found, strict=True)}
        healthy = float(len(found) - len(bad))
        if not bad:
            return Reading(OK, " ".join(r.reason for r in found), healthy, "servers", facts)
        state = DOWN if any(r.state == DOWN for r in bad) else DEGRADED
        return Reading(state, " ".join(r.reason for r in bad), healthy, "servers", facts)


class Provider:
    """One endpoint: reachable, takes our key, does not hold us back."""

    timeout_s = 0.0

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.name = f"provider_{endpoint.name}"
        self.title = f"Provider {endpoint.name}"

    def measure(self, moment: Moment) -> Reading | None:
        endpoint, plan = self._endpoint, moment.plan
        secret = key(plan, endpoint.key_variable)
        if endpoint.key_variable and not secret:
            if not endpoint.wanted:
                return None
            return Reading(
                DOWN,
                (
                    f"There is no key for {endpoint.name}: set {endpoint.key_variable}, or "
                    "choose a local model with `aiki config set model local`."
                ),
            )
        headers = {**endpoint.headers, "Accept": "application/json"}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        # OpenRouter lists its models for everybody, whatever the key.
        path = "/key" if endpoint.openrouter and secret else "/models"
        began = time.monotonic()
        try:
            answer = ask(
                endpoint.base_url.rstrip("/") + path,
                headers=headers,
                timeout=moment.patience,
                ca_file=plan.ca_file,
                want_body=False,
            )
        except NoAnswerError as error:
            return Reading(DOWN, _unreachable(endpoint, error, moment.patience))
        except ValueError as error:
            return Reading(
                DOWN,
                (
                    f"The address of {endpoint.name} is wrong ({error}): correct "
                    f"endpoints.{endpoint.name}.base_url."
                ),
            )
        seconds = time.monotonic() - began
        state, reason = _judge(endpoint, answer)
        return Reading(state, reason, round(seconds, 4), "s", {"status": answer.status})


def _judge(endpoint: Endpoint, answer: Answer) -> tuple[str, str]:
    name, variable, status = endpoint.name, endpoint.key_variable, answer.status
    if status in (401, 403):
        named = f"in {variable} " if variable else ""
        what = "The key" if variable else "A key that is missing, or access"
        return (
            DOWN,
            (
                f"{what} {named}is refused by {name} ({status}): it was revoked or mistyped; "
                "set a new one."
            ),
        )
    if status == 402:
        return (
            DOWN,
            f"There is no credit left at {name} (402): add some there, or choose another model.",
        )
    if status == 429:
        wait = answer.headers.get("retry-after", "")
        when = f"in {wait} s" if wait.isdigit() else "in a minute"
        return (
            DEGRADED,
            f"{name} holds us back (rate limit, 429): try again {when}, or choose another model.",
        )
    if status >= 500:
        return DOWN, f"{name} fails ({status}): wait, or choose another model."
    return OK, f"{name} answers."


def _unreachable(endpoint: Endpoint, error: NoAnswerError, patience: float) -> str:
    name, url = endpoint.name, endpoint.base_url
    told = {
        "refused": f"{name} refuses connections at {url}: start it, or correct its base_url.",
        "silent": (
            f"{name} does not answer within {patience:.1f} s: check the network, or choose "
            "another model."
        ),
        "unknown host": (
            f"The address of {name} is not found ({url}): check the network, or correct its "
            "base_url."
        ),
        "tls": (
            f"The certificate of {name} is not trusted ({error}): check the clock and the proxy."
        ),
    }
    return told.get(error.cause, f"{name} cannot be reached ({error}): check the network.")


def _states(moment: Moment) -> list[dict[str, Any]]:
    """What each supervisor has written down of its server."""
    found = []
    for path in sorted((Path(moment.plan.home) / "serve").glob("*.json")):
        try:
            data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(data, dict) and data.get("name"):
            found.append(data)
    return found


def _server(moment: Moment, state: dict[str, Any]) -> Reading:
    name, told = str(state["name"]), str(state.get("state"))
    log = f"see {state.get('log') or 'its log'}"
    again = f"start it with `aiki model serve {state.get('model') or name}`"
    if told == "failed":
        return Reading(
            DOWN, f"{name} was given up ({state.get('note') or 'no reason given'}): {log}."
        )
    if not _alive(state.get("pid")):
        return Reading(DOWN, f"Nobody watches {name} any more, its supervisor was killed: {again}.")
    if told in ("starting", "restarting"):
        since = span(max(0.0, moment.wall - float(state.get("since") or moment.wall)))
        note = f" ({state['note']})" if state.get("note") else ""
        return Reading(DEGRADED, f"{name} has been {told} for {since}{note}: wait, or {log}.")
    base = str(state.get("base_url") or "").removesuffix("/v1")
    try:
        status = ask(f"{base}/health", timeout=moment.patience, want_body=False).status
    except (NoAnswerError, ValueError) as error:
        return Reading(DOWN, f"{name} does not answer ({error}): {log}.")
    if status != 200:
        return Reading(DEGRADED, f"{name} is loading (status {status}): wait, or {log}.")
    return Reading(OK, f"{name} serves at {base}.")


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

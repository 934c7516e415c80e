"""Summaries to show, and a Chromium page with a small stand-in for the widget's model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aiki_kernel.display import front_end


def summary(**changes: Any) -> dict[str, Any]:
    """An ordinary finished answer with two memories."""
    whole: dict[str, Any] = {
        "version": 1,
        "turn_id": "1c6f",
        "session_id": "0f2d",
        "model": "local/smollm2-135m",
        "provider": "local",
        "persona": "default",
        "backend": {"name": "mojo", "reason": "922 memories of 384 dimensions", "ms": 0.2134},
        "finish_reason": "stop",
        "usage": {
            "input_tokens": 1412,
            "output_tokens": 38,
            "cached_tokens": 0,
            "estimated": False,
        },
        "cost": {"usd": 0.0, "estimated": False},
        "latency_s": {
            "recall": 0.0124,
            "route": 0.0002,
            "first_token": 0.481,
            "generate": 2.3,
            "remember": 0.018,
        },
        "tokens_per_second": 20.9,
        "hits": [
            {
                "id": "a",
                "text": "My sister Åse keeps bees in Ålesund.",
                "score": 2.4137,
                "created_at": "2026-11-18T09:30:00.000000+00:00",
                "kind": "turn",
                "role": "user",
                "provenance": {"notebook": "work/garden.ipynb", "session_id": "0f2d7c11"},
            },
            {
                "id": "b",
                "text": "Honey is sold at the market on Saturdays for $5 to $9 a jar.",
                "score": -0.31,
                "created_at": "2025-02-01T18:00:00+00:00",
                "kind": "fact",
                "role": None,
                "provenance": {"session_id": "77aa01bc9"},
            },
        ],
        "hit_ids": ["a", "b"],
        "notes": [],
        "remembered": {"ids": ["c"], "spooled": False},
        "stale": False,
    }
    return {**whole, **changes}


@pytest.fixture(scope="session")
def answer() -> Callable[..., dict[str, Any]]:
    """Makes the summary of an ordinary finished answer, with changes."""
    return summary


@contextmanager
def widget_page(name: str) -> Iterator[Any]:
    """A Chromium page that has ``mount(values)`` for the widget called ``name``, and may reach no
    network. ``model``, ``sent`` and ``cleanup`` belong to what was mounted last."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        reason = "Chromium is not installed: the widget's front end was NOT tested."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 820, "height": 600})
        requests: list[str] = []
        faults: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.set_content("<!doctype html><meta charset=utf-8><body></body>")
        tab.add_style_tag(content=front_end.style(name))
        tab.evaluate(HARNESS, front_end.module(name))
        yield tab
        browser.close()
        assert faults == []
        assert [url for url in requests if not url.startswith(("blob:", "data:"))] == []


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """The page of the answer card: it has ``show(summary, state)`` besides."""
    with widget_page("answer_card") as tab:
        yield tab


@pytest.fixture(scope="module")
def board_page() -> Iterator[Any]:
    """The page of the health board."""
    with widget_page("health_board") as tab:
        yield tab


HARNESS = """async (source) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const module = await import(url);
  window.card = module;
  window.mount = (values) => {
    window.cleanup?.();
    document.body.replaceChildren();
    const listeners = {};
    window.sent = [];
    window.model = {
      get: (name) => values[name],
      set: (changes) => {
        Object.assign(values, changes);
        for (const name of Object.keys(changes)) listeners[`change:${name}`]?.forEach((f) => f());
      },
      on: (name, f) => (listeners[name] ??= []).push(f),
      off: (name, f) => (listeners[name] = (listeners[name] ?? []).filter((g) => g !== f)),
      send: (content) => window.sent.push(content),
      count: () => Object.values(listeners).flat().length,
    };
    const el = document.createElement("div");
    document.body.append(el);
    window.cleanup = module.default.render({ model: window.model, el });
  };
  window.show = (summary, state = "done") => window.mount({ summary, state });
}"""

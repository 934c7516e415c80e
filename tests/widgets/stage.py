"""A page in Chromium that plays JupyterLab to a widget: its colours, and a model of its own.

The page may reach no network. Its one font comes with the packages of ``widgets/package.json``,
so that a picture is the same on every machine.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiki_kernel.display import front_end

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
"""What time it is on a still page."""

_LAUNCH = ["--no-sandbox", "--font-render-hinting=none", "--disable-lcd-text"]
_COLOURS = {
    "light": {
        "--jp-layout-color1": "#ffffff",
        "--jp-content-font-color1": "rgba(0, 0, 0, 0.87)",
        "--jp-brand-color1": "#1976d2",
        "--jp-error-color1": "#d32f2f",
    },
    "dark": {
        "--jp-layout-color1": "#111111",
        "--jp-content-font-color1": "rgba(255, 255, 255, 1)",
        "--jp-brand-color1": "#1976d2",
        "--jp-error-color1": "#ef5350",
    },
}


@dataclass
class Stage:
    """One page. ``tab`` is Playwright's; ``model``, ``sent`` (what the widget sent), ``host``,
    ``cleanup`` and ``widget`` (its module) are names on the page, of what was mounted last."""

    tab: Any
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def show(
        self, name: str, values: dict[str, Any], *, width: int = 820, theme: str = "light"
    ) -> Any:
        """Mount the widget ``name`` with the model's ``values``; returns the tab."""
        self._look(width, theme)
        files = [front_end.module(name), front_end.style(name)]
        self.tab.evaluate("([...all]) => mount(...all)", [name, *files, values])
        return self.tab

    def put(self, html: str, *, width: int = 820, theme: str = "light") -> Any:
        """Show static HTML as JupyterLab does; returns the tab."""
        self._look(width, theme)
        self.tab.evaluate("(html) => put(html)", html)
        return self.tab

    def _look(self, width: int, theme: str) -> None:
        self.tab.set_viewport_size({"width": width, "height": 600})
        look = [_COLOURS[theme], str(theme == "light").lower()]
        self.tab.evaluate("([colours, light]) => paint(colours, light)", look)


@contextmanager
def opened(chromium: str) -> Iterator[Any]:
    """A browser. Playwright runs a loop that tests of asyncio must not meet: close it soon."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=chromium, args=_LAUNCH)
        yield running
        running.close()


@contextmanager
def stage(browser: Any, fonts: Path | None = None) -> Iterator[Stage]:
    """A page of ``browser``. With ``fonts``, the folder of DejaVu, it is still: its clock stands
    at :data:`NOW` until the test moves it by ``tab.clock.run_for``."""
    context = browser.new_context(
        viewport={"width": 820, "height": 600},
        device_scale_factor=1,
        locale="en-GB",
        timezone_id="UTC",
    )
    tab = context.new_page()
    made = Stage(tab)
    tab.on("request", lambda request: made.requests.append(request.url))
    tab.on("pageerror", lambda error: made.faults.append(str(error)))
    if fonts is not None:
        tab.clock.install(time=NOW)
    tab.set_content(_PAGE)
    if fonts is not None:
        tab.add_style_tag(content=_faces(fonts))
        tab.evaluate("() => Promise.all([...document.fonts].map((font) => font.load()))")
        tab.clock.pause_at(NOW.replace(minute=1))
    tab.evaluate(_HARNESS)
    yield made
    context.close()
    assert made.faults == []
    assert [url for url in made.requests if not url.startswith(("blob:", "data:"))] == []


def _faces(fonts: Path) -> str:
    rules = []
    for file, weight in (("DejaVuSans.ttf", 400), ("DejaVuSans-Bold.ttf", 700)):
        data = base64.b64encode((fonts / file).read_bytes()).decode()
        rules.append(
            f"@font-face {{ font-family: Picture; font-weight: {weight}; "
            f"src: url(data:font/ttf;base64,{data}) }}"
        )
    return "".join([*rules, ":root { --jp-ui-font-family: Picture; font-family: Picture }"])


_PAGE = """<!doctype html><meta charset=utf-8><style id=widget></style><style>
body { margin: 0; padding: 8px; background: var(--jp-layout-color1);
  color: var(--jp-content-font-color1); font-size: 14px; }
</style><body></body>"""

_HARNESS = """() => {
  const modules = {};
  window.paint = (colours, light) => {
    document.body.dataset.jpThemeLight = light;
    for (const [name, value] of Object.entries(colours)) {
      document.documentElement.style.setProperty(name, value);
    }
  };
  window.put = (html) => {
    window.cleanup?.();
    window.cleanup = undefined;
    window.host = document.createElement("div");
    document.body.replaceChildren(window.host);
    window.host.innerHTML = html;
  };
  window.mount = async (name, source, style, values) => {
    window.put("");
    if (!modules[name]) {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules[name] = await import(url);
    }
    document.getElementById("widget").textContent = style;
    const listeners = {};
    window.widget = modules[name];
    window.sent = [];
    window.model = {
      get: (key) => values[key],
      set: (changes) => {
        Object.assign(values, changes);
        for (const key of Object.keys(changes)) listeners[`change:${key}`]?.forEach((f) => f());
      },
      save_changes: () => {},
      on: (key, f) => (listeners[key] ??= []).push(f),
      off: (key, f) => (listeners[key] = (listeners[key] ?? []).filter((g) => g !== f)),
      send: (content) => window.sent.push(content),
      receive: (content) => listeners["msg:custom"]?.forEach((f) => f(content)),
      count: () => Object.values(listeners).flat().length,
    };
    window.cleanup = modules[name].default.render({ model: window.model, el: window.host });
  };
}"""

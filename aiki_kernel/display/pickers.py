"""The persona picker and the model picker: anywidgets that choose as the magics do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from aiki_kernel.display import front_end
from aiki_kernel.display.asked import Answer, AskedWidget
from aiki_kernel.display.picker_facts import Facts
from aiki_kernel.display.static_pickers import (
    models_html,
    models_text,
    personas_html,
    personas_text,
)

Find = Callable[[Mapping[str, Any]], Facts]
"""The page for what is wanted (``query``, ``tier``). May take its time."""

Choose = Callable[[str], str]
"""Chooses by name; the line that says what counts now. Raises AikiError for what cannot be."""


class _Picker(AskedWidget):
    page = traitlets.Dict().tag(sync=True)

    typed = frozenset({"find"})

    def __init__(self, find: Find, choose: Choose, page: Facts) -> None:
        self._find, self._choose, self._seen = find, choose, page
        super().__init__(page=page)

    def answer(self, what: str, asked: Mapping[str, Any]) -> Answer:
        said = ""
        if what == "choose":
            said = self._choose(str(asked.get("name", "")))
        elif what != "find":
            return super().answer(what, asked)
        wanted = asked.get("wanted")
        self._seen = self._find(wanted if isinstance(wanted, Mapping) else {})
        return {"page": self._seen, "said": said}


class PersonaPicker(_Picker):
    """Who answers from now on."""

    _esm = front_end.module("persona_picker")
    _css = front_end.style("persona_picker")

    def static(self) -> dict[str, str]:
        return {"text/html": personas_html(self._seen), "text/plain": personas_text(self._seen)}


class ModelPicker(_Picker):
    """Which model answers from now on."""

    _esm = front_end.module("model_picker")
    _css = front_end.style("model_picker")

    def static(self) -> dict[str, str]:
        return {"text/html": models_html(self._seen), "text/plain": models_text(self._seen)}

"""What ``%aiki_persona`` and ``%aiki_model`` show in a notebook: a picker, or its static faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiki_kernel.commands.command import Context, Result


def personas(context: Context, data: Any) -> Result:
    """The persona picker; ``data`` as ``persona list`` has it."""
    from aiki_kernel.commands import persona
    from aiki_kernel.display import picker_facts
    from aiki_kernel.display.static_pickers import personas_html, personas_text

    def find(_: Mapping[str, Any]) -> dict[str, Any]:
        found = [persona._facts(one) for one in persona.roster(context).all()]
        language = persona._language(context)
        return picker_facts.personas(found, persona._current(context), language)

    page = find({})

    def widget() -> Any:
        from aiki_kernel.display.pickers import PersonaPicker

        return PersonaPicker(find, lambda name: persona.use(context, name).text, page)

    return Result(data, personas_text(page), personas_html(page), widget=widget)


def models(context: Context, data: Any, text: str) -> Result:
    """The model picker; ``data`` and ``text`` tell of the model that answers."""
    from aiki_kernel.commands import model_list
    from aiki_kernel.display import picker_facts
    from aiki_kernel.display.static_pickers import models_html, models_text

    def find(wanted: Mapping[str, Any]) -> dict[str, Any]:
        words = tuple(str(wanted.get("query") or "").split())
        tier = str(wanted.get("tier") or "") or None
        current = model_list.current_name(context)
        rows = [
            {**row, **model_list.needed(context, row)}
            for row in model_list.rows(context, words, tier, current, picker_facts.MOST_MODELS)
        ]
        chosen = getattr(context.conversation, "model", None)
        source = "chosen in this session" if chosen else "from the settings"
        return picker_facts.models(rows, current, source, " ".join(words))

    def choose(name: str) -> str:
        from aiki_kernel.commands.model import use

        return use(context, name).text

    page = find({})

    def widget() -> Any:
        from aiki_kernel.display.pickers import ModelPicker

        return ModelPicker(find, choose, page)

    return Result(data, f"{text}\n\n{models_text(page)}", models_html(page), widget=widget)

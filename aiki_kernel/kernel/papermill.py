"""papermill speaks to AIKI notebooks: parameters become a ``%%python`` cell.

papermill finds translators in a registry that code must fill; it has no entry point for
them. It does load every ``papermill.engine`` entry point when it is imported, so this
module is one: registering the translator is what it is loaded for, the engine is
papermill's own. The translator stands under the kernel's name, which papermill asks
first: a notebook that ran once carries the kernel's ``language_info`` and must run again.
"""

from __future__ import annotations

import copy
from typing import Any

from papermill.engines import NBClientEngine
from papermill.translators import PythonTranslator, papermill_translators

_HEADER = "%%python\n"


class AikiTranslator(PythonTranslator):  # type: ignore[misc]  # papermill is untyped
    """Python parameters behind a ``%%python`` line; ``--help-notebook`` reads them back."""

    @classmethod
    def codify(cls, parameters: dict[str, Any], comment: str = "Parameters") -> str:
        """The source of the injected cell."""
        return _HEADER + str(super().codify(parameters, comment))

    @classmethod
    def inspect(cls, parameters_cell: Any) -> Any:
        """The parameters that a cell declares: name, inferred type, default, help."""
        cell = copy.copy(parameters_cell)
        if cell["source"].startswith("%%python"):
            cell["source"] = cell["source"].partition("\n")[2]
        return super().inspect(cell)


class AikiEngine(NBClientEngine):  # type: ignore[misc]
    """papermill's standard engine under our name (``--engine aiki``)."""


papermill_translators.register("aiki", AikiTranslator)

"""papermill speaks to AIKI notebooks: parameters become a ``%%python`` cell.

papermill finds translators in a registry that code must fill; it has no entry point for
them. It does load every ``papermill.engine`` entry point when it is imported, so this
module is one: registering the translator is what it is loaded for, the engine is
papermill's own. The translator stands under the kernel's name, which papermill asks
first: a notebook that ran once carries the kernel's ``language_info`` and must run again.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

from papermill.engines import NBClientEngine, papermill_engines
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
    """papermill's standard engine, which also hands an AIKI kernel the answers that are pinned
    by ``# keep``: papermill clears every output before it runs a notebook, and no kernel sees
    the file. For notebooks without such answers, and other kernels, it is the standard one.
    """

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, *args: Any, **kwargs: Any) -> Any:
        """Run ``nb``; its pinned answers lie in a private file while it runs."""
        from aiki_kernel.kernel.keeping import handed_over

        rows = handed_over(nb) if kernel_name == "aiki" else []
        if not rows:
            return super().execute_notebook(nb, kernel_name, *args, **kwargs)
        with tempfile.TemporaryDirectory(prefix="aiki-kept-") as folder:
            kept = Path(folder) / "kept.json"
            kept.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
            kwargs["extra_arguments"] = [
                *kwargs.get("extra_arguments", ()),
                f"--AikiKernel.kept_answers={kept}",
            ]
            return super().execute_notebook(nb, kernel_name, *args, **kwargs)


papermill_translators.register("aiki", AikiTranslator)
# The engine that runs when none is named. papermill looks for it under None.
papermill_engines.register(None, AikiEngine)

"""``aiki lab``: from nothing to JupyterLab with a first notebook on the AIKI kernel."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.first_run import ensure_daemon, ensure_local_model
from aiki_kernel.commands.notebooks import packaged_one
from aiki_kernel.commands.registry import command
from aiki_kernel.errors import AikiError, UsageError

_DEFAULT_KERNEL = "--MultiKernelManager.default_kernel_name"
_WELCOME = "welcome.ipynb"


@command("lab", faces=("cli",))
def lab(
    context: Context,
    words: Annotated[
        tuple[str, ...],
        Arg("a notebook (NAME.ipynb), and options of jupyter lab", metavar="WORD", unknown=True),
    ] = (),
) -> Result:
    """Open JupyterLab on a notebook; without one, on a copy of the welcome notebook here.

    The first time it fetches the small local model. Options such as --no-browser or --port=8899
    go to jupyter lab.
    """
    given = [word for word in words if word != "--"]
    named = [word for word in given if word.endswith(".ipynb") and not word.startswith("-")]
    options = [word for word in given if word not in named]
    if len(named) > 1:
        raise UsageError(f"aiki lab opens one notebook, not {len(named)}: {', '.join(named)}.")
    notebook = _there(named[0]) if named else welcome_here()
    _try(lambda: ensure_local_model(context, context.settings.model))
    _try(lambda: ensure_daemon(context))
    _try(registered)
    argv = [sys.executable, "-m", "jupyterlab", str(notebook)]
    if not any(option.startswith(_DEFAULT_KERNEL) for option in options):
        argv.append(f"{_DEFAULT_KERNEL}=aiki")
    _say(f"Opening {notebook.name} in JupyterLab (Ctrl-C twice ends it).")
    sys.stdout.flush()
    os.execv(sys.executable, [*argv, *options])  # noqa: S606 - our own Python, no shell


def welcome_here() -> Path:
    """The welcome notebook in the working folder; one that is there already is left as it is."""
    target = Path.cwd() / _WELCOME
    if not target.exists():
        try:
            target.write_bytes(packaged_one("welcome").read_bytes())
        except OSError as error:
            raise AikiError(
                f"{target} cannot be written ({error.strerror}): go to a folder of yours, "
                "or name a notebook."
            ) from None
    return target


def registered() -> None:
    """Make sure that the Jupyter of this environment knows the kernel (a source tree's may not)."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    from aiki_kernel.commands.kernel import NAME, source_folder

    try:
        KernelSpecManager().get_kernel_spec(NAME)
    except NoSuchKernel:
        target = Path(sys.prefix) / "share" / "jupyter" / "kernels" / NAME
        try:
            shutil.copytree(source_folder(), target, dirs_exist_ok=True)
        except OSError as error:
            raise AikiError(
                f"The kernel cannot be registered in {target} ({error.strerror}): "
                "run `aiki kernel install --user`."
            ) from None


def _there(name: str) -> Path:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"There is no {path}: leave the name out for the welcome notebook.")
    return path


def _try(step: Callable[[], None]) -> None:
    """Do a step that Lab can do without: what failed is said, and Lab opens all the same."""
    try:
        step()
    except AikiError as error:
        _say(str(error))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - stdout is for answers

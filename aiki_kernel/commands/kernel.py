"""``aiki kernel``: where Jupyter finds the AIKI kernel.

Installing the package registers it for the Jupyter of the same environment; these commands
are for a Jupyter that lives elsewhere.
"""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Annotated, Any

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Table
from aiki_kernel.errors import AikiError, UsageError

NAME = "aiki"


@command("kernel install", faces=("cli",))
def install(
    context: Context,
    user: Annotated[bool, Arg("for this user (the default)")] = False,
    sys_prefix: Annotated[bool, Arg("for this Python environment")] = False,
    prefix: Annotated[Path | None, Arg("for the environment at this folder")] = None,
    name: Annotated[str, Arg("the kernel's name for Jupyter")] = NAME,
) -> Result:
    """Register the kernel with Jupyter, bound to the Python that runs this command."""
    if user + sys_prefix + (prefix is not None) > 1:
        raise UsageError("Choose one of --user, --sys-prefix and --prefix.")
    where = sys.prefix if sys_prefix else str(prefix.expanduser().absolute()) if prefix else None
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / NAME
        shutil.copytree(source_folder(), source)
        write_spec(source, name)
        try:
            made = KernelSpecManager().install_kernel_spec(
                str(source), kernel_name=name, user=where is None, prefix=where
            )
        except OSError as error:
            raise AikiError(
                f"The kernel cannot be registered in {error.filename} ({error.strerror}): "
                "try --user or --sys-prefix."
            ) from None
        except ValueError as error:
            raise UsageError(f"{error}".splitlines()[0]) from None
    return Result({"name": name, "folder": made}, f"The kernel {name!r} is registered in {made}.")


@command("kernel uninstall", faces=("cli",))
def uninstall(
    context: Context, name: Annotated[str, Arg("the kernel's name for Jupyter")] = NAME
) -> Result:
    """Take the registration away again: the one that Jupyter finds first."""
    found = {row["name"]: row for row in _registered()}
    if name not in found:
        known = f": there are {', '.join(found)}" if found else ""
        raise UsageError(f"No AIKI kernel is registered as {name!r}{known}.")
    folder = Path(found[name]["folder"])
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise AikiError(f"{folder} cannot be removed ({error.strerror}).") from None
    return Result({"name": name, "folder": str(folder)}, f"Removed {folder}.")


@command("kernel list", faces=("cli",))
def list_(context: Context) -> Result:
    """List the AIKI kernels that Jupyter finds, and whether their Python is still there."""
    rows = _registered()
    if not rows:
        return Result({"kernels": []}, "No AIKI kernel is registered: run `aiki kernel install`.")
    table = Table(
        ["name", "folder", "python", "works"],
        [(row["name"], row["folder"], row["python"], row["works"]) for row in rows],
    )
    return Result({"kernels": rows}, table.text(context), table.html())


def source_folder() -> Path:
    """The kernelspec with its logos: installed beside this Python, or in the source tree."""
    share = Path(sysconfig.get_path("data")) / "share" / "jupyter" / "kernels" / NAME
    tree = Path(__file__).resolve().parents[2] / "kernelspec"
    for folder in (tree, share, Path(sys.prefix) / "share" / "jupyter" / "kernels" / NAME):
        if (folder / "kernel.json").is_file():
            return folder
    raise AikiError(f"The kernelspec is missing from {share}: install aiki-kernel again.")


def write_spec(folder: Path, name: str) -> None:
    """Bind the kernelspec in ``folder`` to this Python: Jupyter may run under another."""
    path = folder / "kernel.json"
    spec: dict[str, Any] = json.loads(path.read_text("utf-8"))
    spec["argv"] = [sys.executable, *spec["argv"][1:]]
    if name != NAME:
        spec["display_name"] = f"{spec['display_name']} ({name})"
    path.write_text(json.dumps(spec, indent=2) + "\n", "utf-8")


def _registered() -> list[dict[str, Any]]:
    """Kernels that start this package, by name."""
    from jupyter_client.kernelspec import KernelSpecManager

    rows = []
    for name, folder in sorted(KernelSpecManager().find_kernel_specs().items()):
        try:
            spec = json.loads((Path(folder) / "kernel.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue  # another kernel's broken file is not ours to report
        argv = spec.get("argv", [])
        if "aiki_kernel" in argv:
            python = argv[0]
            works = shutil.which(python) is not None
            rows.append({"name": name, "folder": folder, "python": python, "works": works})
    return rows

"""AIKI kernel: a Jupyter kernel in which a cell is a message.

``from aiki_kernel import Aiki`` is the way in from Python; ``%load_ext aiki_kernel``
brings the magics into any IPython kernel. Importing this package imports nothing
heavy: names are resolved on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiki_kernel.version import __version__

if TYPE_CHECKING:
    from aiki_kernel.aiki import Aiki as Aiki
    from aiki_kernel.mind.reply import Reply as Reply

__all__ = ["Aiki", "Reply", "__version__", "load_ipython_extension", "unload_ipython_extension"]


def __getattr__(name: str) -> Any:
    if name == "Aiki":
        from aiki_kernel.aiki import Aiki

        return Aiki
    if name == "Reply":
        from aiki_kernel.mind.reply import Reply

        return Reply
    raise AttributeError(f"module 'aiki_kernel' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """Register the ``%aiki_*`` magics and ``%%aiki`` (called by ``%load_ext aiki_kernel``)."""
    from aiki_kernel.kernel.extension import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics out again (called by ``%unload_ext aiki_kernel``)."""
    from aiki_kernel.kernel.extension import unload

    unload(shell)

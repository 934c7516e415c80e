"""What must be there before the first answer, and is made when it is missing."""

from __future__ import annotations

from aiki_kernel.commands.command import Context
from aiki_kernel.commands.progress import progress


def ensure_local_model(context: Context, name: str) -> None:
    """Fetch the model behind ``name`` if it is a local one that is known and not here.

    Raises :class:`ModelError` with the line for the user when it cannot be fetched.
    """
    endpoint, _, model = name.partition("/")
    if endpoint != "local":
        return
    from aiki_kernel.models import weights

    here = weights.installed(context.paths.models)
    wanted = model or (weights.DEFAULT if not here else "")
    if wanted in weights.KNOWN and wanted not in here:
        with progress(context, f"Fetching {wanted}", bytes_=True) as step:
            weights.pull(wanted, context.paths.models, step)


def ensure_daemon(context: Context) -> None:
    """Start the daemon unless it runs or is switched off. Raises :class:`DaemonError`."""
    if context.settings.daemon != "off":
        from aiki_kernel.daemon import lifecycle

        lifecycle.start(context.settings, context.paths)

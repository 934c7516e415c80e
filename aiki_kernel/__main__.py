"""``python -m aiki_kernel -f FILE`` starts the kernel; ``... install`` registers it."""

from __future__ import annotations

import sys


def main() -> None:
    """Start the kernel, or hand ``install`` and ``uninstall`` to the ``aiki kernel`` command."""
    if sys.argv[1:2] and sys.argv[1] in ("install", "uninstall"):
        from aiki_kernel.cli import main as cli

        sys.argv[1:1] = ["kernel"]
        cli()
        return
    from ipykernel.kernelapp import IPKernelApp

    from aiki_kernel.kernel.kernel import AikiKernel

    IPKernelApp.launch_instance(kernel_class=AikiKernel)


if __name__ == "__main__":
    main()

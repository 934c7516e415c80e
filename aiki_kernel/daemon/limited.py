"""``python -m aiki_kernel.daemon.limited``: become another program, inside limits.

Between fork and exec no Python may run safely in a process with threads, so the limits are set by
this small program, which then turns into the other one: address space, niceness, and, on Linux, a
signal when its parent dies, so that a server never outlives whoever watches it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> int:
    """Set the limits and run the rest of ``words``. Returns only when that fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("program", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    program = given.program[1:] if given.program[:1] == ["--"] else given.program
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if given.parent and os.getppid() != given.parent:
            return 1  # it died before we asked to be told
    if given.memory:
        resource.setrlimit(resource.RLIMIT_AS, (given.memory, given.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if given.nice:
        with contextlib.suppress(OSError):
            os.nice(given.nice)
    try:
        os.execv(program[0], program)  # noqa: S606 - what the user named, no shell
    except OSError as error:
        print(f"{program[0]} cannot be run: {error.strerror}", file=sys.stderr)  # noqa: T201
    return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

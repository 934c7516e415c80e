"""The terminal face of the commands. stdout holds the answer, stderr everything else.

Exit status: 0 success, 1 a failure told in one line, 2 words that are not understood,
130 Ctrl-C. Nothing heavy is imported before a command is known.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from aiki_kernel.commands.command import Context
from aiki_kernel.errors import AikiError, UsageError
from aiki_kernel.version import __version__


def main(words: Sequence[str] | None = None) -> None:
    """The console script ``aiki``."""
    sys.exit(call(sys.argv[1:] if words is None else list(words)))


def call(words: list[str]) -> int:
    """Run one command and print what it says. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Texts are Norwegian or anything else; a C locale must not end the program.
            stream.reconfigure(encoding="utf-8", errors="replace")
    context = Context("cli", width=_width(), color=_colored())
    try:
        return _run(words, context)
    except AikiError as error:
        status = 2 if isinstance(error, UsageError) else 1
        return _failed(words, str(error), error.kind, status)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    finally:
        context.close()


def _run(words: list[str], context: Context) -> int:
    if words[:1] in (["--version"], ["-V"]):
        print(f"aiki {__version__}")
        return 0
    if words[:1] == ["_complete"]:
        return _offer(words[1:], context)
    from aiki_kernel.commands.registry import run

    result = run(words, context)
    if result.text:
        print(result.text)
    sys.stdout.flush()
    return result.status


def _failed(words: list[str], text: str, kind: str, status: int) -> int:
    """One line on stderr; a program that asked for JSON gets it as a document too."""
    line = " ".join(text.split())
    if "--json" in words:
        print(json.dumps({"error": {"kind": kind, "message": line}}, ensure_ascii=False))
    print(line, file=sys.stderr)
    return status


def _offer(words: list[str], context: Context) -> int:
    """What the shell asks for at Tab: the words before the cursor, the last one unfinished."""
    from aiki_kernel.commands.registry import complete

    *before, prefix = words or [""]
    print("\n".join(complete(before, prefix, context)))
    return 0


def _width() -> int:
    """The terminal's width. A file or a pipe has none: then lines are long rather than broken."""
    import shutil

    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return 160


def _colored() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


if __name__ == "__main__":
    main()

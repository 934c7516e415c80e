"""The code blocks of a page, and what is done with each kind.

========  =======================================================================
language  what the test does
========  =======================================================================
bash      runs each line; ``aiki`` lines in this process, others in a real shell;
          ``# exit status 0 or 1`` says what else is right
python    runs it; the blocks of a page share their names
aiki      runs it as a cell of a real AIKI kernel; the cells of a page share it
toml      loads as ``aiki.toml``, or as a persona when a name and a system stand in it
json      is read
text      is output or a form, never a command; nothing runs
========  =======================================================================

A comment on the line before a block, ``<!-- needs: key -->``, says that it cannot run here:
it needs a key, the network, a display, or changes the machine. Then words are only parsed.
What looks like code and is no such block (another fence, one that is indented or never closed, four
spaces, ``<pre>``) is a fault, so that nothing escapes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiki_kernel.commands import registry
from aiki_kernel.commands.parser import HelpWanted, parse, split
from aiki_kernel.kernel.options import parse_options

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("bash", "python", "aiki", "toml", "json", "text")
NEEDS = ("key", "network", "display", "machine")
_BLOCK = re.compile(
    r"(?:<!-- needs: (?P<needs>[\w, ]+) -->\n)?"
    r"^(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_STATUS = re.compile(r"#.*exit status ([\d, or]+)")
_SHELL = re.compile(r"[|<>&;$*]")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]+|\.\.\.|…")
_OTHER_CODE = re.compile(
    r"^[ \t>]*(?:`{3,}|~{3,}|<(?:pre|code)\b).*$|^(?: {4}|\t)[^\s].*$", re.MULTILINE
)
_COMMAND = re.compile(
    r"^(?:\$ |%{1,2}\w|(?:aiki|python3?|pip|jupyter|papermill|git) \w)", re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """One fenced block. ``line`` counts from 1; ``needs`` is empty for one that runs."""

    page: Path
    line: int
    language: str
    text: str
    needs: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("fence")) + 1
        needs = tuple(word.strip() for word in (match["needs"] or "").split(",") if word.strip())
        found.append(Block(page, line, match["language"].strip(), match["text"], needs))
    return found


def escaped(page: Path) -> list[str]:
    """Lines that look like code and are in no block that :func:`blocks` finds."""
    rest = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), page.read_text("utf-8"))
    return [
        f"{page.name}:{rest.count(chr(10), 0, found.start()) + 1}: {found[0].strip()}"
        for found in _OTHER_CODE.finditer(rest)
    ]


def spans(page: Path) -> list[str]:
    """Every code span in the prose and the tables of a page."""
    return _SPAN.findall(_BLOCK.sub("", page.read_text("utf-8")))


def parse_command(words: list[str], face: Any, *, whole: bool = True) -> None:
    """Let the registry understand the words; raises what it would tell a user."""
    with contextlib.suppress(HelpWanted):
        found, rest = registry.find(words, face)
        if whole and rest:  # a command that is only named has no arguments
            parse(found, rest, face)


def check_span(span: str) -> None:
    """A command that is named in prose has to exist; placeholders stand for anything."""
    if span.startswith("%%aiki "):
        parse_options(span.removeprefix("%%aiki "))
    if not span.startswith(("%aiki_", "aiki ")):
        return
    whole = not _PLACEHOLDER.search(span)
    if span.startswith("%"):
        span = span.removesuffix("?")  # help of IPython
        noun, *rest = split(span.removeprefix("%aiki_"))
        parse_command([noun, *rest], "magic", whole=whole)
    else:
        words = shlex.split(span)[1:]
        if words[:1] != ["--version"]:
            parse_command(words, "cli", whole=whole)


def lines(text: str) -> list[str]:
    """The commands of a shell block: continued lines joined, comments alone left out."""
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


@dataclass
class Runner:
    """Runs the blocks of one page in ``folder``."""

    folder: Path
    notebook: Any
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def run(self, block: Block) -> None:
        """Run a block, or look at it when it cannot run here. Raises AssertionError."""
        assert block.language in LANGUAGES, f"{block.where}: no language {block.language!r}"
        assert set(block.needs) <= set(NEEDS), f"{block.where}: needs {block.needs}"
        getattr(self, f"_{block.language}")(block)

    def _text(self, block: Block) -> None:
        told = _COMMAND.search(block.text)
        assert told is None, f"{block.where}: {told and told[0]!r} is a command: say so"

    def _json(self, block: Block) -> None:
        json.loads(block.text)

    def _toml(self, block: Block) -> None:
        from aiki_kernel.config import Settings
        from aiki_kernel.mind.persona_file import read as read_persona

        read = tomllib.loads(block.text)
        if "system" in read:
            read_persona(block.text, read["name"], block.where)
        else:
            Settings(**read)

    def _python(self, block: Block) -> None:
        made = compile(block.text, block.where, "exec")
        if not block.needs:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(made, self.names)

    def _aiki(self, block: Block) -> None:
        first = block.text.partition("\n")[0].strip()
        if first.startswith(("%aiki_", "%%aiki ")):
            check_span(first)
        if block.needs:
            return
        ran = self.notebook().run(block.text.rstrip("\n"), cell=block.where, timeout=60)
        assert ran.status == "ok", f"{block.where}: {ran.reply}"

    def _bash(self, block: Block) -> None:
        for line in lines(block.text):
            if line.startswith("aiki ") and not _SHELL.search(line.partition(" #")[0]):
                words = shlex.split(line, comments=True)[1:]
                if block.needs:
                    parse_command(words, "cli", whole=not _PLACEHOLDER.search(line))
                else:
                    self._judge(block, line, *self._aiki_line(words))
            elif block.needs:
                self._judge(block, line, *self._shell_line(line, "-n"))
            else:
                self._judge(block, line, *self._shell_line(line))

    def _judge(self, block: Block, line: str, status: int, said: str) -> None:
        noted = _STATUS.search(line)
        right = set(map(int, re.findall(r"\d+", noted[1]))) if noted else {0}
        assert status in right, f"{block.where}: `{line}` ended with {status}:\n{said}"

    def _aiki_line(self, words: list[str]) -> tuple[int, str]:
        from aiki_kernel import cli

        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = cli.call(words)
        return status, said.getvalue()

    def _shell_line(self, line: str, *options: str) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", *options, "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

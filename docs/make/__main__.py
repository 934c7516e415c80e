"""``python docs/make``: writes what is derived, checks every page, renders HTML.

Derived are the references of commands, settings and Python (``docs/reference/``), the drawing of
the house and its table. They are kept in the repository, so that they can be read there; a test
fails when they are old. HTML is rendered by Sphinx (the extra ``docs``) into ``build/docs``;
``--pages`` leaves it out, ``--check`` writes nothing and says what is old.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import commands_page
import drawing
import links
import python_page
import settings_page

DOCS = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- drawn: begin -->", "<!-- drawn: end -->"


def derived() -> dict[Path, str]:
    """Every derived file with what it should hold now."""
    house = drawing.survey()
    page = DOCS / "architecture.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return {
        DOCS / "reference" / "commands.md": commands_page.page(),
        DOCS / "reference" / "settings.md": settings_page.page(),
        DOCS / "reference" / "python.md": python_page.page(),
        DOCS / "images" / "architecture.svg": drawing.svg(house),
        page: f"{before}{BEGIN}\n{drawing.table(house)}\n{END}{after}",
    }


def old() -> list[Path]:
    """Derived files that no longer say what the sources say."""
    return [
        path
        for path, text in derived().items()
        if not path.is_file() or path.read_text("utf-8") != text
    ]


def html(target: Path) -> int:
    """Render every page; a warning is a failure. Returns the exit status."""
    words = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-n", "-q"]
    words += ["-d", str(target.parent / "docs-doctrees"), str(DOCS), str(target)]
    return subprocess.run(words, check=False).returncode


def main() -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="docs/make", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a page is old")
    parser.add_argument("--pages", action="store_true", help="no HTML")
    asked = parser.parse_args()
    stale = old()
    for path in stale:
        print(f"{'old' if asked.check else 'written'}: {path.relative_to(DOCS.parent)}")
    if not asked.check:
        for path, text in derived().items():
            if path in stale:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
    broken = links.broken(DOCS.parent)
    for line in broken:
        print(line)
    if broken or (asked.check and stale):
        return 1
    if asked.pages or asked.check:
        return 0
    target = DOCS.parent / "build" / "docs"
    status = html(target)
    print(f"{target / 'index.html'}" if not status else "The pages have faults.")
    return status


if __name__ == "__main__":
    sys.exit(main())

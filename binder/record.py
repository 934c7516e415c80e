"""``python binder/record.py``: writes ``recorded.html`` from the saved welcome notebook.

A page for whoever cannot launch Binder: a recorded session that reads without script and without
network, light or dark as the reader's system is. nbconvert renders the cells; the cards under the
answers are the HTML that the kernel saved. ``--check`` writes nothing and fails when it is old.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE.parent / "notebooks" / "welcome.ipynb"
PAGE = HERE / "recorded.html"

HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:">
<title>AIKI: a recorded session</title>
<style>
:root { color-scheme: light dark; --ink: #1f2430; --ground: #ffffff; --soft: #f3f4f8;
  --line: #d6d9e2; --faint: #5f6675; --mark: #6a4fd0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ec; --ground: #15171c; --soft: #20232b;
  --line: #3a3f4b; --faint: #a0a7b5; --mark: #b09cff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 56rem; padding: 1.5rem 1rem 4rem; background: var(--ground);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
.told { border-left: 4px solid var(--mark); background: var(--soft); padding: .6rem 1rem; }
a { color: var(--mark); }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.25rem; }
.anchor-link, .prompt { display: none; }
.cell { margin: 1rem 0; }
.code_cell .input { background: var(--soft); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem .9rem; }
pre, code { font: .9em/1.5 ui-monospace, monospace; white-space: pre-wrap; margin: 0; }
.output_area { margin-top: .5rem; padding-left: .9rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .9em;
  overflow-wrap: break-word; margin: .5rem 0; }
th, td { border: 1px solid var(--line); padding: .2rem .6rem; text-align: left; }
</style>
<main>
<p class="told">This is a <strong>recorded session</strong> of the AIKI kernel: what is typed stands
in a box, what came back below it. Nothing runs here.</p>
"""


def page() -> str:
    """The whole page. The same notebook gives the same bytes."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    body, _ = exporter.from_notebook_node(book)
    lines = (line.rstrip() for line in body.splitlines())
    return f"{HEAD}{chr(10).join(line for line in lines if line)}\n</main>\n</html>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 when it is old")
    made = page()
    if parser.parse_args().check:
        sys.exit(int(PAGE.read_text("utf-8") != made))
    PAGE.write_text(made, "utf-8")


if __name__ == "__main__":
    main()

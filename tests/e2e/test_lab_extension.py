"""Our lab extension in a real JupyterLab and a real Notebook 7, which it serves as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from fault_server import FaultServer, Scenario

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Open = Callable[..., Any]

CODE = """Here it is:

```python
best = max(harvest)
print(best)
```

```bash
ls
```

Then:

```
n = len(harvest)
```"""
KEYWORDS = """node => {
  const colour = getComputedStyle(node).getPropertyValue('--jp-mirror-editor-keyword-color');
  const probe = document.createElement('i');
  probe.style.color = colour;
  node.append(probe);
  const wanted = getComputedStyle(probe).color;
  probe.remove();
  return [...node.querySelectorAll('.cm-line span')]
    .filter(span => getComputedStyle(span).color === wanted)
    .map(span => span.textContent);
}"""
MANNERS = "node => [node.spellcheck, getComputedStyle(node).whiteSpace.startsWith('break')]"
CELLS = [
    "Say *something* for me, in a long sentence.",
    "%%python\nfor jar in harvest:\n    pass",
    "%aiki_model list --json\n%aiki_usage",
    "# Parameters\nimport math",
    "%%aiki --temperature 0\nimport me some honey",
]
PROSE, PLAIN = [True, True], [False, False]


def _editor(book: Any, index: int) -> Any:
    return book.page.locator(".jp-Notebook .jp-CodeCell .cm-content").nth(index)


def _coloured(book: Any, index: int) -> list[str]:
    """The words of a cell in the colour of keywords, once there are any."""
    _editor(book, index).locator(".cm-line span").first.wait_for()
    words: list[str] = _editor(book, index).evaluate(KEYWORDS)
    return words


def _sources(book: Any) -> list[str]:
    found: list[str] = book.page.evaluate(
        "() => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell .cm-content')]"
        ".map(node => node.innerText)"
    )
    return found


def _python_notebook(lab: Any, name: str, answer: str) -> str:
    """An ordinary Python notebook that was saved with an answer in it."""
    cell = nbformat.v4.new_code_cell("%%aiki\nCode, please.")
    data = {"text/markdown": answer, "text/plain": answer}
    cell.outputs = [nbformat.v4.new_output("display_data", data, metadata={"aiki": {"version": 1}})]
    plain = nbformat.v4.new_code_cell("for x in y: pass")
    plain.outputs = [nbformat.v4.new_output("display_data", data)]
    book = nbformat.v4.new_notebook(cells=[cell, plain])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(book, lab.folder / name)
    return name


def test_prose_and_python_have_their_own_manners_also_while_one_types(
    lab: Any, open_book: Open
) -> None:
    book = open_book(lab.write("manners.ipynb", CELLS))
    assert _coloured(book, 1) == ["%%python", "for", "in", "pass"]
    assert _coloured(book, 2) == ["%aiki_model", "%aiki_usage"]
    assert _coloured(book, 3) == ["import"]
    assert _coloured(book, 4) == ["%%aiki"]
    assert _coloured(book, 0) == []  # "for" and "in" are words here
    manners = [_editor(book, n).evaluate(MANNERS) for n in range(5)]
    assert manners == [PROSE, PLAIN, PLAIN, PLAIN, PROSE]

    # A message becomes Python when its first line says so, and comes back with undo.
    first = _editor(book, 0)
    first.click()
    keys = book.page.keyboard
    keys.press("Control+Home")
    keys.type("%%python")
    keys.press("Enter")
    keys.type("x = 1  # ")
    assert first.evaluate(MANNERS) == PLAIN
    assert "for" in _coloured(book, 0) or "%%python" in _coloured(book, 0)
    keys.type("y")  # the cursor stayed where it was
    assert first.inner_text().splitlines()[1].startswith("x = 1  # ySay *something*")
    for _ in range(12):
        if first.inner_text().startswith("Say"):
            break
        keys.press("Control+z")
    assert first.inner_text() == CELLS[0]
    assert first.evaluate(MANNERS) == PROSE

    # A character that is being composed survives.
    typing = book.page.context.new_cdp_session(book.page)
    keys.press("Control+End")
    keys.press("Enter")
    typing.send("Input.imeSetComposition", {"text": "か", "selectionStart": 1, "selectionEnd": 1})
    typing.send("Input.imeSetComposition", {"text": "かん", "selectionStart": 2, "selectionEnd": 2})
    typing.send("Input.insertText", {"text": "漢"})
    assert first.inner_text() == f"{CELLS[0]}\n漢"


def test_code_of_an_answer_becomes_a_cell_and_nothing_runs(
    lab: Any, open_book: Open, scripted: FaultServer
) -> None:
    book = open_book(lab.write("code.ipynb", ["Give me code.", "Next question."]))
    scripted.script(Scenario(text=CODE))
    book.ask(0)
    blocks = book.answer(0).locator(".aiki-code")
    blocks.first.wait_for()
    offered = [
        [button.get_attribute("aria-label") for button in block.get_by_role("button").all()]
        for block in blocks.all()
    ]
    both = ["Copy code", "Insert as cell"]
    assert offered == [both, ["Copy code"], both]

    # Seen when the pointer is there or the focus; nothing moves for them.
    tools = blocks.first.locator(".aiki-code-tools")
    assert tools.evaluate("node => getComputedStyle(node).opacity") == "0"
    height = blocks.first.evaluate("node => node.offsetHeight")
    blocks.first.get_by_role("button", name="Copy code").focus()
    book.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.aiki-code-tools')).opacity === '1'"
    )
    assert blocks.first.evaluate("node => node.offsetHeight") == height

    book.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    book.page.keyboard.press("Enter")
    blocks.first.get_by_text("Copied").wait_for(state="attached")
    copied = book.page.evaluate("navigator.clipboard.readText()")
    assert copied == "best = max(harvest)\nprint(best)"

    book.page.keyboard.press("Tab")
    book.page.keyboard.press("Enter")
    blocks.nth(2).get_by_role("button", name="Insert as cell").click()
    wanted = ["%%python\nbest = max(harvest)\nprint(best)", "%%python\nn = len(harvest)"]
    assert _sources(book) == ["Give me code.", *wanted, "Next question."]
    assert [book.prompt(n) for n in (1, 2)] == ["[ ]:", "[ ]:"]
    assert book.page.locator(".jp-Cell.jp-mod-active .cm-content").inner_text() == wanted[1]

    # The same by the context menu and by the palette's command.
    blocks.first.locator("pre").click(button="right")
    item = book.page.locator(".lm-Menu-item", has_text="Insert Code of the Answer")
    item.click()
    assert _sources(book)[3] == wanted[0]
    _editor(book, 0).click()
    book.page.keyboard.press("Control+Shift+c")
    book.page.keyboard.type("insert code of the answer")
    book.page.locator(".lm-CommandPalette-item", has_text="Insert Code of the Answer").wait_for()
    book.page.keyboard.press("Enter")
    book.page.wait_for_function(
        "() => document.querySelectorAll('.jp-Notebook .jp-CodeCell').length === 7"
    )
    assert _sources(book)[4:6] == wanted  # both at once, in their order

    book.save()
    kept = lab.read("code.ipynb").cells
    assert [cell.source for cell in kept[1:6]] == [*wanted, wanted[0], *wanted]
    assert all(not cell.outputs and cell.execution_count is None for cell in kept[1:6])


def test_a_saved_python_notebook_keeps_its_own_look_and_the_launcher_has_a_tile(
    lab: Any, open_book: Open
) -> None:
    book = open_book(_python_notebook(lab, "python.ipynb", CODE))
    assert _coloured(book, 1) == ["for", "in", "pass"]  # stock Python, as ever
    assert _editor(book, 0).evaluate(MANNERS) == PLAIN
    assert book.output(1).locator("pre").count() == 3
    assert book.output(1).locator(".aiki-code").count() == 0  # not an answer of ours

    insert = book.answer(0).get_by_role("button", name="Insert as cell").first
    insert.focus()
    insert.press("Enter")
    assert _sources(book)[1] == "best = max(harvest)\nprint(best)"

    # The launcher, while a page is open: our tile with its logo.
    book.page.goto(f"{lab.url}/lab/workspaces/launcher")
    tile = book.page.locator('.jp-LauncherCard[data-category="Notebook"]', has_text="AIKI")
    tile.locator("img").wait_for()
    assert tile.locator("img").evaluate("image => image.naturalWidth") > 0


def test_notebook_7(lab: Any, open_book: Open, scripted: FaultServer) -> None:
    pytest.importorskip("notebook", reason="notebook is not installed: Notebook 7 was NOT tested")
    name = lab.write("seven.ipynb", [CELLS[0], CELLS[1]])
    book = open_book(name, way="notebooks")
    assert _coloured(book, 1) == ["%%python", "for", "in", "pass"]
    assert _editor(book, 0).evaluate(MANNERS) == PROSE

    scripted.script(Scenario(text=CODE))
    book.ask(0)
    assert "scripted/" in book.card(0).inner_text()
    book.answer(0).get_by_role("button", name="Insert as cell").first.press("Enter")
    assert _sources(book)[1] == "%%python\nbest = max(harvest)\nprint(best)"

    page = book.page
    logo = page.locator(".jp-NotebookKernelLogo img")
    assert logo.evaluate("image => image.naturalWidth") > 0
    page.goto(f"{lab.url}/tree")
    page.get_by_text("New", exact=True).click()
    page.locator(".lm-Menu-item", has_text="AIKI").wait_for()

"""The rule that judges the pages: what is broken is found, and nothing escapes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from blocks import Runner, blocks, escaped

BROKEN = {
    "python that fails": "```python\n1 / 0\n```\n",
    "python that is none, where a key is needed": "<!-- needs: key -->\n```python\ndef\n```\n",
    "a command that ends badly": "```bash\nfalse\n```\n",
    "a command in a pipe": "```bash\nfalse | cat\n```\n",
    "a verb that is not there": "```bash\naiki memory sing\n```\n",
    "an option that is not there": "<!-- needs: network -->\n```bash\naiki model pull --fly\n```\n",
    "a line that no shell reads": "<!-- needs: display -->\n```bash\njupyter lab (\n```\n",
    "a magic that is not there": "<!-- needs: key -->\n```aiki\n%aiki_memory sing\n```\n",
    "a setting that is not there": "```toml\n[memory]\ncolour = 1\n```\n",
    "json that is none": "```json\n{'a': 1}\n```\n",
    "another language": "```sh\ntrue\n```\n",
    "another reason": "<!-- needs: luck -->\n```python\n1\n```\n",
    "a command that is called text": "```text\naiki memory list\n```\n",
}
ESCAPES = {
    "tildes": "~~~python\n1\n~~~\n",
    "indented in a list": "- so:\n\n  ```python\n  1\n  ```\n",
    "four spaces": "So:\n\n    aiki chat\n",
    "never closed": "```python\n1\n",
    "html": "<pre>aiki chat</pre>\n",
}


def _page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(f"# Page\n\n{text}", "utf-8")
    return page


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_block_is_found(text: str, tmp_path: Path) -> None:
    page = _page(tmp_path, text)
    assert escaped(page) == []
    (block,) = blocks(page)
    with pytest.raises(Exception):  # noqa: B017 - each kind has its own
        Runner(tmp_path, None).run(block)


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_nothing_escapes(text: str, tmp_path: Path) -> None:
    assert escaped(_page(tmp_path, text))

"""One ES module a widget: what it imports from ``aiki.js`` is inside, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aiki_kernel.display import front_end
from aiki_kernel.errors import AikiError

WIDGETS = Path(__file__).resolve().parents[2] / "widgets"
NAMES = sorted(file.stem for file in WIDGETS.glob("*.js") if file.stem != "aiki")


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_whole_and_light(name: str) -> None:
    text = front_end.module(name)
    assert not re.search(r"^import\b|^\s*//", text, re.MULTILINE)
    assert text.count("export default") == 1
    assert ".aiki-button" in front_end.style(name)
    for word in ("fetch(", "innerHTML", "@import", "url("):
        assert word not in text + front_end.style(name)


def test_only_what_is_needed_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aiki.js").write_text(
        "export const one = 1;\nconst two = () => one;\n"
        "export function three(a) {\n  return two() + a;\n}\nexport const four = 4;\n"
    )
    head = 'import { three as sum } from "./aiki.js";\n'
    (tmp_path / "x.js").write_text(head + "const one = sum(1); // ours\nexport default { one };\n")
    monkeypatch.setattr(front_end, "file", lambda name: tmp_path / name)
    text = front_end.module.__wrapped__("x")
    assert "const { three: sum } = (() => {" in text
    assert "two() + a" in text
    assert "four" not in text
    (tmp_path / "x.js").write_text(head.replace("three", "five"))
    with pytest.raises(AikiError, match="no five"):
        front_end.module.__wrapped__("x")
    (tmp_path / "x.js").write_text('import x from "https://example.org/x.js";\n')
    with pytest.raises(AikiError, match="only from"):
        front_end.module.__wrapped__("x")


def test_a_missing_file_is_told() -> None:
    with pytest.raises(AikiError, match="install aiki-kernel again"):
        front_end.file("no_such.js")

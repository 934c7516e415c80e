"""Model text for a Markdown renderer: nothing live gets through, the text stays readable."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from aiki_kernel.safety.markdown import harmless

TABLE = [
    ("plain *text* with `code`", "plain *text* with `code`"),
    ("a < b and c > d", "a < b and c > d"),
    ("<b>x</b>", "&lt;b>x&lt;/b>"),
    ("<!-- c --> <?php ?>", "&lt;!-- c --> &lt;?php ?>"),
    ("![cat](http://e.org/c.png)", "[image: cat](http://e.org/c.png)"),
    ("![cat][1]\n\n[1]: http://e.org", "[image: cat][1]\n\n[1]: http://e.org"),
    ("!![a](u)", "[image: a](u)"),
    ("<https://e.org>", "<https://e.org>"),
    ("[x](https://e.org)", "[x](https://e.org)"),
    ("[x](javascript:alert(1))", "[x](unsafe:javascript:alert(1))"),
    ("[x](java&#115;cript:1)", "[x](unsafe:java&#115;cript:1)"),
    ("```html\n<img src=x>\n![a](b)\n```", "```html\n<img src=x>\n![a](b)\n```"),
    ("~~~\n<b>\n~~~\n<i>", "~~~\n<b>\n~~~\n&lt;i>"),
    ("```c\nvector<int> v;", "```c\nvector<int> v;\n```"),
    ("1. do\n   ```\n   <b>\n   ```\n2. <i>", "1. do\n   ```\n   <b>\n   ```\n2. &lt;i>"),
    ("$a<b$", "$a< b$"),
]

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=http://e.org/x onerror=alert(1)>",
    "![x](http://e.org/x.png)",
    "![x][y]\n\n[y]: http://e.org/x.png",
    "![y]\n\n[y]: http://e.org/x.png",
    "\\![x](http://e.org)",
    "\\\\![x](http://e.org)",
    "\\`<img src=x>`",
    "` a\n# foo ` x ` <img src=x> `",
    "- ```\n  <x>\n  ```\n<img src=x>\n  ```",
    "  ```\n  a\n<img src=y>\n```\n<img src=x>",
    "- a\n  ```\n  b\n- <img src=x>\n",
    "> ```\n<img src=x>\n> ```",
    "    ```\n<img src=x>\n    ```",
    "````\n```\n````\n<img src=x>",
    "``` `\n<img src=x>\n```",
    "~~~ `\n~~~\n<img src=x>",
    "$`$<img src=x>$`$",
    "<https://e.org/`><img src=x>`",
    "```<img src=x>\n```",
    "<a href='`'>`<img src=x>`",
    "[a](<javascript:alert(1)>)",
    "[a]: javascript:alert(1)\n\n[a]",
    "[a](java\tscript:alert(1))",
    "<iframe src=//e.org></iframe>",
    "<svg/onload=alert(1)>",
]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_table(text: str, expected: str) -> None:
    assert harmless(text) == expected


class _Live(HTMLParser):
    """Collects what a page would do: the tags that Markdown itself never makes, and links."""

    MADE = {  # noqa: RUF012
        *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "em", "strong", "code"),
        *("pre", "blockquote", "hr", "br", "a", "s", "del", "table", "thead", "tbody", "tr"),
        *("th", "td"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.MADE:
            self.found.append(tag)
        for name, value in attrs:
            address = re.sub(r"\s", "", value or "").lower()
            if name.startswith("on") or address.startswith(("javascript:", "data:", "vbscript:")):
                self.found.append(f"{tag} {name}={value}")


def live(markdown: str) -> list[str]:
    renderer = MarkdownIt("commonmark", {"html": True})
    renderer.validateLink = lambda url: True  # JupyterLab's renderer has no such check
    page = _Live()
    page.feed(renderer.render(markdown))
    return page.found


@pytest.mark.parametrize("text", ATTACKS)
def test_attacks(text: str) -> None:
    assert live(harmless(text)) == []


MARKS = [*"`-$\\![<*_#>", "``", "```", "~~~", "1.", "$$", "](", "<!--"]
BLANKS = [" ", "  ", "    ", "\t", "\n", "\n\n"]
WORDS = ["text", "<img src=x>", "<script>", "</b>", "![a](http://e)", "[a](javascript:x)"]
LINKS = ["<https://e.org>", "&lt;", "[b]: data:x\n"]
PIECES = st.sampled_from([*MARKS, *BLANKS, *WORDS, *LINKS])


@given(st.lists(PIECES, max_size=25).map("".join))
def test_nothing_live_whatever_the_mixture(text: str) -> None:
    assert live(harmless(text)) == []


@pytest.mark.parametrize("padding", ["&#x0a;", "&#10;", "\\", "&#x73;", "a"])
@pytest.mark.parametrize("count", [1, 40, 42, 43, 64, 127, 128, 250, 256, 300])
def test_a_scheme_behind_padding_leads_nowhere(padding: str, count: int) -> None:
    assert harmless(f"[x]({padding * count}javascript:alert(1))").startswith("[x](unsafe:")
    assert harmless(f"[x](java{padding * count}script:alert(1))").startswith("[x](unsafe:")


def test_a_long_address_is_left_alone() -> None:
    for address in ("https://a.no/" + "x" * 3000, "folder/" + "y" * 3000, "#" + "z" * 3000):
        assert harmless(f"[x]({address})") == f"[x]({address})"


def test_long_text_takes_no_time() -> None:
    for text in ("`" * 20_000, "$" * 20_000, "![" * 20_000, "<a" * 20_000, "[](" * 20_000):
        harmless(text)

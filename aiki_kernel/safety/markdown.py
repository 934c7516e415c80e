"""Model text made harmless for a Markdown renderer, and still readable.

JupyterLab renders the Markdown of a cell that just ran as *trusted*: raw HTML in it
becomes live HTML, an image is fetched from wherever it points (and tells that server what
the address holds), a ``javascript:`` link runs. A model repeats what memories and pages
told it, so none of that may pass:

* ``<`` before a tag, comment or declaration is written ``&lt;``;
* ``![alt](address)`` becomes ``[image: alt](address)``, a link that waits for a click,
  in the inline and the reference form alike;
* a link to a scheme other than http, https, mailto or ftp leads nowhere.

Code fences pass untouched, which is only safe where every renderer agrees that a fence is
one. So a fence is trusted when it stands at most three columns in, outside lists and
quotes, and is closed (an open one is closed here: a stream shows it while it grows). Once
a fence appears that renderers may read in two ways, the rest of the text is treated as
prose or, inside what looks like code, broken with a zero-width space: visible text stays
the same and a tag can never form.
"""

from __future__ import annotations

import html
import re

_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<mark>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)$")
_DOUBTFUL = re.compile(r"^[ \t]*(?:(?:[-*+]|\d+[.)]|>)[ \t]*)*(?:`{3,}(?=[^`]*$)|~{3,})")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_BANG = re.compile(r"!+\[")
_PIECE = re.compile(
    r"(?P<code>(?<![`\\])(?P<ticks>`+)(?!`)[^\n]*?[^`\n](?P=ticks)(?!`))"
    r"|(?P<math>\$\$[^\n]+?\$\$|(?<![\\$])\$(?=\S)[^$\n]*?\S\$(?!\d))"
    r"|(?P<link><(?:https?://|mailto:)[^\s<>`\"']*>)",
    re.IGNORECASE,
)
_LOOK = 256  # characters of an address: all of each would be quadratic in a text of "[](" alone
_TARGET = re.compile(rf"(\]\(\s*<?|\]:\s*<?)(?=([^\s)>]{{1,{_LOOK}}}))")
_PART = re.compile(r"&[#\w]*$")  # a character reference that the look ahead has cut
_MAY_BE_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.\-]*)?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*:")
_ALLOWED = ("http:", "https:", "mailto:", "ftp:")
_GAP = "\u200b"  # zero width: parts "<" from the letter that would make it a tag


def harmless(text: str) -> str:
    """``text`` (Markdown of a model) with HTML escaped and images turned into links."""
    out: list[str] = []
    loose: list[str] = []  # made harmless, but for the addresses of links, which span lines
    prose: list[str] = []
    fence: re.Match[str] | None = None
    sure, coded = True, False

    def settle() -> None:
        if prose:
            loose.append(_prose("\n".join(prose)))
            prose.clear()

    def flush() -> None:
        settle()
        if loose:
            out.append(_TARGET.sub(_safe_target, "\n".join(loose)))
            loose.clear()

    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if fence is not None:
            if _closes(line, fence):
                fence = None
                out.append(line)
            elif line.strip() and _indent(line) < len(fence["indent"]):
                # In a list the fence ends here, at the top level it does not.
                fence, sure, coded = None, False, True
                loose.append(_broken(line))
            else:
                out.append(line)
            continue
        match = _FENCE.match(line) if sure else None
        doubtful = bool(_DOUBTFUL.match(line))
        if match:
            flush()
            fence = match
            out.append(_TAG.sub("<" + _GAP, line))
        elif sure and not doubtful:
            prose.append(line)
        else:
            settle()
            sure, coded = False, coded != doubtful
            loose.append(_broken(line) if coded or doubtful else _prose(line))
    flush()
    if fence is not None:
        out.append(fence["indent"] + fence["mark"])
    return "\n".join(out)


def _closes(line: str, fence: re.Match[str]) -> bool:
    bare = line.strip(" \t")
    mark = fence["mark"]
    return (
        _indent(line) <= 3 and len(bare) >= len(mark) and bare == mark[0] * len(bare) and bool(bare)
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _prose(text: str) -> str:
    """Text outside fences. What looks like a code span is broken, not escaped: either way
    no tag is left, so it does not matter whether a renderer agrees about the span."""
    out, position = [], 0
    for match in _PIECE.finditer(text):
        out.append(_escaped(text[position : match.start()]))
        if match["code"] is not None:
            out.append(_broken(match[0]))
        elif match["math"] is not None:
            # A blank after "<" means the same in LaTeX and can never open a tag.
            out.append(_BANG.sub("! [", _TAG.sub("< ", match[0])))
        else:
            out.append(match[0])
        position = match.end()
    out.append(_escaped(text[position:]))
    return _BANG.sub("[image: ", "".join(out))


def _escaped(text: str) -> str:
    lines = [
        _broken(line) if line.startswith(("    ", "\t")) else _TAG.sub("&lt;", line)
        for line in text.split("\n")
    ]
    return "\n".join(lines)


def _broken(text: str) -> str:
    return _BANG.sub(lambda m: "!" + _GAP + "[", _TAG.sub("<" + _GAP, text))


def _safe_target(match: re.Match[str]) -> str:
    cut = len(match[2]) == _LOOK
    seen = _PART.sub("", match[2]) if cut else match[2]
    address = re.sub(r"[\x00-\x20\u200b]|\\", "", html.unescape(seen)).lower()
    scheme = _SCHEME.match(address)
    # A scheme behind so much padding that its colon is not in sight is nobody's honest link.
    unsafe = scheme[0] not in _ALLOWED if scheme else cut and _MAY_BE_SCHEME.fullmatch(address)
    return f"{match[1]}unsafe:" if unsafe else match[1]

"""The answer card without a kernel behind it: HTML for a saved notebook, text for a log.

The HTML is what a notebook keeps. It must look right in JupyterLab, where an untrusted
notebook loses ``<style>``, scripts and most CSS variables, and still read right on
GitHub, where it loses inline styles as well: so every fact is text, in order, and the
folding list is a ``<details>``. Colours are the reader's own (inherited, dimmed by
opacity), which is all that a dark theme asks for. Nothing is fetched from anywhere.

The class names keep MathJax away: two prices or two memories with a ``$`` in them would
otherwise be typeset as a formula.
"""

from __future__ import annotations

from html import escape

from aiki_kernel.display.facts import NOT_USED, Facts, Mark, MemoryLine, Segment, Summary

COLOURS = {
    "recall": "#8b6df0",
    "route": "#d667b4",
    "first_token": "#e0a03a",
    "generate": "#21a38b",
    "remember": "#4c8fe6",
}
GLYPHS = {"recall": "░", "route": "·", "first_token": "▒", "generate": "█", "remember": "▓"}
UNUSED = "#8a8a8a"
WARNING = "#e0a03a"
LIGHTS = {"ok": "#2f9e6e", "degraded": WARNING, "down": "#e0574f"}
INSIGHT = COLOURS["remember"]

_FONT = "var(--jp-ui-font-family,system-ui,sans-serif)"
_DIM = "opacity:.72"


def render_html(summary: Summary) -> str:
    """The card as self-contained HTML with inline styles only; every text is escaped."""
    facts = Facts.read(summary)
    parts = [
        '<div class="aiki-card-static tex2jax_ignore mathjax_ignore" style="'
        f"font-family:{_FONT};font-size:12px;line-height:18px;overflow-wrap:anywhere;"
        'margin:4px 0 2px;max-width:760px">',
        _headline(facts),
        _bar(facts.segments),
        _legend(facts.segments),
        _memories(facts),
    ]
    parts += [_note(facts.insight, INSIGHT)] if facts.insight else []
    parts += [_note(note) for note in facts.notes]
    parts.append('<div style="clear:both"></div></div>')
    return "".join(parts)


def render_text(summary: Summary) -> str:
    """The card as a few aligned lines, for a console or the log of a batch run."""
    facts = Facts.read(summary)
    lines = [" · ".join([*facts.headline, *(mark.word for mark in facts.marks)])]
    lines += [f"{mark.word:<8}  {mark.why}" for mark in facts.marks if mark.why]
    lines += [f"model     {facts.route}"] if facts.route else []
    if facts.segments:
        legend = "  ".join(f"{GLYPHS[s.stage]} {s.label} {s.time}" for s in facts.segments)
        lines.append(f"time      {_text_bar(facts.segments)}  {legend}")
    if facts.searched:
        why = f"  ({facts.searched_why})" if facts.searched_why else ""
        lines.append(f"search    {facts.searched}{why}")
    head = "memories"
    for memory in facts.memories:
        tail = " · ".join(memory.about)
        lines.append(f"{head:<8}  {memory.score:>5}  {memory.text}  ({tail})")
        head = ""
    hidden = facts.memory_count - len(facts.memories)
    if hidden > 0:
        lines.append(f"{head:<8}         and {hidden} more")
    lines += [f"insight   {facts.insight}"] if facts.insight else []
    lines += [f"note      {note}" for note in facts.notes]
    return "\n".join(line.rstrip() for line in lines if line)


def _text(value: str) -> str:
    return escape(value, quote=True)


def _headline(facts: Facts) -> str:
    words = []
    for index, part in enumerate(facts.headline):
        if index == 0 and facts.model:
            words.append(f"<strong><bdi>{_text(part)}</bdi></strong>")
        else:
            words.append(f'<span style="white-space:nowrap;{_DIM}">{_text(part)}</span>')
    words += [_mark(mark) for mark in facts.marks]
    dot = '<span style="opacity:.4"> · </span>'
    return f'<div style="min-height:18px;padding:3px 0">{dot.join(words)}</div>'


def _mark(mark: Mark) -> str:
    return (
        f'<span style="white-space:nowrap" title="{_text(mark.why)}">'
        f"<strong>{_text(mark.word)}</strong> "
        f'<span style="color:{LIGHTS[mark.state]}">●</span></span>'
    )


def _bar(segments: tuple[Segment, ...]) -> str:
    if not segments:
        return ""
    pieces = "".join(
        f'<div title="{s.label} {_text(s.time)}" style="width:{s.share * 100:.2f}%;'
        f'min-width:2px;height:4px;background-color:{COLOURS[s.stage]}"></div>'
        for s in segments
    )
    return (
        '<div style="display:flex;height:4px;border-radius:2px;overflow:hidden;margin:2px 0 4px">'
        f"{pieces}</div>"
    )


def _legend(segments: tuple[Segment, ...]) -> str:
    if not segments:
        return ""
    # The spaces between them are for a reader without styles.
    words = " ".join(
        '<span style="display:inline-block;margin-left:7px;white-space:nowrap">'
        f'<span style="color:{COLOURS[s.stage]}">■</span> '
        f'<span style="{_DIM}">{s.label} {_text(s.time)}</span></span>'
        for s in segments
    )
    # Beside the line of memories (a float too) where both have room, else above it.
    return f'<div style="float:right;max-width:100%;font-size:11px">{words}</div>'


def _memories(facts: Facts) -> str:
    label = f'<span style="white-space:nowrap;{_DIM}">{_text(facts.memories_label)}</span>'
    if not facts.memory_count and not facts.reasons:
        return f"<div>{label}</div>"
    items = "".join(_memory(memory) for memory in facts.memories)
    hidden = facts.memory_count - len(facts.memories)
    if hidden > 0:
        items += f'<li style="list-style:none;{_DIM}">and {hidden} more</li>'
    return (
        '<details><summary style="float:left;cursor:pointer">'
        f"{label}</summary>"
        f"{_reasons(facts.reasons)}"
        '<ul style="clear:both;list-style:none;margin:4px 0 0;padding:0">'
        f"{items}</ul></details>"
    )


def _reasons(reasons: tuple[str, ...]) -> str:
    lines = "".join(f"<div><bdi>{_text(reason)}</bdi></div>" for reason in reasons)
    return (
        f'<div style="clear:both;margin:4px 0;padding:0 0 0 10px;{_DIM};'
        f'border-left:2px solid {COLOURS["route"]}">{lines}</div>'
        if lines
        else ""
    )


def _memory(memory: MemoryLine) -> str:
    about = [f"<span>{_text(part)}</span>" for part in (memory.score, memory.role) if part]
    if memory.when:
        about.append(f'<time title="{_text(memory.created_at)}">{_text(memory.when)}</time>')
    if memory.where:
        about.append(f"<bdi>{_text(memory.where)}</bdi>")
    if not memory.used:
        about.append(f"<span>{NOT_USED}</span>")
    return (
        '<li style="list-style:none;margin:0 0 6px;padding:0 0 0 10px;'
        f'border-left:2px solid {COLOURS["recall"] if memory.used else UNUSED}">'
        f"<div><bdi>{_text(memory.text)}</bdi></div>"
        f'<div style="font-size:11px;{_DIM}">{" · ".join(about)}</div></li>'
    )


def _note(note: str, colour: str = WARNING) -> str:
    return (
        '<div style="clear:both;margin:4px 0 0;padding:0 0 0 10px;'
        f'border-left:2px solid {colour}"><bdi>{_text(note)}</bdi></div>'
    )


def _text_bar(segments: tuple[Segment, ...], width: int = 24) -> str:
    """Blocks in proportion; a stage that took any time has at least one."""
    cells = [max(1, round(s.share * width)) if s.seconds > 0 else 0 for s in segments]
    return "".join(GLYPHS[s.stage] * n for s, n in zip(segments, cells, strict=True))

"""``aiki memory``, what sensors measured: capture, like, patterns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aiki_kernel.commands.command import Arg, Context, Result
from aiki_kernel.commands.memory_door import SHORT, Limit, User, positive, scope
from aiki_kernel.commands.registry import command
from aiki_kernel.commands.tables import Column, Table, one_line, plain, when
from aiki_kernel.errors import UsageError
from aiki_kernel.memory.period import WORDS

if TYPE_CHECKING:
    from aiki_kernel.memory.patterns import Patterns
    from aiki_kernel.memory.records import Recall, Record
    from aiki_kernel.memory.wave import WavePattern

_ENDINGS = (".wav", ".npy")


def files(context: Context, prefix: str) -> Iterable[str]:
    """WAV and NumPy files, and folders, that begin with ``prefix``."""
    folder = Path(prefix).expanduser()
    base = folder if prefix.endswith("/") or not prefix else folder.parent
    lead = prefix[: prefix.rfind("/") + 1]
    return sorted(
        f"{lead}{one.name}{'/' if one.is_dir() else ''}"
        for one in base.iterdir()
        if one.name.startswith(prefix[len(lead) :])
        and not one.name.startswith(".")
        and (one.is_dir() or one.suffix.lower() in _ENDINGS)
    )


def periods(context: Context, prefix: str) -> Iterable[str]:
    """The usual periods; a second word follows its first."""
    return [word for one in WORDS for word in (one, one.rpartition(" ")[2])]


Files = Annotated[
    tuple[str, ...],
    Arg("WAV files, or .npy arrays with --rate; NAME=FILE names a channel", complete=files),
]
Channel = Annotated[str, Arg("the channel's name (default: audio, or the file's name)")]
Rate = Annotated[float, Arg("samples a second of a .npy array; 0: it is one frame")]
Unit = Annotated[str, Arg("the unit of a .npy array, for example °C")]
Language = Annotated[Literal["", "en", "no"], Arg("of the sentences: en or no")]


@command("memory capture")
def capture(
    context: Context,
    file: Files,
    note: Annotated[str, Arg("what it was, in your words")] = "",
    channel: Channel = "",
    rate: Rate = 0.0,
    unit: Unit = "",
    at: Annotated[str, Arg("when it began, as 2026-11-21T09:30 (default: now)")] = "",
    language: Language = "",
    user: User = "",
) -> Result:
    """Remember what a sensor measured: its tones, damping, envelope and a picture of it."""
    channels = _channels(file, channel, rate, unit)

    async def work() -> Record:
        return await context.aiki.connection.admin.capture(
            channels, scope(context, user), at=at or None, note=note, language=language
        )

    record = context.aiki.run(work())
    text = f"Remembered as {record.id}.\n{record.data}"
    return Result(_brief(record), plain(text), _html(record))


@command("memory like")
def like(
    context: Context,
    file: Annotated[str, Arg("a WAV file, or a .npy array with --rate", complete=files)],
    query: Annotated[str, Arg("words that should fit as well")] = "",
    limit: Limit = 8,
    channel: Annotated[str, Arg("look only at channels of this name")] = "",
    rate: Rate = 0.0,
    user: User = "",
) -> Result:
    """Find sensor memories with a pattern like that of a file, nearest first."""
    positive(limit)
    [(_, given)] = _channels([file], channel, rate, "").items()
    wave = {channel: given} if channel else given

    async def work() -> Recall:
        return await context.aiki.connection.admin.like(
            wave, scope(context, user), limit, query=query
        )

    found = context.aiki.run(work())
    data = [{**_brief(hit.record), "score": hit.score} for hit in found.hits]
    if not found.hits:
        return Result(data, "Nothing like it was captured.")
    table = Table(
        [
            Column("score", right=True),
            Column("id", whole=True),
            Column("when", whole=True),
            "what was captured",
        ],
        [
            [
                f"{hit.score:.3f}",
                hit.id[:SHORT],
                when(hit.record.created_at),
                one_line(hit.text, 300),
            ]
            for hit in found.hits
        ],
    )
    return Result(data, table.text(context), table.html())


@command("memory patterns")
def patterns(
    context: Context,
    period: Annotated[
        str, Arg('"24h", "last week", 2026-11-01..2026-11-20', rest=True, complete=periods)
    ] = "24h",
    language: Language = "",
    user: User = "",
) -> Result:
    """Show what captures of a period have in common: cycles, trends, links between channels."""

    async def work() -> Patterns:
        return await context.aiki.connection.admin.patterns(
            period, scope(context, user), language=language
        )

    found = context.aiki.run(work())
    return Result(found.to_json(), plain(found.text), found.html)


def _channels(given: Sequence[str], channel: str, rate: float, unit: str) -> dict[str, Any]:
    """Names and what was given for them. Raises :class:`UsageError`."""
    if channel and len(given) > 1:
        raise UsageError("--channel names one file: write NAME=FILE for each of several.")
    out: dict[str, Any] = {}
    for word in given:
        name, equals, rest = word.partition("=")
        path = Path(rest if equals and not Path(word).exists() else word).expanduser()
        if not (equals and path == Path(rest).expanduser()):
            name = channel or ("audio" if len(given) == 1 and _is_wav(path) else path.stem)
        if name in out:
            raise UsageError(f"Two files are named {name!r}: write NAME=FILE for each.")
        out[name] = str(path.absolute()) if _is_wav(path) else _array(path, rate, unit)
    return out


def _is_wav(path: Path) -> bool:
    return path.suffix.lower() in (".wav", ".wave")


def _array(path: Path, rate: float, unit: str) -> Any:
    if path.suffix.lower() != ".npy":
        raise UsageError(f"{path.name} is neither .wav nor .npy: convert it.")
    import numpy as np

    from aiki_kernel.memory.wave_signal import Signal

    if not path.exists():
        raise UsageError(f"There is no {path}.")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path.name} is no array of numbers ({one_line(str(error))}).") from error
    return Signal(values, rate or None, unit)


def _pattern(record: Record) -> WavePattern | None:
    from aiki_kernel.memory.wave import pattern_in

    return pattern_in(record.metadata)


def _brief(record: Record) -> dict[str, Any]:
    """The record without the bytes that only a program of ours reads."""
    data = record.to_json()
    wave = data["metadata"].get("wave")
    if isinstance(wave, dict):
        channels = [
            {key: value for key, value in one.items() if key not in ("vector", "picture")}
            for one in wave.get("channels", [])
        ]
        data["metadata"] = {**data["metadata"], "wave": {**wave, "channels": channels}}
    return data


def _html(record: Record) -> str:
    """The sentence, and each channel's picture."""
    pattern = _pattern(record)
    pictures = ""
    if pattern is not None and any(one.picture for one in pattern.channels):
        from aiki_kernel.memory.wave_pictures import png

        pictures = "".join(
            f'<figure style="display:inline-block;margin:0 1em 0 0">'
            f'<img src="{png(one.picture)}" alt="{escape(one.picture.kind)}" '
            f'style="width:{one.picture.width * 5}px;image-rendering:pixelated">'
            f"<figcaption>{escape(one.name)}</figcaption></figure>"
            for one in pattern.channels
            if one.picture is not None
        )
    return f"<p>{escape(record.data)}</p>{pictures}"

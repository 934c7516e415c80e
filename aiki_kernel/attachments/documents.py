"""A file as what is sent of it: a table, an image, the cells of a notebook, or its text.

What a file is shows in its first bytes and then in its name. Text is cut at the budget by whole
lines, from the end, and says how much is missing.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.attachments import pictures, records
from aiki_kernel.attachments.errors import AttachmentError
from aiki_kernel.attachments.table import summary
from aiki_kernel.attachments.values import cut
from aiki_kernel.mind.attachment import Attachment
from aiki_kernel.models.image import header
from aiki_kernel.models.tokens import estimate
from aiki_kernel.safety.secrets import redact

if TYPE_CHECKING:
    from aiki_kernel.config_attachments import Attachments

_TABLES = {".csv": "CSV file", ".tsv": "TSV file", ".tab": "TSV file"}
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_OUTPUT = 1500  # characters of a cell's output
_PAGES = 200


def attach(name: str, path: Path, data: bytes, settings: Attachments, question: str) -> Attachment:
    """The file at ``path`` that holds ``data``. Raises :class:`AttachmentError`, one line."""
    suffix = path.suffix.lower()
    if header(data) is not None or suffix in _IMAGES:
        return pictures.of_bytes(name, data, settings)
    if data.startswith(b"%PDF-"):
        return _text(name, "PDF", _pdf(name, data), settings)
    text = _decoded(name, data)
    if suffix in _TABLES:
        try:
            table = records.of_csv(text, _TABLES[suffix])
        except (ValueError, csv.Error) as error:
            raise AttachmentError(
                f"{name} cannot be read as a table ({error}): correct it, or give it the ending "
                ".txt. No model was asked."
            ) from None
        return Attachment(
            name, "table", table.title, summary(table, settings.table_tokens, question)
        )
    if suffix == ".ipynb":
        return _text(name, "notebook", _cells(name, text), settings)
    if suffix == ".json" and (found := _records(text)) is not None:
        table = records.table_of(found)
        title = table.title.replace(table.kind, "JSON file, list of objects")
        return Attachment(name, "table", title, summary(table, settings.table_tokens, question))
    return _text(name, f"{suffix[1:] or 'text'} file", text, settings)


def within(text: str, budget: int) -> tuple[str, int, int]:
    """The first lines of ``text`` that ``budget`` tokens hold, how many, and of how many."""
    lines = text.splitlines()
    if estimate(text) <= budget:
        return text, len(lines), len(lines)
    low, high = 0, len(lines)
    while low < high:
        middle = (low + high + 1) // 2
        fits = estimate("\n".join(lines[:middle])) <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    if not low:
        return f"{text[: 3 * budget]}…", 1, len(lines)
    return "\n".join(lines[:low]), low, len(lines)


def _text(name: str, kind: str, text: str, settings: Attachments) -> Attachment:
    if not text.strip():
        raise AttachmentError(f"{name} holds no text. No model was asked.")
    # Secrets go before the cut: half a key would not be known for one.
    beginning = text[: 40 * settings.text_tokens + 10_000]
    part, shown, of = within(redact(beginning) + text[len(beginning) :], settings.text_tokens)
    title = f"{kind}, {of:,} line{'' if of == 1 else 's'}"
    notes: tuple[str, ...] = ()
    if shown < of or part.endswith("…"):
        title += f", the first {shown:,} of them"
        notes = (
            f"Of {name} the first {shown:,} of {of:,} lines were sent: attachments.text_tokens "
            f"({settings.text_tokens:,}) holds no more.",
        )
        part += f"\n(… {of - shown:,} more lines are left out here)"
    return Attachment(name, "text", title, part, notes=notes)


def _decoded(name: str, data: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                break
    if b"\0" in data:
        raise AttachmentError(
            f"{name} is neither text nor an image that models take (PNG, JPEG, WebP, GIF): it "
            "is not sent. No model was asked."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _cells(name: str, text: str) -> str:
    try:
        cells = json.loads(text)["cells"]
        return "\n\n".join(_cell(number, cell) for number, cell in enumerate(cells, 1))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AttachmentError(
            f"{name} is no notebook of version 4: open it in JupyterLab and save it. "
            "No model was asked."
        ) from None


def _cell(number: int, cell: dict[str, Any]) -> str:
    kind = str(cell.get("cell_type", "raw"))
    parts = [f"[{number}, {kind}]", _joined(cell.get("source"))]
    for output in cell.get("outputs") or ():
        data = output.get("data") or {}
        shown = _joined(output.get("text") or data.get("text/plain"))
        if output.get("output_type") == "error":
            shown = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        if shown.strip():
            rest = f"… ({len(shown):,} characters)" if len(shown) > _OUTPUT else ""
            parts.append(f"-> {redact(shown[: 4 * _OUTPUT])[:_OUTPUT].rstrip()}{rest}")
        if any(str(mime).startswith("image/") for mime in data):
            parts.append("-> (an image)")
    return "\n".join(parts)


def _joined(lines: Any) -> str:
    return "".join(map(str, lines)) if isinstance(lines, list) else str(lines or "")


def _records(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if type(found) is list and records.is_records(found) else None


def _pdf(name: str, data: bytes) -> str:
    if importlib.util.find_spec("pypdf") is None:
        raise AttachmentError(
            f"{name} is a PDF, and no reader for these is installed: `pip install pypdf`, or save "
            "it as text. No model was asked."
        )
    import pypdf  # type: ignore[import-not-found, unused-ignore]

    try:
        pages = pypdf.PdfReader(io.BytesIO(data)).pages
        count = len(pages)
        texts = [
            f"[page {number}]\n{pages[number - 1].extract_text()}"
            for number in range(1, min(count, _PAGES) + 1)
        ]
    except Exception as error:  # a broken file breaks a reader in many ways
        said = cut(str(error), 120)
        raise AttachmentError(
            f"{name} cannot be read as a PDF ({type(error).__name__}: {said}). No model was asked."
        ) from None
    return "\n\n".join(texts)

"""Figures and images as what models that see are sent, with words for those that do not.

A figure is drawn by its own library, as a PNG no larger than ``attachments.image_side``. An
image that is larger is made smaller where Pillow is installed, and refused with one line where
it is not. Objects are known by the module of their class: only methods of the libraries run.
"""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiki_kernel.attachments import figure_words
from aiki_kernel.attachments.errors import AttachmentError
from aiki_kernel.attachments.values import library
from aiki_kernel.mind.attachment import Attachment
from aiki_kernel.models.image import Header, Image, header

if TYPE_CHECKING:
    from aiki_kernel.config_attachments import Attachments

_PNG = ("altair", "graphviz", "holoviews", "plotnine", "pydot", "rdkit", "sympy")
_EACH_IN = ("image/png", "image/jpeg", "image/webp", "image/gif")


def is_picture(value: Any) -> bool:
    """Whether ``value`` is a figure or an image of a library that is known."""
    kind, name = library(value), type(value).__name__
    if kind == "matplotlib":
        return _figure(value) is not None
    if kind == "numpy":
        return _figure(value) is not None
    if kind == "seaborn":
        return hasattr(type(value), "figure")
    if kind == "PIL":
        return any(base.__name__ == "Image" for base in type(value).__mro__)
    if kind == "IPython":
        return name == "Image"
    if kind == "plotly":
        return name in ("Figure", "FigureWidget")
    return kind in _PNG and hasattr(type(value), "_repr_png_")


def attach(name: str, value: Any, settings: Attachments) -> Attachment:
    """The picture ``value`` under ``name``. Raises :class:`AttachmentError`, one line."""
    kind = library(value)
    try:
        if kind in ("matplotlib", "seaborn", "numpy"):
            figure = value.figure if kind == "seaborn" else _figure(value)
            told = figure_words.words(figure)
            made = of_bytes(name, _drawn(figure, settings), settings, told, "figure")
            blank = () if figure.axes or figure.texts else (f"{name} is an empty figure.",)
            return replace(made, notes=(*made.notes, *blank))
        return of_bytes(name, _bytes(name, value, kind), settings)
    except AttachmentError:
        raise
    except Exception as error:  # what a plotting library raises is anybody's guess
        said = (str(error).splitlines() or [""])[0][:200]
        raise AttachmentError(
            f"{{{name}}} could not be drawn ({type(error).__name__}: {said}): show it in a cell of "
            "its own first. No model was asked."
        ) from None


def of_bytes(
    name: str, data: bytes, settings: Attachments, words: str = "", what: str = "image"
) -> Attachment:
    """An image of which ``data`` is the file. Raises :class:`AttachmentError`, one line."""
    found = header(data)
    if found is None:
        raise AttachmentError(
            f"{name} is no PNG, JPEG, WebP or GIF image, or a broken one: save it anew. "
            "No model was asked."
        )
    notes: tuple[str, ...] = ()
    most = settings.image_mb * 1e6
    if len(data) > most or max(found.width, found.height) > settings.image_side:
        before = Image(name, found.mime, found.width, found.height, data)
        data, found = _smaller(before, settings)
        notes = (f"{name} was sent smaller: {found.width} x {found.height} of {before.size}.",)
    image = Image(name, found.mime, found.width, found.height, data)
    told = f"{what} of {image.size}" + (f". {words}" if words else "")
    image = Image(name, found.mime, found.width, found.height, data, told)
    return Attachment(name, "image", f"{what}, {image.size}", image=image, notes=notes)


def _figure(value: Any) -> Any:
    """The matplotlib figure that ``value`` is, belongs to, or (an array of axes) is full of."""
    if library(value) == "numpy":
        if type(value).__name__ != "ndarray" or value.dtype.kind != "O" or not value.size:
            return None
        value = value.flat[0]
        if library(value) != "matplotlib":
            return None
    figure = value if hasattr(type(value), "savefig") else getattr(value, "figure", None)
    return figure if hasattr(type(figure), "savefig") and library(figure) == "matplotlib" else None


def _drawn(figure: Any, settings: Attachments) -> bytes:
    dpi = min(float(figure.dpi), settings.image_side / max(figure.get_size_inches()))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=max(dpi, 10.0))
    return out.getvalue()


def _bytes(name: str, value: Any, kind: str) -> bytes:
    if kind == "PIL":
        out = io.BytesIO()
        plain = value if value.mode in ("L", "RGB", "RGBA", "P", "1") else value.convert("RGB")
        plain.save(out, "PNG")
        return out.getvalue()
    if kind == "plotly":
        if importlib.util.find_spec("kaleido") is None:
            raise AttachmentError(
                f"{{{name}}} is a plotly figure, and only kaleido makes a picture of it: "
                "`pip install kaleido`, or attach its data. No model was asked."
            )
        drawn: bytes = value.to_image(format="png")
        return drawn
    data = value.data if kind == "IPython" else value._repr_png_()
    if isinstance(data, bytes):
        return data
    raise AttachmentError(
        f"{{{name}}} holds no picture of its own, only its address: open the file itself. "
        "No model was asked."
    )


def _smaller(image: Image, settings: Attachments) -> tuple[bytes, Header]:
    """The image within the limits of the settings. Raises :class:`AttachmentError`."""
    limit = (
        f"{image.name} has {image.size}, and images may have {settings.image_side} pixels a side "
        f"and {settings.image_mb:g} MB (attachments.image_side, attachments.image_mb)"
    )
    if importlib.util.find_spec("PIL") is None:
        raise AttachmentError(
            f"{limit}: make it smaller, or `pip install pillow`. No model was asked."
        )
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(image.data)) as opened:
            made: Any = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
        side = settings.image_side
        for _ in range(6):
            made.thumbnail((side, side))
            for form in ("PNG", "JPEG"):
                out = io.BytesIO()
                (made if form == "PNG" else made.convert("RGB")).save(out, form)
                if out.tell() <= settings.image_mb * 1e6:
                    data = out.getvalue()
                    found = header(data)
                    if found is not None:
                        return data, found
            side = round(side * 0.7)
    except Exception as error:  # a file that only looks like an image
        raise AttachmentError(
            f"{limit}; it cannot be made smaller ({type(error).__name__}). No model was asked."
        ) from None
    raise AttachmentError(f"{limit}: make it smaller. No model was asked.")

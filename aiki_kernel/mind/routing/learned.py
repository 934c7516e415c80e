"""What the learned router knows: the chance that the cheap model is right, and what the
smart one adds; fitted on labelled messages and kept in one file under ``AIKI_HOME``.

The file carries its format, the version of the measures and the embedder. One that does
not fit this program is not read: the next ``aiki route train`` puts a new one in its place,
and nothing else ever looks at the old one.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiki_kernel.errors import AikiError
from aiki_kernel.mind.routing import features
from aiki_kernel.mind.routing.blend import Blend, Scale
from aiki_kernel.mind.routing.components import KINDS, Inputs
from aiki_kernel.mind.routing.form import Form

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
ENOUGH = 40
"""Labels of cheap or local answers below which nothing is fitted."""

_FORM = ("center", "scale", "precision")
_EACH = 5  # labels of either kind
_ENOUGH_STRONG = 60  # labels of the smart model, or of both, before they get a fit of their own


class RouterError(AikiError):
    """The learned router is not there, or cannot be trained or read."""

    kind = "router"


@dataclass(frozen=True)
class About:
    """What was learned from. ``embedder`` is "" when no embeddings were used."""

    created_at: str
    source: str
    labels: int
    paired: int
    weak_mean: float
    strong_mean: float
    embedder: str = ""
    cheap_is_local: bool = False
    format: int = FORMAT
    measures: str = field(default_factory=features.version)


@dataclass(frozen=True)
class Estimate:
    """Chances of a right answer, (n,) each; ``nearness`` says how far labels vouch for them."""

    weak: NDArray[np.float64]
    strong: NDArray[np.float64]
    nearness: NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """``gain`` is fitted where both models answered the same messages; else ``strong``."""

    about: About
    weak: Blend
    gain: Blend | None = None
    strong: Blend | None = None

    def estimate(self, inputs: Inputs) -> Estimate:
        """What is expected of both models for each message."""
        weak = np.clip(self.weak.predict(inputs), 0.02, 0.98)
        if self.gain is not None:
            gain = np.maximum(self.gain.predict(inputs), 0.0)
            strong = np.clip(weak + gain, 0.02, 0.98)
        else:
            mean = np.full(len(inputs), self.about.strong_mean)
            strong = (
                mean if self.strong is None else np.clip(self.strong.predict(inputs), 0.02, 0.98)
            )
        return Estimate(weak, strong, self.weak.nearness(inputs))


def fit(
    inputs: Inputs, weak: NDArray[np.float64], strong: NDArray[np.float64], about: About
) -> Learned:
    """Learn from labels 0..1, (n,) each; NaN where a model did not answer.

    Raises :class:`RouterError` with the number of labels when they are too few.
    """
    check(weak)
    has_weak, has_strong = ~np.isnan(weak), ~np.isnan(strong)
    rows = np.flatnonzero(has_weak)
    of_weak = Blend.fit(inputs.take(rows), weak[rows], sign=-1.0)
    both = np.flatnonzero(has_weak & has_strong)
    if len(both) >= _ENOUGH_STRONG:
        return Learned(
            about, of_weak, gain=Blend.fit(inputs.take(both), (strong - weak)[both], sign=1.0)
        )
    rows = np.flatnonzero(has_strong)
    if len(rows) >= _ENOUGH_STRONG:
        return Learned(about, of_weak, strong=Blend.fit(inputs.take(rows), strong[rows], sign=-1.0))
    return Learned(about, of_weak)


def check(weak: NDArray[np.float64]) -> None:
    """Whether labels (n,) of cheap or local answers are enough. Raises :class:`RouterError`."""
    known = weak[~np.isnan(weak)]
    good = int((known >= 0.5).sum())
    if len(known) < ENOUGH:
        raise RouterError(
            f"{len(known)} labels of cheap or local answers are too few to learn from, {ENOUGH} "
            "are needed: judge answers with %aiki_route good or bad, or use another router."
        )
    if min(good, len(known) - good) < _EACH:
        raise RouterError(
            f"{good} of {len(known)} labels are good: {_EACH} good and {_EACH} bad ones are "
            "needed to learn a difference; judge more with %aiki_route good or bad."
        )


def summary(about: About) -> dict[str, Any]:
    """What was learned from, as plain data."""
    return asdict(about)


def smoothed(labels: NDArray[np.float64], prior: float, weight: float = 20.0) -> float:
    """The mean of the known labels, drawn to ``prior`` by so many labels' weight."""
    known = labels[~np.isnan(labels)]
    return float((known.sum() + prior * weight) / (len(known) + weight))


# -- the file ---------------------------------------------------------------------------------


def place(home: Path) -> Path:
    """Where the learned router is kept under ``AIKI_HOME``."""
    return home / "router" / "learned.npz"


def save(learned: Learned, path: Path) -> None:
    """Write the file at once or not at all. Raises :class:`RouterError`."""
    arrays: dict[str, Any] = {}
    blends = {"weak": learned.weak, "gain": learned.gain, "strong": learned.strong}
    head: dict[str, Any] = {"about": asdict(learned.about), "blends": {}}
    for name, blend in blends.items():
        if blend is None:
            continue
        head["blends"][name] = {
            "spread": dict(blend.spread),
            "sign": blend.sign,
            "labels": blend.labels,
            "with_vectors": asdict(blend.with_vectors),
            "without": asdict(blend.without),
            "far": blend.far,
            "parts": list(blend.parts),
        }
        for part, component in blend.parts.items():
            for key, array in component.arrays.items():
                kept = np.float16 if key == "points" else np.float32
                whole = np.int32 if key == "places" else kept
                arrays[f"{name}/{part}/{key}"] = array.astype(whole)
        if blend.form is not None:
            for key in _FORM:
                arrays[f"{name}/form/{key}"] = getattr(blend.form, key)
            head["blends"][name]["near"] = blend.form.near
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise RouterError(
            f"The learned router could not be written to {path} ({error.strerror}): "
            "check the disk and its permissions."
        ) from None


def load(path: Path) -> Learned:
    """Read the file. Raises :class:`RouterError`, one line, also for another version's file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise RouterError(
            "There is no learned router yet: run `aiki route train`, or choose another router."
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError):
        raise _unreadable(path, "is damaged") from None
    try:
        head = json.loads(arrays.pop("head").tobytes())
        about = head["about"]
        if about["format"] != FORMAT or about["measures"] != features.version():
            raise _unreadable(path, "was trained by another version of AIKI")
        _share(arrays, list(head["blends"]))
        blends = {name: _blend(name, one, arrays) for name, one in head["blends"].items()}
        return Learned(About(**about), blends["weak"], blends.get("gain"), blends.get("strong"))
    except (KeyError, ValueError, TypeError):
        raise _unreadable(path, "is damaged") from None


def _unreadable(path: Path, why: str) -> RouterError:
    return RouterError(f"The learned router {path} {why}: run `aiki route train` again.")


def _share(arrays: dict[str, Any], blends: list[str]) -> None:
    """Fits of the same messages look among the same points, and then only once."""
    names = [
        f"{name}/neighbours/points" for name in blends if f"{name}/neighbours/points" in arrays
    ]
    for name in names:
        arrays[name] = arrays[name].astype(np.float32)
    for name in names[1:]:
        if np.array_equal(arrays[name], arrays[names[0]]):
            arrays[name] = arrays[names[0]]


def _blend(name: str, data: Mapping[str, Any], arrays: Mapping[str, Any]) -> Blend:
    parts = {}
    for part in data["parts"]:
        prefix = f"{name}/{part}/"
        own = {
            key.removeprefix(prefix): array.astype(_held(key), copy=False)
            for key, array in arrays.items()
            if key.startswith(prefix)
        }
        parts[part] = KINDS[part].make(own)
    form = None
    if "near" in data:  # files of before have none
        center, scale, precision = (arrays[f"{name}/form/{key}"] for key in _FORM)
        form = Form(center, scale, precision, float(data["near"]))
    return Blend(
        parts,
        {key: (float(mean), float(std)) for key, (mean, std) in data["spread"].items()},
        float(data["sign"]),
        int(data["labels"]),
        Scale(**data["with_vectors"]),
        Scale(**data["without"]),
        _pair(data["far"]),
        form,
    )


def _held(key: str) -> type[np.floating[Any]]:
    return np.float32 if key.endswith("/points") else np.float64


def _pair(values: Any) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)

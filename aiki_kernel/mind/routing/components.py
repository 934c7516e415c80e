"""The parts of the learned router: each predicts one number of a message from labelled ones.

All are linear in the labels, so that few labels give little and none of them can run away.
Penalties are in units of labelled messages: they were chosen by cross-validation on the
public tables and weigh less the more labels there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aiki_kernel.mind.routing import features
from aiki_kernel.mind.routing.terms import BUCKETS, Rows, TermRidge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Nearest = tuple["NDArray[np.int64]", "NDArray[np.float32]"]
"""Places of the nearest labels, (n, k), and their cosines."""

Arrays = Mapping[str, "NDArray[Any]"]

_CLIP = 4.0  # standard deviations beyond which a measure counts no further
_CLUSTERS = 8
_NEIGHBOURS = 100
_TEMPERATURE = 0.1  # of the neighbours' weights, in cosine
_KEPT = 4  # questions of which the neighbours are kept for the next fit that asks
_AT_ONCE = 1024  # questions whose neighbours are looked up together


@dataclass(frozen=True)
class Inputs:
    """What is known of n messages: measures (n, d), terms, and vectors (n, e) or None.

    ``looked`` keeps what the neighbours of few messages were: several fits ask for the same.
    """

    measures: NDArray[np.float64]
    rows: Rows
    vectors: NDArray[np.float32] | None = None
    looked: dict[int, Nearest] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, texts: Sequence[str], vectors: NDArray[np.float32] | None = None) -> Inputs:
        """Measure ``texts``; ``vectors`` are their embeddings, where there are any."""
        return cls(features.matrix(texts), Rows.of(texts), vectors)

    def __len__(self) -> int:
        return len(self.measures)

    def take(self, chosen: NDArray[np.int64]) -> Inputs:
        """These messages only."""
        vectors = None if self.vectors is None else self.vectors[chosen]
        return Inputs(self.measures[chosen], self.rows.take(chosen), vectors)


class Component(Protocol):
    """One fitted part. ``arrays`` is all that has to be kept of it."""

    @property
    def arrays(self) -> Arrays: ...

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n,): one number for each message."""
        ...


def ridge(
    x: NDArray[np.float64], y: NDArray[np.float64], penalty: float
) -> tuple[NDArray[np.float64], float]:
    """Weights (d,) and intercept of a ridge regression; the intercept is not penalised."""
    center, mean = x.mean(0), float(y.mean())
    z = x - center
    gram = z.T @ z
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, z.T @ (y - mean))
    return weights, mean - float(center @ weights)


@dataclass(frozen=True)
class Length:
    """log(1 + characters): longer is harder. Nothing is learned."""

    arrays: Arrays

    @classmethod
    def fit(cls, inputs: Inputs, y: NDArray[np.float64]) -> Length:
        return cls({})

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        return inputs.measures[:, 0].copy()


@dataclass(frozen=True)
class Measures:
    """Ridge over the standardised measures."""

    arrays: Arrays
    penalty = 3000.0

    @classmethod
    def fit(cls, inputs: Inputs, y: NDArray[np.float64]) -> Measures:
        arrays = _scale(inputs.measures)
        weights, start = ridge(_scaled(inputs.measures, arrays), y, cls.penalty)
        return cls({**arrays, "weights": weights, "start": np.array([start])})

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        return _linear(_scaled(inputs.measures, self.arrays), self.arrays)


@dataclass(frozen=True)
class Terms:
    """Ridge over words and pairs of words."""

    arrays: Arrays
    penalty = 10.0

    @classmethod
    def fit(cls, inputs: Inputs, y: NDArray[np.float64]) -> Terms:
        found = TermRidge.fit(inputs.rows, y, cls.penalty)
        used = np.flatnonzero(found.idf)
        return cls(
            {
                "places": used.astype(np.float64),
                "idf": found.idf[used],
                "weights": found.weights[used],
                "start": np.array([found.mean]),
            }
        )

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        return self._ridge().predict(inputs.rows)

    def _ridge(self) -> TermRidge:
        made: TermRidge | None = self.__dict__.get("made")
        if made is None:
            used = self.arrays["places"].astype(np.int64)
            idf, weights = np.zeros(BUCKETS), np.zeros(BUCKETS)
            idf[used], weights[used] = self.arrays["idf"], self.arrays["weights"]
            made = TermRidge(idf, weights, float(self.arrays["start"][0]))
            self.__dict__["made"] = made
        return made


@dataclass(frozen=True)
class Vectors:
    """Ridge over the message's embedding."""

    arrays: Arrays
    penalty = 30.0

    @classmethod
    def fit(cls, inputs: Inputs, y: NDArray[np.float64]) -> Vectors:
        vectors = _wanted(inputs)
        center = vectors.mean(0)
        spread = float(np.sqrt(((vectors - center) ** 2).sum(1).mean())) or 1.0
        weights, start = ridge((vectors - center) / spread, y, cls.penalty)
        return cls(
            {
                "center": center,
                "scale": np.array([spread]),
                "weights": weights,
                "start": np.array([start]),
            }
        )

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        x = (_wanted(inputs) - self.arrays["center"]) / self.arrays["scale"]
        return _linear(x, self.arrays)


@dataclass(frozen=True)
class Groups:
    """Ridge over the measures, with a share of each weight that is a cluster's own.

    Clusters are of the embeddings (k-means): what makes a question of arithmetic hard
    is not what makes one of history hard.
    """

    arrays: Arrays
    penalty = 5000.0

    @classmethod
    def fit(cls, inputs: Inputs, y: NDArray[np.float64]) -> Groups:
        vectors = _wanted(inputs)
        arrays = {**_scale(inputs.measures), "centers": _kmeans(vectors, _CLUSTERS)}
        weights, start = ridge(cls._design(inputs, arrays), y, cls.penalty)
        return cls({**arrays, "weights": weights, "start": np.array([start])})

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        return _linear(self._design(inputs, self.arrays), self.arrays)

    @staticmethod
    def _design(inputs: Inputs, arrays: Arrays) -> NDArray[np.float64]:
        z = _scaled(inputs.measures, arrays)
        mine = np.eye(len(arrays["centers"]))[_assign(_wanted(inputs), arrays["centers"])]
        own = (mine[:, :, None] * z[:, None, :]).reshape(len(z), -1)
        return np.hstack([z, own, 3.0 * mine])


@dataclass(frozen=True)
class Neighbours:
    """The mean label of the nearest labelled messages, weighed by nearness."""

    arrays: Arrays

    @classmethod
    def fit(cls, inputs: Inputs, y: NDArray[np.float64]) -> Neighbours:
        # Not centered: around its mean a homogeneous set would look crowded and well known.
        points = _unit(_wanted(inputs)).astype(np.float32)  # read whole for each message
        return cls({"points": points, "labels": y.copy()})

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        return self.look(inputs)[0]

    def look(self, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The prediction, and the mean cosine of the ten nearest labelled messages."""
        asked = _wanted(inputs)
        points, labels = self.arrays["points"], self.arrays["labels"]
        found, near = np.zeros(len(asked)), np.zeros(len(asked))
        if len(asked) <= _KEPT:
            nearest = inputs.looked.get(id(points))
            if nearest is None:
                nearest = inputs.looked[id(points)] = _nearest(asked, points)
            return _weighed(nearest, labels)
        for begin in range(0, len(asked), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            found[part], near[part] = _weighed(_nearest(asked[part], points), labels)
        return found, near


@dataclass(frozen=True)
class Kind:
    """How a part is fitted and made again from what was kept, whether it reads embeddings, and
    its weight in the sum."""

    fit: Callable[[Inputs, NDArray[np.float64]], Component]
    make: Callable[[Arrays], Component]
    reads_vectors: bool = False
    weight: float = 1.0


KINDS: Mapping[str, Kind] = {
    "length": Kind(Length.fit, Length),
    "terms": Kind(Terms.fit, Terms),
    "measures": Kind(Measures.fit, Measures),
    "vectors": Kind(Vectors.fit, Vectors, reads_vectors=True),
    "groups": Kind(Groups.fit, Groups, reads_vectors=True, weight=1.5),
    "neighbours": Kind(Neighbours.fit, Neighbours, reads_vectors=True, weight=0.5),
}
"""The parts by name. Their weights are plain numbers on purpose: weights fitted on top of the
parts did no better in-domain and worse on domains that had been left out. They were picked by
five folds over the public tables, the ones that `aiki route eval` scores on: what a choice that
never sees the scored questions comes to is told by `aiki route eval --nested`."""


def _nearest(asked: NDArray[np.float64], points: NDArray[np.float32]) -> Nearest:
    k = min(_NEIGHBOURS, len(points))
    cosine = _unit(asked).astype(np.float32) @ points.T
    best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
    return best, np.take_along_axis(cosine, best, 1)


def _weighed(
    nearest: Nearest, labels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    best, close = nearest
    k, few = close.shape[1], min(10, close.shape[1])
    weight = np.exp((close - close.max(1, keepdims=True)) / _TEMPERATURE)
    found = (weight * labels[best]).sum(1) / weight.sum(1)
    return found, np.partition(close, k - few, axis=1)[:, k - few :].mean(1)


def _wanted(inputs: Inputs) -> NDArray[np.float64]:
    if inputs.vectors is None:
        raise ValueError("this part reads embeddings and was given none")
    return inputs.vectors.astype(np.float64)


def _scale(measures: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {"center": measures.mean(0), "scale": measures.std(0) + 1e-9}


def _scaled(measures: NDArray[np.float64], arrays: Arrays) -> NDArray[np.float64]:
    return np.clip((measures - arrays["center"]) / arrays["scale"], -_CLIP, _CLIP)


def _linear(x: NDArray[np.float64], arrays: Arrays) -> NDArray[np.float64]:
    found: NDArray[np.float64] = x @ arrays["weights"] + float(arrays["start"][0])
    return found


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12)
    return unit


def _assign(x: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = (x @ centers.T - 0.5 * (centers**2).sum(1)).argmax(1)
    return nearest


def _kmeans(x: NDArray[np.float64], count: int, rounds: int = 15) -> NDArray[np.float64]:
    """Centers (count, e); always the same for the same rows."""
    random = np.random.default_rng(0)
    centers = x[random.choice(len(x), min(count, len(x)), replace=False)].copy()
    for _ in range(rounds):
        mine = _assign(x, centers)
        for cluster in range(len(centers)):
            if (mine == cluster).any():
                centers[cluster] = x[mine == cluster].mean(0)
    return centers

"""What a claimed confidence has been worth: from outcomes to a calibrated one.

Few outcomes are fitted by a line on the log-odds (Platt 1999, with his smoothed targets,
and drawn to the identity), many by isotonic regression (pool adjacent violators). Both are
monotone: a higher claim never gives a lower confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aiki_kernel.mind.labels import Label

MANY = 100
"""Outcomes from which the isotonic fit is used."""

_FEW = 10
_EDGE = 0.01
_PULL = 4.0  # outcomes' weight of the identity in Platt's fit
BINS = 5


@dataclass(frozen=True)
class Calibration:
    """``method`` is "none", "platt" or "isotonic"; ``x`` and ``y`` are its curve's points."""

    method: str
    outcomes: int
    x: tuple[float, ...] = (0.0, 1.0)
    y: tuple[float, ...] = (0.0, 1.0)

    def __call__(self, claimed: float) -> float:
        """The calibrated confidence of a claim, 0..1."""
        return float(np.interp(claimed, self.x, self.y))


def fit(claimed: Sequence[float], right: Sequence[float]) -> Calibration:
    """Calibrate claims (n,) 0..1 by their outcomes (n,) 0..1. Too few change nothing."""
    x, y = np.asarray(claimed, float), np.asarray(right, float)
    if len(x) < _FEW:
        return Calibration("none", len(x))
    if len(x) < MANY:
        return _platt(x, y)
    return _isotonic(x, y)


def outcomes(labels: Sequence[Label]) -> tuple[list[float], list[float]]:
    """Claims and outcomes of the consultations in the ledger's labels; what the user said of
    an answer goes before what a check said."""
    claims: dict[str, float] = {}
    ended: dict[str, float] = {}
    said: dict[str, float] = {}
    for label in labels:
        if label.source == "checked" and label.confidence is not None:
            claims[label.turn_id] = label.confidence
            ended[label.turn_id] = label.good
        elif label.source in ("good", "bad", "rerun"):
            said[label.turn_id] = label.good
    return list(claims.values()), [said.get(turn, ended[turn]) for turn in claims]


def reliability(
    claimed: Sequence[float], right: Sequence[float], calibration: Calibration | None = None
) -> dict[str, Any]:
    """Bins of the diagram (mean confidence, share right, count) and the expected error."""
    x, y = np.asarray(claimed, float), np.asarray(right, float)
    if calibration is not None:
        x = np.array([calibration(one) for one in x])
    mine = np.minimum((x * BINS).astype(int), BINS - 1)
    rows = [
        {
            "confidence": float(x[mine == one].mean()),
            "right": float(y[mine == one].mean()),
            "count": int((mine == one).sum()),
        }
        for one in range(BINS)
        if (mine == one).any()
    ]
    error = sum(row["count"] * abs(row["confidence"] - row["right"]) for row in rows)
    return {"bins": rows, "expected_error": error / len(x) if len(x) else None}


def _platt(x: NDArray[np.float64], y: NDArray[np.float64]) -> Calibration:
    """sigmoid(a * logit(x) + b) by Newton's method; a is kept from falling below zero."""
    z = _logit(x)
    good, bad = float(y.sum()), float(len(y) - y.sum())
    target = y * (good + 1) / (good + 2) + (1 - y) / (bad + 2)
    design = np.stack([z, np.ones_like(z)], axis=1)
    start = np.array([1.0, 0.0])

    def loss(weights: NDArray[np.float64]) -> float:
        line = design @ weights
        pull = _PULL * float((weights - start) @ (weights - start)) / 2
        return float((np.logaddexp(0.0, line) - target * line).sum()) + pull

    weights = start
    for _ in range(50):
        p = _sigmoid(design @ weights)
        slope = design.T @ (p - target) + _PULL * (weights - start)
        curve = (design * (p * (1 - p))[:, None]).T @ design + _PULL * np.eye(2)
        step = np.linalg.solve(curve, slope)
        while loss(weights - step) > loss(weights) and float(np.abs(step).max()) > 1e-9:
            step = step / 2  # Newton's own step may go too far
        weights = weights - step
        if float(np.abs(step).max()) < 1e-8:
            break
    if weights[0] < 0:
        mean = float(target.mean())
        return Calibration("platt", len(x), (0.0, 1.0), (mean, mean))
    grid = np.linspace(0.0, 1.0, 101)
    found = _sigmoid(weights[0] * _logit(grid) + weights[1])
    return Calibration("platt", len(x), tuple(map(float, grid)), tuple(map(float, found)))


def _isotonic(x: NDArray[np.float64], y: NDArray[np.float64]) -> Calibration:
    """Pool adjacent violators over the distinct claims; straight lines between blocks."""
    values, mine = np.unique(x, return_inverse=True)
    counts = np.bincount(mine).astype(float)
    means = np.bincount(mine, weights=y) / counts
    blocks: list[list[float]] = []  # mean, weight, sum of claims
    for value, mean, count in zip(values, means, counts, strict=True):
        blocks.append([float(mean), float(count), float(value * count)])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            last = blocks.pop()
            before = blocks[-1]
            weight = before[1] + last[1]
            before[0] = (before[0] * before[1] + last[0] * last[1]) / weight
            before[1], before[2] = weight, before[2] + last[2]
    at = tuple(block[2] / block[1] for block in blocks)
    return Calibration("isotonic", len(x), at, tuple(block[0] for block in blocks))


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(p, _EDGE, 1 - _EDGE)
    found: NDArray[np.float64] = np.log(kept / (1 - kept))
    return found


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-z))
    return found

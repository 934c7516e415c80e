"""Tones: which damped sinusoids a signal is made of.

Model, for column c of a signal x sampled at rate r, t = n / r::

    x_c[n] = u_c + v_c n + sum_j Re( a_jc exp((i 2 pi f_j - d_j) n / r) )

1. Window and transform. A Hann window where the energy is spread over the record; its falling
   half, w[n] = (1 + cos(pi n / N)) / 2, where most of it lies at the beginning (a struck bell:
   Hann would weigh its loudest part with zero).
2. Candidate. The highest bin of the residual's power spectrum (summed over columns, so that two
   columns in opposite phase do not cancel), if it stands out of the noise: the running median of
   the power is ln 2 times its mean where there is only noise, and a bin of noise exceeds
   ln(bins / p) means with probability p. Its frequency to a fraction of a bin by a parabola
   through the logarithms of three bins (Gaussian interpolation; exact for a Gaussian window,
   good to a few hundredths of a bin for Hann; Gasior and Gonzalez, CERN-AB-2004-023).
3. Fit. All tones found so far together, by least squares over the bins around them. The spectrum
   of a windowed damped exponential has a closed form (a geometric sum), so a fit costs the same
   for a thousand samples as for a million, and the tone's mirror at -f, the mean and the trend
   are in the model instead of leaking into it. Gauss-Newton in (f, d); the amplitudes are linear
   and are solved for at each step (variable projection; Golub and Pereyra 1973).
4. Subtract, and look again, until nothing stands out.

Amplitude is that of the strongest column (or the root of the sum of squares, for several);
phase is that column's. A decay below three standard errors is not reported.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.memory.wave import MOST_TONES, Tone

Values = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

_HANN = ((0.5, 0.0), (-0.25, 1.0), (-0.25, -1.0))
_FALLING = ((0.5, 0.0), (0.25, 0.5), (0.25, -0.5))
_REACH = 8  # bins on each side of a tone that the fit looks at
_LOW = 6  # bins from zero on that tell the trend from a slow tone
_TAIL = 4096  # bins on each side from which a tone is subtracted
_FALSE_ALARM = 1e-4
_WEAKEST = 1e-4  # energy of a tone against that of the strongest
_STEPS = 25
_DECAY_ERRORS = 3.0
_HALF_CYCLE = 0.5  # a slower one cannot be told from a trend


@dataclass(frozen=True)
class Tones:
    """``tones`` by falling energy, ``energies`` theirs over the record.

    ``power``: (n // 2 + 1,) mean square of x a bin (one-sided, summed over columns, without mean
    and trend), ``residual`` the same without the tones. ``slope``: the trend beside the tones, a
    second, mean over columns.
    """

    tones: tuple[Tone, ...]
    power: Values
    residual: Values
    rate: float
    samples: int
    slope: float = 0.0
    energies: tuple[float, ...] = ()


def find_tones(x: Values, rate: float, most: int = MOST_TONES) -> Tones:
    """The tones of ``x``: (n, columns), n at least 8. Finite numbers are the caller's duty."""
    return _Fit(x, rate).run(most)


class _Fit:
    def __init__(self, x: Values, rate: float) -> None:
        self.rate, self.n = rate, len(x)
        x = x - x.mean(axis=0)
        ramp = np.arange(self.n) - (self.n - 1) / 2
        energy = (x**2).sum(axis=1)
        total = float(energy.sum())
        early = _falls(energy)
        self.window = _FALLING if early else _HANN
        taper = _taper(self.window, self.n)
        flat = x - ramp[:, None] * (ramp @ x) / (ramp @ ramp)
        self.data: Spectrum = np.fft.rfft(x * taper[:, None], axis=0)
        self.ramp: Spectrum = np.fft.rfft(ramp * taper)
        self.residual: Spectrum = np.fft.rfft(flat * taper[:, None], axis=0)
        self.bins = len(self.data)
        self.scale = 2.0 / (self.n * float((taper**2).sum()))
        self.floor = 1e-24 * max(total, 1e-300) * self.n
        self.start_decay = _falling_rate(energy) if early else 0.0
        self.omega = np.zeros(0)  # radians a sample
        self.decay = np.zeros(0)  # nepers a sample
        self.slope = float((ramp @ x).mean() / (ramp @ ramp))

    def run(self, most: int) -> Tones:
        power = self._power(self.residual)
        amplitudes = np.zeros((0, self.data.shape[1]), np.complex128)
        errors = np.zeros(0)
        for _ in range(most):
            candidate = self._candidate()
            if candidate is None:
                break
            before = self.omega, self.decay
            self.omega = np.append(self.omega, candidate)
            self.decay = np.append(self.decay, 0.0)
            fitted, sigma = self._fit()
            energies = self._energies(fitted)
            strongest = float(energies.max())
            sound = bool(np.isfinite(energies).all()) and energies.max() < 4 * power.sum()
            if not sound or energies[-1] < _WEAKEST * strongest:
                self.omega, self.decay = before
                break
            amplitudes, errors = fitted, sigma
            self._subtract()
        energies = self._energies(amplitudes)
        # By energy: what dies within three samples may begin louder than all the rest.
        order = np.argsort(-energies, kind="stable")
        named = self._named(amplitudes, errors)
        return Tones(
            tuple(named[j] for j in order),
            power,
            self._power(self.residual),
            self.rate,
            self.n,
            self.slope * self.rate,
            tuple(float(energies[j]) for j in order),
        )

    def _power(self, spectrum: Spectrum) -> Values:
        power = (np.abs(spectrum) ** 2).sum(axis=1) * self.scale
        power[0] = 0.0
        return np.asarray(power)

    def _candidate(self) -> float | None:
        """Radians a sample of what stands out of the residual; None when nothing does."""
        power = (np.abs(self.residual) ** 2).sum(axis=1)
        power[0] = power[-1] = 0.0  # at half the rate a sine and its amplitude are anything
        floor = np.maximum(_running_median(power) / math.log(2), self.floor)
        limit = math.log(self.bins / _FALSE_ALARM)
        ratio = power / floor
        # A noise of few bins has a poor median: the highest must also carry real energy.
        k = int(np.argmax(np.where(ratio > limit, power, 0.0)))
        if k == 0 or ratio[k] <= limit or power[k] < 1e-3 * power.sum():
            return None
        shift = 0.0
        if 1 < k < self.bins - 1:
            left, mid, right = (math.log(max(float(power[j]), 1e-300)) for j in (k - 1, k, k + 1))
            bend = left - 2 * mid + right
            if bend < 0:
                shift = min(0.5, max(-0.5, 0.5 * (left - right) / bend))
        return 2 * math.pi * max(k + shift, _HALF_CYCLE) / self.n

    # --- least squares over a few bins -------------------------------------------------------

    def _fit(self) -> tuple[Spectrum, Values]:
        """Refine all frequencies and decays; amplitudes (tones, columns) and errors of decay."""
        picked = self._picked()
        best: tuple[float, Values, Values, Spectrum, Values] | None = None
        starts = [self.decay]
        if self.start_decay > 0:
            starts.append(np.where(self.decay == 0.0, self.start_decay, self.decay))
        for decay in starts:
            found = self._descend(self.omega.copy(), decay.copy(), picked)
            if best is None or found[0] < best[0] * 0.999:
                best = found
        assert best is not None
        _, self.omega, self.decay, amplitudes, errors = best
        return amplitudes, errors

    def _picked(self) -> NDArray[np.intp]:
        reach = _REACH + np.ceil(np.abs(self.decay) * self.n / math.pi).astype(int)
        near = [np.arange(0, min(_LOW, self.bins))]
        for omega, wide in zip(self.omega, np.minimum(reach, 64), strict=True):
            k = round(omega * self.n / (2 * math.pi))
            near.append(np.arange(max(0, k - wide), min(self.bins, k + wide + 1)))
        return np.unique(np.concatenate(near))

    def _descend(
        self, omega: Values, decay: Values, picked: NDArray[np.intp]
    ) -> tuple[float, Values, Values, Spectrum, Values]:
        """Levenberg-Marquardt from one start."""
        count = len(omega)
        step = np.concatenate([np.full(count, 1e-4 / self.n), np.full(count, 1e-4 / self.n)])
        top = math.pi * (1 - 1 / self.n)
        low = np.concatenate([np.maximum(omega - 10 / self.n, 1e-12), np.full(count, -6 / self.n)])
        high = np.concatenate([np.minimum(omega + 10 / self.n, top), np.full(count, 0.5)])
        theta = np.concatenate([omega, decay])
        linear, rest, cost = self._solve(theta, picked)
        caution = 1e-3
        jacobian = np.zeros((rest.size, 2 * count))
        for _ in range(_STEPS):
            for j in range(2 * count):
                moved = theta.copy()
                moved[j] += step[j]
                # Kaufman's variant of variable projection: only the residual's own change.
                jacobian[:, j] = (self._solve(moved, picked)[1] - rest).ravel() / step[j]
            normal = jacobian.T @ jacobian
            slope = jacobian.T @ rest.ravel()
            gained = False
            for _ in range(6):
                damped = normal + caution * np.diag(np.maximum(np.diag(normal), 1e-300))
                try:
                    move = np.linalg.solve(damped, -slope)
                except np.linalg.LinAlgError:
                    caution *= 10
                    continue
                trial = np.clip(theta + move, low, high)
                found = self._solve(trial, picked)
                if found[2] < cost:
                    gained = cost - found[2] > 1e-12 * cost
                    theta, (linear, rest, cost) = trial, found
                    caution = max(caution / 5, 1e-9)
                    break
                caution *= 5
            if not gained:
                break
        freedom = max(1, rest.size - 2 * count - linear.size)
        with np.errstate(all="ignore"):
            spread = np.sqrt(np.abs(np.diag(np.linalg.pinv(jacobian.T @ jacobian))))
            errors = spread[count:] * math.sqrt(cost / freedom)
        amplitudes = linear[2::2] - 1j * linear[3::2]
        return cost, theta[:count], theta[count:], amplitudes, errors

    def _solve(self, theta: Values, picked: NDArray[np.intp]) -> tuple[Values, Values, float]:
        """Best linear part for ``theta``: (2 + 2 tones, columns), the residual, its energy."""
        basis = self._basis(theta, picked)
        real = np.concatenate([basis.real, basis.imag])
        data = self.data[picked]
        wanted = np.concatenate([data.real, data.imag])
        size = np.maximum(np.linalg.norm(real, axis=0), 1e-300)
        linear = np.linalg.lstsq(real / size, wanted, rcond=1e-12)[0] / size[:, None]
        rest = wanted - real @ linear
        return linear, rest, float((rest**2).sum())

    def _basis(self, theta: Values, picked: NDArray[np.intp]) -> Spectrum:
        count = len(theta) // 2
        at = 2 * math.pi * picked / self.n
        constant = self._wave(np.zeros(1), np.zeros(1), at)
        columns = [constant[:, 0], self.ramp[picked]]
        ahead = self._wave(theta[:count], theta[count:], at)
        behind = self._wave(-theta[:count], theta[count:], at)
        for j in range(count):
            columns.append((ahead[:, j] + behind[:, j]) / 2)
            columns.append((ahead[:, j] - behind[:, j]) / 2j)
        return np.stack(columns, axis=1)

    def _wave(self, omega: Values, decay: Values, at: Values) -> Spectrum:
        """Windowed spectrum of exp((i omega - decay) n) at the frequencies ``at``."""
        out = np.zeros((len(at), len(omega)), np.complex128)
        for weight, shift in self.window:
            z = 1j * (omega[None, :] - at[:, None] + 2 * math.pi * shift / self.n) - decay[None, :]
            tiny = np.abs(z) < 1e-13
            z = np.where(tiny, 1e-13, z)
            out += weight * np.expm1(z * self.n) / np.expm1(z)
        return out

    # --- what comes of it ------------------------------------------------------------------

    def _subtract(self) -> None:
        """The residual around each tone: data without trend and all tones."""
        theta = np.concatenate([self.omega, self.decay])
        linear = self._solve(theta, self._picked())[0]
        self.slope = float(linear[1].mean())
        wide: set[int] | NDArray[np.intp]
        if self.bins <= 4 * _TAIL:
            wide = np.arange(self.bins)
        else:
            spans = [
                np.arange(max(0, k - _TAIL), min(self.bins, k + _TAIL + 1))
                for k in (np.round(self.omega * self.n / (2 * math.pi)).astype(int))
            ]
            wide = np.unique(np.concatenate(spans))
        self.residual[wide] = self.data[wide] - self._basis(theta, wide) @ linear

    def _energies(self, amplitudes: Spectrum) -> Values:
        """Mean square of each tone over the record, summed over columns."""
        length = _energy_of_decay(self.decay, self.n)
        return np.asarray((np.abs(amplitudes) ** 2).sum(axis=1) * length / 2 / self.n)

    def _named(self, amplitudes: Spectrum, errors: Values) -> list[Tone]:
        out = []
        for j in range(len(amplitudes)):
            column = amplitudes[j, int(np.argmax(np.abs(amplitudes[j])))]
            decay = float(self.decay[j])
            told = abs(decay) > _DECAY_ERRORS * errors[j] and abs(decay) * self.n > 0.02
            out.append(
                Tone(
                    float(self.omega[j] * self.rate / (2 * math.pi)),
                    float(np.sqrt((np.abs(amplitudes[j]) ** 2).sum())),
                    float(np.angle(column)),
                    decay * self.rate if told else None,
                )
            )
        return out


def _energy_of_decay(decay: Values, n: int) -> Values:
    """Sum of exp(-2 d k) over the record."""
    d = np.where(np.abs(decay) * n < 1e-9, 1e-9 / n, decay)
    return np.asarray(np.expm1(-2 * d * n) / np.expm1(-2 * d))


def _taper(window: tuple[tuple[float, float], ...], n: int) -> Values:
    at = np.arange(n)
    total = np.zeros(n)
    for weight, shift in window:
        total += weight * np.cos(2 * math.pi * shift * at / n)
    return total


def _running_median(power: Values) -> Values:
    """The median of the power around each bin: over a quarter of an octave, at least 32 bins."""
    bins = len(power)
    edges = [1]
    while edges[-1] < bins:
        edges.append(min(bins, edges[-1] + max(32, edges[-1] // 5)))
    centres = [(a + b - 1) / 2 for a, b in itertools.pairwise(edges)]
    medians = [float(np.median(power[a:b])) for a, b in itertools.pairwise(edges)]
    if not medians:
        return np.zeros(bins)
    return np.asarray(np.interp(np.arange(bins), centres, medians))


def _falls(energy: Values) -> bool:
    """Whether most of what stands above the noise lies in the first third."""
    parts = np.array([float(part.mean()) for part in np.array_split(energy, min(60, len(energy)))])
    heard = np.maximum(parts - 1.5 * float(np.quantile(parts, 0.25)), 0.0)
    return bool(heard[: len(heard) // 3].sum() > 0.8 * heard.sum() > 0.04 * parts.sum())


def _falling_rate(energy: Values) -> float:
    """Nepers a sample by which the amplitude falls: half the slope of the log energy's fall."""
    parts = np.array_split(energy, min(64, max(4, len(energy) // 4)))
    level = np.array([float(part.mean()) for part in parts])
    top = int(np.argmax(level))
    kept = np.flatnonzero(level[top:] > level[top] * 1e-3)
    if len(kept) < 3:
        return 0.0
    last = int(kept[np.argmax(np.append(np.diff(kept) > 1, True))]) + 1
    if last < 3:
        return 0.0
    span = len(energy) / len(parts)
    slope = np.polyfit(np.arange(last) * span, np.log(level[top : top + last]), 1)[0]
    return max(0.0, -float(slope) / 2)

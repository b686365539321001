"""Closed-loop fit: Gauss–Newton on simulated runs, damped, bounded, and held to where it began.

A step-time model fitted to the measured means in open loop is only nearly right, and one that is
refitted blindly on the twin's own trajectories diverges: a slower step makes a larger batch, which makes
a slower step. So the parameters are moved by Gauss–Newton steps on what the *closed loop* predicts, with
the Jacobian by finite differences under common random numbers, a robust loss, bounds, and a ridge towards
the start.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from adapter_twin.calibration.parameters import PARAMETERS, vector_of, with_vector
from adapter_twin.calibration.residuals import microbenchmark_residuals, run_residuals
from adapter_twin.measurements.tables import Microbenchmark, Run
from adapter_twin.profile import Profile
from adapter_twin.validation.runs import predict_runs

Progress = Callable[[str, float], None]
"""Called with what is being done and the part that is done, 0 to 1."""

_Vector = NDArray[np.float64]
_SCALE = np.array([parameter.scale for parameter in PARAMETERS])
_LOWER = np.array([parameter.lower for parameter in PARAMETERS])
_UPPER = np.array([parameter.upper for parameter in PARAMETERS])
_DIFFERENCE = 0.1
_LARGEST_MOVE = 1.0
_HUBER = 2.0


@dataclass(frozen=True)
class FitSettings:
    """How long and how boldly to fit."""

    iterations: int = 6
    ridge: float = 0.1
    """Weight of one unit of scale away from the start, against one unit of noise in one figure."""
    threads: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Objective:
    """The measurements that a fit is held to."""

    runs: Sequence[Run]
    microbenchmarks: Sequence[Microbenchmark]
    settings: FitSettings

    def residuals(self, profile: Profile) -> _Vector:
        """All residuals of a profile, runs first, shape (n,)."""
        predictions = list(
            predict_runs(self.runs, profile, seed=self.settings.seed, threads=self.settings.threads)
        )
        return np.concatenate(
            [
                run_residuals(self.runs, predictions).ravel(),
                microbenchmark_residuals(profile, self.microbenchmarks),
            ]
        )


def fit_closed_loop(profile: Profile, objective: Objective, progress: Progress) -> Profile:
    """The profile with step time and lengths fitted; never worse than the one it began with."""
    start = vector_of(profile)
    values, residuals = start, objective.residuals(profile)
    for iteration in range(objective.settings.iterations):
        share = iteration / objective.settings.iterations
        progress(f"iteration {iteration + 1}: loss {_loss(residuals):.2f}", share)
        jacobian = _jacobian(profile, objective, values, residuals)
        values, residuals, moved = _step(profile, objective, start, values, residuals, jacobian)
        if not moved:
            break
    progress(f"done: loss {_loss(residuals):.2f}", 1.0)
    return with_vector(profile, [float(f"{value:.6g}") for value in values])


def _jacobian(profile: Profile, objective: Objective, values: _Vector, residuals: _Vector) -> _Vector:
    """Shape (n, parameters), per unit of each parameter's scale, by forward differences."""
    columns = []
    for index, parameter in enumerate(PARAMETERS):
        shifted = values.copy()
        step = _DIFFERENCE * max(parameter.scale, 0.5 * abs(values[index]))
        shifted[index] += step if values[index] + step <= parameter.upper else -step
        moved = objective.residuals(with_vector(profile, list(shifted)))
        columns.append((moved - residuals) / ((shifted[index] - values[index]) / parameter.scale))
    return np.stack(columns, axis=1)


def _step(
    profile: Profile,
    objective: Objective,
    start: _Vector,
    values: _Vector,
    residuals: _Vector,
    jacobian: _Vector,
) -> tuple[_Vector, _Vector, bool]:
    """The best of the full Gauss–Newton step and shorter ones; nothing moves if none is better."""
    direction = _direction(start, values, residuals, jacobian, objective.settings.ridge)
    for length in (1.0, 0.5, 0.2):
        candidate = np.clip(values + length * direction, _LOWER, _UPPER)
        found = objective.residuals(with_vector(profile, list(candidate)))
        if _loss(found) < _loss(residuals):
            return candidate, found, True
    return values, residuals, False


def _direction(
    start: _Vector, values: _Vector, residuals: _Vector, jacobian: _Vector, ridge: float
) -> _Vector:
    """Bounded least squares on reweighted residuals (Huber), with a ridge towards the start."""
    weight = np.sqrt(np.minimum(1.0, _HUBER / np.maximum(np.abs(residuals), 1e-12)))
    pull = np.full(_SCALE.size, ridge * np.sqrt(residuals.size) / 10.0)
    matrix = np.vstack([weight[:, None] * jacobian, np.diag(pull)])
    target = np.concatenate([-weight * residuals, pull * (start - values) / _SCALE])
    lower = np.maximum((_LOWER - values) / _SCALE, -_LARGEST_MOVE) - 1e-9
    upper = np.minimum((_UPPER - values) / _SCALE, _LARGEST_MOVE) + 1e-9
    direction: _Vector = lsq_linear(matrix, target, (lower, upper)).x * _SCALE
    return direction


def _loss(residuals: _Vector) -> float:
    """Mean Huber loss."""
    size = np.abs(residuals)
    return float(np.mean(np.where(size <= _HUBER, 0.5 * size**2, _HUBER * (size - 0.5 * _HUBER))))

"""Closed-loop fit: Gauss–Newton on simulated runs, damped, bounded, and held to where it began.

A step-time model fitted to the measured means in open loop is only nearly right, and one that is
refitted blindly on the twin's own trajectories diverges: a slower step makes a larger batch, which makes
a slower step. So the parameters are moved by Gauss–Newton steps on what the *closed loop* predicts, with
the Jacobian by finite differences under common random numbers, a robust loss, bounds, and a ridge towards
the start.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from adapter_twin.calibration.parameters import PARAMETERS, Parameter, vector_of, with_vector
from adapter_twin.calibration.residuals import microbenchmark_residuals, run_residuals
from adapter_twin.measurements.tables import Microbenchmark, Run
from adapter_twin.profile import Profile
from adapter_twin.validation.runs import predict_runs

Progress = Callable[[str, float], None]
"""Called with what is being done and the part that is done, 0 to 1."""

_Vector = NDArray[np.float64]
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


class ClosedLoop(Protocol):
    """What a fit is held to: residuals in units of their noise, and a prior; and what it may move."""

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What is fitted."""

    @property
    def settings(self) -> FitSettings:
        """How to fit."""

    def residuals(self, profile: Profile) -> _Vector:
        """All residuals of a profile, shape (n,)."""

    def pull(self, start: _Vector, residuals: int) -> _Vector:
        """Weight of one unit of each parameter's scale away from the start, shape (parameters,).

        Against one unit of noise in one of so many residuals.
        """


@dataclass(frozen=True)
class Objective:
    """Measured runs and microbenchmarks."""

    runs: Sequence[Run]
    microbenchmarks: Sequence[Microbenchmark]
    settings: FitSettings
    parameters: Sequence[Parameter] = PARAMETERS

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

    def pull(self, start: _Vector, residuals: int) -> _Vector:
        """The same ridge on every parameter: its weight grows as the noise that residuals share."""
        return np.full(start.size, self.settings.ridge * np.sqrt(residuals) / 10.0)


def fit_closed_loop(
    profile: Profile, objective: ClosedLoop, progress: Progress, *, slopes: _Vector | None = None
) -> Profile:
    """The profile with step time and lengths fitted; never worse than the one it began with.

    Args:
        profile: where to begin.
        objective: what to minimise.
        progress: told what is being done.
        slopes: the Jacobian at the start, if it is known; all iterations then go by it, which is enough
            near an optimum and saves nearly all the work.
    """
    start = vector_of(profile, objective.parameters)
    values, residuals = start, objective.residuals(profile)
    for iteration in range(objective.settings.iterations):
        share = iteration / objective.settings.iterations
        progress(f"iteration {iteration + 1}: loss {_loss(residuals):.2f}", share)
        jacobian = jacobian_at(profile, objective, values, residuals) if slopes is None else slopes
        values, residuals, moved = _step(profile, objective, start, values, residuals, jacobian)
        if not moved:
            break
    progress(f"done: loss {_loss(residuals):.2f}", 1.0)
    return with_vector(profile, [float(f"{value:.6g}") for value in values], objective.parameters)


def jacobian_at(profile: Profile, objective: ClosedLoop, values: _Vector, residuals: _Vector) -> _Vector:
    """Shape (n, parameters), per unit of each parameter's scale, by forward differences."""
    columns = []
    for index, parameter in enumerate(objective.parameters):
        shifted = values.copy()
        step = _DIFFERENCE * max(parameter.scale, 0.5 * abs(values[index]))
        shifted[index] += step if values[index] + step <= parameter.upper else -step
        moved = objective.residuals(with_vector(profile, list(shifted), objective.parameters))
        columns.append((moved - residuals) / ((shifted[index] - values[index]) / parameter.scale))
    return np.stack(columns, axis=1)


def _step(
    profile: Profile,
    objective: ClosedLoop,
    start: _Vector,
    values: _Vector,
    residuals: _Vector,
    jacobian: _Vector,
) -> tuple[_Vector, _Vector, bool]:
    """The best of the full Gauss–Newton step and shorter ones; nothing moves if none is better."""
    parameters = objective.parameters
    pull = objective.pull(start, residuals.size)
    direction = _direction(parameters, start, values, residuals, jacobian, pull)
    lower, upper = _bounds(parameters)
    for length in (1.0, 0.5, 0.2):
        candidate = np.clip(values + length * direction, lower, upper)
        found = objective.residuals(with_vector(profile, list(candidate), parameters))
        if _loss(found) < _loss(residuals):
            return candidate, found, True
    return values, residuals, False


def _direction(
    parameters: Sequence[Parameter],
    start: _Vector,
    values: _Vector,
    residuals: _Vector,
    jacobian: _Vector,
    pull: _Vector,
) -> _Vector:
    """Bounded least squares on reweighted residuals (Huber), with a pull towards the start."""
    scale = np.array([parameter.scale for parameter in parameters])
    weight = np.sqrt(np.minimum(1.0, _HUBER / np.maximum(np.abs(residuals), 1e-12)))
    matrix = np.vstack([weight[:, None] * jacobian, np.diag(pull)])
    target = np.concatenate([-weight * residuals, pull * (start - values) / scale])
    least, most = _bounds(parameters)
    lower = np.maximum((least - values) / scale, -_LARGEST_MOVE) - 1e-9
    upper = np.minimum((most - values) / scale, _LARGEST_MOVE) + 1e-9
    direction: _Vector = lsq_linear(matrix, target, (lower, upper)).x * scale
    return direction


def _bounds(parameters: Sequence[Parameter]) -> tuple[_Vector, _Vector]:
    return np.array([item.lower for item in parameters]), np.array([item.upper for item in parameters])


def _loss(residuals: _Vector) -> float:
    """Mean Huber loss."""
    size = np.abs(residuals)
    return float(np.mean(np.where(size <= _HUBER, 0.5 * size**2, _HUBER * (size - 0.5 * _HUBER))))

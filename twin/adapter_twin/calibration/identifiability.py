"""Which coefficients a set of measurements determines, and which it leaves where they were.

Before any measurement a coefficient is known as well as roofline scaling knows it (`open_deviations`). The
residuals' Jacobian at the solution says how much the measurements add: the Fisher information of both
together gives each coefficient's standard error. Where measurements add little, the coefficient has kept the
value that the calibration began with; where they tell a sum but not its parts, the parts are named together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adapter_twin.calibration.parameters import STEP_TIME, Parameter
from adapter_twin.engine.step_time import step_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_twin.profile import Profile

_Vector = NDArray[np.float64]

OPEN_RELATIVE = 0.5
"""Standard error of a scaled coefficient, relative to its value; the shipped models differ by less."""
OPEN_OF_SCALE = 0.25
"""The same in units of its scale, for coefficients near zero."""
IDENTIFIED_LEFT, WEAK_LEFT = 0.25, 0.7
"""Parts of the first uncertainty that may be left."""
_REACTS = 3.0
"""Change of the residuals, in units of noise, for one standard error: less, and they do not see it."""
_MEMBER = 0.35
"""Share of a coefficient in a direction that the measurements do not determine."""
_BATCHES, _CONTEXT = (4, 32, 128, 256), 400
"""Of the steps whose time shall be certain: requests, and tokens of context of each."""
_LARGEST_RESIDUAL = 2.0
"""Outliers count no more than this in the estimate of the noise, as in the fit."""


class Verdict(StrEnum):
    """What measurements say of a coefficient."""

    IDENTIFIED = "identified"
    WEAK = "weakly"
    KEPT = "not"


@dataclass(frozen=True)
class Coefficient:
    """One fitted number, in seconds per its unit."""

    name: str
    start: float
    value: float
    deviation: float
    """Standard error after the measurements."""
    left: float
    """Part of the first uncertainty that is left, 0 to 1."""

    @property
    def verdict(self) -> Verdict:
        """By the uncertainty that is left."""
        if self.left <= IDENTIFIED_LEFT:
            return Verdict.IDENTIFIED
        return Verdict.WEAK if self.left <= WEAK_LEFT else Verdict.KEPT


@dataclass(frozen=True)
class Identifiability:
    """What a set of measurements says of all coefficients."""

    coefficients: tuple[Coefficient, ...]
    groups: tuple[tuple[str, ...], ...]
    """Coefficients of which the measurements see a combination, but not each."""
    covariance: _Vector
    """Of the step time's coefficients, in their order, seconds squared."""
    noise: float
    """Scatter of the residuals over what was assumed; errors are widened by it where it exceeds 1."""

    def named(self, verdict: Verdict) -> tuple[str, ...]:
        """The coefficients with a verdict."""
        return tuple(c.name for c in self.coefficients if c.verdict is verdict)


def open_deviations(parameters: Sequence[Parameter], values: _Vector) -> _Vector:
    """Standard errors before any measurement, shape (parameters,)."""
    scale = np.array([parameter.scale for parameter in parameters])
    deviations: _Vector = np.maximum(OPEN_RELATIVE * np.abs(values), OPEN_OF_SCALE * scale)
    return deviations


def information(parameters: Sequence[Parameter], jacobian: _Vector, values: _Vector) -> _Vector:
    """Fisher information in units of `open_deviations`, shape (parameters, parameters).

    Args:
        parameters: what is fitted.
        jacobian: of residuals in units of their noise, per unit of each parameter's scale,
            shape (n, parameters).
        values: of the parameters, for their first uncertainty.
    """
    scale = np.array([parameter.scale for parameter in parameters])
    scaled = jacobian * (open_deviations(parameters, values) / scale)
    found: _Vector = scaled.T @ scaled
    return found


def identify(
    parameters: Sequence[Parameter], start: _Vector, values: _Vector, jacobian: _Vector, residuals: _Vector
) -> Identifiability:
    """Standard errors and verdicts at a solution.

    Args:
        parameters: what was fitted, the step time's coefficients first.
        start: their values when the calibration began.
        values: their values at the solution.
        jacobian: there, per unit of each parameter's scale, shape (n, parameters).
        residuals: there, shape (n,).
    """
    found = information(parameters, jacobian, start)
    noise = _noise(found, residuals)
    found = found / max(1.0, noise) ** 2
    covariance = np.linalg.inv(found + np.eye(len(found)))
    left = np.sqrt(np.diag(covariance))
    opened = open_deviations(parameters, start)
    coefficients = tuple(
        Coefficient(parameter.name, *map(float, numbers))
        for parameter, *numbers in zip(parameters, start, values, opened * left, left, strict=True)
    )
    steps = slice(0, len(STEP_TIME))
    groups = _groups(found, [parameter.name for parameter in parameters])
    return Identifiability(coefficients, groups, (covariance * np.outer(opened, opened))[steps, steps], noise)


def step_time_error(found: Identifiability, profile: Profile) -> float:
    """Relative standard error of the step time, the largest over the profile's validity range.

    What no coefficient shows: a sum can be certain although its parts are not.
    """
    gradients = relative_gradients(profile, profile.validity.max_loras, profile.validity.max_lora_rank)
    variances = np.einsum("ij,jk,ik->i", gradients, found.covariance, gradients)
    return float(np.sqrt(variances.max()))


def relative_gradients(profile: Profile, slots: Sequence[int], ranks: Sequence[int]) -> _Vector:
    """How the logarithm of the step time changes with its coefficients, over steps small and large.

    Shape (steps, coefficients), per second of each coefficient.
    """
    unit = np.eye(len(STEP_TIME))
    coefficients = profile.coefficients()
    rows = []
    for batch, places, rank, part in product(_BATCHES, slots, ranks, (0.0, 0.25, 1.0)):
        adapters = min(batch, round(part * places))
        state = (batch, batch // 2, _CONTEXT * batch, 1, adapters, places, rank, 0)
        rows.append([step_time(one, *state) / step_time(coefficients, *state) for one in unit])
    return np.array(rows)


def _noise(found: _Vector, residuals: _Vector) -> float:
    """Root of the mean square of the residuals, for the freedom that the fit has used up."""
    seen = residuals[residuals != 0.0]
    used = float(np.trace(np.linalg.solve(found + np.eye(len(found)), found)))
    square = np.minimum(np.abs(seen), _LARGEST_RESIDUAL) ** 2
    return float(np.sqrt(square.sum() / max(1.0, seen.size - used)))


def _groups(found: _Vector, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Combinations of coefficients that are seen one by one, but that the measurements do not tell apart."""
    reacting = np.flatnonzero(np.diag(found) >= _REACTS**2)
    if not reacting.size:
        return ()
    strengths, directions = np.linalg.eigh(found[np.ix_(reacting, reacting)])
    groups = {
        tuple(names[reacting[i]] for i in np.flatnonzero(np.abs(direction) >= _MEMBER))
        for strength, direction in zip(strengths, directions.T, strict=True)
        if strength < 1.0 / WEAK_LEFT**2 - 1.0
    }
    return tuple(sorted(group for group in groups if len(group) > 1))

"""Measures of error between predicted and measured runs."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Regime = Literal["unsaturated", "knee", "overloaded"]
REGIMES: tuple[Regime, ...] = ("unsaturated", "knee", "overloaded")


def smape(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Symmetric mean absolute percentage error in 0–100; a prediction that is not finite counts 100."""
    p, m = np.asarray(predicted, float), np.asarray(measured, float)
    if p.size == 0:
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.abs(p - m) / (np.abs(p) + np.abs(m))
    errors = np.where((p == 0) & (m == 0), 0.0, errors)
    return float(100.0 * np.where(np.isfinite(errors), errors, 1.0).mean())


def macro_f1(predicted: Sequence[bool], actual: Sequence[bool]) -> float:
    """Mean of the F1 scores of both classes; a class that neither side names counts 1."""
    p, a = np.asarray(predicted, bool), np.asarray(actual, bool)
    return float(np.mean([_f1(p, a), _f1(~p, ~a)]))


def _f1(predicted: np.ndarray, actual: np.ndarray) -> float:
    named = int(predicted.sum() + actual.sum())
    return 2.0 * int((predicted & actual).sum()) / named if named else 1.0


def regime(throughput: float, ideal: float) -> Regime:
    """By the part of the ideal throughput that was measured."""
    part = throughput / ideal
    if part >= 0.97:
        return "unsaturated"
    return "knee" if part >= 0.8 else "overloaded"

"""A prediction in words: the questions that led to it, and what would change it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.features import FEATURES, Feature
from adapter_predictor.load import ReplicaLoad
from adapter_predictor.trees import Tree

FloatArray = NDArray[np.float64]
ServedFractions = Callable[[Sequence[ReplicaLoad]], FloatArray]

_WIDEST_FACTOR = 32.0
_COARSE_STEPS = 96
_BISECTIONS = 12


@dataclass(frozen=True)
class Explanation:
    """Why a replica is predicted to do what it does.

    Attributes:
        path: The decision path, one clause each, from the root.
        nearest_flip: The rate at which the answer to "is one replica enough?" changes.
        warnings: Features outside of what the trees were trained on.
    """

    path: tuple[str, ...]
    nearest_flip: str
    warnings: tuple[str, ...] = ()


def quantity(feature: Feature, value: float) -> str:
    """A feature's value with its unit, as a person would write it."""
    number = f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"
    return f"{number} {feature.unit}".rstrip()


def described_path(tree: Tree, x: FloatArray) -> tuple[str, ...]:
    """The path to a feature vector's leaf; questions about one feature are put together."""
    bounds: dict[int, tuple[float, float]] = {}
    nodes = tree.path(x)
    for node, child in pairwise(nodes):
        index, threshold = int(tree.feature[node]), float(tree.threshold[node])
        low, high = bounds.get(index, (-math.inf, math.inf))
        went_left = child == tree.left[node]
        bounds[index] = (low, min(high, threshold)) if went_left else (max(low, threshold), high)
    return tuple(_clause(FEATURES[index], float(x[index]), *bound) for index, bound in bounds.items())


def nearest_flip(served: ServedFractions, load: ReplicaLoad, objective: float) -> str:
    """Up to which rate one replica with this mix of adapters and these slots serves the objective."""
    if load.rate <= 0.0:
        return "the replica has no traffic"
    enough = bool(served([load])[0] >= objective)
    factor = _flip_factor(served, load, objective, enough=enough)
    if factor is None:
        return _no_flip(load, objective, enough=enough)
    rate = f"{load.rate * factor:.3g} req/s"
    if enough:
        return f"a further replica is needed above {rate} (now {load.rate:.3g} req/s)"
    return f"one replica would be enough up to {rate} (now {load.rate:.3g} req/s)"


def _flip_factor(
    served: ServedFractions, load: ReplicaLoad, objective: float, *, enough: bool
) -> float | None:
    """The factor on the rates nearest to one at which the answer changes."""
    widest = _WIDEST_FACTOR if enough else 1.0 / _WIDEST_FACTOR
    factors = np.geomspace(1.0, widest, _COARSE_STEPS)
    changed = (served([load.scaled(float(factor)) for factor in factors]) >= objective) != enough
    if not changed.any():
        return None
    first = int(np.argmax(changed))
    near, far = float(factors[max(first - 1, 0)]), float(factors[first])
    for _ in range(_BISECTIONS):
        middle = math.sqrt(near * far)
        if bool(served([load.scaled(middle)])[0] >= objective) == enough:
            near = middle
        else:
            far = middle
    return near if enough else far


def _no_flip(load: ReplicaLoad, objective: float, *, enough: bool) -> str:
    if enough:
        return f"one replica stays enough up to {load.rate * _WIDEST_FACTOR:.3g} req/s"
    return (
        f"not even {load.rate / _WIDEST_FACTOR:.3g} req/s reach a served fraction of {objective:.3g} "
        f"with {load.max_loras} slots"
    )


def _clause(feature: Feature, value: float, low: float, high: float) -> str:
    is_now = f"{feature.description}: {quantity(feature, value)}"
    if low == -math.inf:
        return f"{is_now}, at most {quantity(feature, high)}"
    if high == math.inf:
        return f"{is_now}, above {quantity(feature, low)}"
    return f"{is_now}, between {quantity(feature, low)} and {quantity(feature, high)}"

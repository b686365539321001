"""A prediction in words: the questions that led to it, and what would change it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
        other_flips: The numbers of adapters and of slots at which it changes.
        warnings: What makes the answer less sure: features outside of what the trees were trained on.
    """

    path: tuple[str, ...]
    nearest_flip: str
    other_flips: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def quantity(feature: Feature, value: float) -> str:
    """A feature's value with its unit, as a person would write it."""
    number = f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.3g}"
    return f"rank {number}" if feature.unit == "rank" else f"{number} {feature.unit}".rstrip()


def described_path(tree: Tree, x: FloatArray, features: Sequence[Feature] = FEATURES) -> tuple[str, ...]:
    """The path to a feature vector's leaf; questions about one feature are put together."""
    bounds = _bounds(tree, tree.path(x))
    return tuple(
        f"{features[index].description}: {quantity(features[index], float(x[index]))}, "
        f"{_between(features[index], *bound)}"
        for index, bound in bounds.items()
    )


def conditions(tree: Tree, leaf: int, features: Sequence[Feature] = FEATURES) -> tuple[str, ...]:
    """What leads to a leaf, one condition for each feature that is asked about."""
    bounds = _bounds(tree, tree.path_to(leaf))
    return tuple(
        f"{features[index].description} {_between(features[index], *bound)}"
        for index, bound in bounds.items()
    )


def _bounds(tree: Tree, nodes: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Between which values each feature lies that is asked about on a way through a tree."""
    bounds: dict[int, tuple[float, float]] = {}
    for node, child in pairwise(nodes):
        index, threshold = int(tree.feature[node]), float(tree.threshold[node])
        low, high = bounds.get(index, (-math.inf, math.inf))
        went_left = child == tree.left[node]
        bounds[index] = (low, min(high, threshold)) if went_left else (max(low, threshold), high)
    return bounds


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


def other_flips(
    served: ServedFractions, load: ReplicaLoad, objective: float, slots: Sequence[int]
) -> tuple[str, ...]:
    """What else would change the answer: the number of adapters like these, and the number of slots.

    Args:
        served: Predicts served fractions.
        load: The replica.
        objective: The served fraction that is enough.
        slots: The choices of slots, growing; those that do not fit in memory serve nothing.
    """
    if load.rate <= 0.0:
        return ()
    enough = bool(served([load])[0] >= objective)
    return (
        _adapters_flip(served, load, objective, enough=enough),
        _slots_flip(served, load, objective, slots, enough=enough),
    )


def _adapters_flip(served: ServedFractions, load: ReplicaLoad, objective: float, *, enough: bool) -> str:
    now = len(load.rates)
    most = round(now * _WIDEST_FACTOR) if enough else 1
    counts = sorted({round(float(n)) for n in np.geomspace(now, most, _COARSE_STEPS)}, reverse=not enough)
    good = served([_with_adapters(load, count) for count in counts]) >= objective
    changed = np.flatnonzero(good != enough)
    if changed.size == 0:
        return f"even {most:,} adapter{'s' if most > 1 else ''} like these change nothing"
    first = counts[int(changed[0])]
    if enough:
        return f"{first:,} adapters like these are too many (now {now:,})"
    return f"{first:,} adapter{'s' if first > 1 else ''} like these would be few enough (now {now:,})"


def _with_adapters(load: ReplicaLoad, count: int) -> ReplicaLoad:
    """The load with another number of adapters whose rates are spread alike."""
    ordered = np.sort(load.rates)
    places = (np.arange(count) + 0.5) / count * ordered.size
    return replace(load, rates=tuple(ordered[places.astype(int)].tolist()))


def _slots_flip(
    served: ServedFractions, load: ReplicaLoad, objective: float, slots: Sequence[int], *, enough: bool
) -> str:
    good = served([replace(load, max_loras=choice) for choice in slots]) >= objective
    others = [choice for choice, fine in zip(slots, good, strict=True) if bool(fine) != enough]
    if not others:
        return f"no other number of slots is {'too few or too many' if enough else 'enough'}"
    below = max((choice for choice in others if choice < load.max_loras), default=None)
    above = min((choice for choice in others if choice > load.max_loras), default=None)
    found = " or ".join(str(choice) for choice in (below, above) if choice is not None)
    verdict = "would not be enough" if enough else "would be enough"
    return (
        f"{found} slots {verdict} (now {load.max_loras})" if found else f"no other choice of slots {verdict}"
    )


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


def _between(feature: Feature, low: float, high: float) -> str:
    if low == -math.inf:
        return f"at most {quantity(feature, high)}"
    if high == math.inf:
        return f"above {quantity(feature, low)}"
    return f"between {quantity(feature, low)} and {quantity(feature, high)}"

"""A day of drifting traffic: every few hours all rates are other ones, and the contender places anew."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from adapter_predictor.compare.contenders import Contender, ours
from adapter_predictor.placement import AdapterDemand, Objectives
from adapter_predictor.placement.seating import moved_adapters
from adapter_predictor.plan import Plan
from adapter_predictor.predictor import Predictor

HOURS: Final = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
"""When it is placed anew."""

SWING: Final = 0.5
"""By which part rates rise and fall over the day, each adapter with its own peak hour."""


def drifted(demands: Sequence[AdapterDemand], hour: float, seed: int) -> list[AdapterDemand]:
    """The adapters at an hour of the day: each swings around its rate, and peaks at an hour of its own."""
    peaks = 24.0 * np.random.default_rng([seed, 3]).random(len(demands))
    swings = 1.0 + SWING * np.cos(2.0 * math.pi * (hour - peaks) / 24.0)
    return [
        AdapterDemand(d.name, d.rate * float(swing), d.rank, d.min_copies)
        for d, swing in zip(demands, swings, strict=True)
    ]


def moves_a_day(
    contender: Contender,
    demands: Sequence[AdapterDemand],
    predictor: Predictor,
    objectives: Objectives,
    replicas: int,
    seed: int,
) -> float:
    """Adapters that have to be loaded anew over the day, for each adapter that there is.

    Baselines get the benefit of the doubt: replicas may change their slots for nothing.
    """
    moved = sum(_moves(contender, demands, predictor, objectives, replicas, seed))
    return moved / len(demands)


def _moves(
    contender: Contender,
    demands: Sequence[AdapterDemand],
    predictor: Predictor,
    objectives: Objectives,
    replicas: int,
    seed: int,
) -> Iterator[int]:
    present: Plan | None = None
    for hour in HOURS:
        plan = contender(drifted(demands, hour, seed), predictor, objectives, replicas, present)
        if present is not None:
            yield moved_adapters(present, plan) if contender is ours else _moved_at_least(present, plan)
        present = plan


def _moved_at_least(present: Plan, plan: Plan) -> int:
    """Adapters moved if replicas were numbered in the best way and could change their slots for nothing."""
    before = [shares.keys() for shares in present.assignment.values()]
    after = [shares.keys() for shares in plan.assignment.values()]
    kept = np.array([[len(old & new) for new in after] for old in before])
    old_of = dict(zip(*linear_sum_assignment(kept, maximize=True)[::-1], strict=True))
    moved = {name for index, new in enumerate(after) for name in new - before[old_of[index]]}
    return len(moved & present.shares.keys())

"""Baselines that look at one figure of each replica, or at none."""

from collections.abc import Callable, Sequence

import numpy as np

from adapter_predictor.placement.baselines.copies import copies, piece
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Judge
from adapter_predictor.placement.packing import Bin, Piece


def all_on_all(demands: Sequence[AdapterDemand], _judge: Judge, replicas: int) -> list[Bin]:
    """Every replica serves an equal share of every adapter: what a load balancer without adapters does."""
    return [[piece(i, demand, replicas) for i, demand in enumerate(demands)] for _ in range(replicas)]


def round_robin(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> list[Bin]:
    """Adapters in the order of their names, each on the next replica."""
    bins: list[Bin] = [[] for _ in range(replicas)]
    place = 0
    for index, (demand, count) in enumerate(zip(demands, copies(demands, judge, replicas), strict=True)):
        for _ in range(count):
            bins[place].append(piece(index, demand, count))
            place = (place + 1) % replicas
    return bins


def least_adapters(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> list[Bin]:
    """Adapters in the order of their names, each on the replica that has the fewest."""
    return _lightest_first(demands, judge, replicas, range(len(demands)), lambda _: 1.0)


def least_load(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> list[Bin]:
    """Hottest adapters first, each on the replica with the least rate (longest processing time first)."""
    order = sorted(range(len(demands)), key=lambda index: (-demands[index].rate, index))
    return _lightest_first(demands, judge, replicas, order, lambda one: one.rate)


def _lightest_first(
    demands: Sequence[AdapterDemand],
    judge: Judge,
    replicas: int,
    order: Sequence[int],
    weight: Callable[[Piece], float],
) -> list[Bin]:
    """Each adapter's copies on the lightest replicas; of equally light ones the first."""
    bins: list[Bin] = [[] for _ in range(replicas)]
    loads = np.zeros(replicas)
    counts = copies(demands, judge, replicas)
    for index in order:
        one = piece(index, demands[index], counts[index])
        for place in np.argsort(loads, kind="stable")[: counts[index]]:
            bins[place].append(one)
            loads[place] += weight(one)
    return bins

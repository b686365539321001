"""Copies that the baselines give an adapter: its minimum, and as many as it takes to carry its traffic."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Contents, Judge, smallest_rank
from adapter_predictor.placement.packing import Piece

_BISECTIONS: Final = 10
_MOST_RATE: Final = 1e3


def copies(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> list[int]:
    """How many copies each adapter gets, at most one on each replica."""
    alone = {rank: carried_alone(judge, rank) for rank in {smallest_rank(d.rank) for d in demands}}
    return [
        min(replicas, max(d.min_copies, math.ceil(d.rate / alone[smallest_rank(d.rank)]))) for d in demands
    ]


def carried_alone(judge: Judge, rank: int) -> float:
    """The highest rate, in requests/s, that a replica carries of one adapter."""
    low, high = 1e-3, _MOST_RATE
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        if judge.carries([Contents(np.array([middle]), rank)])[0]:
            low = middle
        else:
            high = middle
    return low


def piece(index: int, demand: AdapterDemand, parts: int) -> Piece:
    """One of an adapter's equal parts."""
    return Piece(index, 1.0 / parts, demand.rate / parts, demand.rank)

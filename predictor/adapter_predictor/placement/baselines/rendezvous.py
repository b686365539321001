"""Rendezvous hashing: an adapter's copies go where the hash of its name and the replica's is highest."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from adapter_predictor.placement.baselines.copies import copies, piece
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import FloatArray, Judge
from adapter_predictor.placement.packing import Bin


def rendezvous(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> list[Bin]:
    """As many copies as an adapter's demand is fair shares of a replica; hardly anything moves in a drift."""
    bins: list[Bin] = [[] for _ in range(replicas)]
    fair = sum(demand.rate for demand in demands) / replicas or 1.0
    needed = copies(demands, judge, replicas)
    for index, demand in enumerate(demands):
        count = min(replicas, max(needed[index], math.ceil(demand.rate / fair)))
        for place in np.argsort(-_scores(demand.name, replicas), kind="stable")[:count]:
            bins[place].append(piece(index, demand, count))
    return bins


def _scores(name: str, replicas: int) -> FloatArray:
    """A pseudo-random number for each replica, shape (replicas)."""
    digests = (hashlib.blake2b(f"{name}/{place}".encode(), digest_size=8) for place in range(replicas))
    return np.array([int.from_bytes(digest.digest()) for digest in digests], dtype=np.float64)

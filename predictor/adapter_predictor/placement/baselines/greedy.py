"""The greedy placement of arXiv:2602.24044, with our predictor in the place of its models.

As its authors published it: adapters of the widest rank first, of each rank the hottest and the coldest by
turns; a replica takes adapters until their number is one of a grid of testing points, and is then asked
whether it starves. If it does, more slots are tried, up to as many as adapters; if none will do, the adapters
since the last testing point go back, and the next replica is opened. It has no copies and splits nothing, so
copies are made beforehand and turned away where a replica has one already.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from adapter_predictor.load import SLOT_GRID
from adapter_predictor.placement.baselines.balancing import round_robin
from adapter_predictor.placement.baselines.copies import copies, piece
from adapter_predictor.placement.demand import AdapterDemand
from adapter_predictor.placement.judge import Judge, Slots, smallest_rank
from adapter_predictor.placement.packing import Bin, Piece, contents_of

TESTING_POINTS: Final = (*SLOT_GRID, *range(448, 1153, 64))
"""Numbers of adapters at which a replica is asked whether it starves."""

_LEAST_EXTRA: Final = -0.4
_MOST_EXTRA: Final = 0.6
_BISECTIONS: Final = 5


class _Filled(NamedTuple):
    """A replica that starves with more adapters, and those that found no place on it."""

    pieces: Bin
    returned: list[Piece]


def greedy(demands: Sequence[AdapterDemand], judge: Judge, replicas: int) -> list[Bin]:
    """Its placement with the most headroom that so many replicas allow, some of which may stay empty.

    Where they do not suffice even at two thirds of the traffic, adapters are dealt out in turn.
    """
    queue = _in_turns(demands, copies(demands, judge, replicas))
    low, high, best = _LEAST_EXTRA, _MOST_EXTRA, _packed(queue, judge.stricter(_LEAST_EXTRA), replicas)
    for _ in range(_BISECTIONS if best else 0):
        middle = 0.5 * (low + high)
        bins = _packed(queue, judge.stricter(middle), replicas)
        if bins is None:
            high = middle
        else:
            low, best = middle, bins
    if best is None:
        return round_robin(demands, judge, replicas)
    return [*best, *([] for _ in range(replicas - len(best)))]


def _in_turns(demands: Sequence[AdapterDemand], counts: Sequence[int]) -> list[Piece]:
    """Widest rank first; of each rank the hottest and the coldest by turns."""
    pieces = [
        piece(index, demand, count)
        for index, (demand, count) in enumerate(zip(demands, counts, strict=True))
        for _ in range(count)
    ]
    ordered: list[Piece] = []
    for rank in sorted({smallest_rank(one.rank) for one in pieces}, reverse=True):
        own = deque(
            sorted((p for p in pieces if smallest_rank(p.rank) == rank), key=lambda p: (-p.rate, p.adapter))
        )
        while own:
            ordered.append(own.popleft())
            if own:
                ordered.append(own.pop())
    return ordered


def _packed(queue: Iterable[Piece], judge: Judge, replicas: int) -> list[Bin] | None:
    """Replicas filled one after another; None where they do not suffice."""
    bins: list[Bin] = []
    left = list(queue)
    while left:
        if len(bins) == replicas:
            return None
        filled = _filled(left, judge)
        if not filled.pieces:
            return None
        bins.append(filled.pieces)
        left = filled.returned
    return bins


def _filled(queue: Sequence[Piece], judge: Judge) -> _Filled:
    """One replica, filled up to the last testing point at which it does not starve."""
    held = {one.adapter: place for place, one in reversed(list(enumerate(queue)))}
    own = [one for place, one in enumerate(queue) if held[one.adapter] == place]
    doubles = [one for place, one in enumerate(queue) if held[one.adapter] != place]
    kept, slots = 0, SLOT_GRID[0]
    for point in TESTING_POINTS:
        count = min(point, len(own))
        found = _slots_that_do(own[:count], slots, judge)
        if found is None:
            break
        kept, slots = count, found
        if count == len(own):
            break
    if kept == 0:
        kept = _few_that_do(own[: TESTING_POINTS[0]], judge)
    return _Filled(own[:kept], [*own[kept:], *doubles])


def _slots_that_do(pieces: Sequence[Piece], least: int, judge: Judge) -> int | None:
    """The fewest slots, from those that it has on, with which a replica does not starve."""
    contents = contents_of(pieces)
    grid = [s for s in judge.grid(contents.rank) if least <= s.max_loras <= max(least, len(pieces))]
    good = judge.feasible([(contents, Slots(*slots)) for slots in grid])
    return next((slots.max_loras for slots, does in zip(grid, good, strict=True) if does), None)


def _few_that_do(pieces: Sequence[Piece], judge: Judge) -> int:
    """Fewer adapters than the first testing point, where these are too hot for one replica."""
    prefixes = [contents_of(pieces[:count]) for count in range(1, len(pieces) + 1)]
    return int(np.flatnonzero(judge.carries(prefixes)).max(initial=-1)) + 1

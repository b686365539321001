"""The papers' question: how many adapters does one replica serve without starving, and with which slots?

Measured runs, runs of the twin and predictions are all answered by the same walk over a grid of cells.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.errors import PredictionError
from adapter_predictor.load import SLOT_GRID, LoadBatch, ReplicaLoad
from adapter_predictor.predictor import Predictor

MOST_ADAPTERS: Final = 1000
_STEPS: Final = 88


def _adapter_steps() -> tuple[int, ...]:
    """Numbers of adapters, each at most a twelfth more than the one before."""
    steps = np.geomspace(1.0, MOST_ADAPTERS, _STEPS)
    return tuple(sorted({*range(1, 13), *(round(float(step)) for step in steps)}))


ADAPTER_STEPS: Final = _adapter_steps()
"""Numbers of adapters that the walk over a mix tries."""


@dataclass(frozen=True)
class Mix:
    """Adapters whose number is open: adapter i has rate `rates[i mod len]`.

    Attributes:
        rates: Requests/s, a cycle.
        prompt_tokens_mean: Mean prompt tokens of a request.
        output_tokens_mean: Mean output tokens of a request.
        max_lora_rank: The rank to which every slot is padded.
    """

    rates: tuple[float, ...]
    prompt_tokens_mean: float
    output_tokens_mean: float
    max_lora_rank: int

    def __post_init__(self) -> None:
        if not all(math.isfinite(rate) and rate >= 0.0 for rate in self.rates):
            raise PredictionError("rates: every rate is a finite number of requests/s >= 0")
        if not any(self.rates):
            raise PredictionError("rates: at least one is above 0 requests/s")

    def load(self, adapters: int, max_loras: int) -> ReplicaLoad:
        """A replica with so many of these adapters, and so many slots."""
        rates = tuple(self.rates[i % len(self.rates)] for i in range(adapters))
        means = (self.prompt_tokens_mean, self.output_tokens_mean)
        return ReplicaLoad(rates, *means, max_loras, self.max_lora_rank)

    def batch(self, cells: Sequence[tuple[int, int]]) -> LoadBatch:
        """The loads of cells (adapters, slots)."""
        cycle = np.array(self.rates)
        return LoadBatch.build(
            [np.resize(cycle, adapters) for adapters, _ in cells],
            prompt_tokens_mean=self.prompt_tokens_mean,
            output_tokens_mean=self.output_tokens_mean,
            max_loras=[slots for _, slots in cells],
            max_lora_rank=[self.max_lora_rank] * len(cells),
        )


@dataclass(frozen=True)
class Outcome:
    """What a replica did, or is said to do, in one cell of the grid.

    Attributes:
        adapters: Adapters served.
        max_loras: Slots.
        throughput: Tokens/s of finished requests.
        starves: Whether it starved or did not start.
    """

    adapters: int
    max_loras: int
    throughput: float
    starves: bool


def optimum(cells: Iterable[Outcome]) -> Outcome | None:
    """The point with the most adapters, then the highest throughput, then the fewest slots."""
    points = points_by_slots(cells).values()
    return max(points, key=lambda point: (point.adapters, point.throughput, -point.max_loras), default=None)


def points_by_slots(cells: Iterable[Outcome]) -> dict[int, Outcome]:
    """For each number of slots the last cell before one that starves, adapters growing."""
    points: dict[int, Outcome] = {}
    stopped: set[int] = set()
    for cell in sorted(cells, key=lambda cell: (cell.max_loras, cell.adapters)):
        if cell.starves:
            stopped.add(cell.max_loras)
        elif cell.max_loras not in stopped:
            points[cell.max_loras] = cell
    return points


def cells_of(
    mix: Mix, predictor: Predictor, adapters: Sequence[int] = ADAPTER_STEPS
) -> list[tuple[int, int]]:
    """The cells (adapters, slots) that fit in memory."""
    fitting = [slots for slots in SLOT_GRID if predictor.memory(slots, mix.max_lora_rank).fits]
    return [(count, slots) for slots in fitting for count in adapters]


def outcomes(
    cells: Sequence[tuple[int, int]], throughput: NDArray[np.float64], serves: NDArray[np.bool_]
) -> list[Outcome]:
    """Cells (adapters, slots) with what was found there."""
    found = zip(cells, throughput.tolist(), serves.tolist(), strict=True)
    return [Outcome(*cell, tokens, starves=not good) for cell, tokens, good in found]

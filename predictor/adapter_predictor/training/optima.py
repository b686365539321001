"""The papers' question: how many adapters does one replica serve without starving, and with which slots?

Answered from measured runs and from predictions by the same walk over the same grid.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.predictor import Predictor
from adapter_twin.measurements.arrivals import cycled
from adapter_twin.measurements.measures import STARVATION_THRESHOLD, smape
from adapter_twin.measurements.tables import Run, pooled_tokens_per_request

_WORST: Final = 100.0


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


@dataclass(frozen=True)
class Comparison:
    """Predicted against measured optimum of one combination of rates.

    Attributes:
        combination: `MODEL/COMBINATION`.
        measured: The measured optimum; None where every run starved.
        predicted: The predicted one.
        slots_regret_percent: Throughput lost by the predicted slots against the best measured ones.
    """

    combination: str
    measured: Outcome | None
    predicted: Outcome | None
    slots_regret_percent: float

    @property
    def adapters_smape(self) -> float:
        """Error of the number of adapters, 0 to 100."""
        return _error(self.predicted, self.measured, lambda outcome: float(outcome.adapters))

    @property
    def throughput_smape(self) -> float:
        """Error of the throughput, 0 to 100."""
        return _error(self.predicted, self.measured, lambda outcome: outcome.throughput)


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


def compare(runs: Sequence[Run], predictors: Mapping[str, Predictor]) -> list[Comparison]:
    """Each placement combination of measured runs against what the model's predictor says.

    Args:
        runs: Rows of a table of runs.
        predictors: Predictors by the name of the model.
    """
    tokens = {model: pooled_tokens_per_request([r for r in runs if r.model == model]) for model in predictors}
    keys = sorted(
        {
            (run.model, run.run.split("/")[1])
            for run in runs
            if run.set == "placement" and run.model in predictors
        }
    )
    found = []
    for model, name in keys:
        rows = [r for r in runs if r.model == model and r.set == "placement" and r.run.split("/")[1] == name]
        measured = [_measured(row, tokens[model]) for row in rows]
        found.append(_comparison(f"{model}/{name}", measured, predicted_cells(rows, predictors[model])))
    return found


def predicted_cells(rows: Sequence[Run], predictor: Predictor) -> list[Outcome]:
    """What a predictor says of the cells of measured rows."""
    said = predictor.predict_batch(LoadBatch.of([load_of(row, predictor) for row in rows]))
    return [
        Outcome(
            row.adapters,
            row.max_loras,
            float(said.throughput_tokens_per_s[index]),
            starves=not (said.fits[index] and said.served_fraction[index] >= STARVATION_THRESHOLD),
        )
        for index, row in enumerate(rows)
    ]


def load_of(row: Run, predictor: Predictor) -> ReplicaLoad:
    """A measured run as a load, with the profile's lengths."""
    lengths = predictor.profile.workload_defaults
    rates = tuple(float(rate) for rate in cycled(row.adapter_rates, row.adapters))
    return ReplicaLoad(rates, lengths.prompt.mean, lengths.output.mean, row.max_loras, row.max_lora_rank)


def _measured(row: Run, tokens_per_request: float) -> Outcome:
    ideal = row.offered_rate_rps * tokens_per_request
    starves = row.status != "ok" or row.throughput < STARVATION_THRESHOLD * ideal
    return Outcome(row.adapters, row.max_loras, row.throughput if row.status == "ok" else 0.0, starves)


def _comparison(name: str, measured: Sequence[Outcome], predicted: Sequence[Outcome]) -> Comparison:
    best, said = optimum(measured), optimum(predicted)
    return Comparison(name, best, said, _regret(points_by_slots(measured), best, said))


def _regret(points: Mapping[int, Outcome], best: Outcome | None, said: Outcome | None) -> float:
    if best is None or said is None or said.max_loras not in points:
        return _WORST
    return 100.0 * max(0.0, 1.0 - points[said.max_loras].throughput / best.throughput)


def _error(said: Outcome | None, best: Outcome | None, figure: Callable[[Outcome], float]) -> float:
    if said is None or best is None:
        return _WORST
    return float(smape(np.array([figure(said)]), np.array([figure(best)])))

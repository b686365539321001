"""Predicted optima against measured ones, and against the twin's own."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_predictor.optima import Outcome, optimum, outcomes, points_by_slots
from adapter_predictor.predictor import Predictor
from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.arrivals import cycled
from adapter_twin.measurements.measures import smape
from adapter_twin.measurements.tables import Run, pooled_tokens_per_request, read_runs
from adapter_twin.slo import STARVATION_THRESHOLD

_WORST: Final = 100.0
_SET: Final = "placement"


@dataclass(frozen=True)
class Grid:
    """The measured runs of one combination of rates, for one model.

    Attributes:
        model: Name of the model.
        combination: Name of the combination.
        runs: One for each cell (adapters, slots).
        tokens_per_request: Of the model, over all its finished requests: what an ideal run completes.
            Infinite where none finished, so that every run starves.
    """

    model: str
    combination: str
    runs: tuple[Run, ...]
    tokens_per_request: float

    @property
    def measured(self) -> list[Outcome]:
        """What was measured in each cell."""
        return [_measured(run, self.tokens_per_request) for run in self.runs]


@dataclass(frozen=True)
class Comparison:
    """Predicted against true optimum of one combination of rates.

    Attributes:
        combination: `MODEL/COMBINATION`.
        measured: The true optimum; None where every run starved.
        predicted: The predicted one; None where every run is said to starve, or nobody predicts the model.
        slots_regret_percent: Throughput lost by the predicted slots against the best ones.
    """

    combination: str
    measured: Outcome | None
    predicted: Outcome | None
    slots_regret_percent: float

    @classmethod
    def of(cls, combination: str, measured: Sequence[Outcome], predicted: Sequence[Outcome]) -> "Comparison":
        """The same walk over what was measured and over what was predicted."""
        best, said = optimum(measured), optimum(predicted)
        return cls(combination, best, said, _regret(points_by_slots(measured), best, said))

    @property
    def adapters_smape(self) -> float:
        """Error of the number of adapters, 0 to 100."""
        return _error(self.predicted, self.measured, lambda outcome: float(outcome.adapters))

    @property
    def throughput_smape(self) -> float:
        """Error of the throughput, 0 to 100."""
        return _error(self.predicted, self.measured, lambda outcome: outcome.throughput)


def read_grids(path: Path) -> list[Grid]:
    """The placement runs of a table, by model and combination.

    Raises:
        MeasurementError: the table cannot be read, or has no placement runs.
    """
    runs = read_runs(path)
    names = _combinations(path)
    groups: dict[tuple[str, str], list[Run]] = {}
    for run, name in zip(runs, names, strict=True):
        if run.set == _SET:
            groups.setdefault((run.model, name), []).append(run)
    if not groups:
        raise MeasurementError(f"{path.name}: no row with set={_SET}")
    tokens = {model: _tokens_per_request(runs, model) for model in {model for model, _ in groups}}
    return [Grid(model, name, tuple(groups[model, name]), tokens[model]) for model, name in sorted(groups)]


def _combinations(path: Path) -> list[str]:
    """The column `combination`, row by row."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "combination" not in (reader.fieldnames or ()):
            raise MeasurementError(f"{path.name}: column combination missing")
        return [row["combination"] for row in reader]


def compare(grids: Sequence[Grid], predictors: Mapping[str, Predictor]) -> list[Comparison]:
    """Measured optima against what the predictor of each model says of the same cells.

    Args:
        grids: The measured runs.
        predictors: Predictors by the name of the model.
    """
    return [
        Comparison.of(
            f"{grid.model}/{grid.combination}",
            grid.measured,
            predicted_cells(grid.runs, predictors[grid.model]) if grid.model in predictors else [],
        )
        for grid in grids
    ]


def predicted_cells(rows: Sequence[Run], predictor: Predictor) -> list[Outcome]:
    """What a predictor says of the cells of measured rows."""
    said = predictor.predict_batch(LoadBatch.of([load_of(row, predictor) for row in rows]))
    serves = said.fits & (said.served_fraction >= STARVATION_THRESHOLD)
    return outcomes([(row.adapters, row.max_loras) for row in rows], said.throughput_tokens_per_s, serves)


def load_of(row: Run, predictor: Predictor) -> ReplicaLoad:
    """A measured run as a load, with the profile's lengths."""
    lengths = predictor.profile.workload_defaults
    rates = tuple(float(rate) for rate in cycled(row.adapter_rates, row.adapters))
    return ReplicaLoad(rates, lengths.prompt.mean, lengths.output.mean, row.max_loras, row.max_lora_rank)


def _tokens_per_request(runs: Sequence[Run], model: str) -> float:
    of_model = [run for run in runs if run.model == model]
    finished = any(run.status == "ok" and run.completed for run in of_model)
    return pooled_tokens_per_request(of_model) if finished else math.inf


def _measured(row: Run, tokens_per_request: float) -> Outcome:
    ideal = row.offered_rate_rps * tokens_per_request
    starves = row.status != "ok" or row.throughput < STARVATION_THRESHOLD * ideal
    return Outcome(row.adapters, row.max_loras, row.throughput if row.status == "ok" else 0.0, starves)


def _regret(points: Mapping[int, Outcome], best: Outcome | None, said: Outcome | None) -> float:
    if best is None or said is None or said.max_loras not in points:
        return _WORST
    return 100.0 * max(0.0, 1.0 - points[said.max_loras].throughput / best.throughput)


def _error(said: Outcome | None, best: Outcome | None, figure: Callable[[Outcome], float]) -> float:
    if said is None or best is None:
        return _WORST
    return float(smape(np.array([figure(said)]), np.array([figure(best)])))

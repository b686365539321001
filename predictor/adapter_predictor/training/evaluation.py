"""How good an artifact is: against runs of the twin that it has not seen, and against measured optima."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from adapter_predictor.artifact import LATENCIES, TARGETS, TargetName
from adapter_predictor.prediction import FloatArray, PredictionBatch
from adapter_predictor.predictor import Predictor
from adapter_predictor.training.comparison import Comparison, Grid, compare
from adapter_predictor.training.dataset import Dataset
from adapter_predictor.training.sampling import at_edge
from adapter_twin.measurements.measures import macro_f1, smape
from adapter_twin.slo import STARVATION_THRESHOLD

_BOUNDS: Final[dict[TargetName, str]] = {
    "served_fraction": "served_fraction_low",
    "throughput_tokens_per_s": "throughput_low_tokens_per_s",
    "itl_s": "itl_high_s",
    "ttft_s": "ttft_high_s",
}

FIGURES: Final = ("adapters_smape", "throughput_smape", "slots_regret_percent")


@dataclass(frozen=True)
class TwinScores:
    """Predictions against runs of the twin.

    Attributes:
        samples: Runs compared.
        smape_percent: Error of each target, 0 to 100.
        served_mean_absolute_error: Of the served fraction.
        edge_mean_absolute_error: The same, at the edge of starvation; None where no run is there.
        starvation_macro_f1: Of the verdict "serves less than 0.9".
        coverage_percent: Runs on the good side of each target's pessimistic bound.
    """

    samples: int
    smape_percent: dict[str, float]
    served_mean_absolute_error: float
    edge_mean_absolute_error: float | None
    starvation_macro_f1: float
    coverage_percent: dict[str, float]


def against_twin(dataset: Dataset, predictor: Predictor) -> TwinScores:
    """A predictor's errors on a dataset."""
    said = predictor.predict_batch(dataset.loads)
    served = dataset.target("served_fraction")
    missed = np.abs(said.served_fraction - served)
    edge = at_edge(served)
    errors: dict[str, float] = {}
    for name in TARGETS:
        target = dataset.target(name)
        known = np.isfinite(target)
        errors[name] = float(smape(getattr(said, name)[known], target[known]))
    starves = list(served < STARVATION_THRESHOLD)
    return TwinScores(
        samples=len(dataset.samples),
        smape_percent=errors,
        served_mean_absolute_error=float(missed.mean()),
        edge_mean_absolute_error=float(missed[edge].mean()) if edge.any() else None,
        starvation_macro_f1=macro_f1(list(said.served_fraction < STARVATION_THRESHOLD), starves),
        coverage_percent={name: _coverage(dataset.target(name), said, name) for name in TARGETS},
    )


def _coverage(target: FloatArray, said: PredictionBatch, name: TargetName) -> float:
    """Percent of a target's values that are no worse than the bound."""
    known = np.isfinite(target)
    bound: FloatArray = getattr(said, _BOUNDS[name])[known]
    good = target[known] <= bound if name in LATENCIES else target[known] >= bound
    return 100.0 * float(good.mean())


def measured_scores(grids: Sequence[Grid], predictors: Mapping[str, Predictor]) -> dict[str, Any]:
    """Predicted against measured optima, by combination and overall, as plain values."""
    return comparison_scores(compare(grids, predictors))


def comparison_scores(found: Sequence[Comparison]) -> dict[str, Any]:
    """Comparisons as plain values, and their unweighted means."""
    return {
        "overall": {name: float(np.mean([getattr(one, name) for one in found])) for name in FIGURES},
        "by_combination": {comparison.combination: _plain(comparison) for comparison in found},
    }


def _plain(comparison: Comparison) -> dict[str, Any]:
    optima = {
        side: None
        if (point := getattr(comparison, side)) is None
        else {name: value for name, value in asdict(point).items() if name != "starves"}
        for side in ("measured", "predicted")
    }
    return {name: getattr(comparison, name) for name in FIGURES} | optima

"""How good an artifact is: against runs of the twin that it has not seen, and against measured optima."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adapter_predictor.artifact import TARGETS
from adapter_predictor.predictor import Predictor
from adapter_predictor.training.dataset import Dataset
from adapter_predictor.training.optima import Comparison, compare
from adapter_twin.measurements.measures import macro_f1, smape
from adapter_twin.measurements.tables import Run
from adapter_twin.slo import STARVATION_THRESHOLD


@dataclass(frozen=True)
class TwinScores:
    """Predictions against runs of the twin.

    Attributes:
        samples: Runs compared.
        smape_percent: Error of each target, 0 to 100.
        served_mean_absolute_error: Of the served fraction.
        edge_mean_absolute_error: The same, where the twin serves between 0.85 and 0.98.
        starvation_macro_f1: Of the verdict "serves less than 0.9".
        pessimistic_coverage: Share of runs that serve at least the pessimistic bound.
    """

    samples: int
    smape_percent: dict[str, float]
    served_mean_absolute_error: float
    edge_mean_absolute_error: float
    starvation_macro_f1: float
    pessimistic_coverage: float


def against_twin(dataset: Dataset, predictor: Predictor) -> TwinScores:
    """A predictor's errors on a dataset."""
    said = predictor.predict_batch(dataset.loads)
    served = dataset.target("served_fraction")
    missed = np.abs(said.served_fraction - served)
    edge = (served >= 0.85) & (served <= 0.98)
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
        edge_mean_absolute_error=float(missed[edge].mean()) if edge.any() else float("nan"),
        starvation_macro_f1=macro_f1(list(said.served_fraction < STARVATION_THRESHOLD), starves),
        pessimistic_coverage=float(np.mean(served >= said.served_fraction_low)),
    )


def measured_scores(runs: Sequence[Run], predictors: Mapping[str, Predictor]) -> dict[str, Any]:
    """Predicted against measured optima, by combination and overall, as plain values."""
    found = compare(runs, predictors)
    by_combination = {comparison.combination: _plain(comparison) for comparison in found}
    figures = ("adapters_smape", "throughput_smape", "slots_regret_percent")
    overall = (
        {name: float(np.mean([getattr(one, name) for one in found])) for name in figures} if found else {}
    )
    return {"overall": overall, "by_combination": by_combination}


def _plain(comparison: Comparison) -> dict[str, Any]:
    optima = {
        side: None
        if (point := getattr(comparison, side)) is None
        else {name: value for name, value in asdict(point).items() if name != "starves"}
        for side in ("measured", "predicted")
    }
    return {
        "adapters_smape": comparison.adapters_smape,
        "throughput_smape": comparison.throughput_smape,
        "slots_regret_percent": comparison.slots_regret_percent,
        **optima,
    }

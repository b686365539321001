"""Scores of predictions against measured runs: over all of them, by model, by regime."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from adapter_twin.measurements.measures import (
    REGIMES,
    Regime,
    macro_f1,
    regime,
    smape,
)
from adapter_twin.measurements.tables import MeasuredRun, pooled_tokens_per_request
from adapter_twin.slo import STARVATION_THRESHOLD

_NAN = float("nan")


class Predicted(Protocol):
    """What a twin says of a measured run. Times in seconds."""

    @property
    def status(self) -> Literal["ok", "oom"]:
        """Whether the server starts."""

    @property
    def throughput(self) -> float:
        """Tokens of finished requests per second."""

    @property
    def itl_s(self) -> float:
        """Mean gap between streamed chunks."""

    @property
    def tpot_s(self) -> float:
        """Mean time per output token."""

    @property
    def ttft_s(self) -> float:
        """Mean time to the first token."""

    @property
    def running_mean(self) -> float:
        """Mean batch size."""

    @property
    def kv_usage_mean(self) -> float:
        """Mean part of the KV cache in use."""


@dataclass(frozen=True)
class _Figure:
    measured: Callable[[MeasuredRun], float]
    predicted: Callable[[Predicted], float]


def _seconds(milliseconds: float | None) -> float:
    return _NAN if milliseconds is None else milliseconds / 1e3


def _known(value: float | None) -> float:
    return _NAN if value is None else value


_FIGURES = {
    "throughput": _Figure(lambda run: run.throughput, lambda said: said.throughput),
    "ITL": _Figure(lambda run: _seconds(run.itl_mean_ms), lambda said: said.itl_s),
    "TPOT": _Figure(lambda run: _seconds(run.tpot_mean_ms), lambda said: said.tpot_s),
    "TTFT": _Figure(lambda run: _seconds(run.ttft_mean_ms), lambda said: said.ttft_s),
    "batch size": _Figure(lambda run: _known(run.batch_size), lambda said: said.running_mean),
    "KV use": _Figure(lambda run: _known(run.kv_usage_mean), lambda said: said.kv_usage_mean),
}
FIGURES = tuple(_FIGURES)


def measured_figure(run: MeasuredRun, figure: str) -> float:
    """What was measured, in the unit of the predictions; NaN where it was not."""
    return _FIGURES[figure].measured(run)


def predicted_figure(prediction: Predicted, figure: str) -> float:
    """What was predicted."""
    return float(_FIGURES[figure].predicted(prediction))


@dataclass(frozen=True)
class Scores:
    """Errors over a group of measured runs; NaN where the group has nothing to compare."""

    rows: int
    ok: int
    oom: int
    smape: dict[str, float]
    """SMAPE (0-100) by figure, over `ok` rows for which the figure was measured."""
    bias: dict[str, float]
    """Median of predicted / measured - 1, in percent, by figure."""
    starvation_macro_f1: float
    oom_accuracy: float


@dataclass(frozen=True)
class Comparison:
    """A measured run, what was predicted of it, and what an ideal server would have served."""

    run: MeasuredRun
    prediction: Predicted
    ideal_throughput: float
    """NaN where no run of the model was measured `ok`."""

    @property
    def ok(self) -> bool:
        """The server was measured to start."""
        return self.run.status == "ok"

    @property
    def regime(self) -> Regime | None:
        """By measured throughput; a server that did not start has none."""
        return regime(self.run.throughput, self.ideal_throughput) if self.ok else None


def compare(runs: Sequence[MeasuredRun], predictions: Sequence[Predicted]) -> list[Comparison]:
    """Pairs, in order, with ideal throughputs by the model's pooled tokens per request in these runs."""
    tokens = {
        model: pooled_tokens_per_request(own) if any(run.status == "ok" for run in own) else _NAN
        for model, own in by_model(runs).items()
    }
    return [
        Comparison(run, prediction, run.offered_rate_rps * tokens[run.model])
        for run, prediction in zip(runs, predictions, strict=True)
    ]


def by_model(runs: Sequence[MeasuredRun]) -> dict[str, list[MeasuredRun]]:
    """Runs grouped by model, in order of appearance."""
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        groups.setdefault(run.model, []).append(run)
    return groups


def score(comparisons: Sequence[Comparison]) -> Scores:
    """Scores of a group.

    An `ok` row that is predicted out of memory, or without a finite number, counts an error of 100; it
    counts as starving, too.
    """
    ok = [item for item in comparisons if item.ok]
    right = [item.run.status == item.prediction.status for item in comparisons]
    return Scores(
        rows=len(comparisons),
        ok=len(ok),
        oom=len(comparisons) - len(ok),
        smape={figure: smape(*_pairs(ok, figure)) for figure in FIGURES},
        bias={figure: _median_bias_percent(*_pairs(ok, figure)) for figure in FIGURES},
        starvation_macro_f1=_starvation_macro_f1(ok),
        oom_accuracy=float(np.mean(right)) if right else _NAN,
    )


def score_by_model(comparisons: Sequence[Comparison]) -> dict[str, Scores]:
    """Scores of each model's runs."""
    models = dict.fromkeys(item.run.model for item in comparisons)
    return {model: score([item for item in comparisons if item.run.model == model]) for model in models}


def score_by_regime(comparisons: Sequence[Comparison]) -> dict[Regime, Scores]:
    """Scores of the `ok` runs of each regime."""
    return {name: score([item for item in comparisons if item.regime == name]) for name in REGIMES}


def _pairs(ok: Sequence[Comparison], figure: str) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and measured values where something was measured; not finite where nothing is predicted."""
    measured = np.array([measured_figure(item.run, figure) for item in ok], float)
    predicted = np.array(
        [
            predicted_figure(item.prediction, figure) if item.prediction.status == "ok" else _NAN
            for item in ok
        ],
        float,
    )
    known = np.isfinite(measured)
    return predicted[known], measured[known]


def _median_bias_percent(predicted: np.ndarray, measured: np.ndarray) -> float:
    usable = np.isfinite(predicted) & (measured > 0.0)
    return float(100.0 * np.median(predicted[usable] / measured[usable] - 1.0)) if usable.any() else _NAN


def _starvation_macro_f1(ok: Sequence[Comparison]) -> float:
    if not ok:
        return _NAN
    limit = np.array([STARVATION_THRESHOLD * item.ideal_throughput for item in ok])
    predicted = np.nan_to_num(np.array([item.prediction.throughput for item in ok]))
    measured = np.array([item.run.throughput for item in ok])
    return macro_f1(list(predicted < limit), list(measured < limit))

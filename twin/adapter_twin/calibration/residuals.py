"""What a fit minimises: logarithms of predicted over measured, each in units of its own noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adapter_twin.engine.step_time import step_time
from adapter_twin.measurements.tables import Microbenchmark, Run
from adapter_twin.profile import Profile
from adapter_twin.validation.runs import Prediction
from adapter_twin.validation.scores import measured_figure, predicted_figure

NOISE = {
    "throughput": 0.01,
    "ITL": 0.025,
    "TPOT": 0.025,
    "TTFT": 0.08,
    "batch size": 0.05,
    "KV use": 0.05,
}
"""Relative size of an error that counts as one: what repeats of a run differ by, and what the form lacks."""
MICROBENCHMARK_NOISE = 0.05
_GAUGES = ("batch size", "KV use")
_GAUGES_LOST_FROM_WAITING = 1000.0
"""With longer queues the measured gauges contradict the client's own figures (docs/twin.md)."""
_WORST = 1.0
"""Bound of a logarithm: a run that the twin gets utterly wrong must not outweigh all others."""


def run_residuals(runs: Sequence[Run], predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """Shape (runs, figures); 0 where nothing was measured, the bound where the twin has no number."""
    rows = [
        [_residual(run, prediction, figure) for figure in NOISE]
        for run, prediction in zip(runs, predictions, strict=True)
    ]
    return np.array(rows)


def microbenchmark_residuals(profile: Profile, rows: Sequence[Microbenchmark]) -> NDArray[np.float64]:
    """Shape (rows,): decode-only steps of a full batch, in closed form."""
    c = profile.coefficients()
    logs = [np.log(_decode_step(c, row) / (row.tpot_mean_ms or 1.0) * 1e3) for row in rows]
    bounded: NDArray[np.float64] = np.clip(np.array(logs, float), -_WORST, _WORST)
    return bounded / MICROBENCHMARK_NOISE


def decode_rows(rows: Sequence[Microbenchmark], profile: Profile) -> list[Microbenchmark]:
    """The microbenchmarks of this model that decode from one-token prompts with a known batch."""
    return [
        row
        for row in rows
        if row.model == profile.model.name and row.input_length == 1 and row.max_num_seqs and row.tpot_mean_ms
    ]


def _residual(run: Run, prediction: Prediction, figure: str) -> float:
    measured, predicted = measured_figure(run, figure), predicted_figure(prediction, figure)
    lost = figure in _GAUGES and (run.waiting_mean or 0.0) > _GAUGES_LOST_FROM_WAITING
    if lost or not measured > 0.0:
        return 0.0
    log = np.log(predicted / measured) if predicted > 0.0 else _WORST
    return float(np.clip(log, -_WORST, _WORST)) / NOISE[figure]


def _decode_step(c: NDArray[np.float64], row: Microbenchmark) -> float:
    """Seconds of one step in the middle of the run: every request half way through its output."""
    batch = row.max_num_seqs or 0
    pool = row.active_adapters or 0
    distinct = pool * (1.0 - (1.0 - 1.0 / pool) ** batch) if pool else 0.0
    context = batch * (_TEMPLATE_TOKENS + row.output_length / 2.0)
    slots, rank = row.max_loras or 0, row.max_lora_rank or 0
    waiting = row.waiting_mean or 0.0
    return float(step_time(c, batch, 0, context, 0, distinct, slots, rank, waiting))


_TEMPLATE_TOKENS = 5

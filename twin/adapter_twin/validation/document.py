"""The scores as a JSON document: every key always there, null where there is nothing to compare."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapter_twin.plain import plain
from adapter_twin.validation.memory import MemoryScores
from adapter_twin.validation.scores import Comparison, Scores, score, score_by_model, score_by_regime

_KEYS = {
    "throughput": "throughput",
    "ITL": "itl",
    "TPOT": "tpot",
    "TTFT": "ttft",
    "batch size": "batch_size",
    "KV use": "kv_use",
}


@dataclass(frozen=True)
class Skipped:
    """A row that nothing is compared with, and why."""

    table: str
    line: int
    run: str
    reason: str


def validation_json(
    comparisons: Sequence[Comparison],
    *,
    settings: Mapping[str, Any],
    skipped: Sequence[Skipped],
    kv_capacity: Mapping[str, MemoryScores],
) -> str:
    """The document.

    Args:
        comparisons: all rows that were compared.
        settings: how they were predicted.
        skipped: rows that were not.
        kv_capacity: errors of the memory model by profile, where its table was read.
    """
    content = {
        "overall": _group(score(comparisons)),
        "by_model": {name: _group(scores) for name, scores in score_by_model(comparisons).items()},
        "by_regime": {name: _group(scores) for name, scores in score_by_regime(comparisons).items()},
        "kv_capacity": {name: vars(scores) for name, scores in kv_capacity.items()},
        "settings": dict(settings),
        "skipped": [vars(item) for item in skipped],
    }
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def _group(scores: Scores) -> dict[str, Any]:
    errors = {f"{key}_smape": scores.smape[figure] for figure, key in _KEYS.items()}
    biases = {f"{key}_bias_percent": scores.bias[figure] for figure, key in _KEYS.items()}
    return {
        "rows": scores.rows,
        "ok": scores.ok,
        "oom": scores.oom,
        **errors,
        "starvation_macro_f1": scores.starvation_macro_f1,
        "oom_accuracy": scores.oom_accuracy,
        **biases,
    }

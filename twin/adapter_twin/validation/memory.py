"""How close the memory model comes to the KV capacities that the engine reported."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapter_twin.measurements.tables import KvCapacity
from adapter_twin.memory import memory_verdict
from adapter_twin.profile import Profile


@dataclass(frozen=True)
class MemoryScores:
    """Errors of KV capacity in percent, and the part of rows whose out-of-memory verdict is right."""

    rows: int
    worst_percent: float
    mean_percent: float
    oom_accuracy: float


def score_memory(profile: Profile, rows: Sequence[KvCapacity]) -> MemoryScores:
    """Compare the memory model with each row."""
    verdicts = [memory_verdict(profile, row.max_loras, row.max_lora_rank) for row in rows]
    right = [verdict.fits == (row.status == "ok") for verdict, row in zip(verdicts, rows, strict=True)]
    errors = [
        100.0 * abs(verdict.kv_cache_tokens / row.kv_cache_tokens - 1.0)
        for verdict, row in zip(verdicts, rows, strict=True)
        if row.kv_cache_tokens and verdict.fits
    ]
    return MemoryScores(
        rows=len(rows),
        worst_percent=max(errors, default=float("nan")),
        mean_percent=float(np.mean(errors)) if errors else float("nan"),
        oom_accuracy=float(np.mean(right)),
    )

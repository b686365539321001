"""Simulating measured runs: the same adapters, slots and arrivals, in the twin."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

import numpy as np

from adapter_twin.measurements.arrivals import (
    MEASURED_DURATION_S,
    MEASURED_SCRAPE_INTERVAL_S,
    cycled,
    measured_arrivals,
)
from adapter_twin.measurements.tables import Run
from adapter_twin.profile import Profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.report import Report, Status
from adapter_twin.workload import Adapter, Requests, Workload, generate, generate_lengths

ArrivalSource = Literal["client-seed0", "fresh"]
"""As the measured client drew them, or new ones."""


@dataclass(frozen=True)
class Prediction:
    """What the twin says of a measured run; NaN where it says out of memory. Times in seconds."""

    status: Literal["ok", "oom"]
    throughput: float = float("nan")
    itl_s: float = float("nan")
    tpot_s: float = float("nan")
    ttft_s: float = float("nan")
    running_mean: float = float("nan")
    waiting_mean: float = float("nan")
    kv_usage_mean: float = float("nan")

    @classmethod
    def of(cls, report: Report) -> "Prediction":
        """The compared figures of a report."""
        if report.status is Status.OUT_OF_MEMORY:
            return cls("oom")
        return cls(
            "ok",
            report.throughput_tokens_per_s,
            report.itl_s.mean,
            report.tpot_s.mean,
            report.ttft_s.mean,
            report.running_mean,
            report.waiting_mean,
            report.kv_usage_mean,
        )

    @classmethod
    def mean(cls, predictions: Sequence["Prediction"]) -> "Prediction":
        """Figure by figure; out of memory, which no seed changes, stays so."""
        if len(predictions) == 1 or predictions[0].status == "oom":
            return predictions[0]
        names = [field.name for field in fields(cls)[1:]]
        return cls("ok", *(float(np.mean([getattr(one, name) for one in predictions])) for name in names))


def adapters_of(run: Run) -> tuple[Adapter, ...]:
    """The adapters of a measured run, rates and ranks cycling."""
    rates, ranks = cycled(run.adapter_rates, run.adapters), cycled(run.adapter_ranks, run.adapters)
    pairs = zip(rates, ranks, strict=True)
    return tuple(Adapter(f"adapter-{i}", rate, int(rank)) for i, (rate, rank) in enumerate(pairs))


def requests_of(run: Run, profile: Profile, source: ArrivalSource, seed: int) -> Requests:
    """The run's requests: its own arrivals or fresh ones; lengths are always drawn from the profile's."""
    workload = Workload.for_profile(profile, adapters_of(run), MEASURED_DURATION_S)
    if source == "fresh":
        return generate(workload, seed)
    arrival_s, adapter = measured_arrivals(run.adapter_rates, run.adapters)
    prompt, output = generate_lengths(workload, arrival_s.size, seed)
    return Requests(arrival_s=arrival_s, prompt_tokens=prompt, output_tokens=output, adapter=adapter)


def predict_run(
    run: Run, profile: Profile, source: ArrivalSource = "client-seed0", seed: int = 0
) -> Prediction:
    """Simulate one measured run."""
    config = ReplicaConfig(
        max_loras=run.max_loras, max_lora_rank=run.max_lora_rank, scrape_interval_s=MEASURED_SCRAPE_INTERVAL_S
    )
    requests = requests_of(run, profile, source, seed)
    adapters = adapters_of(run)
    return Prediction.of(
        simulate_replica(profile, config, requests, adapters, duration_s=MEASURED_DURATION_S)
    )


def predict_runs(
    runs: Sequence[Run],
    profile: Profile,
    source: ArrivalSource = "client-seed0",
    seed: int = 0,
    threads: int = 1,
    draws: int = 1,
) -> Iterator[Prediction]:
    """Simulate runs in order, in threads: the engine holds no lock.

    With several draws, each run is simulated with as many seeds from `seed` on, and the mean is predicted.
    """
    predict = partial(_predict_mean, profile=profile, source=source, seeds=range(seed, seed + draws))
    if threads == 1:
        yield from map(predict, runs)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(predict, runs)


def _predict_mean(run: Run, profile: Profile, source: ArrivalSource, seeds: range) -> Prediction:
    return Prediction.mean([predict_run(run, profile, source, seed) for seed in seeds])

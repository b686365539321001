"""Benchmark runs in the twin: what the client sent, to which engine, and what it would have seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.report import Status
from adapter_twin.workload import Adapter, Requests
from adapter_twin.workload.random_streams import stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from adapter_twin.calibration.bench_serve import BenchResult
    from adapter_twin.profile import Profile

FIGURES = ("throughput", "TTFT", "TPOT")
_LONGEST = 20.0
"""A simulated run is given up after so many times the measured duration."""


@dataclass(frozen=True, eq=False)
class BenchRun:
    """One run: the engine's and the client's settings, and its requests."""

    name: str
    config: ReplicaConfig
    adapters: tuple[Adapter, ...]
    requests: Requests
    longest_s: float
    """The simulation is given up after so many seconds."""


@dataclass(frozen=True)
class BenchFigures:
    """What a client sees on average, and for how long it runs; NaN where the engine does not start."""

    throughput: float
    """Prompt and output tokens per second."""
    ttft_s: float
    tpot_s: float
    duration_s: float

    def vector(self) -> NDArray[np.float64]:
        """In the order of `FIGURES`, shape (3,)."""
        return np.array([self.throughput, self.ttft_s, self.tpot_s])


def measured_figures(result: BenchResult) -> BenchFigures:
    """What was measured, in the twin's units."""
    return BenchFigures(
        result.throughput_tokens_per_s,
        result.mean_ttft_ms / 1e3,
        result.mean_tpot_ms / 1e3,
        result.duration,
    )


def bench_run(result: BenchResult, seed: int = 0) -> BenchRun:
    """The run that a result tells of.

    Arrivals are the client's own where it wrote them down, and are drawn as it draws them otherwise; which
    request went to which adapter is never written down, and drawn. Lengths that were not written down are
    the run's means.
    """
    rank = result.max_lora_rank or ALLOWED_LORA_RANKS[0]
    config = ReplicaConfig(
        max_loras=result.max_loras,
        max_lora_rank=rank,
        max_num_seqs=result.max_num_seqs,
        max_num_batched_tokens=result.max_num_batched_tokens,
        max_model_len=result.max_model_len,
        gpu_memory_utilization=result.gpu_memory_utilization,
        scrape_interval_s=0.0,
        client_concurrency=result.max_concurrency,
    )
    return BenchRun(
        name=result.source,
        config=config,
        adapters=bench_adapters(result.adapters, result.adapter_rank or rank),
        requests=_requests(result, seed),
        longest_s=_LONGEST * result.duration,
    )


def bench_adapters(count: int, rank: int) -> tuple[Adapter, ...]:
    """Adapters that the client chooses among, each request anew."""
    return tuple(Adapter(f"adapter-{i}", 0.0, rank) for i in range(count))


def simulate_bench(run: BenchRun, profile: Profile) -> BenchFigures:
    """Serve the run's requests to the end, and average as the client does.

    The server is warm: its kernels are compiled, and the adapters' tokenizers loaded.
    """
    warm = profile.model_copy(update={"front_end": profile.front_end.model_copy(update={"tokenizer_s": 0.0})})
    report = simulate_replica(warm, run.config, run.requests, run.adapters, duration_s=run.longest_s)
    if report.status is Status.OUT_OF_MEMORY or not report.completed_requests:
        return BenchFigures(np.nan, np.nan, np.nan, np.nan)
    duration_s = report.last_finish_s
    if report.completed_requests < report.offered_requests:
        duration_s = run.longest_s
    return BenchFigures(
        (report.input_tokens + report.output_tokens) / duration_s,
        report.ttft_s.mean,
        report.tpot_s.mean,
        duration_s,
    )


def simulate_benches(runs: Sequence[BenchRun], profile: Profile, threads: int = 1) -> Iterator[BenchFigures]:
    """Simulate runs in order, in threads: the engine holds no lock."""
    simulate = partial(simulate_bench, profile=profile)
    if threads == 1:
        yield from map(simulate, runs)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(simulate, runs)


def _requests(result: BenchResult, seed: int) -> Requests:
    prompt, output = _lengths(result)
    arrival_s = _arrivals(result, seed)
    adapter = drawn_adapters(result.adapters, result.num_prompts, seed, result.source)
    answered = np.flatnonzero((prompt > 0) & (output > 0))
    order = answered[np.argsort(arrival_s[answered], kind="stable")]
    return Requests(arrival_s[order], prompt[order], output[order], adapter[order])


def drawn_adapters(adapters: int, count: int, seed: int, name: str) -> NDArray[np.int32]:
    """The adapter of each request, uniformly drawn as the client does; -1 without adapters."""
    if not adapters:
        return np.full(count, -1, dtype=np.int32)
    return stream(seed, "bench adapters", name).integers(adapters, size=count).astype(np.int32)


def _lengths(result: BenchResult) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    if result.input_lens is not None and result.output_lens is not None:
        return np.array(result.input_lens, np.int32), np.array(result.output_lens, np.int32)
    means = (result.total_input_tokens / result.completed, result.total_output_tokens / result.completed)
    prompt, output = (np.full(result.num_prompts, max(1, round(mean)), np.int32) for mean in means)
    return prompt, output


def _arrivals(result: BenchResult, seed: int) -> NDArray[np.float64]:
    if result.start_times is not None and result.max_concurrency is None:
        return np.array(result.start_times) - min(result.start_times)
    if np.isinf(result.request_rate):
        return np.zeros(result.num_prompts)
    return gamma_arrivals(result.request_rate, result.burstiness, result.num_prompts, seed, result.source)


def gamma_arrivals(rate: float, burstiness: float, count: int, seed: int, name: str) -> NDArray[np.float64]:
    """Arrivals as the client draws them: gamma gaps, stretched so that the last is at count / rate."""
    times = np.cumsum(stream(seed, "bench arrivals", name).gamma(burstiness, size=count))
    stretched: NDArray[np.float64] = times * (count / rate / times[-1])
    return stretched

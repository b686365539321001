"""From an engine's final state to a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adapter_twin import slo
from adapter_twin.engine.state import FINISHED, GAP_MINIMUM_S, GAP_RATIO, WAITING, Engine
from adapter_twin.report import NAN, Histogram, LatencySummary, PerAdapter, Report, Status, TimeSeries
from adapter_twin.tally import Finished, tally_adapters, tally_finished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.memory import MemoryVerdict
    from adapter_twin.workload.model import Adapter, Requests

_GAPS_PER_BIN = 20
"""Bins of the engine's histogram of gaps in one of the report's, about ten per cent wide."""

_WARM_UP = 0.25
"""Fraction of the duration that gauges leave out."""


def out_of_memory(
    verdict: MemoryVerdict, offered: Requests, adapters: Sequence[Adapter], duration_s: float
) -> Report:
    """The report of a replica that did not start: everything offered, nothing done."""
    nothing = np.zeros(0)
    never = np.full(offered.count, NAN)
    per_adapter, totals = _per_adapter(offered, adapters, never, never, NAN, duration_s)
    return Report(
        status=Status.OUT_OF_MEMORY,
        memory=verdict,
        duration_s=duration_s,
        offered_requests=offered.count,
        completed_requests=0,
        running_requests=0,
        waiting_requests=0,
        rejected_requests=offered.count,
        offered_tokens=totals.offered_tokens,
        input_tokens=0,
        output_tokens=0,
        served_fraction=slo.served_fraction(0.0, totals.offered_tokens),
        ttft_s=LatencySummary(),
        tpot_s=LatencySummary(),
        itl_s=LatencySummary(),
        e2e_s=LatencySummary(),
        running_mean=NAN,
        waiting_mean=NAN,
        kv_usage_mean=NAN,
        kv_usage_max=NAN,
        waiting_max=0,
        preemptions=0,
        adapter_loads=0,
        adapter_disk_loads=0,
        steps=0,
        per_adapter=per_adapter,
        timeseries=TimeSeries(*[nothing] * 7),
    )


def summarize(
    engine: Engine,
    verdict: MemoryVerdict,
    offered: Requests,
    accepted: NDArray[np.bool_],
    adapters: Sequence[Adapter],
    duration_s: float,
) -> Report:
    """The report of a finished simulation.

    Args:
        engine: after its run.
        verdict: the replica's memory.
        offered: all requests that arrived.
        accepted: which of them the engine was given, shape (offered,).
        adapters: those of the replica.
        duration_s: of the simulation.
    """
    state, requests = engine.state[0], engine.requests
    finished = _finished(requests)
    output, decoding_s = finished.output, finished.decoding_s
    several = output > 1
    unmerged = 1.0 - float(state.merged_gaps) / max(1, int(state.token_gaps))
    gaps = float((output - 1).sum()) * unmerged
    itl_mean_s = float(decoding_s.sum()) / gaps if gaps > 0.0 else NAN
    first_token_s, end_s = _over_offered(accepted, finished)
    per_adapter, totals = _per_adapter(offered, adapters, first_token_s, end_s, itl_mean_s, duration_s)
    series = _time_series(engine, duration_s)
    warm = series.time_s >= _WARM_UP * duration_s
    return Report(
        status=Status.OK,
        memory=verdict,
        duration_s=duration_s,
        offered_requests=offered.count,
        completed_requests=output.size,
        running_requests=int(state.running),
        waiting_requests=int((requests.phase <= WAITING).sum()),
        rejected_requests=int(state.rejected + (~accepted).sum()),
        offered_tokens=totals.offered_tokens,
        input_tokens=finished.input_tokens,
        output_tokens=int(output.sum()),
        served_fraction=slo.served_fraction(totals.served_tokens, totals.completable_tokens),
        ttft_s=LatencySummary.of(finished.ttft_s),
        tpot_s=LatencySummary.of(decoding_s[several] / (output[several] - 1)),
        itl_s=_gap_summary(engine.gaps, itl_mean_s),
        e2e_s=LatencySummary.of(finished.e2e_s),
        running_mean=float(series.running[warm].mean()),
        waiting_mean=float(series.waiting[warm].mean()),
        kv_usage_mean=float(series.kv_usage[warm].mean()),
        kv_usage_max=float(state.most_blocks / engine.config.blocks[0]),
        waiting_max=int(state.most_waiting),
        preemptions=int(state.preemptions),
        adapter_loads=int(state.gpu_loads),
        adapter_disk_loads=int(state.disk_loads),
        steps=int(state.steps),
        per_adapter=per_adapter,
        timeseries=series,
        last_finish_s=float(np.nanmax(end_s)) if output.size else NAN,
        ttft_histogram=Histogram.of(finished.ttft_s),
        itl_histogram=_gap_histogram(engine.gaps),
        e2e_histogram=Histogram.of(finished.e2e_s),
    )


def _finished(requests: NDArray[np.void]) -> Finished:
    columns = ("arrival_s", "prompt", "output", "first_token_s", "finish_s")
    return Finished(*tally_finished(requests["phase"] == FINISHED, *(requests[name] for name in columns)))


def _over_offered(
    accepted: NDArray[np.bool_], finished: Finished
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last token times of all offered requests, NaN where a request did not complete."""
    if accepted.all():
        return finished.first_token_s, finished.finish_s
    first_token_s, end_s = np.full(accepted.size, NAN), np.full(accepted.size, NAN)
    first_token_s[accepted], end_s[accepted] = finished.first_token_s, finished.finish_s
    return first_token_s, end_s


@dataclass(frozen=True)
class _Totals:
    """Tokens over all adapters and the base model."""

    offered_tokens: int
    completable_tokens: int
    served_tokens: int


def _per_adapter(
    offered: Requests,
    adapters: Sequence[Adapter],
    first_token_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
    itl_mean_s: float,
    duration_s: float,
) -> tuple[PerAdapter, _Totals]:
    completable = slo.completable(
        offered.arrival_s, offered.output_tokens, itl_mean_s=itl_mean_s, duration_s=duration_s
    )
    counts, sums = np.zeros((len(adapters) + 1, 7), dtype=np.int64), np.zeros((len(adapters) + 1, 2))
    tally_adapters(
        offered.adapter,
        offered.arrival_s,
        offered.prompt_tokens,
        offered.output_tokens,
        first_token_s,
        end_s,
        completable,
        counts,
        sums,
    )
    _, _, tokens, _, completable_tokens, served_tokens, _ = counts.sum(axis=0).tolist()
    columns = tuple(counts[:-1].T.copy())
    requests, completed, offered_tokens, completed_tokens, own_completable, own_served, gaps = columns
    with np.errstate(invalid="ignore"):
        ttft_mean_s, own_itl_mean_s = sums[:-1, 0] / completed, sums[:-1, 1] / gaps
    own = PerAdapter(
        names=tuple(adapter.name for adapter in adapters),
        offered_requests=requests,
        completed_requests=completed,
        offered_tokens=offered_tokens,
        completed_tokens=completed_tokens,
        completable_tokens=own_completable,
        served_tokens=own_served,
        ttft_mean_s=ttft_mean_s,
        itl_mean_s=own_itl_mean_s,
    )
    return own, _Totals(tokens, completable_tokens, served_tokens)


def _gap_summary(gaps: NDArray[np.int64], mean_s: float) -> LatencySummary:
    """Percentiles from the histogram of gaps: the geometric middle of the bin."""
    if gaps.sum() == 0:
        return LatencySummary(mean=mean_s)
    cumulative = np.cumsum(gaps)
    places = np.searchsorted(cumulative, np.array([0.5, 0.9, 0.99]) * cumulative[-1])
    p50, p90, p99 = GAP_MINIMUM_S * GAP_RATIO ** (places + 0.5)
    return LatencySummary(mean_s, float(p50), float(p90), float(p99))


def _gap_histogram(gaps: NDArray[np.int64]) -> Histogram:
    """The gaps in fewer bins, from the first to the last that is not empty."""
    coarse = gaps.reshape(-1, _GAPS_PER_BIN).sum(axis=1)
    used = np.flatnonzero(coarse)
    if used.size == 0:
        return Histogram()
    first, last = int(used[0]), int(used[-1]) + 1
    steps = np.arange(first, last + 1, dtype=np.float64) * _GAPS_PER_BIN
    edges = np.asarray(GAP_MINIMUM_S * GAP_RATIO**steps, dtype=np.float64)
    return Histogram(edges, coarse[first:last])


def _time_series(engine: Engine, duration_s: float) -> TimeSeries:
    bins = engine.series.shape[0]
    bin_s = duration_s / bins
    running, waiting, kv_blocks, decoded, prefilled, loads = engine.series[:, 1:].T / bin_s
    return TimeSeries(
        time_s=(np.arange(bins) + 0.5) * bin_s,
        running=running,
        waiting=waiting,
        kv_usage=kv_blocks / engine.config.blocks[0],
        decoded_tokens_per_s=decoded,
        prefill_tokens_per_s=prefilled,
        adapter_loads_per_s=loads,
    )

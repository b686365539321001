"""What a fleet delivered over time: per adapter and time bin, per replica, in total."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter_twin import slo
from adapter_twin.fleet.fates import Fate
from adapter_twin.fleet.log import EventKind, FleetEvent, gpu_replicas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adapter_twin.fleet.member import World
    from adapter_twin.fleet.traffic import CopiesChange
    from adapter_twin.report import Report
    from adapter_twin.workload.model import Requests, Workload


@dataclass(frozen=True, eq=False)
class AdapterHistory:
    """Equal bins of time × adapters; requests belong to the bin in which they arrive.

    **Served in time**: completed within `patience_s` more than its tokens take at a pace that was observed
    (`slo` says why time in a queue is no excuse). Only requests that were due before the end count.
    """

    names: tuple[str, ...]
    bin_s: float
    patience_s: float
    offered_requests: NDArray[np.int64]
    offered_tokens: NDArray[np.int64]
    due_requests: NDArray[np.int64]
    """Offered requests that were due before the end."""
    due_tokens: NDArray[np.int64]
    served_requests: NDArray[np.int64]
    """Those of them that were served in time."""
    served_tokens: NDArray[np.int64]
    completed_requests: NDArray[np.int64]
    """Whenever they were."""
    unavailable_s: NDArray[np.float64]
    """Time without any copy that gets traffic."""
    least_copies: NDArray[np.int64]
    """Fewest copies that got traffic at any moment of the bin."""
    ttft_mean_s: NDArray[np.float64]
    """Over requests that a replica has; without a token at the end, what they have waited so far."""
    itl_mean_s: NDArray[np.float64]
    """Over completed requests. Both are NaN where there is none."""

    @property
    def time_s(self) -> NDArray[np.float64]:
        """Middle of each bin, shape (bins,)."""
        return self.bin_s * (np.arange(self.offered_tokens.shape[0], dtype=np.float64) + 0.5)

    @cached_property
    def served_fraction(self) -> NDArray[np.float64]:
        """Served over due tokens; NaN where nothing was due."""
        with np.errstate(invalid="ignore"):
            return np.where(self.due_tokens > 0, self.served_tokens / self.due_tokens, np.nan)

    def starving(self, threshold: float) -> NDArray[np.bool_]:
        """Whether the served fraction is below `threshold`; where nothing was due nobody starves.

        An adapter with few requests in a bin is below it now and then by chance, in any fleet alike.
        `adapter_twin.starvation` tells chance from starvation, given the requests of enough bins.
        """
        return np.nan_to_num(self.served_fraction, nan=1.0) < threshold

    def starving_adapter_s(self, threshold: float) -> float:
        """Seconds of starvation, summed over adapters."""
        return float(np.count_nonzero(self.starving(threshold)) * self.bin_s)

    def slow(self, *, ttft_s: float = np.inf, itl_s: float = np.inf) -> NDArray[np.bool_]:
        """Whether a mean latency is above its objective; where nothing was served nobody is slow."""
        return np.asarray((self.ttft_mean_s > ttft_s) | (self.itl_mean_s > itl_s))

    def slow_adapter_s(self, *, ttft_s: float = np.inf, itl_s: float = np.inf) -> float:
        """Seconds above an objective, summed over adapters."""
        return float(np.count_nonzero(self.slow(ttft_s=ttft_s, itl_s=itl_s)) * self.bin_s)

    def unavailable_adapter_s(self) -> float:
        """Seconds without a copy, summed over adapters."""
        return float(self.unavailable_s.sum())

    def total_served_fraction(self) -> NDArray[np.float64]:
        """Of all adapters together, shape (bins,); NaN where nothing was due."""
        due = self.due_tokens.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(due > 0, self.served_tokens.sum(axis=1) / due, np.nan)


@dataclass(frozen=True, eq=False)
class RequestOutcomes:
    """One entry per request, in the order of arrival."""

    requests: Requests
    fate: NDArray[np.int8]
    """`Fate` of each."""
    replica: NDArray[np.int32]
    """Index into the report's replicas of the last one that it was sent to, -1 for none."""
    first_token_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]

    @property
    def pace_s(self) -> float:
        """Mean time between tokens of completed requests; 0 where there is none."""
        done = self.fate == Fate.COMPLETED
        gaps = (self.requests.output_tokens[done] - 1).sum(dtype=np.int64)
        return float((self.finish_s[done] - self.first_token_s[done]).sum() / max(1, gaps))


@dataclass(frozen=True, eq=False)
class TransitionReport:
    """The outcome of simulating a fleet to which changes happen."""

    duration_s: float
    replicas: Mapping[str, tuple[Report, ...]]
    """By name, one report for each life of the replica; none if it never came up."""
    adapters: AdapterHistory
    served_fraction: Mapping[str, float]
    """Of each adapter over the whole time, as `FleetReport` has it."""
    outcomes: RequestOutcomes
    events: tuple[FleetEvent, ...]
    replicas_with_gpus: NDArray[np.int64]
    """Most in each bin, shape (bins,)."""

    @cached_property
    def fates(self) -> dict[Fate, int]:
        """How many requests met which fate; together all that were offered."""
        counts = Counter(self.outcomes.fate.tolist())
        return {fate: counts[fate] for fate in Fate}

    @property
    def completed_at_s(self) -> float | None:
        """When the last rollout was complete; None if one was not, or there was none."""
        at_s = [event.at_s for event in self.events if event.kind is EventKind.ROLLOUT_COMPLETE]
        started = sum(event.kind is EventKind.ROLLOUT_STARTED for event in self.events)
        return at_s[-1] if at_s and len(at_s) == started else None

    @property
    def throughput_tokens_per_s(self) -> float:
        """Prompt and output tokens of completed requests over the duration."""
        done = self.outcomes.fate == Fate.COMPLETED
        return float(_tokens(self.outcomes.requests)[done].sum() / self.duration_s)


def outcomes_of(world: World) -> RequestOutcomes:
    """What became of the requests of a simulation that has come to its end."""
    traffic, fates = world.traffic, world.fates
    return RequestOutcomes(traffic.requests, fates.fate, traffic.owner, fates.first_token_s, fates.finish_s)


def summarize(
    world: World,
    workload: Workload,
    initial_replicas: int,
    bins: int,
    pace_s: float,
    patience_s: float,
) -> TransitionReport:
    """The report of a simulation that has come to its end.

    Args:
        world: at the end.
        workload: that was served.
        initial_replicas: at the start.
        bins: of the time series.
        pace_s: time per token at which requests are due.
        patience_s: that requests have beyond that.
    """
    traffic, events, outcomes = world.traffic, tuple(world.events), outcomes_of(world)
    return TransitionReport(
        duration_s=workload.duration_s,
        replicas={member.name: tuple(member.reports) for member in world.members},
        adapters=_adapter_history(
            workload, outcomes, traffic.copies_at_start, traffic.copies_changes, bins, pace_s, patience_s
        ),
        served_fraction=_served_fractions(workload, outcomes, _paces(world)),
        outcomes=outcomes,
        events=events,
        replicas_with_gpus=_most_per_bin(
            gpu_replicas(events, initial_replicas), workload.duration_s / bins, bins
        ),
    )


def _tokens(requests: Requests) -> NDArray[np.int64]:
    return requests.prompt_tokens.astype(np.int64) + requests.output_tokens


def _paces(world: World) -> NDArray[np.float64]:
    """Mean inter-token latency of each replica's last life, and last of none: NaN where nothing finished."""
    paces = [member.reports[-1].itl_s.mean if member.reports else np.nan for member in world.members]
    return np.array([*paces, np.nan])


def _served_fractions(
    workload: Workload, outcomes: RequestOutcomes, pace_s: NDArray[np.float64]
) -> dict[str, float]:
    """By `slo`, with the pace of the replica that each request was sent to last."""
    requests = outcomes.requests
    pace = np.nan_to_num(pace_s, nan=0.0)[outcomes.replica]
    counts = requests.arrival_s + requests.output_tokens * pace <= workload.duration_s
    counts |= outcomes.replica < 0
    tokens = _tokens(requests)
    served = counts & (outcomes.fate == Fate.COMPLETED)
    size = len(workload.adapters)
    done = np.bincount(requests.adapter[served], weights=tokens[served], minlength=size)
    asked = np.bincount(requests.adapter[counts], weights=tokens[counts], minlength=size)
    return {
        adapter.name: slo.served_fraction(float(done[i]), float(asked[i]))
        for i, adapter in enumerate(workload.adapters)
    }


def _adapter_history(
    workload: Workload,
    outcomes: RequestOutcomes,
    copies_at_start: NDArray[np.int64],
    copies_changes: Sequence[CopiesChange],
    bins: int,
    pace_s: float,
    patience_s: float,
) -> AdapterHistory:
    requests, adapters = outcomes.requests, len(workload.adapters)
    bin_s = workload.duration_s / bins
    cell = np.minimum(requests.arrival_s / bin_s, bins - 1).astype(np.int64) * adapters + requests.adapter
    done = outcomes.fate == Fate.COMPLETED
    decoding_s = outcomes.finish_s - outcomes.first_token_s
    gaps = (requests.output_tokens - 1).astype(np.float64)
    due_s = requests.arrival_s + requests.output_tokens * pace_s + patience_s
    due = due_s <= workload.duration_s
    tokens = _tokens(requests)

    def total(chosen: NDArray[np.bool_], weights: NDArray[Any] | None = None) -> NDArray[Any]:
        own = None if weights is None else weights[chosen]
        return np.bincount(cell[chosen], weights=own, minlength=bins * adapters).reshape(bins, adapters)

    every = np.ones(requests.count, dtype=np.bool_)
    taken = np.isin(outcomes.fate, (Fate.WAITING, Fate.RUNNING, Fate.COMPLETED))
    first_token_s = np.fmin(outcomes.first_token_s, workload.duration_s)
    completed = total(done)
    with np.errstate(invalid="ignore"):
        ttft_mean_s = total(taken, first_token_s - requests.arrival_s) / total(taken)
        itl_mean_s = total(done, decoding_s) / total(done, gaps)
        in_time = due & done & (outcomes.finish_s <= due_s)
    unavailable_s, least = _copies_over_time(copies_at_start, copies_changes, bin_s, bins)
    return AdapterHistory(
        names=tuple(adapter.name for adapter in workload.adapters),
        bin_s=bin_s,
        patience_s=patience_s,
        offered_requests=total(every).astype(np.int64),
        offered_tokens=total(every, tokens).astype(np.int64),
        due_requests=total(due).astype(np.int64),
        due_tokens=total(due, tokens).astype(np.int64),
        served_requests=total(in_time).astype(np.int64),
        served_tokens=total(in_time, tokens).astype(np.int64),
        completed_requests=completed.astype(np.int64),
        unavailable_s=unavailable_s,
        least_copies=least,
        ttft_mean_s=ttft_mean_s,
        itl_mean_s=itl_mean_s,
    )


def _copies_over_time(
    at_start: NDArray[np.int64], changes: Sequence[CopiesChange], bin_s: float, bins: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Seconds without a copy and fewest copies, both of shape (bins, adapters)."""
    unavailable_s = np.zeros((bins, at_start.size))
    least = np.zeros((bins, at_start.size), dtype=np.int64)
    by_adapter: dict[int, list[tuple[float, int]]] = {}
    for change in changes:
        by_adapter.setdefault(change.adapter, []).append((change.at_s, change.copies))
    edges = np.arange(bins + 1) * bin_s
    for adapter, copies in enumerate(at_start):
        history = [(0.0, int(copies)), *by_adapter.get(adapter, [])]
        ends = [at_s for at_s, _ in history[1:]] + [edges[-1]]
        least[:, adapter] = copies
        unavailable = np.zeros(bins)
        fewest = np.full(bins, np.iinfo(np.int64).max)
        for (begin, held), end in zip(history, ends, strict=True):
            overlap = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin), 0.0, None)
            fewest = np.where(overlap > 0, np.minimum(fewest, held), fewest)
            if held == 0:
                unavailable += overlap
        unavailable_s[:, adapter], least[:, adapter] = unavailable, fewest
    return unavailable_s, least


def _most_per_bin(changes: Sequence[tuple[float, int]], bin_s: float, bins: int) -> NDArray[np.int64]:
    most = np.zeros(bins, dtype=np.int64)
    ends = [at_s for at_s, _ in changes[1:]] + [bins * bin_s]
    for (begin, held), end in zip(changes, ends, strict=True):
        first, last = int(begin / bin_s), int(np.ceil(end / bin_s))
        most[first:last] = np.maximum(most[first:last], held)
    return most

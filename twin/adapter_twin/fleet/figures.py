"""The figures of a transition in words and rows, for the terminal, for pages and for JSON alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter_twin.errors import WorkloadError
from adapter_twin.fleet.fates import Fate
from adapter_twin.plain import plain
from adapter_twin.rendering.figures import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.fleet.comparison import Comparison
    from adapter_twin.fleet.history import AdapterHistory, TransitionReport
    from adapter_twin.workload.model import Adapter

WORST_ADAPTERS = 10


@dataclass(frozen=True)
class Objectives:
    """What the two are measured by."""

    served_fraction: float = 0.95
    ttft_s: float = float("inf")
    itl_s: float = float("inf")

    def __post_init__(self) -> None:
        for name in ("ttft_s", "itl_s"):
            if not getattr(self, name) > 0:
                raise WorkloadError(f"{name}: {getattr(self, name):g} is not allowed, it must be positive")


@dataclass(frozen=True)
class Pair:
    """A figure of the transition beside the same of staying."""

    name: str
    transition: str
    staying: str


@dataclass(frozen=True)
class Interval:
    """A row of the table over time."""

    start_s: float
    replicas: int
    """That hold GPUs in the transition."""
    offered_tokens_per_s: float
    served: tuple[float, float]
    """Fraction served in time, of the transition and of staying; NaN where nothing was due."""
    starving: tuple[int, int]
    """Adapters."""
    unavailable: tuple[int, int]
    """Adapters that were without a copy at some moment."""


@dataclass(frozen=True)
class Group:
    """Adapters of similar demand."""

    name: str
    adapters: tuple[int, ...]


def headline(comparison: Comparison, objectives: Objectives) -> str:
    """Which of the two is better, in one sentence."""
    moving, staying = comparison.starving_adapter_s(objectives.served_fraction)
    what, other = ("Failing", "not failing") if comparison.only_failures else ("Changing", "staying")
    verdict = f"the same as {other}"
    if moving != staying:
        verdict = f"better than {other}" if moving < staying else f"worse than {other}"
    return (
        f"{what} is {verdict}: {moving:,.0f} against {staying:,.0f} adapter-seconds of starvation "
        f"(less than {percent(objectives.served_fraction)} served in time)."
    )


def totals(comparison: Comparison, objectives: Objectives) -> list[Pair]:
    """Both outcomes in figures."""
    reports = (comparison.transition, comparison.staying)
    starving = comparison.starving_adapter_s(objectives.served_fraction)

    def pair(name: str, *values: str) -> Pair:
        return Pair(name, *values)

    rows = [
        pair("throughput", *(f"{one.throughput_tokens_per_s:,.0f} tokens/s" for one in reports)),
        pair("served in time", *(percent(_served(one.adapters)) for one in reports)),
        pair("starving", *(f"{seconds:,.0f} adapter-s" for seconds in starving)),
        pair("unavailable", *(f"{one.adapters.unavailable_adapter_s():,.0f} adapter-s" for one in reports)),
    ]
    if np.isfinite((objectives.ttft_s, objectives.itl_s)).any():
        slow = comparison.slow_adapter_s(ttft_s=objectives.ttft_s, itl_s=objectives.itl_s)
        rows.append(pair("slower than the objectives", *(f"{seconds:,.0f} adapter-s" for seconds in slow)))
    rows += [pair(_FATES[fate], *(f"{one.fates[fate]:,}" for one in reports)) for fate in _FATES]
    return rows


_FATES = {
    Fate.COMPLETED: "requests completed",
    Fate.RUNNING: "running at the end",
    Fate.WAITING: "waiting at the end",
    Fate.LOST: "lost",
    Fate.UNROUTED: "found no copy",
    Fate.REJECTED: "rejected",
}


def completion(comparison: Comparison, at_s: float | None) -> str:
    """How long the rollout took; empty where there is none."""
    if at_s is None:
        return ""
    done_s = comparison.transition.completed_at_s
    if done_s is None:
        return "The rollout was not complete at the end."
    return f"The rollout took {done_s - at_s:,.0f} s."


def intervals(comparison: Comparison, objectives: Objectives, rows: int) -> list[Interval]:
    """At most `rows` rows; what happens in several bins is summed, or the most of them."""
    bins = comparison.transition.replicas_with_gpus.size
    edges = np.unique(np.linspace(0, bins, min(rows, bins) + 1).round().astype(int)).tolist()
    return [_interval(comparison, objectives, slice(*pair)) for pair in pairwise(edges)]


def _interval(comparison: Comparison, objectives: Objectives, bins: slice) -> Interval:
    moving, staying = comparison.transition.adapters, comparison.staying.adapters
    threshold, seconds = objectives.served_fraction, (bins.stop - bins.start) * moving.bin_s
    return Interval(
        start_s=float(bins.start * moving.bin_s),
        replicas=int(comparison.transition.replicas_with_gpus[bins].max()),
        offered_tokens_per_s=float(moving.offered_tokens[bins].sum() / seconds),
        served=(_served(moving, bins), _served(staying, bins)),
        starving=(_most(moving.starving(threshold)[bins]), _most(staying.starving(threshold)[bins])),
        unavailable=(_most(moving.unavailable_s[bins] > 0), _most(staying.unavailable_s[bins] > 0)),
    )


def _most(cells: NDArray[np.bool_]) -> int:
    """Most adapters in any one bin."""
    return int(cells.sum(axis=1).max())


def _served(history: AdapterHistory, bins: slice = slice(None)) -> float:
    due = history.due_tokens[bins].sum()
    return float(history.served_tokens[bins].sum() / due) if due else float("nan")


def demand_groups(adapters: Sequence[Adapter], groups: int = 3) -> list[Group]:
    """The busiest, the middle and the quietest adapters, each with about the same traffic in total."""
    order = sorted(range(len(adapters)), key=lambda i: (-adapters[i].rate, adapters[i].name))
    total = sum(adapter.rate for adapter in adapters)
    before = 0.0
    members: list[list[int]] = [[] for _ in range(groups)]
    for i in order:
        members[min(groups - 1, int(groups * before / total)) if total else 0].append(i)
        before = before + adapters[i].rate
    return [_group(adapters, own) for own in members if own]


def _group(adapters: Sequence[Adapter], members: Sequence[int]) -> Group:
    most, least = adapters[members[0]].rate, adapters[members[-1]].rate
    rates = f"{most:g}" if most == least else f"{most:g}–{least:g}"
    count = f"{len(members)} adapters" if len(members) > 1 else "1 adapter"
    return Group(f"{count} of {rates} requests/s", tuple(members))


def group_fraction(history: AdapterHistory, group: Group) -> NDArray[np.float64]:
    """Served in time by a group together, shape (bins,); NaN where nothing was due."""
    chosen = list(group.adapters)
    due = history.due_tokens[:, chosen].sum(axis=1)
    served = history.served_tokens[:, chosen].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(due > 0, served / due, np.nan)


def document(comparison: Comparison, objectives: Objectives, settings: dict[str, object]) -> dict[str, Any]:
    """Everything as plain values; what is not finite is None."""
    content: dict[str, Any] = {
        "settings": settings,
        "objectives": asdict(objectives),
        "transition": _report(comparison.transition, objectives),
        "staying": _report(comparison.staying, objectives),
    }
    plain_values: dict[str, Any] = plain(content)
    return plain_values


def _report(report: TransitionReport, objectives: Objectives) -> dict[str, Any]:
    own = report.adapters
    starving = own.starving(objectives.served_fraction)
    return {
        "throughput_tokens_per_s": report.throughput_tokens_per_s,
        "served_in_time_fraction": _served(own),
        "starving_adapter_s": own.starving_adapter_s(objectives.served_fraction),
        "slow_adapter_s": own.slow_adapter_s(ttft_s=objectives.ttft_s, itl_s=objectives.itl_s),
        "unavailable_adapter_s": own.unavailable_adapter_s(),
        "requests": {fate.name.lower(): count for fate, count in report.fates.items()},
        "completed_at_s": report.completed_at_s,
        "bins": {
            "bin_s": own.bin_s,
            "time_s": own.time_s,
            "replicas_with_gpus": report.replicas_with_gpus,
            "offered_tokens": own.offered_tokens.sum(axis=1),
            "due_tokens": own.due_tokens.sum(axis=1),
            "served_tokens": own.served_tokens.sum(axis=1),
            "starving_adapters": starving.sum(axis=1),
            "unavailable_adapters": (own.unavailable_s > 0).sum(axis=1),
        },
        "adapters": [
            {
                "name": name,
                "served_fraction": report.served_fraction[name],
                "starving_s": float(starving[:, i].sum() * own.bin_s),
                "unavailable_s": own.unavailable_s[:, i].sum(),
                "least_copies": own.least_copies[:, i].min(),
                "served_fraction_by_bin": own.served_fraction[:, i],
            }
            for i, name in enumerate(own.names)
        ],
        "events": [
            {key: value for key, value in asdict(event).items() if value != ""} for event in report.events
        ],
    }


def worst_adapters(comparison: Comparison, objectives: Objectives) -> list[tuple[str, float, float, float]]:
    """Those that starve longest: name, seconds of it, the same if staying, seconds without a copy."""
    moving, staying = comparison.transition.adapters, comparison.staying.adapters
    seconds = moving.starving(objectives.served_fraction).sum(axis=0) * moving.bin_s
    beside = staying.starving(objectives.served_fraction).sum(axis=0) * staying.bin_s
    order = np.argsort(-seconds, kind="stable")[:WORST_ADAPTERS]
    return [
        (moving.names[i], float(seconds[i]), float(beside[i]), float(moving.unavailable_s[:, i].sum()))
        for i in order
        if seconds[i] > 0
    ]

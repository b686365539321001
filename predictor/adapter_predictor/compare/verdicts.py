"""What the twin says of a plan: whether it serves without starvation, and how fast."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adapter_predictor.placement import AdapterDemand, Objectives
from adapter_predictor.plan import Plan, to_fleet
from adapter_twin.fleet import FleetReport, simulate_static
from adapter_twin.profile import Profile
from adapter_twin.report import Status
from adapter_twin.starvation import SHUT_OUT, significantly_below
from adapter_twin.workload import Adapter, Workload

_CLEARLY_BELOW = 0.03


@dataclass(frozen=True)
class Trial:
    """How plans are put before the twin.

    Attributes:
        horizon_s: Simulated seconds for each seed.
        seeds: Of the arrivals; the same for every plan of a workload.
        threads: Replicas simulated at once.
    """

    horizon_s: float = 3600.0
    seeds: tuple[int, ...] = (101,)
    threads: int = 1


@dataclass(frozen=True)
class Verdict:
    """What the twin saw, over all seeds, at the declared rates with headroom.

    Attributes:
        serves: Whether every replica serves the demanded fraction of its tokens, adapters that starve have no
            more of any replica's traffic than the objective leaves, and none is shut out.
        starving: Adapters that are served less than demanded, by more than chance explains.
        served_fraction: Of the replica that serves least.
        itl_s: Mean inter-token latency, replicas weighed by their output tokens.
        ttft_s: Mean time to first token, replicas weighed by their requests.
    """

    serves: bool
    starving: int
    served_fraction: float
    itl_s: float
    ttft_s: float


def judged(
    plan: Plan, demands: Sequence[AdapterDemand], profile: Profile, objectives: Objectives, trial: Trial
) -> Verdict:
    """The twin's verdict; one seed is enough where the first shows a clear failure."""
    factor = 1.0 + objectives.headroom + profile.safety_margin_percent / 100.0
    adapters = [Adapter(d.name, d.rate * factor, d.rank) for d in demands]
    workload = Workload.for_profile(profile, adapters, trial.horizon_s)
    fleet, reports = to_fleet(plan), list[FleetReport]()
    for seed in trial.seeds:
        reports.append(simulate_static(profile, fleet, workload, seed=seed, threads=trial.threads))
        if _served(reports).min() < objectives.served_fraction - _CLEARLY_BELOW:
            break
    return _verdict(plan, demands, objectives, reports)


def _served(reports: Sequence[FleetReport]) -> NDArray[np.float64]:
    """Served fraction of each replica, mean over the seeds, shape (replicas)."""
    seen = [[one.served_fraction for one in report.replicas.values()] for report in reports]
    served: NDArray[np.float64] = np.nan_to_num(np.array(seen), nan=1.0).mean(axis=0)
    return served


def _verdict(
    plan: Plan, demands: Sequence[AdapterDemand], objectives: Objectives, reports: Sequence[FleetReport]
) -> Verdict:
    replicas = [one for report in reports for one in report.replicas.values()]
    wanted, served = objectives.served_fraction, _served(reports)
    starving, shut_out = _starving(demands, wanted, reports)
    serves = bool(served.min() >= wanted) and not shut_out
    serves &= all(one.status is Status.OK for one in replicas)
    serves &= _worst_part(plan, demands, starving) <= 1.0 - wanted + 1e-9
    return Verdict(
        serves=serves,
        starving=len(starving),
        served_fraction=float(served.min()),
        itl_s=_mean([one.itl_s.mean for one in replicas], [one.output_tokens for one in replicas]),
        ttft_s=_mean([one.ttft_s.mean for one in replicas], [one.completed_requests for one in replicas]),
    )


def _starving(
    demands: Sequence[AdapterDemand], wanted: float, reports: Sequence[FleetReport]
) -> tuple[set[str], bool]:
    """Adapters that starve, and whether one of them is shut out."""
    index = {demand.name: place for place, demand in enumerate(demands)}
    requests, completed, offered, served = np.zeros((4, len(index)), dtype=np.int64)
    for one in (one for report in reports for one in report.replicas.values()):
        seen = one.per_adapter
        places = [index[name] for name in seen.names]
        requests[places] += seen.offered_requests
        completed[places] += seen.completed_requests
        offered[places] += seen.completable_tokens
        served[places] += seen.served_tokens
    fractions = np.where(offered > 0, served / np.maximum(offered, 1), 1.0)
    hungry = significantly_below(wanted, requests, completed, fractions)
    shut_out = significantly_below(SHUT_OUT * wanted, requests, completed, fractions)
    return {demand.name for demand, is_hungry in zip(demands, hungry, strict=True) if is_hungry}, bool(
        shut_out.any()
    )


def _worst_part(plan: Plan, demands: Sequence[AdapterDemand], starving: set[str]) -> float:
    """The largest part of a replica's traffic that belongs to starving adapters."""
    rates = {demand.name: demand.rate for demand in demands}
    parts = []
    for shares in plan.assignment.values():
        own = {name: rates[name] * share for name, share in shares.items()}
        parts.append(sum(rate for name, rate in own.items() if name in starving) / (sum(own.values()) or 1.0))
    return max(parts, default=0.0)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Weighted mean of what is finite; NaN where nothing is."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if np.isfinite(value)]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else float("nan")

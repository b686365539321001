"""A static fleet: replicas that each serve a share of the adapters' traffic, independently of one another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adapter_twin import slo
from adapter_twin.fleet.routing import share_matrix
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.workload.generation import generate, route
from adapter_twin.workload.model import Requests, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adapter_twin.fleet.model import FleetReplica
    from adapter_twin.profile import Profile
    from adapter_twin.report import Report


@dataclass(frozen=True)
class FleetReport:
    """The outcome of simulating a fleet."""

    replicas: dict[str, Report]
    """By the replica's name."""
    served_fraction: dict[str, float]
    """By the adapter's name, over all its replicas; 0 for an adapter with traffic that no replica serves."""
    duration_s: float

    @property
    def throughput_tokens_per_s(self) -> float:
        """Of all replicas together."""
        return sum(report.throughput_tokens_per_s for report in self.replicas.values())

    @property
    def offered_tokens(self) -> int:
        """Of all replicas together."""
        return sum(report.offered_tokens for report in self.replicas.values())

    @property
    def completed_requests(self) -> int:
        """Of all replicas together."""
        return sum(report.completed_requests for report in self.replicas.values())

    def starving(self, threshold: float) -> list[str]:
        """Adapters whose served fraction is below `threshold`, the worst first."""
        low = [(fraction, name) for name, fraction in self.served_fraction.items() if fraction < threshold]
        return [name for _, name in sorted(low)]


def simulate_static(
    profile: Profile,
    replicas: Sequence[FleetReplica],
    workload: Workload,
    *,
    seed: int,
    threads: int = 1,
) -> FleetReport:
    """Route every request of the workload to one replica, and simulate the replicas.

    A request goes to a replica with the probability that the shares give, by a draw that depends on the seed
    and the request's adapter alone. The engine releases the interpreter's lock, so threads run in parallel.

    Raises:
        WorkloadError: shares name unknown adapters, or do not add up to at most 1.
        EngineConfigError: an adapter does not fit its replica's slots.
    """
    shares = share_matrix(replicas, workload)
    requests = generate(workload, seed)
    owner = route(workload, requests, shares, seed)

    def simulate(i: int) -> Report:
        return _simulate_one(
            profile, replicas[i].config, workload, requests.select(owner == i), shares[i] > 0
        )

    with ThreadPoolExecutor(max_workers=threads) as pool:
        reports = list(pool.map(simulate, range(len(replicas))))
    by_name = {replica.name: report for replica, report in zip(replicas, reports, strict=True)}
    return FleetReport(by_name, _served_fractions(workload, reports, requests, owner), workload.duration_s)


def _simulate_one(
    profile: Profile,
    config: ReplicaConfig,
    workload: Workload,
    requests: Requests,
    served: NDArray[np.bool_],
) -> Report:
    """One replica that knows only the adapters assigned to it."""
    adapters = [adapter for adapter, own in zip(workload.adapters, served, strict=True) if own]
    local = np.cumsum(served, dtype=np.int32) - 1
    own_requests = Requests(
        requests.arrival_s,
        requests.prompt_tokens,
        requests.output_tokens,
        local[requests.adapter].astype(np.int32),
    )
    return simulate_replica(profile, config, own_requests, adapters, duration_s=workload.duration_s)


def _served_fractions(
    workload: Workload,
    reports: Sequence[Report],
    requests: Requests,
    owner: NDArray[np.int32],
) -> dict[str, float]:
    served: dict[str, float] = {}
    offered: dict[str, float] = {}
    for report in reports:
        own = report.per_adapter
        for name, done, asked in zip(own.names, own.served_tokens, own.completable_tokens, strict=True):
            served[name] = served.get(name, 0.0) + float(done)
            offered[name] = offered.get(name, 0.0) + float(asked)
    lost = requests.select(owner < 0)
    for i, tokens in _tokens_by_adapter(lost).items():
        name = workload.adapters[i].name
        offered[name] = offered.get(name, 0.0) + tokens
    return {
        adapter.name: slo.served_fraction(served.get(adapter.name, 0.0), offered.get(adapter.name, 0.0))
        for adapter in workload.adapters
    }


def _tokens_by_adapter(requests: Requests) -> Mapping[int, float]:
    tokens = np.bincount(requests.adapter, weights=requests.prompt_tokens + requests.output_tokens)
    return {int(i): float(tokens[i]) for i in np.flatnonzero(tokens)}

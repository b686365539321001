"""A transition against staying: the same requests, once with the rollouts and once without."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter_twin.fleet.model import Rollout
from adapter_twin.fleet.simulation import DEFAULT_BINS, DEFAULT_PATIENCE_S, FleetSimulation
from adapter_twin.workload.generation import generate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_twin.fleet.history import TransitionReport
    from adapter_twin.fleet.model import Fleet, FleetChange, Mechanics
    from adapter_twin.profile import Profile
    from adapter_twin.workload.model import Workload


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the transition brings, and what staying would have brought.

    Requests are due at the same moments in both, by the pace of the fleet that stays.
    """

    transition: TransitionReport
    staying: TransitionReport
    only_failures: bool = False
    """Nothing is rolled out: what stays is the fleet of which nothing fails."""

    def starving_adapter_s(self, threshold: float) -> tuple[float, float]:
        """Seconds of starvation, summed over adapters: of the transition, of staying."""
        return (
            self.transition.adapters.starving_adapter_s(threshold),
            self.staying.adapters.starving_adapter_s(threshold),
        )

    def slow_adapter_s(self, **objectives_s: float) -> tuple[float, float]:
        """Seconds above a latency objective (`ttft_s`, `itl_s`), summed over adapters, likewise."""
        return (
            self.transition.adapters.slow_adapter_s(**objectives_s),
            self.staying.adapters.slow_adapter_s(**objectives_s),
        )


def simulate_transition(
    profile: Profile,
    fleet: Fleet,
    changes: Sequence[FleetChange],
    workload: Workload,
    *,
    seed: int,
    mechanics: Mechanics | None = None,
    bins: int = DEFAULT_BINS,
    patience_s: float = DEFAULT_PATIENCE_S,
    threads: int = 1,
) -> Comparison:
    """Make the changes, and compare with a fleet that stays; failures of its replicas happen to both.

    Where failures are all there is, the comparison is with a fleet of which nothing fails. The arguments are
    those of `simulate_fleet`.
    """
    requests = generate(workload, seed)
    only_failures = not any(isinstance(one, Rollout) for one in changes)
    accidents = [
        one
        for one in changes
        if not (only_failures or isinstance(one, Rollout)) and one.replica in fleet.by_name
    ]
    transition, staying = (
        FleetSimulation(profile, fleet, workload, requests, seed, some, mechanics)
        for some in (changes, accidents)
    )
    with ThreadPoolExecutor(max_workers=min(2, threads)) as pool:
        list(pool.map(lambda simulation: simulation.run(max(1, threads // 2)), (transition, staying)))
    pace_s = staying.pace_s
    changed, stayed = (one.report(bins, pace_s, patience_s) for one in (transition, staying))
    return Comparison(changed, stayed, only_failures)

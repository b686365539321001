"""A fleet that changes while it serves: rollouts, failures, and the requests that meet them.

Two clocks: SimPy processes say when replicas start, adapters load and drains end; in between every replica's
compiled engine is advanced on its own, and only as far as somebody wants to know how it stands.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import simpy

from adapter_twin.errors import EngineConfigError, OutOfMemoryError, WorkloadError
from adapter_twin.fleet.fates import Fates
from adapter_twin.fleet.history import TransitionReport, outcomes_of, summarize
from adapter_twin.fleet.log import EventKind
from adapter_twin.fleet.member import Member, World
from adapter_twin.fleet.model import Failure, Fleet, Mechanics, Rollout
from adapter_twin.fleet.routing import RoutingTable, share_matrix
from adapter_twin.fleet.stages import rollout_stages
from adapter_twin.fleet.traffic import Traffic
from adapter_twin.memory import memory_verdict
from adapter_twin.workload.generation import generate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from adapter_twin.fleet.member import Process
    from adapter_twin.fleet.model import FleetChange, FleetReplica
    from adapter_twin.profile import Profile
    from adapter_twin.workload.model import Requests, Workload

DEFAULT_BINS = 60
DEFAULT_PATIENCE_S = 60.0
"""How much longer than its tokens take a request may be on its way and still count as served in time."""


def simulate_fleet(
    profile: Profile,
    fleet: Fleet,
    workload: Workload,
    *,
    seed: int,
    changes: Sequence[FleetChange] = (),
    mechanics: Mechanics | None = None,
    bins: int = DEFAULT_BINS,
    patience_s: float = DEFAULT_PATIENCE_S,
    threads: int = 1,
) -> TransitionReport:
    """Serve a workload with a fleet to which changes happen.

    The fleet is up and its adapters are loaded at the start. Arrivals, lengths and routing draws depend on
    the workload and the seed alone, so that different changes meet the same requests. Rollouts are made one
    after another; each begins at its time, or when the one before is complete.

    Args:
        profile: of every replica.
        fleet: as it stands at the start.
        workload: of all adapters.
        seed: of arrivals, lengths and routing.
        changes: rollouts and failures, in any order.
        mechanics: how long things take; None: the profile's start-up times, and defaults.
        bins: length of the time series.
        patience_s: within which a request counts as served in time, beyond what its tokens take.
        threads: engines that are advanced at once where they do not depend on one another.

    Raises:
        WorkloadError: fleets, changes and workload do not belong together.
        EngineConfigError: an adapter does not fit its replica's slots.
        OutOfMemoryError: a replica's slots do not fit into its GPU.
    """
    requests = generate(workload, seed)
    simulation = FleetSimulation(profile, fleet, workload, requests, seed, changes, mechanics)
    simulation.run(threads)
    return simulation.report(bins, simulation.pace_s, patience_s)


class FleetSimulation:
    """One run; `simulate_fleet` says what the arguments mean."""

    def __init__(
        self,
        profile: Profile,
        fleet: Fleet,
        workload: Workload,
        requests: Requests,
        seed: int,
        changes: Sequence[FleetChange],
        mechanics: Mechanics | None,
    ) -> None:
        self._workload = workload
        self._fleet = fleet
        self._initial = fleet
        rollouts = sorted((c for c in changes if isinstance(c, Rollout)), key=lambda change: change.at_s)
        specs = _all_replicas([fleet, *(rollout.to for rollout in rollouts)])
        _require_memory(profile, specs.values())
        _require_fitting([fleet, *(rollout.to for rollout in rollouts)], workload)
        self._column = {name: column for column, name in enumerate(specs)}
        self._number = {adapter.name: i for i, adapter in enumerate(workload.adapters)}
        table = RoutingTable(self._shares(fleet))
        self._world = World(
            clock=simpy.Environment(),
            end_s=workload.duration_s,
            profile=profile,
            mechanics=mechanics or Mechanics.for_profile(profile),
            adapters=workload.adapters,
            traffic=Traffic(workload, requests, table, seed),
            fates=Fates(requests.count),
        )
        self._world.members = [Member(self._world, i, spec) for i, spec in enumerate(specs.values())]
        for rollout in rollouts:
            self._shares(rollout.to)
        self._schedule(rollouts, [change for change in changes if isinstance(change, Failure)])

    def _schedule(self, rollouts: Sequence[Rollout], failures: Iterable[Failure]) -> None:
        clock = self._world.clock
        for failure in failures:
            if failure.replica not in self._column:
                known = ", ".join(self._column)
                raise WorkloadError(f"failure: there is no replica {failure.replica}; known are {known}")
            clock.process(self._fail(failure))
        clock.process(self._roll_out_all(rollouts))

    def run(self, threads: int) -> None:
        """Until the end of the workload."""
        world, end_s = self._world, self._workload.duration_s
        for replica in self._initial.replicas:
            self._member(replica.name).begin_serving(self._numbers(replica))
        world.clock.run(until=end_s)
        world.traffic.settle(end_s)
        with ThreadPoolExecutor(max_workers=threads) as pool:
            list(pool.map(lambda member: member.advance(end_s), world.members))
        for member in world.members:
            member.finish()

    @property
    def pace_s(self) -> float:
        """Mean time between tokens, after the run."""
        return outcomes_of(self._world).pace_s

    def report(self, bins: int, pace_s: float, patience_s: float) -> TransitionReport:
        """After the run; `pace_s` is the time per token at which requests are due."""
        replicas = len(self._initial.replicas)
        return summarize(self._world, self._workload, replicas, bins, pace_s, patience_s)

    # --- rollouts

    def _roll_out_all(self, rollouts: Sequence[Rollout]) -> Process:
        world = self._world
        for rollout in rollouts:
            yield world.clock.timeout(max(0.0, rollout.at_s - world.now_s))
            world.note(EventKind.ROLLOUT_STARTED)
            for stage in rollout_stages(self._fleet, rollout, world.adapters):
                yield from self._enter(stage)
                world.note(EventKind.STAGE_REACHED)
            world.note(EventKind.ROLLOUT_COMPLETE)

    def _enter(self, stage: Fleet) -> Process:
        """From the present fleet to the next: load → confirm → route → drain → unload, then stop."""
        clock, before = self._world.clock, self._fleet
        leaving = [self._member(name) for name in before.by_name if name not in stage.by_name]
        fresh = self._hold_more(stage)
        old, new = self._shares(before), self._shares(stage)
        changed = np.flatnonzero((old != new).any(axis=0))
        moves = [
            clock.process(self._move(int(adapter), new[:, adapter], fresh, leaving)) for adapter in changed
        ]
        yield clock.all_of(moves)
        yield clock.all_of([clock.process(member.retire()) for member in leaving])
        self._fleet = stage

    def _hold_more(self, stage: Fleet) -> dict[int, list[Member]]:
        """Have replicas started and adapters loaded that the stage adds.

        Returns:
            For each adapter the replicas that are new to it.
        """
        fresh: dict[int, list[Member]] = {}
        for replica in stage.replicas:
            member, wanted = self._member(replica.name), self._numbers(replica)
            for adapter in wanted - member.held:
                fresh.setdefault(adapter, []).append(member)
            if replica.name in self._fleet.by_name:
                member.want(wanted - member.held)
            else:
                member.start(wanted)
        return fresh

    def _move(
        self,
        adapter: int,
        shares: NDArray[np.float64],
        fresh: dict[int, list[Member]],
        leaving: Sequence[Member],
    ) -> Process:
        """One adapter, as soon as all its new copies are confirmed."""
        world = self._world
        yield world.clock.all_of([member.confirmation(adapter) for member in fresh.get(adapter, [])])
        yield world.clock.timeout(world.mechanics.route_s)
        dropped = np.flatnonzero((world.traffic.assigned(adapter) > 0) & (shares == 0))
        world.traffic.assign(world.now_s, adapter, shares)
        world.note(EventKind.ADAPTER_ROUTED, adapter=adapter)
        losing = [world.members[column] for column in dropped if world.members[column] not in leaving]
        yield world.clock.all_of([world.clock.process(member.let_go(adapter)) for member in losing])

    # --- failures

    def _fail(self, failure: Failure) -> Process:
        clock, member = self._world.clock, self._member(failure.replica)
        yield clock.timeout(failure.at_s)
        if member.fail() and failure.back_after_s is not None:
            yield clock.timeout(failure.back_after_s)
            member.come_back()

    # --- names and numbers

    def _member(self, name: str) -> Member:
        return self._world.members[self._column[name]]

    def _numbers(self, replica: FleetReplica) -> set[int]:
        return {self._number[name] for name, _ in replica.shares}

    def _shares(self, fleet: Fleet) -> NDArray[np.float64]:
        """Shape (all replicas ever, adapters)."""
        shares = np.zeros((len(self._column), len(self._number)))
        shares[[self._column[name] for name in fleet.by_name]] = share_matrix(fleet.replicas, self._workload)
        return shares


def _all_replicas(fleets: Iterable[Fleet]) -> dict[str, FleetReplica]:
    """Every replica that ever exists, in the order of appearance."""
    specs: dict[str, FleetReplica] = {}
    for fleet in fleets:
        for name, replica in fleet.by_name.items():
            known = specs.setdefault(name, replica)
            if known.config != replica.config:
                raise WorkloadError(f"replica {name}: its engine arguments differ between the fleets")
    return specs


def _require_memory(profile: Profile, replicas: Iterable[FleetReplica]) -> None:
    """Refuse before anything is simulated what could never start."""
    for config in {replica.config: None for replica in replicas}:
        verdict = memory_verdict(
            profile,
            config.max_loras,
            config.max_lora_rank,
            max_model_len=config.max_model_len,
            gpu_memory_utilization=config.gpu_memory_utilization,
        )
        if not verdict.fits:
            raise OutOfMemoryError(verdict)


def _require_fitting(fleets: Iterable[Fleet], workload: Workload) -> None:
    """Refuse what an engine would refuse to load; names that nobody knows are found elsewhere."""
    rank = {adapter.name: adapter.rank for adapter in workload.adapters}
    for replica in (replica for fleet in fleets for replica in fleet.replicas):
        most = replica.config.max_lora_rank if replica.config.max_loras else 0
        for name, _ in replica.shares:
            if rank.get(name, 0) > most:
                raise EngineConfigError(
                    f"replica {replica.name}: adapter {name} of rank {rank[name]} does not fit, "
                    f"its {replica.config.max_loras} slots are of rank {replica.config.max_lora_rank}"
                )

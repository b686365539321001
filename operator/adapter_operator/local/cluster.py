"""The reconcile loop's world on one machine: replicas are processes, GPUs are counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapter_operator.assignment import AssignedAdapter, Assignment
from adapter_operator.kubernetes.manifests.arguments import engine_arguments
from adapter_operator.local.replica import LocalReplica
from adapter_operator.local.stand_ins import StandIns
from adapter_operator.reconcile.moves import Holder
from adapter_operator.reconcile.rollout import PoolState
from adapter_operator.reconcile.values import EngineProblem, Observed, ObservedPool, PlanRecord
from adapter_predictor.plan import replica_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from aiohttp import ClientSession

    from adapter_operator.local.events import Events
    from adapter_operator.local.gateway import LocalGateway
    from adapter_operator.local.resource import ResourceFile
    from adapter_operator.reconcile.moves import Routes
    from adapter_operator.reconcile.values import Announcement, Desired, DesiredPool, ObjectKey
    from adapter_predictor.plan import Pool

LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Emulation:
    """How engines are emulated.

    Attributes:
        speed_up: Emulated seconds per real second.
        startup_delay_s: Real seconds that an engine takes to start.
        gpus: GPUs that this machine pretends to have.
        faults: What is to go wrong, as `adaptwin emulate --fault` takes it.
    """

    speed_up: float = 1.0
    startup_delay_s: float = 2.0
    gpus: int = 8
    faults: tuple[str, ...] = ()


@dataclass
class _Pool:
    pool: Pool
    arguments: tuple[str, ...]
    gpus_each: int
    told: int = 0
    replicas: dict[int, LocalReplica] = field(default_factory=dict)
    going: dict[int, asyncio.Task[None]] = field(default_factory=dict)


class LocalCluster:
    """Replicas as processes; also what tells of engines and of agents."""

    def __init__(
        self,
        resource: ResourceFile,
        gateway: LocalGateway,
        emulation: Emulation,
        folder: Path,
        events: Events,
    ) -> None:
        self._resource = resource
        self._gateway = gateway
        self._emulation = emulation
        self._folder = folder
        self._events = events
        self._stand_ins = StandIns(folder / "stand-ins")
        self._pools: dict[str, _Pool] = {}
        self._records: dict[str, PlanRecord] = {}
        self.routes: Routes = {}
        self.changed = asyncio.Event()

    @property
    def replicas(self) -> dict[str, LocalReplica]:
        """The replicas that run, by name."""
        return {
            replica.name: replica
            for _, pool in sorted(self._pools.items())
            for replica in pool.replicas.values()
        }

    @property
    def record(self) -> PlanRecord | None:
        """The plan in force."""
        return max(self._records.values(), key=lambda record: record.generation, default=None)

    async def observe(self, key: ObjectKey) -> Observed | None:
        """The object and what runs for it."""
        problem = self._resource.look()
        if problem:
            self._events.tell("Warning", "InvalidSpec", problem)
        return Observed(
            key=key,
            resource=self._resource.get(),
            pools=tuple(_observed(pool) for _, pool in sorted(self._pools.items())),
            plans=tuple(sorted(self._records.values(), key=lambda record: -record.generation)),
            routes=self.routes,
        )

    async def actuate(self, desired: Desired) -> None:
        """Publish what replicas shall hold, start and stop them, and route."""
        self._records[desired.record.plan.hash] = desired.record
        self._records = {name: one for name, one in self._records.items() if name in desired.kept_plans}
        for pool in desired.pools:
            self._start(self._pool(desired, pool), pool.replicas)
            self._assign(desired, pool.pool.name, pool.assignments)
        for name, assignments in desired.outgoing_assignments.items():
            self._assign(desired, name, assignments)
        self._route(desired)
        for pool in desired.pools:
            self._shrink(pool.pool.name, pool.replicas)
        for name in sorted(self._pools.keys() - {pool.pool.name for pool in desired.pools}):
            self._shrink(name, desired.outgoing.get(name, 0))

    async def report(self, key: ObjectKey, status: Mapping[str, Any]) -> None:  # noqa: ARG002 - a port's signature
        """Replace the status."""
        self._resource.status = dict(status)

    async def announce(self, observed: Observed, announcement: Announcement) -> None:  # noqa: ARG002 - likewise
        """Tell whoever watches."""
        self._events.tell(announcement.kind, announcement.reason, announcement.message)

    async def problems(self, key: ObjectKey) -> Collection[EngineProblem]:  # noqa: ARG002 - likewise
        """Replicas for which there is no GPU, and engines that end again and again."""
        lacking = [
            EngineProblem(
                replica_name(pool.pool.name, ordinal),
                "Unschedulable",
                f"Insufficient GPUs: {self._emulation.gpus} there are, all are taken",
            )
            for pool in self._pools.values()
            for ordinal in range(pool.told)
            if ordinal not in pool.replicas
        ]
        crashing = [
            EngineProblem(replica.name, "CrashLoopBackOff", replica.engine.last_words(1))
            for replica in self.replicas.values()
            if replica.engine.pid is None and replica.engine.starts > 2
        ]
        return [*lacking, *crashing]

    async def holders(self, observed: Observed) -> Mapping[str, Holder]:  # noqa: ARG002 - likewise
        """What was last seen of every replica."""
        return {
            name: Holder(
                ready=replica.seen.answers,
                loaded=replica.seen.loaded,
                failed=replica.seen.failed,
                troubles=replica.seen.troubles,
                idle=replica.seen.in_flight == 0,
                max_lora_rank=replica.max_lora_rank,
            )
            for name, replica in self.replicas.items()
        }

    async def look(self, session: ClientSession) -> None:
        """Ask all replicas how they are."""
        replicas = self.replicas
        before = {name: replica.seen for name, replica in replicas.items()}
        await asyncio.gather(*(replica.look(session) for replica in replicas.values()))
        for name, replica in replicas.items():
            self._tell_of(name, before[name].answers, replica)
            if _news(before[name], replica.seen):
                self.changed.set()

    def _tell_of(self, name: str, answered: bool, replica: LocalReplica) -> None:
        if answered and not replica.seen.answers:
            self._events.tell("Warning", "ReplicaAway", f"{name} does not answer")
        elif replica.seen.answers and not answered:
            self._events.tell("Normal", "ReplicaThere", f"{name} answers")

    async def stop(self) -> None:
        """End all replicas."""
        pools = list(self._pools.values())
        for pool in pools:
            self._shrink(pool.pool.name, 0)
        await asyncio.gather(*(task for pool in pools for task in pool.going.values()))

    def _pool(self, desired: Desired, wanted: DesiredPool) -> _Pool:
        pool = self._pools.get(wanted.pool.name)
        if pool is None:
            arguments = engine_arguments(desired.deployment.spec, desired.profile, wanted.pool)
            own = (
                f"--profile={desired.profile.name}",
                f"--speed-up={self._emulation.speed_up:g}",
                f"--startup-delay={self._emulation.startup_delay_s:g}",
                *(f"--fault={fault}" for fault in self._emulation.faults),
            )
            gpus = desired.profile.tensor_parallel_size
            pool = self._pools[wanted.pool.name] = _Pool(wanted.pool, (*arguments, *own), gpus)
        return pool

    @property
    def _free_gpus(self) -> int:
        taken = sum((len(pool.replicas) + len(pool.going)) * pool.gpus_each for pool in self._pools.values())
        return self._emulation.gpus - taken

    def _start(self, pool: _Pool, replicas: int) -> None:
        pool.told = replicas
        for ordinal in range(replicas):
            if ordinal in pool.replicas or ordinal in pool.going or self._free_gpus < pool.gpus_each:
                continue
            name = replica_name(pool.pool.name, ordinal)
            replica = LocalReplica(name, self._folder, pool.arguments, pool.pool.max_lora_rank)
            pool.replicas[ordinal] = replica
            replica.start()
            self._events.tell("Normal", "ReplicaStarted", f"{name} with {pool.pool.max_loras} slots")

    def _shrink(self, name: str, replicas: int) -> None:
        """Stop what is beyond so many replicas; a pool of none is gone once they are."""
        pool = self._pools[name]
        pool.told = replicas
        for ordinal in [ordinal for ordinal in pool.replicas if ordinal >= replicas]:
            replica = pool.replicas.pop(ordinal)
            pool.going[ordinal] = asyncio.create_task(self._stop(pool, ordinal, replica))
        self._forget_if_gone(pool)

    def _forget_if_gone(self, pool: _Pool) -> None:
        if not pool.told and not pool.going:
            self._pools.pop(pool.pool.name, None)

    async def _stop(self, pool: _Pool, ordinal: int, replica: LocalReplica) -> None:
        await replica.stop()
        del pool.going[ordinal]
        self._forget_if_gone(pool)
        self._events.tell("Normal", "ReplicaStopped", replica.name)
        self.changed.set()

    def _assign(self, desired: Desired, pool: str, assignments: Mapping[int, Mapping[str, float]]) -> None:
        for ordinal, shares in assignments.items():
            replica = self._pools[pool].replicas.get(ordinal) if pool in self._pools else None
            if replica is not None:
                replica.assign(self._document(desired, shares))

    def _document(self, desired: Desired, shares: Mapping[str, float]) -> str:
        return Assignment(
            plan=desired.record.plan.hash,
            generation=desired.record.generation,
            adapters=tuple(
                AssignedAdapter(
                    name=adapter.name,
                    rank=adapter.rank,
                    share=shares[adapter.name],
                    source=self._stand_ins.source(adapter),
                )
                for adapter in sorted(desired.deployment.spec.adapters, key=lambda adapter: adapter.name)
                if adapter.name in shares
            ),
        ).to_json()

    def _route(self, desired: Desired) -> None:
        if desired.routes is None or desired.routes == self.routes:
            return
        self.routes = desired.routes
        ports = {name: replica.port for name, replica in self.replicas.items()}
        spec = desired.deployment.spec
        self._gateway.route(self._resource.key, spec.model.request_name, self.routes, ports)


def _observed(pool: _Pool) -> ObservedPool:
    ready = frozenset(
        n for n, replica in pool.replicas.items() if replica.seen.answers and replica.seen.ready
    )
    state = PoolState(
        name=pool.pool.name,
        replicas=pool.told,
        pods=len(pool.replicas) + len(pool.going),
        ready=len(ready),
        ready_ordinals=ready,
    )
    published = {n: text for n, replica in pool.replicas.items() if (text := replica.assignment) is not None}
    return ObservedPool(state, published)


def _news(before: Any, after: Any) -> bool:
    """Whether the loop should look at once."""
    fields = ("answers", "ready", "loaded", "failed")
    return any(getattr(before, name) != getattr(after, name) for name in fields)

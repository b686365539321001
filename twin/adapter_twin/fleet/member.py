"""A replica in the course of a simulation: it starts, loads and unloads adapters, drains, fails, comes back.

SimPy processes on the fleet's clock. Everything that a replica forgets when it dies sits in its *life*; a
process that wakes up in another life than it fell asleep in has nothing more to do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import simpy

from adapter_twin.fleet.log import EventKind, FleetEvent
from adapter_twin.fleet.server import Server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from adapter_twin.fleet.fates import Fates
    from adapter_twin.fleet.model import FleetReplica, Mechanics
    from adapter_twin.fleet.traffic import Traffic
    from adapter_twin.profile import Profile
    from adapter_twin.workload.model import Adapter

    Process = Generator[Any, Any, None]


@dataclass
class World:
    """What the members of a fleet share."""

    clock: Any
    end_s: float
    profile: Profile
    mechanics: Mechanics
    adapters: tuple[Adapter, ...]
    traffic: Traffic
    fates: Fates
    events: list[FleetEvent] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)

    @property
    def now_s(self) -> float:
        """The fleet's clock."""
        return float(self.clock.now)

    def note(self, kind: EventKind, replica: str = "", adapter: int | None = None) -> None:
        """Add to the log."""
        name = "" if adapter is None else self.adapters[adapter].name
        self.events.append(FleetEvent(self.now_s, kind, replica, name))

    def next_poll(self) -> Any:
        """Until the operator looks again; everybody is looked at together."""
        poll_s = self.mechanics.poll_s
        return self.clock.timeout((math.floor(self.now_s / poll_s) + 1) * poll_s - self.now_s)

    def send_again(self, requests: NDArray[np.int64]) -> None:
        """The gateway's second attempt; requests that find no replica are lost."""
        for member in self.members:
            member.catch_up()
        owner = self.traffic.place_again(requests)
        for member in self.members:
            member.take_again(requests[owner == member.column])
        self.fates.lose(requests[owner < 0])


class _Life:
    """From a start to the end of the pod, or of the engine in it."""

    def __init__(self, clock: Any, adapters: Iterable[int], parallel_fetches: int) -> None:
        self.initial = set(adapters)
        self.loaded: set[int] = set()
        self.up = clock.event()
        self.ready = clock.event()
        self.fetching = simpy.Resource(clock, parallel_fetches)
        self.loading = simpy.Resource(clock, 1)

    def check_ready(self) -> bool:
        """Announce readiness when everything that the replica was started with is there."""
        if self.up.triggered and not self.ready.triggered and self.initial <= self.loaded:
            self.ready.succeed()
            return True
        return False


class Member:
    """One replica of the fleet."""

    def __init__(self, world: World, column: int, spec: FleetReplica) -> None:
        """Not started.

        Args:
            world: the fleet.
            column: the replica's row in the routing table.
            spec: name and engine arguments; the shares are the traffic's affair.
        """
        self.column = column
        self.name = spec.name
        self.reports: list[Any] = []
        self._world = world
        self._config = spec.config
        self._life: _Life | None = None
        self._server: Server | None = None
        self._confirmations: dict[int, Any] = {}
        self._on_disk: set[int] = set()
        self._seen = 0
        self._failed = False

    @property
    def held(self) -> set[int]:
        """Adapters that it has, or shall have."""
        return set(self._confirmations)

    @property
    def present(self) -> bool:
        """Whether it takes up GPUs."""
        return self._life is not None or self._failed

    def confirmation(self, adapter: int) -> Any:
        """Happens when the operator sees the adapter loaded."""
        return self._confirmations[adapter]

    # --- starting

    def begin_serving(self, adapters: Iterable[int]) -> None:
        """As a replica that has been up for long: its adapters are loaded and confirmed."""
        world = self._world
        life = self._live(adapters)
        life.up.succeed()
        self._server = self._new_server()
        for adapter in sorted(life.initial):
            self._server.load(adapter, world.now_s)
            life.loaded.add(adapter)
            self._on_disk.add(adapter)
            self._confirmations[adapter].succeed()
        life.check_ready()

    def start(self, adapters: Iterable[int], *, image_cached: bool = False) -> None:
        """Start it with these adapters."""
        self._failed = False
        life = self._live(adapters)
        self._world.note(EventKind.REPLICA_STARTING, self.name)
        self._world.clock.process(self._boot(life, image_cached))

    def _live(self, adapters: Iterable[int]) -> _Life:
        world = self._world
        life = _Life(world.clock, adapters, world.mechanics.parallel_fetches)
        for adapter in life.initial:
            self._expect(adapter)
        self._life = life
        return life

    def _expect(self, adapter: int) -> None:
        """A confirmation that others wait for already goes on being waited for."""
        known = self._confirmations.get(adapter)
        if known is None or known.triggered:
            self._confirmations[adapter] = self._world.clock.event()

    def _boot(self, life: _Life, image_cached: bool) -> Process:
        """Agent and engine start together: adapters are fetched while the engine reads its weights."""
        world, mechanics = self._world, self._world.mechanics
        if not image_cached:
            yield world.clock.timeout(mechanics.image_s)
        for adapter in sorted(life.initial):
            world.clock.process(self._hold(life, adapter))
        yield world.clock.timeout(mechanics.weights_s + mechanics.compile_s)
        if self._life is not life:
            return
        self._server = self._new_server()
        self._seen = world.traffic.placed
        world.note(EventKind.REPLICA_UP, self.name)
        life.up.succeed()
        self._announce_ready(life)

    def _new_server(self) -> Server:
        world = self._world
        return Server(
            world.profile,
            self._config,
            world.adapters,
            world.traffic.requests,
            start_s=world.now_s,
            end_s=world.end_s,
        )

    # --- adapters

    def want(self, adapters: Iterable[int]) -> None:
        """Hold these adapters too."""
        for adapter in sorted(adapters):
            self._expect(adapter)
            if self._life is not None:
                self._world.clock.process(self._hold(self._life, adapter))

    def _hold(self, life: _Life, adapter: int) -> Process:
        """Fetch → load → confirm; the pod of a fresh replica is not ready before all are loaded."""
        world = self._world
        with life.fetching.request() as turn:
            yield turn
            yield world.clock.timeout(self._fetch_s(adapter))
        self._on_disk.add(adapter)
        yield life.up
        with life.loading.request() as turn:
            yield turn
            if not self._wanted(life, adapter):
                return
            self.catch_up()
            yield world.clock.timeout(self._engine.load(adapter, world.now_s))
        if not self._wanted(life, adapter):
            return
        life.loaded.add(adapter)
        world.note(EventKind.COPY_LOADED, self.name, adapter)
        self._announce_ready(life)
        yield life.ready
        yield world.clock.timeout(world.mechanics.confirm_s)
        if self._wanted(life, adapter):
            world.traffic.set_available(world.now_s, self.column, adapter, available=True)
            world.note(EventKind.COPY_CONFIRMED, self.name, adapter)
            self._confirmations[adapter].succeed()

    def _wanted(self, life: _Life, adapter: int) -> bool:
        return self._life is life and adapter in self._confirmations

    def _fetch_s(self, adapter: int) -> float:
        """Nothing where an engine comes back to the files that it left."""
        if adapter in self._on_disk:
            return 0.0
        mechanics, profile = self._world.mechanics, self._world.profile
        size = profile.adapter_bytes(self._world.adapters[adapter].rank)
        return mechanics.fetch_base_s + size / mechanics.fetch_bytes_per_s

    def _announce_ready(self, life: _Life) -> None:
        if life.check_ready():
            self._world.note(EventKind.REPLICA_READY, self.name)

    def let_go(self, adapter: int) -> Process:
        """Drain → unload an adapter that gets no traffic any more."""
        yield from self._drain(adapter)
        self._confirmations.pop(adapter, None)
        world, life = self._world, self._life
        if life is None:
            return
        life.initial.discard(adapter)
        self._announce_ready(life)
        if adapter not in life.loaded:
            return
        life.loaded.discard(adapter)
        world.traffic.set_available(world.now_s, self.column, adapter, available=False)
        self.catch_up()
        self._engine.unload(adapter)
        world.note(EventKind.COPY_UNLOADED, self.name, adapter)

    # --- ending

    def _drain(self, adapter: int | None = None) -> Process:
        """Until none of the adapter's requests (or none at all) is in flight, or patience ends."""
        world, life = self._world, self._life
        deadline_s = world.now_s + world.mechanics.drain_timeout_s
        while self._life is life and world.now_s < deadline_s and self._busy(adapter):
            yield world.next_poll()

    def _busy(self, adapter: int | None) -> bool:
        if self._server is None:
            return False
        self.catch_up()
        open_requests = self._server.in_flight()
        if adapter is None:
            return open_requests.size > 0
        return bool((self._world.traffic.requests.adapter[open_requests] == adapter).any())

    def retire(self) -> Process:
        """Drain the whole replica and give back its GPUs."""
        self._world.note(EventKind.REPLICA_DRAINING, self.name)
        yield from self._drain()
        self._end()
        self._failed = False
        self._confirmations.clear()
        self._on_disk.clear()
        self._world.note(EventKind.REPLICA_STOPPED, self.name)

    def fail(self) -> bool:
        """Die; False where there is nothing that could."""
        if self._life is None:
            return False
        self._failed = True
        self._world.note(EventKind.REPLICA_FAILED, self.name)
        self._end()
        return True

    def come_back(self) -> None:
        """The engine is started again, unless the replica is gone by now, and loads all its adapters."""
        if self._failed:
            self.start(self.held, image_cached=True)

    def _end(self) -> None:
        """Cut all connections: requests without a first byte are sent again, the others are lost."""
        world, server = self._world, self._server
        if server is not None:
            self.catch_up()
        for adapter in self.held:
            world.traffic.set_available(world.now_s, self.column, adapter, available=False)
        self._life, self._server = None, None
        if server is not None:
            self.reports.append(server.report())
            again = world.fates.cut(server, may_retry=world.mechanics.retry_before_first_byte)
            world.send_again(again)

    # --- serving

    @property
    def _engine(self) -> Server:
        if self._server is None:
            raise RuntimeError(f"replica {self.name} has no engine")
        return self._server

    def catch_up(self) -> None:
        """Bring the engine to the fleet's clock, with everything that was sent to it meanwhile."""
        world = self._world
        world.traffic.settle(world.now_s)
        self.advance(world.now_s)

    def advance(self, until_s: float) -> None:
        """The same, as far as traffic is settled; safe to run beside other members' in threads."""
        if self._server is None:
            return
        fresh, self._seen = self._world.traffic.arrived(self.column, self._seen)
        self._server.submit(fresh)
        self._server.advance(until_s)

    def take_again(self, requests: NDArray[np.int64]) -> None:
        """Requests that another replica was cut off from."""
        if requests.size:
            self._engine.submit(requests, at_s=self._world.now_s)

    def finish(self) -> None:
        """At the end of the simulation: what became of the requests, and the engine's report."""
        if self._server is not None:
            self._world.fates.conclude(self._server)
            self.reports.append(self._server.report())

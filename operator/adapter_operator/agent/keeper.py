"""The loop: look at what the engine holds, and bring it to what is assigned."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from adapter_operator.agent.errors import AdapterError, Reason
from adapter_operator.agent.lifecycle import (
    Failure,
    Files,
    Known,
    State,
    is_ready,
    next_actions,
    retry_after_s,
    trial_name,
)
from adapter_operator.agent.sources import source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path
    from typing import Any

    from adapter_operator.agent.engine import EngineClient
    from adapter_operator.agent.library import Library
    from adapter_operator.agent.metrics import AgentMetrics
    from adapter_operator.assignment import AssignedAdapter, Assignment

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
FETCHES_AT_ONCE: Final = 4
LOADS_AT_ONCE: Final = 4
"""The engine loads one after another; but one load that hangs must not keep all others waiting."""


@dataclass(frozen=True)
class EngineView:
    """What the agent last saw of the engine.

    Attributes:
        reachable: Whether it answered.
        version: Its version.
        held: By name, the path from which it holds each adapter.
    """

    reachable: bool = False
    version: str = ""
    held: Mapping[str, str] | None = None


class Keeper:
    """Keeps one engine's adapters. Each is worked on by itself: one that hangs or fails harms no other."""

    def __init__(
        self,
        engine: EngineClient,
        library: Library,
        volumes: Path,
        metrics: AgentMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._library = library
        self._volumes = volumes
        self._metrics = metrics
        self._clock = clock
        self._assignment: Assignment | None = None
        self._known: dict[str, Known] = {}
        self._view = EngineView()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fetching = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._loading = asyncio.Semaphore(LOADS_AT_ONCE)
        self._wake = asyncio.Event()
        self._was_ready = False

    @property
    def assignment(self) -> Assignment | None:
        """What is to be kept; None where nothing was assigned yet."""
        return self._assignment

    @property
    def engine(self) -> EngineView:
        """What was last seen of the engine."""
        return self._view

    @property
    def ready(self) -> bool:
        """Whether traffic may come. Once it may, only an engine that is away changes that, no later move."""
        return self._was_ready and self._view.reachable

    def assign(self, assignment: Assignment) -> bool:
        """Take an assignment; False where a newer one is in force."""
        present = self._assignment
        if present is not None and assignment.generation < present.generation:
            return False
        if assignment != present:
            known = {adapter.name: adapter for adapter in present.adapters} if present else {}
            self._known = {
                adapter.name: self._known[adapter.name]
                if _same_files(adapter, known.get(adapter.name))
                else Known()
                for adapter in assignment.adapters
            }
            self._assignment = assignment
            self._metrics.generation.set(assignment.generation)
            logger.info("generation %d: %d adapters", assignment.generation, len(assignment.adapters))
            self._wake.set()
        return True

    def states(self) -> Mapping[str, tuple[State, Failure | None, Files | None]]:
        """Of each assigned adapter: where it is, what went wrong, which files it is."""
        held = self._view.held or {}
        return {
            name: (known.state(name, held), known.failure, known.files) for name, known in self._known.items()
        }

    async def run(self) -> None:
        """Keep on, until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self.turn()
                try:
                    await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_S)
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks:
                task.cancel()

    async def turn(self) -> None:
        """Look once, and begin what is to be done."""
        await self._look()
        assignment, held = self._assignment, self._view.held
        if assignment is None:
            return
        if held is not None:
            self._was_ready = self._was_ready or is_ready(self._known, held)
        adapters = {adapter.name: adapter for adapter in assignment.adapters}
        actions = next_actions(self._known, held or {}, self._clock())
        for name in actions.fetch:
            self._begin(name, State.FETCHING, self._fetch(adapters[name]))
        if held is not None:
            for name in actions.load:
                self._begin(name, State.LOADING, self._load(name))
            for name in actions.swap:
                self._begin(name, State.LOADING, self._swap(name, held[name]))
            await self._unload(actions.unload)
        self._metrics.observe(self.states())

    async def _look(self) -> None:
        try:
            version = self._view.version if self._view.reachable else await self._engine.version()
            self._view = EngineView(True, version, await self._engine.held())
        except AdapterError as error:
            if self._view.reachable:
                logger.warning("the engine is away: %s", error)
            self._view = EngineView()
        self._metrics.engine_up.set(self._view.reachable)

    def _begin(self, name: str, doing: State, work: Coroutine[Any, Any, Known]) -> None:
        """Do something for an adapter, unless the assignment drops it meanwhile."""
        before = replace(self._known[name], busy=doing)
        self._known[name] = before

        async def carry_out() -> None:
            try:
                after = await work
            except AdapterError as error:
                after = self._failed(name, before, error)
            if self._known.get(name) is before:
                self._known[name] = after
            self._wake.set()

        task = asyncio.create_task(carry_out())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, name: str, before: Known, error: AdapterError) -> Known:
        attempts = 1 + (before.failure.attempts if before.failure else 0)
        again_at_s = self._clock() + retry_after_s(attempts)
        logger.warning("adapter %s: %s: %s", name, error.reason.value, error)
        self._metrics.failures.labels(error.reason.value).inc()
        return replace(before, busy=None, failure=Failure(error.reason, str(error), attempts, again_at_s))

    async def _fetch(self, adapter: AssignedAdapter) -> Known:
        async with self._fetching:
            source = source_of(adapter.source, self._volumes)
            started = self._clock()
            files = await asyncio.to_thread(self._library.obtain, source, adapter.rank)
        self._metrics.fetch_seconds.observe(self._clock() - started)
        return Known(files=files)

    async def _load(self, name: str) -> Known:
        known = self._known[name]
        files = _files(known)
        async with self._loading:
            started = self._clock()
            await self._engine.load(name, files.path)
            await self._look()
        self._metrics.load_seconds.observe(self._clock() - started)
        return Known(files=files)

    async def _swap(self, name: str, old_path: str) -> Known:
        """Bring another version: try it under a name of its own, and only then give it the adapter's name.

        The engine gives a name that it forgot and learns again a slot of its own: requests of the old version
        end in theirs. If the name cannot be given to the new version, the old one gets it back.
        """
        files = _files(self._known[name])
        trial = trial_name(name, files.version)
        async with self._loading:
            started = self._clock()
            await self._engine.load(trial, files.path)
            await self._engine.unload(name)
            try:
                await self._engine.load(name, files.path)
            except AdapterError:
                await self._engine.load(name, old_path)
                raise
            finally:
                await self._engine.unload(trial)
            await self._look()
        self._metrics.load_seconds.observe(self._clock() - started)
        return Known(files=files)

    async def _unload(self, unwanted: tuple[str, ...]) -> None:
        if not unwanted:
            return
        for name in unwanted:
            try:
                await self._engine.unload(name)
                logger.info("adapter %s unloaded", name)
            except AdapterError as error:
                logger.warning("adapter %s could not be unloaded: %s", name, error)
        await self._look()
        kept = {known.files.version for known in self._known.values() if known.files is not None}
        if all(known.files is not None for known in self._known.values()):
            await asyncio.to_thread(self._library.keep_only, kept)


def _same_files(adapter: AssignedAdapter, before: AssignedAdapter | None) -> bool:
    """Whether what is known of an adapter still holds: its share does not matter."""
    return before is not None and (adapter.source, adapter.rank) == (before.source, before.rank)


def _files(known: Known) -> Files:
    if known.files is None:
        raise AdapterError(Reason.INVALID_ADAPTER, "its files have not been fetched")
    return known.files

"""The whole system on one machine: everything that runs, and the loop that decides."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import ClientError, ClientSession
from prometheus_client import CollectorRegistry

from adapter_operator.local.cluster import LOOK_EVERY_S, Emulation, LocalCluster
from adapter_operator.local.events import Events
from adapter_operator.local.gateway import LocalGateway
from adapter_operator.local.resource import ResourceFile
from adapter_operator.local.traffic import LocalTraffic
from adapter_operator.metrics import Metrics
from adapter_operator.reconcile.clock import SystemClock
from adapter_operator.reconcile.errors import ReconcileError
from adapter_operator.reconcile.loop import Ports, Reconciler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from adapter_operator.reconcile.planner import InlinePlanner

logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
"""The loop looks at least so often."""


@dataclass(frozen=True)
class LocalSettings:
    """What is run.

    Attributes:
        file: The AdapterDeployment.
        folder: For files and logs of all processes.
        port: Where clients connect; any free port where 0.
        emulation: How engines are emulated.
    """

    file: Path
    folder: Path
    port: int = 0
    emulation: Emulation = field(default_factory=Emulation)


class LocalSystem:
    """Replicas, gateway and Envoy as processes, and the loop as a task that may be stopped and started."""

    def __init__(self, settings: LocalSettings, planner: InlinePlanner) -> None:
        self.settings = settings
        self.events = Events(time.monotonic)
        self.resource = ResourceFile(settings.file)
        self.gateway = LocalGateway(settings.folder, settings.port)
        self.cluster = LocalCluster(
            self.resource, self.gateway, settings.emulation, settings.folder, self.events
        )
        self.traffic = LocalTraffic(self.resource, self.gateway, settings.emulation.speed_up)
        self.planner = planner
        self._reconciler = Reconciler(
            Ports(self.cluster, self.cluster, self.traffic, planner, SystemClock(), agents=self.cluster),
            Metrics(CollectorRegistry()),
        )
        self._loop: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.gateway.url

    @property
    def settled(self) -> bool:
        """Whether everything is where the plan wants it, and confirmed."""
        record, replicas = self.cluster.record, self.cluster.replicas
        conditions = {item["type"]: item for item in self.resource.status.get("conditions", ())}
        if record is None or conditions.get("Progressing", {}).get("reason") != "RolledOut":
            return False
        return replicas.keys() == record.plan.assignment.keys() and all(
            replicas[name].seen.loaded >= adapters.keys() for name, adapters in record.plan.assignment.items()
        )

    def start_loop(self) -> None:
        """Decide and act from now on."""
        self._loop = asyncio.create_task(self._decide_again_and_again(), name="loop")

    async def stop_loop(self) -> None:
        """Stop deciding; everything else goes on."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait({self._loop})
            self._loop = None

    async def _decide_again_and_again(self) -> None:
        failures = 0
        while True:
            self.cluster.changed.clear()
            try:
                again_s = await self._reconciler.reconcile(self.resource.key)
                failures = 0
            except ReconcileError as error:
                failures += 1
                again_s = min(30.0, 0.5 * 2.0**failures)
                self.events.tell("Warning", "TryingAgain", f"{error}; again in {again_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self.cluster.changed.wait(), min(EVERY_S, EVERY_S if again_s is None else again_s)
                )

    async def _watch_replicas(self) -> None:
        async with ClientSession() as session:
            while True:
                await self.cluster.look(session)
                await asyncio.sleep(LOOK_EVERY_S)

    async def serves(self, model: str | None = None) -> bool:
        """Whether the gateway answers, and lists the model."""
        try:
            async with ClientSession() as session, session.get(f"{self.url}/v1/models") as response:
                listed = [item["id"] for item in (await response.json())["data"]]
        except (ClientError, OSError, ValueError, KeyError):
            return False
        return response.ok and (model is None or model in listed)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LocalSystem]:
        """Everything runs within the block; nothing is left after it."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.cluster.stop)
            stack.push_async_callback(self.gateway.stop)
            self.gateway.start()
            tasks = [asyncio.create_task(self._watch_replicas()), asyncio.create_task(self.traffic.run())]
            stack.push_async_callback(_cancelled, tasks)
            stack.push_async_callback(self.stop_loop)
            await self.planner.start()
            self.start_loop()
            yield self


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

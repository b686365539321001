"""Planning and verification in processes beside the event loop, so that the loop never stalls."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Final

from adapter_operator.planning import Decision, PlanningRequest, VerificationSettings, decide, reject
from adapter_operator.reconcile.errors import PlannerError
from adapter_predictor.placement import AdapterDemand
from adapter_twin.errors import AdaptwinError
from adapter_twin.profile import available_profiles, load_profile

logger = logging.getLogger(__name__)

Decide = Callable[[PlanningRequest], Decision]

START_METHOD: Final = "forkserver"
"""The parent has threads and an event loop, which a plain fork must not inherit."""

DEATHS: Final = (BrokenProcessPool, EOFError, ConnectionError)
"""How the death of a process, or of the server that forks them, shows."""


@dataclass
class _Worker:
    """One process; it is replaced once it is killed or dies."""

    executor: ProcessPoolExecutor
    pid: int = 0
    killed: bool = False

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.killed = True
        starting = self.executor._processes or {}  # noqa: SLF001 - one that still warms up has told no pid
        for pid in {self.pid, *starting} - {0}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.executor.shutdown(wait=False, cancel_futures=True)


class InlinePlanner:
    """Decides requests in a few processes, one request each at a time."""

    def __init__(self, *, processes: int = 1, grace_s: float = 15.0, decide: Decide = decide) -> None:
        """A planner.

        Args:
            processes: How many requests are decided at the same time.
            grace_s: A request that overruns its own deadline by this long is given up.
            decide: Decides a request; must be a function of a module.
        """
        self._decide = decide
        self._grace_s = grace_s
        self._processes = processes
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._workers: list[_Worker] = []

    async def start(self) -> None:
        """Start the processes and let them import and compile what they need."""
        for _ in range(self._processes):
            self._idle.put_nowait(await self._start_worker())
        logger.info("ready to plan", extra={"processes": self._processes})

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.kill()

    async def decide(self, request: PlanningRequest) -> Decision:
        """The decision on a request, made in another process."""
        worker = await self._idle.get()
        try:
            if worker.killed:
                worker = await self._replace(worker)
            return await self._run(worker, request)
        except asyncio.CancelledError:
            worker.kill()
            raise
        except TimeoutError:
            worker = await self._replace(worker)
            seconds = request.verification.timeout_s + self._grace_s
            return reject(request, "Timeout", f"planning did not end within {seconds:g} s")
        except DEATHS as error:
            worker = await self._replace(worker)
            raise PlannerError("the planning process died (out of memory?)") from error
        finally:
            self._idle.put_nowait(worker)

    async def _run(self, worker: _Worker, request: PlanningRequest) -> Decision:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(request.verification.timeout_s + self._grace_s):
            return await loop.run_in_executor(worker.executor, self._decide, request)

    async def _start_worker(self) -> _Worker:
        context = multiprocessing.get_context(START_METHOD)
        context.set_forkserver_preload(["adapter_operator.planning"])
        worker = _Worker(ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_ignore_signals))
        self._workers.append(worker)
        loop = asyncio.get_running_loop()
        try:
            worker.pid = await loop.run_in_executor(worker.executor, _warm_up, self._decide)
        except DEATHS as error:
            raise PlannerError("a planning process could not be started") from error
        return worker

    async def _replace(self, worker: _Worker) -> _Worker:
        logger.warning("replacing a planning process", extra={"pid": worker.pid})
        worker.kill()
        self._workers = [other for other in self._workers if other is not worker]
        return await self._start_worker()


def _ignore_signals() -> None:
    """Leave Ctrl-C and SIGTERM to the parent, which ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _warm_up(decide: Decide) -> int:
    """Import and compile what decisions need, by making a tiny one; the id of this process."""
    request = PlanningRequest(
        name="warm-up",
        profile=load_profile(available_profiles()[0]),
        adapters=(AdapterDemand("warm-up", rate=0.1, rank=8),),
        verification=VerificationSettings(horizon_s=60.0, seeds=1),
    )
    with contextlib.suppress(AdaptwinError):
        decide(request)
    return os.getpid()

"""The twin's engine in real time: it steps, sleeps until the step is over, and hands its tokens out.

A step is computed when it begins; what arrives in its course joins the next one, as in vLLM. A step that the
machine was too busy for is handed out late, but it does not move later ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

import numpy as np

from adapter_twin.engine.state import WAITING
from adapter_twin.workload.model import BASE_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.emulator.adapters import LoadedAdapter
    from adapter_twin.emulator.clock import Clock
    from adapter_twin.live import Gauges, LiveReplica, LiveStep
    from adapter_twin.workload.model import Adapter


class Sink(Protocol):
    """Who takes a request's tokens; those who have none yet come first."""

    tokens: int
    """How many have come."""

    def deliver(self, tokens: int, *, last: bool) -> None:
        """So many tokens have come."""

    def abort(self) -> None:
        """No more will come."""


class StepObserver(Protocol):
    """Who keeps count of requests and steps."""

    def submitted(self, request: int, at_s: float, prompt_tokens: int, adapter: str) -> None:
        """A request arrived."""

    def began(self, requests: NDArray[np.int64], start_s: float) -> None:
        """Requests left the queue for the first time."""

    def delivered(self, step: LiveStep) -> None:
        """Its tokens reach their clients."""


class EngineLoop:
    """One engine and the requests in it, known by the engine's numbers."""

    def __init__(
        self, replica: LiveReplica, clock: Clock, observer: StepObserver, *, coalesce_below: int
    ) -> None:
        self._replica = replica
        self._clock = clock
        self._observer = observer
        self._coalesce_below = coalesce_below
        self._sinks: dict[int, Sink] = {}
        self._adapters: dict[int, int] = {}
        self._queued: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._wake = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._outbox: deque[LiveStep] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._over: list[tuple[int, int]] = []
        """Requests that are over, with the number of steps that must be delivered before."""
        self._launched = self._delivered = 0
        self._idle = True
        self.behind_s = 0.0
        """Real seconds by which the latest tokens were late."""

    @property
    def clock(self) -> Clock:
        """Its time."""
        return self._clock

    @property
    def in_flight(self) -> int:
        """Requests that are not over."""
        return len(self._sinks)

    def gauges(self) -> Gauges:
        """As the engine stands."""
        return self._replica.gauges()

    def queued_adapters(self) -> NDArray[np.int64]:
        """The adapter of each request in the engine's queue, -1 for the base model."""
        waiting = self._queued[self._replica.phase[self._queued] == WAITING]
        return np.array([self._adapters[request] for request in waiting.tolist()], dtype=np.int64)

    def submit(
        self, at_s: float, prompt_tokens: int, output_tokens: int, adapter: LoadedAdapter | None, sink: Sink
    ) -> int:
        """A request that arrives at a time that has just come; returns its number."""
        index, name = BASE_MODEL, ""
        if adapter is not None:
            index, name = adapter.index, adapter.name
        request = self._replica.submit(at_s, prompt_tokens, output_tokens, index)
        self._adapters[request] = index
        self._observer.submitted(request, at_s, prompt_tokens, name)
        self._sinks[request] = sink
        self._queued = np.append(self._queued, request)
        self._wake.set()
        return request

    def abort(self, request: int) -> None:
        """Its client has gone: free what it holds. Its sink hears nothing any more."""
        if self._sinks.pop(request, None) is None:
            return
        self._replica.abort(request)
        self._queued = self._queued[self._queued != request]
        self._over.append((self._launched, request))
        self._release()

    def abort_all(self) -> None:
        """End all requests, and tell their sinks."""
        for request, sink in list(self._sinks.items()):
            self.abort(request)
            sink.abort()

    def load(self, adapter: Adapter) -> tuple[int, float]:
        """Load an adapter between two steps; returns its number, and when that is done."""
        index = self._replica.add_adapter(adapter, at_s=self._clock.now_s() if self._idle else None)
        return index, self._replica.loaded_at_s(index)

    def hang(self) -> None:
        """Make no more steps; the engine's time stands still."""
        self._going.clear()
        self._clock.pause()

    def go_on(self) -> None:
        """Make steps again."""
        self._clock.go_on()
        self._going.set()
        self._schedule_delivery()

    async def run(self) -> None:
        """Step for ever."""
        while True:
            await self._going.wait()
            self._wake.clear()
            step = self._replica.step()
            if step is None:
                self._idle = True
                await self._wake.wait()
                continue
            self._idle = False
            self._note_begun(step.start_s)
            self._launched += 1
            self._outbox.append(step)
            self._schedule_delivery()
            await self._clock.sleep_until(step.end_s)

    def _note_begun(self, start_s: float) -> None:
        if self._queued.size == 0:
            return
        waits = self._replica.phase[self._queued] <= WAITING
        if not waits.all():
            self._observer.began(self._queued[~waits], start_s)
            self._queued = self._queued[waits]

    def _schedule_delivery(self) -> None:
        if self._timer is None and self._outbox and self._going.is_set():
            self._timer = self._clock.call_at(self._outbox[0].delivered_s, self._deliver_due)

    def _deliver_due(self) -> None:
        """Hand out what is due; steps that the API server was too busy for come together, as in vLLM."""
        self._timer = None
        while self._outbox and self._going.is_set() and self._clock.has_come(self._outbox[0].delivered_s):
            steps = [self._outbox.popleft()]
            while self._outbox and self._comes_with(self._outbox[0], steps[0]):
                steps.append(self._outbox.popleft())
            self.behind_s = self._clock.late_s(steps[0].delivered_s)
            self._hand_out(steps)
        self._schedule_delivery()
        self._release()

    def _comes_with(self, step: LiveStep, first: LiveStep) -> bool:
        """Whether a step's tokens are in the same chunks as those of the step before it."""
        return step.delivered_s == first.delivered_s and step.tokens.size < self._coalesce_below

    def _hand_out(self, steps: list[LiveStep]) -> None:
        finished = {request for step in steps for request in step.finished.tolist()}
        for step in steps:
            self._observer.delivered(step)
        sinks = self._sinks
        receivers = [
            (sinks[request], count, request in finished)
            for request, count in _token_counts(steps).items()
            if request in sinks
        ]
        receivers.sort(key=lambda receiver: receiver[0].tokens > 0)
        for sink, count, last in receivers:
            sink.deliver(count, last=last)
        self._over.extend((0, request) for request in finished if sinks.pop(request, None) is not None)
        self._delivered += len(steps)

    def _release(self) -> None:
        """Give the numbers of requests that are over away again, once no step under way bears them."""
        free = [request for launched, request in self._over if launched <= self._delivered]
        if free:
            self._over = [entry for entry in self._over if entry[0] > self._delivered]
            self._replica.release(free)


def _token_counts(steps: list[LiveStep]) -> dict[int, int]:
    """Tokens by request, in the order in which the first step has them."""
    counts: dict[int, int] = dict.fromkeys(steps[0].tokens.tolist(), 1)
    for step in steps[1:]:
        for request in step.tokens.tolist():
            counts[request] = counts.get(request, 0) + 1
    return counts

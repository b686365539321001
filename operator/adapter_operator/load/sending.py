"""Open-loop sending: a request goes out when it is due, whatever became of those before it.

Times are real seconds since the start; what is due when comes from the served system's time divided by the
speed-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapter_operator.load.answers import Answer, Record
from adapter_operator.load.connections import ConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from adapter_operator.load.connections import Connection
    from adapter_operator.load.payload import Payloads
    from adapter_operator.load.target import Endpoint, Target
    from adapter_operator.load.traffic import Traffic

DEFAULT_MAX_INFLIGHT: Final = 4096

GRACE_S: Final = 1.0
"""For requests due right before the end that a busy machine sends late."""

EARLY_S: Final = 0.0005
"""Timers of asyncio wait for whole milliseconds, rounded up: half of one early is right on average."""


@dataclass(frozen=True)
class SendingRules:
    """How requests are sent."""

    endpoint: Endpoint
    speed_up: float = 1.0
    """Seconds of the served system per real second."""
    max_inflight: int | None = None
    """Requests under way at once; None: `DEFAULT_MAX_INFLIGHT`."""
    timeout_s: float | None = None
    """Give a request up after so many seconds of the served system."""


@dataclass
class Run:
    """What was sent and came back; the records may be looked at while it lasts."""

    records: list[Record] = field(default_factory=list)
    gaps_s: array[float] = field(default_factory=lambda: array("f"))
    """Between pieces of streams, of all requests."""
    in_flight: int = 0
    held_back: int = 0
    """Requests that waited because `max_inflight` others were under way."""
    completed: int = 0
    failed: int = 0
    real_s: float = 0.0
    """How long it took."""
    cpu_s: float = 0.0
    """Of this process meanwhile."""
    interrupted: bool = False


class _Stream:
    """One request under way."""

    __slots__ = ("_answer", "_on_end", "connection", "record", "timer")

    def __init__(self, answer: Answer, on_end: Callable[[_Stream], None]) -> None:
        self._answer = answer
        self._on_end = on_end
        self.record = answer.record
        self.connection: Connection | None = None
        self.timer: asyncio.TimerHandle | None = None

    def status(self, status: int) -> None:
        self.record.status = status

    def body(self, data: bytes, now_s: float) -> None:
        self._answer.body(data, now_s)

    def end(self, now_s: float) -> None:
        self._answer.end(now_s)
        self._on_end(self)

    def broken(self, reason: str, now_s: float) -> None:
        self._answer.broken(reason, now_s)
        self._on_end(self)

    def give_up(self, reason: str, now_s: float) -> None:
        """End it from this side."""
        if self.connection is not None:
            self.connection.drop()
        self.broken(reason, now_s)


class Sender:
    """Sends traffic once."""

    def __init__(self, target: Target, traffic: Traffic, payloads: Payloads, rules: SendingRules) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._traffic = traffic
        self._payloads = payloads
        self._rules = rules
        self._max_inflight = rules.max_inflight or DEFAULT_MAX_INFLIGHT
        self._head = target.head(rules.endpoint)
        self._pool = ConnectionPool(target, self.now_s)
        self._streams: set[_Stream] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._stopped = asyncio.Event()
        self.run = Run()

    def now_s(self) -> float:
        """Real seconds since the start."""
        return self._loop.time() - self._origin

    def stop(self) -> None:
        """End early; what was measured until now stands."""
        self.run.interrupted = True
        self._stopped.set()

    async def send(self, drain_s: float = 0.0) -> Run:
        """Send everything, and wait until its time is over.

        Args:
            drain_s: wait so many seconds of the served system longer for answers under way.
        """
        self._origin = self._loop.time()
        cpu_s = time.process_time()
        await self._until_stopped(self._send_until_end())
        self.run.real_s = self.now_s()
        self.run.cpu_s = time.process_time() - cpu_s
        await self._until_stopped(self._drained(drain_s))
        await self._close()
        return self.run

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> None:
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopped.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait((working, stopping))
        if not working.cancelled() and (error := working.exception()) is not None:
            raise error

    async def _send_until_end(self) -> None:
        """What is late goes out shortly after the traffic's time at the latest, whatever keeps it back."""
        end_s = self._traffic.duration_s / self._rules.speed_up
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._origin + end_s + GRACE_S):
                await self._send_all()
        await asyncio.sleep(max(0.0, end_s - self.now_s()))

    async def _send_all(self) -> None:
        speed_up = self._rules.speed_up
        for request, arrival_s in enumerate(self._traffic.requests.arrival_s.tolist()):
            due_s = arrival_s / speed_up
            if (wait_s := due_s - self.now_s() - EARLY_S) > 0:
                await asyncio.sleep(wait_s)
            elif request % 64 == 0:
                await asyncio.sleep(0)  # when late, answers are read all the same
            await self._admit(request, due_s)

    async def _admit(self, request: int, due_s: float) -> None:
        run = self.run
        if run.in_flight >= self._max_inflight:
            run.held_back += 1
            while run.in_flight >= self._max_inflight:
                self._room.clear()
                await self._room.wait()
        record = Record(request, due_s)
        run.records.append(record)
        run.in_flight += 1
        stream = _Stream(Answer(record, run.gaps_s), self._ended)
        self._streams.add(stream)
        connection = self._pool.idle()
        if connection is not None:
            self._ask(connection, stream)
        else:
            task = asyncio.create_task(self._connect(stream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, stream: _Stream) -> None:
        stream.record.sent_s = self.now_s()  # connecting is part of the latency, as it is for any client
        try:
            connection = await self._pool.connect()
        except TimeoutError:
            stream.broken("connecting timed out", self.now_s())
        except OSError as error:
            stream.broken(connection_failure(error), self.now_s())
        else:
            self._ask(connection, stream)

    def _ask(self, connection: Connection, stream: _Stream) -> None:
        record = stream.record
        stream.connection = connection
        if math.isnan(record.sent_s):
            record.sent_s = self.now_s()
        body = self._payloads.body(record.request)
        connection.ask(b"%b%d\r\n\r\n%b" % (self._head, len(body), body), stream)
        if self._rules.timeout_s is not None:
            stream.timer = self._loop.call_later(
                self._rules.timeout_s / self._rules.speed_up, self._time_out, stream
            )

    def _time_out(self, stream: _Stream) -> None:
        stream.give_up("timed out", self.now_s())

    def _ended(self, stream: _Stream) -> None:
        if stream not in self._streams:
            return
        self._streams.discard(stream)
        if stream.timer is not None:
            stream.timer.cancel()
        self.run.in_flight -= 1
        if stream.record.completed:
            self.run.completed += 1
        else:
            self.run.failed += 1
        self._room.set()

    async def _drained(self, drain_s: float) -> None:
        if self._streams and drain_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_s / self._rules.speed_up):
                    await self._all_ended()

    async def _all_ended(self) -> None:
        while self._streams:
            self._room.clear()
            await self._room.wait()

    async def _close(self) -> None:
        """Cut what is still under way: neither completed nor failed."""
        self._streams.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self._pool.close()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(0)
        self.run.in_flight = 0


def connection_failure(error: OSError) -> str:
    """Why a connection could not be made, in few words."""
    if isinstance(error, ssl.SSLError):
        return f"cannot connect: TLS, {(error.reason or str(error)).lower().replace('_', ' ')}"
    number = error.errno or 0  # below 0 where a name was not found
    said = os.strerror(number) if number > 0 else error.strerror or str(error)
    return f"cannot connect: {said.lower()}"

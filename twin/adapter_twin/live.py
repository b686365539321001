"""A replica whose future is not known yet: requests and adapters come and go while it runs.

The engine is the one of `simulate_replica`, compiled and exact; only what it is told comes piece by piece.
Simulated fleets drive it in long strides (`submit_many`, `advance`), a server in real time step by step
(`submit`, `step`). However its time is cut into pieces, it takes the same steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapter_twin.arguments import (
    front_end_policy,
    loading_seconds,
    longest_request,
    replica_memory,
    require_fitting,
    scheduler_policy,
)
from adapter_twin.engine.building import empty_engine, enter_requests, know_adapter, shuffle_adapters
from adapter_twin.engine.growth import with_adapters, with_requests
from adapter_twin.engine.loop import abort_request, advance_engine, load_adapter, observe_until
from adapter_twin.engine.state import ABORTED, FINISHED, PENDING, REJECTED, RELEASED
from adapter_twin.engine.upcoming import send, withdraw
from adapter_twin.errors import OutOfMemoryError, WorkloadError
from adapter_twin.outcome import summarize
from adapter_twin.replica import SERIES_BINS
from adapter_twin.workload.model import BASE_MODEL, Adapter, Requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from adapter_twin.profile import Profile
    from adapter_twin.replica import ReplicaConfig
    from adapter_twin.report import Report

_FIRST_ADAPTERS: Final = 64
_ANY_NUMBER: Final = 2**31 - 1
_INSTANT_S: Final = 1e-9


@dataclass(frozen=True, eq=False)
class LiveStep:
    """One step of the engine."""

    start_s: float
    """When its forward pass began."""
    end_s: float
    """When its tokens were there."""
    tokens: NDArray[np.int32]
    """Requests that got one."""
    finished: NDArray[np.int32]
    """Those of them whose last one it was."""
    delivered_s: float
    """When the API server, which may have been busy, handed the tokens on."""
    prefill_tokens: int
    """Tokens of prompts that it computed."""


@dataclass(frozen=True, eq=False)
class Gauges:
    """What the server would show on its metrics page now."""

    running: int
    waiting: int
    kv_usage: float
    """Fraction of the KV cache's blocks in use."""
    running_adapters: NDArray[np.int64]
    waiting_adapters: NDArray[np.int64]
    """Adapters with waiting requests."""
    resident_adapters: NDArray[np.int32]
    """Adapter in each slot, -1 where a slot is empty."""
    preemptions: int
    """So far, like the next three."""
    adapter_loads: int
    adapter_disk_loads: int
    steps: int


class LiveReplica:
    """One engine, driven from outside.

    Requests are known by numbers that stay theirs until they are released, adapters by numbers that stay
    theirs for good. `phase`, `arrival_s`, `first_token_s` and `finish_s` are indexed by requests; they are
    views, to be read anew after requests were submitted.
    """

    def __init__(
        self,
        profile: Profile,
        config: ReplicaConfig,
        *,
        start_s: float = 0.0,
        duration_s: float | None = None,
        capacity: int = 4096,
        streaming: bool = False,
    ) -> None:
        """A server that starts at `start_s`.

        Args:
            profile: model, GPU and engine.
            config: arguments of the server.
            start_s: when its engine is ready.
            duration_s: until how long after that the report has time series; None: it has none.
            capacity: requests to have room for at first; more room is made when it is needed.
            streaming: `step` says who got a token.

        Raises:
            OutOfMemoryError: the slots leave too little memory.
        """
        verdict = replica_memory(profile, config)
        if not verdict.fits:
            raise OutOfMemoryError(verdict)
        self._profile, self._config, self._verdict = profile, config, verdict
        self._start_s = self._until_s = start_s
        self._streaming = streaming
        self._max_model_len = longest_request(profile, config)
        self._engine = empty_engine(
            scheduler_policy(profile, config, verdict, _ANY_NUMBER),
            profile.coefficients(),
            requests=capacity,
            adapters=_FIRST_ADAPTERS,
            longest_output=self._max_model_len,
            front_end=front_end_policy(profile, config),
            max_lora_rank=config.max_lora_rank,
            start_s=start_s,
            duration_s=duration_s or math.inf,
            bins=1 if duration_s is None else SERIES_BINS,
            stream=streaming,
        )
        self._started = False
        self._adapters: list[Adapter] = []
        self._loaded_s: list[float] = []
        self._removed: set[int] = set()
        self._used = 0
        self._free: list[int] = []
        self._asked_output = np.zeros(capacity, dtype=np.int32)

    @property
    def now_s(self) -> float:
        """Until when it has been simulated."""
        return max(self._until_s, float(self._engine.state.time_s[0]))

    @property
    def phase(self) -> NDArray[np.int8]:
        """Of every request: PENDING to ABORTED of `adapter_twin.engine.state`."""
        return self._column("phase")

    @property
    def arrival_s(self) -> NDArray[np.float64]:
        """When each request was submitted for."""
        return self._column("arrival_s")

    @property
    def first_token_s(self) -> NDArray[np.float64]:
        """When each request's first token reached its client; NaN before."""
        return self._column("first_token_s")

    @property
    def finish_s(self) -> NDArray[np.float64]:
        """When each request's last token reached its client; NaN before."""
        return self._column("finish_s")

    def _column(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._engine.requests[name]
        return column

    def add_adapter(self, adapter: Adapter, *, at_s: float | None = None) -> int:
        """Load an adapter; returns its number.

        At the start that takes no time, as with `--lora-modules`. Later the engine stands still for it
        between two steps; `loaded_at_s` says until when. The adapter is in a slot then, in place of the one
        that was used longest ago, and in host memory.

        Args:
            adapter: fits the slots.
            at_s: when the server is asked to, which is advanced to; None: now.
        """
        require_fitting(self._config, [adapter])
        at_s = self._until_s if at_s is None else at_s
        if self._started or at_s > self._start_s:
            self.advance(at_s)
        if len(self._adapters) == self._engine.config.base_model[0]:
            self._engine = with_adapters(self._engine, 2 * len(self._adapters))
        to_gpu_s, disk_s = loading_seconds(self._profile, self._config, [adapter])
        index = know_adapter(self._engine, float(to_gpu_s[0]), float(disk_s[0]))
        self._adapters.append(adapter)
        self._loaded_s.append(load_adapter(self._engine, index, at_s) if self._started else self._start_s)
        return index

    def loaded_at_s(self, adapter: int) -> float:
        """When the server said that an adapter was loaded."""
        return self._loaded_s[adapter]

    def remove_adapter(self, adapter: int) -> None:
        """Refuse new requests for an adapter; those in flight finish, and it stays until it is evicted."""
        self._removed.add(adapter)

    def submit(self, at_s: float, prompt_tokens: int, output_tokens: int, adapter: int = BASE_MODEL) -> int:
        """One request that arrives at `at_s`; returns its number. See `submit_many`."""
        one = Requests(*(np.array([value]) for value in (at_s, prompt_tokens, output_tokens, adapter)))
        return int(self.submit_many(one)[0])

    def submit_many(self, requests: Requests) -> NDArray[np.int64]:
        """Requests that will arrive; returns their numbers.

        What is longer than the model allows is rejected at once.

        Raises:
            WorkloadError: they arrive before what was advanced to, or name an adapter that is not there.
        """
        self._require_submittable(requests)
        places = self._places(requests.count)
        self._asked_output[places] = requests.output_tokens
        room = self._max_model_len - requests.prompt_tokens
        enter_requests(
            self._engine,
            places,
            requests.arrival_s,
            requests.prompt_tokens,
            np.minimum(requests.output_tokens, np.maximum(room, 1)),
            requests.adapter,
        )
        self.phase[places[room < 1]] = REJECTED
        send(self._engine, places[room >= 1])
        return places.astype(np.int64)

    def _require_submittable(self, requests: Requests) -> None:
        if requests.count == 0:
            return
        if requests.arrival_s[0] < self._until_s:
            raise WorkloadError(
                f"arrival_s: {requests.arrival_s[0]:g} s has passed, it is {self._until_s:g} s already"
            )
        for adapter in np.unique(requests.adapter).tolist():
            if adapter >= len(self._adapters):
                raise WorkloadError(f"adapter: {adapter} is not among the {len(self._adapters)} loaded")
            if adapter in self._removed:
                raise WorkloadError(f"adapter: {self._adapters[adapter].name} was removed")

    def _places(self, count: int) -> NDArray[np.int32]:
        """Records for so many requests: those released last, then unused ones."""
        again = self._free[len(self._free) - min(count, len(self._free)) :]
        del self._free[len(self._free) - len(again) :]
        first = self._used
        self._used += count - len(again)
        if self._used > self._engine.requests.size:
            self._engine = with_requests(self._engine, max(2 * self._engine.requests.size, self._used))
            self._asked_output = np.resize(self._asked_output, self._engine.requests.size)
        return np.array([*again, *range(first, self._used)], dtype=np.int32)

    def abort(self, request: int) -> None:
        """The request's client has gone; nothing happens if it had been served."""
        phase = self.phase[request]
        if phase >= FINISHED:
            return
        if phase == PENDING:
            withdraw(self._engine, request)
            self.phase[request] = ABORTED
        else:
            abort_request(self._engine, request)

    def release(self, requests: Iterable[int]) -> None:
        """Forget requests that are over: their numbers are given away again, reports know nothing of them."""
        done = np.unique(np.fromiter(requests, dtype=np.int64))
        if np.any(self.phase[done] < FINISHED):
            raise ValueError("release: a request that is not over cannot be released")
        self.phase[done] = RELEASED
        self._free.extend(done.tolist())

    def advance(self, until_s: float) -> None:
        """Simulate until then. No step begins at that time or later; one that is under way goes on later."""
        self._start()
        advance_engine(self._engine, until_s)
        self._until_s = max(self._until_s, until_s)

    def step(self, until_s: float = math.inf) -> LiveStep | None:
        """Go on to the end of a step; None if there is nothing to do, or none ends by then.

        If the engine is idle, time goes on to the next arrival. Requests that arrive in the course of the
        step may be submitted afterwards.
        """
        if not self._streaming:
            raise ValueError("step: this replica was made without streaming=True")
        self._start()
        engine, steps = self._engine, int(self._engine.state.steps[0])
        advance_engine(engine, until_s, 1)
        if engine.state.steps[0] == steps:
            return None
        ended = int(engine.state.step[0] - engine.state.in_flight[0]) & 1
        batch = engine.batches[ended]
        tokens = (engine.streamed[ended, : batch.streamed], engine.sampled[ended, : batch.sampled])
        return LiveStep(
            float(batch.start_s),
            float(engine.state.time_s[0]),
            np.concatenate(tokens),
            engine.ended[ended, : batch.ended].copy(),
            float(engine.state.delivered_s[0]),
            int(batch.prefill_tokens),
        )

    def _start(self) -> None:
        """Load the adapters that are known at the start."""
        if not self._started:
            self._started = True
            shuffle_adapters(self._engine)
            self._engine.config.preload = True
            advance_engine(self._engine, self._start_s)

    def gauges(self) -> Gauges:
        """The metrics as they stand."""
        engine, state = self._engine, self._engine.state[0]
        first, adapters = engine.requests.size, len(self._adapters)
        sentinels = np.arange(first, first + adapters)
        return Gauges(
            running=int(state.running),
            waiting=int(state.waiting),
            kv_usage=1.0 - float(state.free_blocks) / float(engine.config.blocks[0]),
            running_adapters=np.sort(engine.active[: state.active]).astype(np.int64),
            waiting_adapters=np.flatnonzero(engine.queues[sentinels, 0] != sentinels),
            resident_adapters=engine.slots.copy(),
            preemptions=int(state.preemptions),
            adapter_loads=int(state.gpu_loads),
            adapter_disk_loads=int(state.disk_loads),
            steps=int(state.steps),
        )

    def report(self) -> Report:
        """What became of the requests that were not released, from the start until now.

        It has a time series if now is the end of `duration_s`; otherwise a single bin stands for all.
        """
        self._start()
        kept = np.flatnonzero(self.phase[: self._used] != RELEASED)
        records = self._engine.requests[kept]
        adapter = np.where(records.adapter == self._engine.config.base_model[0], BASE_MODEL, records.adapter)
        order = np.argsort(records.arrival_s, kind="stable")
        kept, records, adapter = kept[order], records[order], adapter[order]
        offered = Requests(records.arrival_s, records.prompt, self._asked_output[kept], adapter)
        accepted = offered.prompt_tokens < self._max_model_len
        series = self._engine.series.copy()
        engine = self._engine._replace(state=self._engine.state.copy(), series=series)
        observe_until(engine, self.now_s)
        if self.now_s != self._engine.config.end_s[0]:
            series = series.sum(axis=0, keepdims=True)
        engine = engine._replace(requests=records[accepted], series=series)
        duration_s = max(self.now_s - self._start_s, _INSTANT_S)
        return summarize(engine, self._verdict, offered, accepted, self._adapters, duration_s)

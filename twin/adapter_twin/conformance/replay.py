"""Drive the engine with the arrivals of a recording of vLLM's scheduler, and tell what it did in its terms.

Recordings are time-free: requests arrive at step indices. The same compiled loop runs here as in every
simulation, with every step one second long; after each step its log and its state are read, in the format of
the recordings (`trace-1` where scheduling is synchronous, `trace-async-1` where it is asynchronous).

Three things of vLLM are no part of a simulation. The loop around its scheduler also calls it when it has
nothing to do, to tell the worker which requests have ended; asynchronously, it keeps batches in a queue,
empty ones too: both are told here by the loop's rules. And a worker loads a step's adapters in the order in
which it iterates over a Python set: where the recording has that order (`lora_apply`), it is followed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapter_twin.engine import step_log
from adapter_twin.engine.building import new_engine
from adapter_twin.engine.linked_list import items
from adapter_twin.engine.loop import advance_engine
from adapter_twin.engine.step_time import N_COEFFICIENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from adapter_twin.conformance.recording import Recording
    from adapter_twin.engine.state import Engine

Step = dict[str, Any]

_LOGGED_PER_ITEM: Final = 64
"""More integers than a step logs of any request or adapter."""
_REQUESTS: Final = {
    step_log.ADMITTED: "new",
    step_log.RESUMED: "resumed",
    step_log.PREEMPTED: "preempted",
    step_log.QUEUED: "waiting",
    step_log.SKIPPED: "skipped",
}
_PAIRS: Final = {
    step_log.SCHEDULED: "sched",
    step_log.FINISHED: "finished",
    step_log.COMPUTED: "computed",
    step_log.KNOWN: "known",
}
_ADAPTER_EVENTS: Final = {
    step_log.LOADED: "load",
    step_log.CPU_EVICTED: "cpu_evict",
    step_log.ACTIVATED: "activate",
    step_log.GPU_EVICTED: "gpu_evict",
}
_QUEUED_BATCHES: Final = 2


def replay(recording: Recording) -> Iterator[Step]:
    """What the engine does in each step with the recording's arrivals, until nothing is left to do.

    Nothing is yielded beyond the step behind the recording's last one.
    """
    replayed = _Replay(recording)
    calls = _AsynchronousCalls() if recording.asynchronous else _Calls()
    for step in range(len(recording.steps) + 1):
        if not (replayed.has_work or calls.have_work):
            return
        did = replayed.step(step)
        call = calls.next(
            step, has_requests=did["worked"], executes=bool(did["sched"]), ends=bool(did["finished"])
        )
        yield did | call | {"t": step}


class _Replay:
    """The engine, and what of its past its present steps are told with."""

    def __init__(self, recording: Recording) -> None:
        self._names = recording.adapters
        self._arrivals = sorted(recording.arrivals, key=lambda arrival: arrival.step)
        self._ids = [arrival.id for arrival in self._arrivals]
        self._engine = _engine(recording, self._arrivals, self._names)
        self._deferred: set[int] = set()
        self._sampled: list[int] = []

    @property
    def has_work(self) -> bool:
        """Whether a request is under way or still to come."""
        state = self._engine.state[0]
        return bool(state.next_arrival < state.submitted or state.running + state.waiting > 0)

    def step(self, step: int) -> Step:
        """Let the engine take a step, if it has anything to do, and tell what it did."""
        engine = self._engine
        arrived = int(engine.state.next_arrival[0])
        engine.state.log_size = 0
        advance_engine(engine, float(step + 1))
        did = self._logged()
        did["add"] = self._ids[arrived : int(engine.state.next_arrival[0])]
        self._defer(did)
        self._place(did)
        self._hold_places(did)
        return did | self._resting()

    def _logged(self) -> Step:
        names = [*_REQUESTS.values(), *_PAIRS.values()]
        did: Step = {name: [] for name in names} | {"lora_ev": [], "worked": False}
        total = int(self._engine.config.blocks[0])
        free = int(self._engine.state.free_blocks[0])
        did["kv"] = did["kv_end"] = [total - free, free]
        for code, first, second in step_log.events(self._engine):
            if code in _REQUESTS:
                did[_REQUESTS[code]].append(self._ids[first])
            elif code in _PAIRS:
                did[_PAIRS[code]].append([self._ids[first], second])
            elif code in _ADAPTER_EVENTS:
                slot = [second] if code == step_log.ACTIVATED else []
                did["lora_ev"].append([_ADAPTER_EVENTS[code], self._names[first], *slot])
            elif code == step_log.BLOCKS_USED:
                did["kv"], did["worked"] = [first, total - first], True
        return did

    def _defer(self, did: Step) -> None:
        """Requests stay deferred from when they are first passed over until they are admitted."""
        self._deferred |= set(did["skipped"])
        self._deferred -= {*did["new"], *did["resumed"], *(i for i, _ in did["finished"])}
        did["deferred"] = [i for i in did["waiting"] if i in self._deferred]

    def _place(self, did: Step) -> None:
        """Add running requests, what they hold, and the adapters that they and the batch have."""
        engine = self._engine
        block_size = int(engine.config.block_size[0])
        did["running"] = [i for i, _ in did["computed"]]
        did["blocks"] = [[i, -(-tokens // block_size)] for i, tokens in did["computed"]]
        did["computed"] = [
            [i, computed, known]
            for (i, computed), (_, known) in zip(did["computed"], did.pop("known"), strict=True)
        ]
        did["loras"] = self._adapters_of(did["running"])
        did["loras_sched"] = did["lora_apply"] = self._adapters_of([i for i, _ in did["sched"]])

    def _hold_places(self, did: Step) -> None:
        """Add how many output tokens of each request are under way, in this batch and in the one before."""
        engine = self._engine
        before, self._sampled = self._sampled, []
        if did["worked"]:
            batch = int(engine.state.step[0]) & 1
            counts = engine.batches[batch]
            rows = (engine.streamed[batch, : counts.streamed], engine.sampled[batch, : counts.sampled])
            self._sampled = [self._ids[i] for i in np.concatenate(rows).tolist()]
        held = [[i, (i in before) + (i in self._sampled)] for i in did["running"]]
        did["ph"] = [[i, count] for i, count in held if count > 0]

    def _resting(self) -> Step:
        """The state in which the step leaves the engine."""
        engine = self._engine
        requests, adapters = engine.requests.size, len(self._names)
        return {
            "running_end": [self._ids[i] for i in items(engine.running, requests)],
            "waiting_end": [self._ids[i] for i in items(engine.waiting, requests)],
            "slots": [self._names[i] if i >= 0 else None for i in engine.slots.tolist()],
            "cpu_lru": [self._names[i] for i in items(engine.cpu_lru, adapters)],
            "gpu_lru": [self._names[i] for i in items(engine.gpu_lru, adapters)],
        }

    def _adapters_of(self, ids: Sequence[int]) -> list[str]:
        place = {own: k for k, own in enumerate(self._ids)}
        named = {self._arrivals[place[i]].adapter for i in ids}
        return sorted(name for name in named if name is not None)


class _Calls:
    """Which calls of vLLM's loop find its scheduler without requests, and what they are for."""

    def __init__(self) -> None:
        self._unflushed = False

    @property
    def have_work(self) -> bool:
        """Whether another call is due though there is no request."""
        return self._unflushed

    def next(self, step: int, *, has_requests: bool, executes: bool, ends: bool) -> Step:  # noqa: ARG002
        """What is special in a call: nothing, or that it is idle."""
        scheduled = has_requests or self._unflushed
        self._unflushed = ends
        return {"idle": not scheduled, "nosched": False, "upd": None}


class _AsynchronousCalls(_Calls):
    """The same where each call schedules a batch and ends the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: deque[int] = deque()

    @property
    def have_work(self) -> bool:
        return self._unflushed or bool(self._queue)

    def next(self, step: int, *, has_requests: bool, executes: bool, ends: bool) -> Step:
        scheduled = has_requests or self._unflushed
        if scheduled:
            self._queue.append(step)
        waits = len(self._queue) == _QUEUED_BATCHES or not (executes or has_requests)
        ended = self._queue.popleft() if waits and self._queue else None
        self._unflushed = ends
        return {
            "idle": not scheduled and ended is None,
            "nosched": not scheduled and ended is not None,
            "upd": ended,
        }


def _engine(recording: Recording, arrivals: Sequence[Any], names: Sequence[str]) -> Engine:
    index = {name: i for i, name in enumerate(names)}
    longest = recording.engine.max_model_len
    outputs = [min(arrival.output_tokens, longest - arrival.prompt_tokens) for arrival in arrivals]
    nothing = np.zeros(len(names))
    engine = new_engine(
        recording.policy,
        np.zeros(N_COEFFICIENTS),
        np.array([arrival.step for arrival in arrivals], dtype=np.float64),
        np.array([arrival.prompt_tokens for arrival in arrivals], dtype=np.int64),
        np.array(outputs, dtype=np.int64),
        np.array([index.get(arrival.adapter, -1) for arrival in arrivals], dtype=np.int64),
        nothing,
        nothing,
        fixed_step_s=1.0,
        log_size=_LOGGED_PER_ITEM * (len(arrivals) + len(names) + 1),
        stream=True,
        applied=_applied(recording, index),
    )
    engine.adapters.reload[: len(names)] = [name in (recording.engine.load_inplace or ()) for name in names]
    return engine


def _applied(
    recording: Recording, index: dict[str, int]
) -> tuple[NDArray[np.int32], NDArray[np.int64]] | None:
    """The recorded orders of touching adapters, one after another, and where each step's begins."""
    if not any("lora_apply" in step for step in recording.steps):
        return None
    orders = [[index[name] for name in step.get("lora_apply", ())] for step in recording.steps]
    offsets = np.cumsum([0, *map(len, orders), 0, 0])
    return np.array([i for order in orders for i in order], dtype=np.int32), offsets

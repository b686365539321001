"""The loop over engine steps: arrivals, schedule, forward pass, tokens.

With synchronous scheduling a step is scheduled when the one before it has ended. With asynchronous scheduling
it is scheduled while that one still runs: up to two batches are in flight, and a token counts for scheduling
as soon as the batch that samples it is on its way, but reaches its client, and ends its request, when that
batch has ended. So both modes count tokens when a batch is launched and deliver them when it has ended; they
differ in how many batches are launched before the first one is waited for.

The loop can be left and entered again between any two of its events, and goes on as if it had not been left:
what has yet to happen is in the state, and whatever is integrated over time is so when an event occurs.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numba import njit

from adapter_twin.engine import step_log
from adapter_twin.engine.adapter_tiers import load_between_steps, preload, touch_adapters
from adapter_twin.engine.compiling import OPTIONS, kernel
from adapter_twin.engine.front_end import delivered_at, next_handled, record_adapters
from adapter_twin.engine.scheduler import leave_running, schedule
from adapter_twin.engine.state import ABORTED, WAITING, Engine
from adapter_twin.engine.step_log import note, note_schedule
from adapter_twin.engine.step_time import PER_WAITING, step_time
from adapter_twin.engine.tokens import count_tokens, deliver_tokens, finish_requests, list_decoding
from adapter_twin.engine.waiting_queue import accept_arrivals, dequeue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def _step_seconds(e: Engine) -> float:
    """What the scheduled step takes from beginning to end, loading of adapters included."""
    c, s = e.config[0], e.state[0]
    seconds = step_time(
        e.coefficients,
        s.decodes,
        s.prefill_tokens,
        s.context,
        s.batch_size,
        s.active,
        c.max_loras,
        c.max_lora_rank,
        s.waiting,
    )
    return float(seconds + s.stall_s)


@kernel
def _time_step(e: Engine) -> None:
    """Set when the scheduled batch ends, and when the next one may be scheduled."""
    c, s = e.config[0], e.state[0]
    total = c.fixed_step_s if c.fixed_step_s > 0.0 else _step_seconds(e)
    s.stall_s = 0.0
    if c.batches_ahead == 0:
        e.batches[s.step & 1].start_s = s.time_s
        s.boundary_s = e.batches[s.step & 1].end_s = s.time_s + total
        return
    host = min(total, c.scheduling_s + e.coefficients[PER_WAITING] * s.waiting)
    device = total - host
    if c.fixed_step_s > 0.0:
        host = device = c.fixed_step_s
    s.boundary_s = s.time_s + host
    if s.in_flight > 0:
        s.boundary_s = max(s.boundary_s, e.batches[(s.step - 1) & 1].end_s)
        if s.decodes + s.batch_size == 0:
            device = 0.0
    e.batches[s.step & 1].start_s = s.boundary_s
    e.batches[s.step & 1].end_s = s.boundary_s + device


@kernel
def _go_to(e: Engine, time_s: float) -> None:
    """Set the clock; what the gauges have shown since is integrated."""
    c, s = e.config[0], e.state[0]
    _observe(e, min(time_s, c.end_s))
    s.time_s = time_s


@kernel
def _observe(e: Engine, until: float) -> None:
    """Integrate the gauges until then, as they stand since the last step."""
    c, s = e.config[0], e.state[0]
    start = s.observed_s
    while start < until:
        end = until
        if s.bin + 1 < e.series.shape[0]:
            end = min(until, c.start_s + (s.bin + 1) * c.bin_s)
        row = e.series[s.bin]
        row[0] += end - start
        row[1] += (end - start) * s.shown_running
        row[2] += (end - start) * s.shown_waiting
        row[3] += (end - start) * s.shown_blocks
        start = end
        if end < until:
            s.bin += 1
    s.observed_s = max(s.observed_s, until)


@kernel
def _launch(e: Engine) -> None:
    """Schedule a batch and send it off; from here on its tokens count for scheduling."""
    c, s = e.config[0], e.state[0]
    schedule(e)
    touch_adapters(e)
    if e.log.size > 0:
        note(e, step_log.STEP, int(s.time_s), 0)
        note_schedule(e)
    _time_step(e)
    if e.streamed.size > 0:
        list_decoding(e)
    count_tokens(e)
    s.in_flight += 1
    s.waits = s.in_flight > c.batches_ahead
    if not s.waits:
        _go_to(e, s.boundary_s)
        if e.log.size > 0:
            note(e, step_log.BLOCKS_LEFT, c.blocks - s.free_blocks, 0)


@kernel
def _deliver(e: Engine) -> None:
    """The oldest batch in flight has ended: its tokens go to the clients."""
    c, s = e.config[0], e.state[0]
    batch = (s.step - s.in_flight + 1) & 1
    b = e.batches[batch]
    _go_to(e, s.boundary_s)
    row = e.series[s.bin]
    row[4] += b.decodes
    row[5] += b.prefill_tokens
    s.waits = False
    s.in_flight -= 1
    delivered_s = delivered_at(e, s.time_s)
    s.most_blocks = max(s.most_blocks, c.blocks - s.free_blocks)
    deliver_tokens(e, batch, delivered_s)
    if b.ended > 0:
        finish_requests(e, batch, delivered_s)
    s.delivered_s = delivered_s
    s.ended = True
    s.steps += 1
    s.shown_running = s.running
    s.shown_waiting = s.waiting
    s.shown_blocks = c.blocks - s.free_blocks
    s.most_waiting = max(s.most_waiting, s.waiting)
    if e.log.size > 0:
        note(e, step_log.BLOCKS_LEFT, c.blocks - s.free_blocks, 0)


@kernel
def _advance(e: Engine, until_s: float, most_steps: int) -> None:
    """Go on until then, or until so many more steps have ended, or until nothing is left to do.

    No step begins at `until_s` or later: what is submitted for that time may still join it.
    """
    c, s = e.config[0], e.state[0]
    if c.preload:
        preload(e)
        c.preload = False
    last_step = s.steps + most_steps
    while s.steps < last_step:
        if s.waits:
            if s.boundary_s > until_s:
                return
            _deliver(e)
        elif s.time_s >= until_s:
            return
        else:
            accept_arrivals(e)
            if s.ended:
                record_adapters(e)
                s.ended = False
            if s.running + s.waiting > 0:
                _launch(e)
            elif s.in_flight > 0:  # a batch whose requests have all gone
                _go_to(e, max(s.time_s, e.batches[s.step & 1].end_s))
                s.in_flight = 0
            else:
                arrival_s = next_handled(e, until_s)
                if arrival_s >= until_s:
                    return
                _go_to(e, arrival_s)


@kernel
def _abort(e: Engine, i: int) -> None:
    """A client has gone: free what its request holds, and forget it in the batches that are in flight."""
    s, r = e.state[0], e.requests
    if r[i].phase == WAITING:
        dequeue(e, i)
    else:
        leave_running(e, i, s.step)
    r[i].phase = ABORTED
    for k in range(s.in_flight):
        batch = (s.step - k) & 1
        b = e.batches[batch]
        b.sampled = _without(e.sampled[batch], b.sampled, i)
        b.ended = _without(e.ended[batch], b.ended, i)
        if e.streamed.size > 0:
            b.streamed = _without(e.streamed[batch], b.streamed, i)


@kernel
def _without(items: NDArray[np.int32], count: int, i: int) -> int:
    """Take `i` out of the first `count` items; returns how many are left."""
    left = 0
    for k in range(count):
        if items[k] != i:
            items[left] = items[k]
            left += 1
    return left


@kernel
def _load(e: Engine, adapter: int, at_s: float) -> float:
    """Load an adapter as soon as no batch is under way, not before `at_s`; returns when that is done."""
    s = e.state[0]
    load_between_steps(e, adapter)
    if s.waits:
        return float(s.boundary_s + s.stall_s)
    _go_to(e, max(s.time_s, at_s) + s.stall_s)
    s.stall_s = 0.0
    return float(s.time_s)


def _compiled(sources: str) -> tuple[Any, Any, Any]:
    """What Python calls, compiled once for these sources: numba's cache misses changes in what they call."""

    @njit(cache=True, **OPTIONS)
    def advance(e: Engine, until_s: float, most_steps: int, close: bool) -> int:
        _advance(e, until_s, most_steps)
        if close:
            _observe(e, until_s)
        return len(sources)

    @njit(cache=True, **OPTIONS)
    def abort(e: Engine, i: int) -> int:
        _abort(e, i)
        return len(sources)

    @njit(cache=True, **OPTIONS)
    def load(e: Engine, adapter: int, at_s: float) -> tuple[float, int]:
        return _load(e, adapter, at_s), len(sources)

    return advance, abort, load


def _sources() -> str:
    folder = Path(__file__).parent
    contents = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return sha256(contents).hexdigest()


_run, _end, _add = _compiled(_sources())

NO_LIMIT: Final = 2**62


def run_engine(e: Engine) -> None:
    """Simulate `e` in place to the end of its time series, without holding the interpreter's lock."""
    _run(e, float(e.config.end_s[0]), NO_LIMIT, True)


def advance_engine(e: Engine, until_s: float, most_steps: int = NO_LIMIT) -> None:
    """Simulate `e` in place until then, or for so many steps; it may go on afterwards."""
    _run(e, until_s, most_steps, False)


def observe_until(e: Engine, until_s: float) -> None:
    """Bring the time series of an engine that has advanced as far up to date."""
    _run(e, until_s, 0, True)


def abort_request(e: Engine, i: int) -> None:
    """Take a waiting or running request away."""
    _end(e, i)


def load_adapter(e: Engine, adapter: int, at_s: float) -> float:
    """Load an adapter between two steps; returns when that is done."""
    return float(_add(e, adapter, at_s)[0])

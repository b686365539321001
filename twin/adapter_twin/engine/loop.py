"""The loop over engine steps: arrivals, schedule, forward pass, tokens."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit

from adapter_twin.engine import step_log
from adapter_twin.engine.adapter_tiers import preload, touch_adapters
from adapter_twin.engine.client import send_next
from adapter_twin.engine.compiling import OPTIONS, kernel
from adapter_twin.engine.decoding import start_decoding, stop_decoding
from adapter_twin.engine.front_end import (
    count_chunks,
    count_gaps,
    delivered_at,
    next_handled,
    record_adapters,
)
from adapter_twin.engine.linked_list import following
from adapter_twin.engine.scheduler import leave_running, schedule
from adapter_twin.engine.state import FINISHED, Engine
from adapter_twin.engine.step_log import note, note_schedule
from adapter_twin.engine.step_time import step_time
from adapter_twin.engine.waiting_queue import accept_arrivals


@kernel
def _step_seconds(e: Engine) -> float:
    """What the scheduled step takes, loading of adapters included."""
    c, s = e.config[0], e.state[0]
    if c.fixed_step_s > 0.0:
        return float(c.fixed_step_s)
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
        s.waiting + s.running,
    )
    return float(seconds + s.stall_s)


@kernel
def _observe(e: Engine, until: float) -> None:
    """Integrate the gauges from now to `until`, as they stand since the last step."""
    c, s = e.config[0], e.state[0]
    start = s.time_s
    while start < until:
        end = min(until, (s.bin + 1) * c.bin_s)
        row = e.series[s.bin]
        row[0] += end - start
        row[1] += (end - start) * s.shown_running
        row[2] += (end - start) * s.shown_waiting
        row[3] += (end - start) * s.shown_blocks
        start = end
        if end < until:
            s.bin += 1


@kernel
def _give_tokens(e: Engine, delivered_s: float) -> int:
    """End of the forward pass: a token for everyone who has computed all known tokens.

    Args:
        e: the engine.
        delivered_s: when clients get them.

    Returns:
        How many requests got their last one; they are in `finished`.
    """
    c, s, r = e.config[0], e.state[0], e.requests
    if s.decodes > 0:
        count_chunks(e, delivered_s)
    done = 0
    i = following(e.buckets, r.size + (s.step & c.bucket_mask))
    while i < r.size:
        e.finished[done] = i
        done += 1
        i = following(e.buckets, i)
    for k in range(s.batch_size):
        i = e.batch[k]
        r[i].chunk = 0
        if r[i].computed < r[i].prompt + r[i].generated:
            continue
        r[i].generated += 1
        if r[i].generated == 1:
            r[i].first_token_s = delivered_s
        else:
            count_gaps(e, delivered_s - r[i].last_token_s, 1)
        if r[i].generated == r[i].output:
            e.finished[done] = i
            done += 1
        else:
            start_decoding(e, i)
    return done


@kernel
def _finish_requests(e: Engine, done: int, delivered_s: float) -> None:
    """Let requests go, in running order; seats, blocks and adapters are free in the next step."""
    s, r = e.state[0], e.requests
    for k in range(1, done):
        i, place = e.finished[k], k
        while place > 0 and r[e.finished[place - 1]].admission > r[i].admission:
            e.finished[place] = e.finished[place - 1]
            place -= 1
        e.finished[place] = i
    for k in range(done):
        i = e.finished[k]
        if r[i].generated < r[i].output:
            stop_decoding(e, i, s.step)
        leave_running(e, i, s.step)
        r[i].phase = FINISHED
        r[i].finish_s = delivered_s
        note(e, step_log.FINISHED, i, r[i].generated)
        send_next(e, delivered_s)


@kernel
def _complete_step(e: Engine, end: float) -> None:
    """Everything that the end of the forward pass brings."""
    c, s = e.config[0], e.state[0]
    row = e.series[s.bin]
    row[4] += s.decodes
    row[5] += s.prefill_tokens
    delivered_s = delivered_at(e, end)
    done = _give_tokens(e, delivered_s)
    s.most_blocks = max(s.most_blocks, c.blocks - s.free_blocks)
    if done > 0:
        _finish_requests(e, done, delivered_s)
    s.time_s = end
    s.delivered_s = delivered_s
    s.steps += 1
    s.shown_running = s.running
    s.shown_waiting = s.waiting
    s.shown_blocks = c.blocks - s.free_blocks
    s.most_waiting = max(s.most_waiting, s.waiting)


@kernel
def _simulate(e: Engine) -> None:
    """Run until the duration is over or nothing is left to do."""
    c, s = e.config[0], e.state[0]
    if c.preload and c.max_loras > 0:
        preload(e)
    while True:
        accept_arrivals(e)
        if s.running + s.waiting == 0:
            until = next_handled(e)
            _observe(e, min(until, c.duration_s))
            if until >= c.duration_s:
                return
            s.time_s = until
            continue
        schedule(e)
        touch_adapters(e)
        if e.log.size > 0:
            note(e, step_log.STEP, int(s.time_s), 0)
            note_schedule(e)
        end = s.time_s + _step_seconds(e)
        _observe(e, min(end, c.duration_s))
        if end > c.duration_s:
            return
        _complete_step(e, end)
        accept_arrivals(e)
        record_adapters(e)
        if e.log.size > 0:
            note(e, step_log.BLOCKS_LEFT, c.blocks - s.free_blocks, 0)


def _compiled(sources: str) -> Any:
    """The loop, compiled once for these sources: numba's cache misses changes in the functions it calls."""

    @njit(cache=True, **OPTIONS)
    def run(e: Engine) -> int:
        _simulate(e)
        return len(sources)

    return run


def _sources() -> str:
    folder = Path(__file__).parent
    contents = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return sha256(contents).hexdigest()


_run = _compiled(_sources())


def run_engine(e: Engine) -> None:
    """Simulate `e` in place, without holding the interpreter's lock."""
    _run(e)

"""The loop of S-LoRA's router: decode for the running batch, and from time to time prefill a new one.

A new batch is looked for after `max_wait_tokens` decoding steps, and from then on before every step until one
is found. It is prefilled alone, while the running requests wait, and then decodes with them.
"""

from __future__ import annotations

import math
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit

from adapter_twin.engine.compiling import OPTIONS, kernel
from adapter_twin.engine.front_end import count_gaps
from adapter_twin.engine.state import DECODING, FINISHED, REJECTED, WAITING
from adapter_twin.slora.router import admit, release
from adapter_twin.slora.state import NEVER, Server
from adapter_twin.slora.step_time import decode_seconds, prefill_seconds

_MOST_MERGED = 0.9


@kernel
def _accept_arrivals(e: Server) -> None:
    """Queue what has arrived, or turn it away where the client finds no free connection."""
    c, s, r = e.config[0], e.state[0], e.requests
    while s.next_arrival < r.size and r[s.next_arrival].arrival_s + c.request_s <= s.time_s:
        i = s.next_arrival
        s.next_arrival += 1
        if s.running + s.queued - s.first_waiting >= c.max_connections:
            r[i].phase = REJECTED
            s.rejected += 1
        else:
            r[i].phase = WAITING
            e.queue[s.queued] = i
            s.queued += 1
    s.most_waiting = max(s.most_waiting, s.queued - s.first_waiting)


@kernel
def _next_poll(e: Server) -> float:
    """When an idle router sees the next request; infinite if there is none."""
    c, s = e.config[0], e.state[0]
    if s.next_arrival == e.requests.size:
        return math.inf
    wait_s = e.requests[s.next_arrival].arrival_s + c.request_s - s.time_s
    if c.idle_poll_s == 0.0:
        return float(s.time_s + wait_s)
    return float(s.time_s + math.ceil(wait_s / c.idle_poll_s + 1e-9) * c.idle_poll_s)


@kernel
def _observe(e: Server, until: float) -> None:
    """Integrate the gauges from now to `until`; rounding may end the last bin too early, so it has no end."""
    c, s = e.config[0], e.state[0]
    start, last = s.time_s, e.series.shape[0] - 1
    while start < until:
        end = until if s.bin == last else min(until, (s.bin + 1) * c.bin_s)
        row = e.series[s.bin]
        row[0] += end - start
        row[1] += (end - start) * s.running
        row[2] += (end - start) * (s.queued - s.first_waiting)
        row[3] += (end - start) * (s.context + s.pages)
        start = end
        if end < until:
            s.bin += 1


@kernel
def _finish(e: Server) -> None:
    """Let go whoever got the last token, and find out who is next."""
    s, r = e.state[0], e.requests
    s.next_end = NEVER
    s.retry = s.decoded
    kept, count = 0, s.running
    for k in range(count):
        i = e.running[k]
        if r[i].end > s.decoded:
            e.running[kept] = i
            kept += 1
            s.next_end = min(s.next_end, r[i].end)
            continue
        r[i].phase = FINISHED
        r[i].finish_s = s.time_s
        r[i].merged = s.merged_share - r[i].merged
        release(e, i, r[i].prompt + r[i].output - 1)


@kernel
def _complete_prefill(e: Server, admitted: int) -> None:
    """Every admitted request has its first token."""
    s, r = e.state[0], e.requests
    for place in range(s.first_waiting - admitted, s.first_waiting):
        i = e.queue[place]
        r[i].phase = DECODING
        r[i].first_token_s = s.time_s
        r[i].merged = s.merged_share
        r[i].limit -= 1  # the router counts the first token twice until here
        e.series[s.bin, 5] += r[i].prompt
    s.fresh += admitted
    s.waited = 0
    s.most_blocks = max(s.most_blocks, s.context + s.pages)


@kernel
def _complete_decode(e: Server, start_s: float) -> None:
    """Every running request has one token more."""
    c, s = e.config[0], e.state[0]
    s.decoded += 1
    s.waited += 1
    s.context += s.running
    s.most_blocks = max(s.most_blocks, s.context + s.pages)
    s.token_gaps += s.running
    open_requests = s.running + s.queued - s.first_waiting
    share = min(_MOST_MERGED, open_requests * c.merge_per_connection)
    s.merged_share += share
    s.merged_gaps += share * s.running
    e.series[s.bin, 4] += s.running
    if s.fresh > 0:
        count_gaps(e, s.time_s - start_s, s.fresh)
    if s.running > s.fresh:
        count_gaps(e, s.time_s - s.last_token_s, s.running - s.fresh)
    s.fresh = 0
    s.last_token_s = s.time_s


@kernel
def _simulate(e: Server) -> None:
    """Run until the duration is over or nothing is left to do."""
    c, s = e.config[0], e.state[0]
    while True:
        _accept_arrivals(e)
        if s.running == 0 and s.first_waiting == s.queued:
            until = _next_poll(e)
            _observe(e, min(until, c.duration_s))
            if until >= c.duration_s:
                return
            s.time_s = until
            continue
        pages, active, admitted = s.pages, s.active, 0
        if s.running == 0 or s.waited >= c.max_wait_tokens:
            admitted = admit(e)
        if admitted > 0:
            tokens = 0
            for place in range(s.first_waiting - admitted, s.first_waiting):
                tokens += e.requests[e.queue[place]].prompt
            seconds = prefill_seconds(e.coefficients, tokens, s.pages - pages)
        else:
            crowded = s.waited >= c.max_wait_tokens and s.first_waiting < s.queued
            seconds = decode_seconds(e.coefficients, s.running, s.context + s.pages, crowded)
        start_s, end_s = s.time_s, s.time_s + seconds
        _observe(e, min(end_s, c.duration_s))
        if end_s > c.duration_s:
            return
        s.time_s = end_s
        s.steps += 1
        if admitted > 0:
            s.gpu_loads += s.active - active
            e.series[s.bin, 6] += s.active - active
            _complete_prefill(e, admitted)
        else:
            _complete_decode(e, start_s)
        if s.decoded >= s.next_end:
            _finish(e)
        s.batch_sum += s.running
        s.active_sum += s.active


def _compiled(sources: str) -> Any:
    """The loop, compiled once for these sources: numba's cache misses changes in the functions it calls."""

    @njit(cache=True, **OPTIONS)
    def run(e: Server) -> int:
        _simulate(e)
        return len(sources)

    return run


def _sources() -> str:
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parent / "engine" / "front_end.py"]
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


_run = _compiled(_sources())


def run_server(e: Server) -> None:
    """Simulate `e` in place, without holding the interpreter's lock."""
    _run(e)

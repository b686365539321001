"""The API server in front of the engine: one event loop, which stands still while it renders its metrics.

vLLM's gauge `vllm:lora_requests_info` carries the names of the running and of the waiting adapters as label
values, so every combination that was ever seen stays as a line of `/metrics`. With many adapters at moderate
rates nearly every change makes a new one, and rendering them grows to tenths of a second per scrape. While
the server renders, the engine goes on in its own process; what arrives reaches the engine when the scrape is
over, and tokens reach clients then: merged into one chunk, unless a step has so many outputs that the server
handles them in slices and lets the streams run in between (`VLLM_V1_OUTPUT_PROC_CHUNK_SIZE`, 128).
"""

from __future__ import annotations

import math

from adapter_twin.engine.compiling import kernel
from adapter_twin.engine.state import GAP_BINS, GAP_MINIMUM_S, GAP_RATIO, Engine

_LOG_GAP_RATIO = math.log(GAP_RATIO)


@kernel
def begin_waiting(e: Engine, adapter: int) -> None:
    """The adapter's first request waits."""
    e.state[0].waiting_key ^= e.adapters[adapter].key * 2 + 1
    e.state[0].queued_adapters += 1


@kernel
def end_waiting(e: Engine, adapter: int) -> None:
    """No request of the adapter waits any longer."""
    e.state[0].waiting_key ^= e.adapters[adapter].key * 2 + 1
    e.state[0].queued_adapters -= 1


@kernel
def record_adapters(e: Engine) -> None:
    """Once per step: a combination of running and waiting adapters not seen before slows later scrapes."""
    c, s = e.config[0], e.state[0]
    key = s.running_key ^ s.waiting_key
    if c.scrape_interval_s == 0.0 or key == s.last_key:
        return
    s.last_key = key
    place = key & (e.seen_keys.size - 1)
    if not e.seen_keys[place]:
        e.seen_keys[place] = True
        s.render_s += c.render_per_label_set_s + c.render_per_name_s * (s.active + s.queued_adapters)


@kernel
def delivered_at(e: Engine, time_s: float) -> float:
    """When the server handles what happens at `time_s`: at once, or after the scrape that it is rendering."""
    c, s = e.config[0], e.state[0]
    if c.scrape_interval_s == 0.0:
        return time_s
    while time_s >= s.next_scrape_s:
        s.pause_start_s = s.next_scrape_s
        s.pause_end_s = s.next_scrape_s + s.render_s
        s.next_scrape_s = s.pause_end_s + c.scrape_interval_s
    if s.pause_start_s <= time_s < s.pause_end_s:
        return float(s.pause_end_s)
    return time_s


@kernel
def handled_until(e: Engine) -> float:
    """What reached the server by this time has reached the engine."""
    s = e.state[0]
    if delivered_at(e, s.time_s) > s.time_s:
        return float(s.pause_start_s)
    return float(s.time_s)


@kernel
def next_handled(e: Engine) -> float:
    """When the next request reaches the engine."""
    c, s, r = e.config[0], e.state[0], e.requests
    if s.next_arrival == r.size:
        return float(c.duration_s)
    return float(delivered_at(e, r[s.next_arrival].arrival_s + c.request_s))


@kernel
def count_chunks(e: Engine, delivered_s: float) -> None:
    """Enter the gaps before the tokens of all decoding requests; a token within a chunk has none."""
    c, s = e.config[0], e.state[0]
    s.token_gaps += s.decodes
    if delivered_s == s.delivered_s and s.decodes < c.coalesce_below:
        s.merged_gaps += s.decodes
    else:
        count_gaps(e, delivered_s - s.delivered_s, s.decodes)


@kernel
def count_gaps(e: Engine, gap_s: float, count: int) -> None:
    """Enter `count` gaps between tokens into the histogram."""
    place = int(math.log(max(gap_s, GAP_MINIMUM_S) / GAP_MINIMUM_S) / _LOG_GAP_RATIO)
    e.gaps[min(place, GAP_BINS - 1)] += count

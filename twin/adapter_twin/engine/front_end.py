"""The API server in front of the engine: one event loop, which stands still while it does something long.

It renders its metrics. vLLM's gauge `vllm:lora_requests_info` carries the names of the running and of the
waiting adapters as label values, so every combination that was ever seen stays as a line of `/metrics`. To
the server a request waits from its arrival until the first step that holds it is over. So with many adapters
nearly every arrival makes a new combination, and rendering them grows to tenths of a second per scrape.

And it loads the tokenizer of each adapter at the adapter's first request, one after another: with hundreds of
adapters the first minute of a server goes into that.

Meanwhile the engine goes on in its own process; what arrives reaches the engine when the server is free
again, and tokens reach clients then: merged into one chunk, unless a step has so many outputs that the server
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
    """When a step is over: a combination of running and waiting adapters not seen before slows scrapes."""
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
    """When the server handles what happens at `time_s`: at once, or after what it is busy with."""
    s = e.state[0]
    free_s = max(time_s, s.tokenizers_until_s)
    _begin_scrapes(e, free_s)
    if s.pause_start_s <= free_s < s.pause_end_s:
        return float(s.pause_end_s)
    return float(free_s)


@kernel
def _begin_scrapes(e: Engine, time_s: float) -> None:
    """Have all scrapes until `time_s` begin; the latest is kept as a pause."""
    c, s = e.config[0], e.state[0]
    while c.scrape_interval_s > 0.0 and time_s >= s.next_scrape_s:
        s.pause_start_s = s.next_scrape_s
        s.pause_end_s = s.next_scrape_s + s.render_s
        s.next_scrape_s = s.pause_end_s + c.scrape_interval_s


@kernel
def handled_until(e: Engine) -> float:
    """What reached the server by this time has been handled by now, but for loading tokenizers."""
    s = e.state[0]
    _begin_scrapes(e, s.time_s)
    if s.pause_start_s <= s.time_s < s.pause_end_s:
        return float(s.pause_start_s)
    return float(s.time_s)


@kernel
def meet_adapter(e: Engine, i: int) -> None:
    """Begin to load the tokenizer of a request's adapter, if this is the adapter's first request."""
    c, s, r = e.config[0], e.state[0], e.requests
    adapter = r[i].adapter
    if c.tokenizer_s > 0.0 and not e.adapters[adapter].known:
        e.adapters[adapter].known = True
        s.tokenizers_until_s = max(s.tokenizers_until_s, r[i].arrival_s + c.request_s) + c.tokenizer_s


@kernel
def next_handled(e: Engine, until_s: float) -> float:
    """When the next request reaches the engine; infinity if none is known to arrive before `until_s`."""
    c, s, r = e.config[0], e.state[0], e.requests
    i = e.upcoming[s.next_arrival & (e.upcoming.size - 1)]
    if s.next_arrival == s.submitted or r[i].arrival_s >= until_s:
        return math.inf
    free_s = delivered_at(e, r[i].arrival_s + c.request_s)
    return float(free_s if e.adapters[r[i].adapter].known else free_s + c.tokenizer_s)


@kernel
def count_chunks(e: Engine, delivered_s: float, decodes: int) -> None:
    """Enter the gaps before the tokens of `decodes` decoding requests; a token within a chunk has none."""
    c, s = e.config[0], e.state[0]
    s.token_gaps += decodes
    if delivered_s == s.delivered_s and decodes < c.coalesce_below:
        s.merged_gaps += decodes
    else:
        count_gaps(e, delivered_s - s.delivered_s, decodes)


@kernel
def count_gaps(e: Engine, gap_s: float, count: int) -> None:
    """Enter `count` gaps between tokens into the histogram."""
    place = int(math.log(max(gap_s, GAP_MINIMUM_S) / GAP_MINIMUM_S) / _LOG_GAP_RATIO)
    e.gaps[min(place, GAP_BINS - 1)] += count

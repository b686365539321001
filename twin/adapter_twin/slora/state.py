"""What one simulated S-LoRA server holds, as flat arrays of records.

The fields that a report is made of are named as in `adapter_twin.engine.state`; the pool has blocks of one
token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from adapter_twin.engine.state import GAP_BINS, SERIES, records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.profile.slora import SloraEngine, SloraFrontEnd

NEVER: Final = 1 << 62
"""A decoding step that does not come."""

CONFIG = np.dtype(
    [
        ("duration_s", np.float64),
        ("blocks", np.int64),  # tokens of the pool
        ("batch_max_tokens", np.int64),
        ("running_max_req_size", np.int64),
        ("max_wait_tokens", np.int64),
        ("max_connections", np.int64),
        ("idle_poll_s", np.float64),
        ("request_s", np.float64),
        ("merge_per_connection", np.float64),
        ("bin_s", np.float64),
    ],
    align=True,
)

STATE = np.dtype(
    [
        ("time_s", np.float64),
        ("next_arrival", np.int64),
        ("first_waiting", np.int64),  # place in the queue
        ("queued", np.int64),  # places used
        ("running", np.int64),
        ("active", np.int64),  # adapters with running requests
        ("pages", np.int64),  # tokens of the pool that they take
        ("context", np.int64),  # tokens of the pool that running requests take
        ("decoded", np.int64),  # decoding steps so far
        ("waited", np.int64),  # of them: since the last prefill
        ("next_end", np.int64),  # the decoding step in which the next request finishes
        ("retry", np.int64),  # the decoding step before which the head of the queue cannot fit
        ("last_token_s", np.float64),  # end of the last decoding step
        ("fresh", np.int64),  # running requests that got their first token since
        ("merged_share", np.float64),  # of a stream's chunks, summed over decoding steps
        ("merged_gaps", np.float64),
        ("token_gaps", np.int64),
        ("steps", np.int64),
        ("batch_sum", np.int64),  # running requests, summed over steps
        ("active_sum", np.int64),
        ("most_blocks", np.int64),
        ("most_waiting", np.int64),
        ("gpu_loads", np.int64),
        ("disk_loads", np.int64),
        ("preemptions", np.int64),
        ("rejected", np.int64),
        ("bin", np.int64),
    ],
    align=True,
)

REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("first_token_s", np.float64),
        ("finish_s", np.float64),
        ("merged", np.float64),  # chunks that came together with the one before; while running: an offset
        ("end", np.int64),  # the decoding step of its last token
        ("limit", np.int64),  # the decoding step of the last token that it may generate
        ("prompt", np.int32),
        ("output", np.int32),
        ("asked", np.int32),  # max_new_tokens, at least `output`
        ("adapter", np.int32),
        ("phase", np.int8),
    ],
    align=True,
)

ADAPTER = np.dtype(
    [
        ("pages", np.int64),  # tokens of the pool
        ("running", np.int64),
    ],
    align=True,
)


class Server(NamedTuple):
    """`config` and `state` are arrays of one record."""

    config: Any
    state: Any
    requests: Any
    adapters: Any
    """The last one stands for the base model, which takes no pages."""
    coefficients: NDArray[np.float64]
    queue: NDArray[np.int32]
    """Requests in order of arrival; those before `first_waiting` were admitted."""
    running: NDArray[np.int32]
    """Requests by falling `limit`."""
    series: NDArray[np.float64]
    gaps: NDArray[np.int64]
    """A histogram of inter-token gaps (see `adapter_twin.engine.state`)."""


def new_server(
    engine: SloraEngine,
    front_end: SloraFrontEnd,
    coefficients: NDArray[np.float64],
    arrival_s: NDArray[np.float64],
    prompt_tokens: NDArray[np.integer[Any]],
    output_tokens: NDArray[np.integer[Any]],
    adapter: NDArray[np.integer[Any]],
    pages: NDArray[np.int64],
    *,
    duration_s: float,
    bins: int = 1,
) -> Server:
    """A server at rest, no adapter on the GPU.

    Args:
        engine: limits of the router and the pool.
        front_end: what the HTTP server does.
        coefficients: of the step time.
        arrival_s: sorted arrival times, shape (requests,).
        prompt_tokens: shape (requests,).
        output_tokens: at least 1 each, shape (requests,).
        adapter: index of the adapter of each request, -1 for the base model, shape (requests,).
        pages: tokens of the pool that each adapter takes, shape (adapters,).
        duration_s: the simulation stops here.
        bins: length of the time series over the duration.
    """
    n, adapters = arrival_s.size, pages.size
    server = Server(
        config=records(CONFIG, 1),
        state=records(STATE, 1),
        requests=records(REQUEST, n),
        adapters=records(ADAPTER, adapters + 1),
        coefficients=coefficients,
        queue=np.zeros(n, dtype=np.int32),
        running=np.zeros(min(n, engine.running_max_req_size) + 1, dtype=np.int32),
        series=np.zeros((bins, len(SERIES))),
        gaps=np.zeros(GAP_BINS, dtype=np.int64),
    )
    _configure(server.config, engine, front_end)
    server.config.duration_s = duration_s
    server.config.bin_s = duration_s / bins
    server.state.next_end = NEVER
    requests = server.requests
    requests.arrival_s, requests.prompt, requests.output = arrival_s, prompt_tokens, output_tokens
    requests.asked = np.maximum(output_tokens, engine.max_new_tokens)
    requests.adapter = np.where(adapter < 0, adapters, adapter)
    requests.first_token_s = requests.finish_s = np.nan
    server.adapters.pages[:adapters] = pages
    return server


def _configure(config: Any, engine: SloraEngine, front_end: SloraFrontEnd) -> None:
    config.blocks = engine.max_total_token_num
    config.batch_max_tokens = engine.prefill_token_limit
    config.running_max_req_size = engine.running_max_req_size
    config.max_wait_tokens = engine.max_wait_tokens
    config.max_connections = engine.max_connections
    config.idle_poll_s = engine.idle_poll_s
    config.request_s = front_end.request_s
    config.merge_per_connection = front_end.merge_per_connection

"""The engine's state as flat arrays of records, which compiled and interpreted code address alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.engine.linked_list import Links

PENDING: Final = 0
"""Phases of a request: not arrived yet."""
WAITING: Final = 1
COMPUTING: Final = 2
"""Running, with more than its newest token to compute: a prompt, or a recomputation after preemption."""
DECODING: Final = 3
"""Running and certain to compute one token in every step; its counters follow from the step number."""
ENDING: Final = 4
"""Running for the last time: the batch that samples its last token is in flight."""
FINISHED: Final = 5
REJECTED: Final = 6
ABORTED: Final = 7
RELEASED: Final = 8
"""Forgotten: the record may be used again."""

CONFIG = np.dtype(
    [
        ("start_s", np.float64),  # of the clock and of the time series
        ("end_s", np.float64),  # of the time series
        ("fixed_step_s", np.float64),  # > 0: every step takes this long, whatever it holds
        ("max_running", np.int64),
        ("budget", np.int64),
        ("block_size", np.int64),
        ("max_loras", np.int64),
        ("max_cpu_loras", np.int64),
        ("max_lora_rank", np.int64),
        ("max_connections", np.int64),
        ("threshold", np.int64),
        ("threshold_adaptive", np.bool_),
        ("lone_unlimited", np.bool_),
        ("reserve_full", np.bool_),
        ("watermark", np.int64),
        ("batches_ahead", np.int64),  # 1: a batch is scheduled while the one before it runs
        ("scheduling_s", np.float64),  # host's part of a step, hidden where a batch is ahead
        ("limit_counts_running", np.bool_),  # `max_loras` limits the adapters of all running requests
        ("blocks", np.int64),
        ("adapters", np.int64),  # known so far
        ("base_model", np.int64),  # index of the base model among the adapters
        ("bucket_mask", np.int64),
        ("bin_s", np.float64),
        ("preload", np.bool_),
        ("request_s", np.float64),  # from the client to the queue
        ("scrape_interval_s", np.float64),  # 0: nobody scrapes the metrics
        ("render_per_label_set_s", np.float64),
        ("render_per_name_s", np.float64),
        ("coalesce_below", np.int64),  # outputs of a step
        ("tokenizer_s", np.float64),  # at the first request of each adapter
    ],
    align=True,
)

STATE = np.dtype(
    [
        ("time_s", np.float64),
        ("observed_s", np.float64),  # until when the gauges are in the time series
        ("boundary_s", np.float64),  # when the next step may be scheduled
        ("waits", np.bool_),  # for the boundary, and for the oldest batch in flight
        ("in_flight", np.int64),  # batches
        ("ended", np.bool_),  # a step has, just now
        ("stall_s", np.float64),  # loading of adapters in this step
        ("step", np.int64),
        ("steps", np.int64),  # whose tokens were delivered
        ("next_arrival", np.int64),  # place in `upcoming`, counted from the beginning
        ("submitted", np.int64),  # the place behind the last one
        ("waiting", np.int64),
        ("running", np.int64),
        ("decoding", np.int64),
        ("computing", np.int64),
        ("active", np.int64),  # adapters with running requests
        ("untouched", np.int64),  # of them: active since this step, or displaced in it
        ("free_blocks", np.int64),
        ("context", np.int64),  # computed tokens of all running requests
        ("budget", np.int64),
        ("prefill_cap", np.int64),
        ("decodes", np.int64),  # scheduled in this step
        ("prefill_tokens", np.int64),
        ("batch_size", np.int64),
        ("preempted", np.int64),
        ("scan_end", np.int64),  # queue order at which this step's admissions stopped
        ("admissions", np.int64),
        ("queued", np.int64),
        ("requeued", np.int64),
        ("candidates", np.int64),
        ("free_slots", np.int64),
        ("in_cpu", np.int64),
        ("rejected", np.int64),
        ("preemptions", np.int64),
        ("gpu_loads", np.int64),
        ("disk_loads", np.int64),
        ("shown_running", np.int64),  # gauges as they stand since the step before
        ("shown_waiting", np.int64),
        ("shown_blocks", np.int64),
        ("most_blocks", np.int64),
        ("most_waiting", np.int64),
        ("running_key", np.int64),  # of the set of adapters with running requests
        ("waiting_key", np.int64),
        ("last_key", np.int64),
        ("queued_adapters", np.int64),  # adapters with waiting requests
        ("render_s", np.float64),  # what a scrape takes by now
        ("next_scrape_s", np.float64),
        ("pause_start_s", np.float64),  # the latest scrape
        ("pause_end_s", np.float64),
        ("tokenizers_until_s", np.float64),  # the server is busy loading those of new adapters
        ("delivered_s", np.float64),  # when clients got the tokens of the step before
        ("held_back", np.int64),  # the first request that a closed-loop client has not sent yet
        ("token_gaps", np.int64),  # between tokens of decoding requests
        ("merged_gaps", np.int64),  # of them within one chunk
        ("bin", np.int64),
        ("log_size", np.int64),
    ],
    align=True,
)

REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("first_token_s", np.float64),
        ("last_token_s", np.float64),  # kept only while computing
        ("finish_s", np.float64),
        ("order", np.int64),  # place in the waiting queue
        ("admission", np.int64),  # place in the running list
        ("zero_step", np.int64),  # DECODING: computed tokens after a step = its number - zero_step
        ("finish_step", np.int64),  # DECODING: the step of its last token
        ("prompt", np.int32),
        ("output", np.int32),
        ("adapter", np.int32),
        ("generated", np.int32),  # kept only while not DECODING
        ("computed", np.int32),  # kept only while not DECODING
        ("chunk", np.int32),  # COMPUTING: tokens scheduled in this step
        ("preemptions", np.int32),
        ("phase", np.int8),
    ],
    align=True,
)

ADAPTER = np.dtype(
    [
        ("cpu_to_gpu_s", np.float64),
        ("disk_s", np.float64),
        ("head_order", np.int64),  # queue order of its first waiting request
        ("known", np.bool_),  # to the server, which has loaded its tokenizer
        ("place", np.int32),  # in the heap of candidates; -1: not there
        ("running", np.int32),
        ("slot", np.int32),  # -1: not on the GPU
        ("last_step", np.int64),  # of use, while unused
        ("set_order", np.int64),  # place in the order in which a step touches its adapters
        ("key", np.int64),  # random: a set of adapters has the exclusive or of their keys
        ("fresh", np.bool_),  # active since this step
        ("in_cpu", np.bool_),
        ("reload", np.bool_),  # read from disk in every step that holds it
    ],
    align=True,
)

BATCH = np.dtype(
    [
        ("start_s", np.float64),
        ("end_s", np.float64),
        ("decodes", np.int64),
        ("prefill_tokens", np.int64),
        ("sampled", np.int64),  # COMPUTING requests that got a token, in `sampled`
        ("ended", np.int64),  # requests that got their last one, in `ended`
        ("streamed", np.int64),  # DECODING requests, in `streamed`
    ],
    align=True,
)

SERIES: Final = (
    "seconds",
    "running",
    "waiting",
    "kv_blocks",
    "decoded_tokens",
    "prefill_tokens",
    "adapter_loads",
)
"""Columns of the time series; all but tokens and loads are integrals over time."""

GAP_MINIMUM_S: Final = 1e-4
GAP_RATIO: Final = 1.005
"""Bins of the histogram of inter-token gaps are this factor wide: percentiles are exact to 0.25 %."""
GAP_BINS: Final = 3700


SEEN_KEYS: Final = 1 << 21
"""Places for combinations of adapters: an hour sees some ten thousand, so that few share one."""


class Engine(NamedTuple):
    """All that one simulated engine holds. `config` and `state` are arrays of one record."""

    config: Any
    state: Any
    requests: Any
    adapters: Any
    batches: Any
    """Of this step and of the one before it, by the parity of the step's number."""
    coefficients: NDArray[np.float64]
    waiting: Links
    """Requests in queue order, one list."""
    queues: Links
    """The same requests in one list per adapter."""
    running: Links
    """Requests in the order of admission, one list."""
    buckets: Links
    """DECODING requests in one list per step in which they finish, modulo the number of lists."""
    upcoming: NDArray[np.int32]
    """Requests by arrival, a ring of a power of two: places are taken modulo its size."""
    block_demand: NDArray[np.int64]
    """DECODING requests by (zero_step modulo block size): who needs a block in which step."""
    heap: NDArray[np.int32]
    """Active adapters with waiting requests, the one whose first request came earliest on top."""
    batch: NDArray[np.int32]
    """COMPUTING requests scheduled in this step."""
    sampled: NDArray[np.int32]
    """Those of them that get a token, of the same two batches as `batches`: shape (2, seats)."""
    ended: NDArray[np.int32]
    """Requests that get their last token, likewise."""
    streamed: NDArray[np.int32]
    """DECODING requests of each batch, likewise; empty: nobody asks."""
    slots: NDArray[np.int32]
    """Adapter in each slot, -1 if empty."""
    active: NDArray[np.int32]
    """Adapters with running requests, by set order."""
    gpu_lru: Links
    """Adapters on the GPU that no running request uses, longest unused first."""
    cpu_lru: Links
    """The same for host memory."""
    applied: NDArray[np.int32]
    """Adapters in the order in which recorded steps touched them, one step after another."""
    applied_from: NDArray[np.int64]
    """Where each recorded step begins in `applied`; empty: nothing was recorded, the set order holds."""
    seen_keys: NDArray[np.bool_]
    """Combinations of running and waiting adapters that were seen, by the low bits of their keys."""
    intended_s: NDArray[np.float64]
    """When a closed-loop client would have sent each request; empty: it holds none back."""
    series: NDArray[np.float64]
    gaps: NDArray[np.int64]
    log: NDArray[np.int32]


def records(dtype: np.dtype[Any], count: int) -> Any:
    """Zeroed records whose fields are attributes."""
    return np.zeros(count, dtype=dtype).view(np.recarray)

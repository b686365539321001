"""The engine's state as flat arrays of records, which compiled and interpreted code address alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from adapter_twin.engine.linked_list import Links, empty_lists
from adapter_twin.engine.policy import UNSCRAPED, FrontEndPolicy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.engine.policy import SchedulerPolicy

PENDING: Final = 0
"""Phases of a request: not arrived yet."""
WAITING: Final = 1
COMPUTING: Final = 2
"""Running, with more than its newest token to compute: a prompt, or a recomputation after preemption."""
DECODING: Final = 3
"""Running and certain to compute one token in every step; its counters follow from the step number."""
FINISHED: Final = 4
REJECTED: Final = 5

CONFIG = np.dtype(
    [
        ("duration_s", np.float64),
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
        ("blocks", np.int64),
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
        ("stall_s", np.float64),  # loading of adapters in this step
        ("step", np.int64),
        ("steps", np.int64),  # finished before the end
        ("next_arrival", np.int64),
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
    coefficients: NDArray[np.float64]
    waiting: Links
    """Requests in queue order, one list."""
    queues: Links
    """The same requests in one list per adapter."""
    running: Links
    """Requests in the order of admission, one list."""
    buckets: Links
    """DECODING requests in one list per step in which they finish, modulo the number of lists."""
    block_demand: NDArray[np.int64]
    """DECODING requests by (zero_step modulo block size): who needs a block in which step."""
    heap: NDArray[np.int32]
    """Active adapters with waiting requests, the one whose first request came earliest on top."""
    batch: NDArray[np.int32]
    """COMPUTING requests scheduled in this step."""
    finished: NDArray[np.int32]
    """Requests that got their last token in this step."""
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


def new_engine(
    policy: SchedulerPolicy,
    coefficients: NDArray[np.float64],
    arrival_s: NDArray[np.float64],
    prompt_tokens: NDArray[np.integer[Any]],
    output_tokens: NDArray[np.integer[Any]],
    adapter: NDArray[np.integer[Any]],
    cpu_to_gpu_s: NDArray[np.float64],
    disk_s: NDArray[np.float64],
    *,
    front_end: FrontEndPolicy = UNSCRAPED,
    max_lora_rank: int = 1,
    duration_s: float = np.inf,
    fixed_step_s: float = 0.0,
    bins: int = 1,
    log_size: int = 0,
    preload: bool = False,
    applied: tuple[NDArray[np.int32], NDArray[np.int64]] | None = None,
) -> Engine:
    """An engine at rest, its slots and its CPU tier empty.

    Args:
        policy: limits and switches of the scheduler.
        coefficients: of the step time.
        arrival_s: sorted arrival times, shape (requests,).
        prompt_tokens: shape (requests,).
        output_tokens: at least 1 each, shape (requests,).
        adapter: index of the adapter of each request, -1 for the base model, shape (requests,).
        cpu_to_gpu_s: seconds to copy each adapter to a slot, shape (adapters,).
        disk_s: seconds to read each adapter from disk, shape (adapters,).
        front_end: what the server in front of the engine does.
        max_lora_rank: rank that the slots are padded to.
        duration_s: the simulation stops here.
        fixed_step_s: if positive, what every step takes.
        bins: length of the time series over the duration.
        log_size: integers that the step log can hold; 0: no log.
        preload: load all adapters at the start, as a server with `--lora-modules` does.
        applied: order in which each step touches adapters (flat, and offsets by step), for recorded steps.
    """
    n, adapters = arrival_s.size, cpu_to_gpu_s.size
    buckets = 1 << int(output_tokens.max(initial=1) + 1).bit_length()
    engine = Engine(
        config=records(CONFIG, 1),
        state=records(STATE, 1),
        requests=records(REQUEST, n),
        adapters=records(ADAPTER, adapters + 1),
        coefficients=coefficients,
        waiting=empty_lists(n, 1),
        queues=empty_lists(n, adapters + 1),
        running=empty_lists(n, 1),
        buckets=empty_lists(n, buckets),
        block_demand=np.zeros(policy.block_size, dtype=np.int64),
        heap=np.zeros(adapters + 1, dtype=np.int32),
        batch=np.zeros(min(n, policy.max_running), dtype=np.int32),
        finished=np.zeros(min(n, policy.max_running), dtype=np.int32),
        slots=np.full(policy.max_loras, -1, dtype=np.int32),
        active=np.zeros(policy.max_loras, dtype=np.int32),
        gpu_lru=empty_lists(adapters, 1),
        cpu_lru=empty_lists(adapters, 1),
        applied=np.zeros(0, dtype=np.int32) if applied is None else applied[0],
        applied_from=np.zeros(0, dtype=np.int64) if applied is None else applied[1],
        seen_keys=np.zeros(SEEN_KEYS if front_end.scrape_interval_s else 1, dtype=np.bool_),
        intended_s=np.zeros(0),
        series=np.zeros((bins, len(SERIES))),
        gaps=np.zeros(GAP_BINS, dtype=np.int64),
        log=np.zeros(log_size, dtype=np.int32),
    )
    _configure(engine.config, policy)
    _configure_front_end(engine.config, front_end)
    engine.config.duration_s = duration_s
    engine.config.fixed_step_s = fixed_step_s
    engine.config.max_lora_rank = max_lora_rank
    engine.config.base_model = adapters
    engine.config.bucket_mask = buckets - 1
    engine.config.bin_s = duration_s / bins
    engine.config.preload = preload
    engine.state.free_blocks = policy.blocks
    engine.state.next_scrape_s = front_end.scrape_interval_s
    engine.state.pause_start_s = engine.state.pause_end_s = -1.0
    engine.state.free_slots = policy.max_loras
    requests = engine.requests
    requests.arrival_s, requests.prompt, requests.output = arrival_s, prompt_tokens, output_tokens
    requests.adapter = np.where(adapter < 0, adapters, adapter)
    requests.first_token_s = requests.finish_s = np.nan
    engine.adapters.cpu_to_gpu_s[:adapters] = cpu_to_gpu_s
    engine.adapters.disk_s[:adapters] = disk_s
    engine.adapters.slot = engine.adapters.place = -1
    engine.adapters.set_order[:adapters] = np.random.default_rng(adapters).permutation(adapters)
    engine.adapters.key[:adapters] = np.random.default_rng(adapters).integers(2**62, size=adapters)
    engine.adapters.known[adapters] = True
    engine.adapters.running[adapters] = 1  # the base model is always active
    return engine


def _configure(config: Any, policy: SchedulerPolicy) -> None:
    config.max_running = policy.max_running
    config.budget = policy.max_num_batched_tokens
    config.block_size = policy.block_size
    config.blocks = policy.blocks
    config.max_loras = policy.max_loras
    config.max_cpu_loras = policy.max_cpu_loras
    config.max_connections = policy.max_connections
    config.threshold = policy.long_prefill_token_threshold
    config.threshold_adaptive = policy.long_prefill_token_threshold_adaptive
    config.lone_unlimited = policy.lone_prefill_is_unlimited
    config.reserve_full = policy.scheduler_reserve_full_isl
    config.watermark = policy.watermark_blocks


def _configure_front_end(config: Any, front_end: FrontEndPolicy) -> None:
    config.request_s = front_end.request_s
    config.scrape_interval_s = front_end.scrape_interval_s
    config.render_per_label_set_s = front_end.render_per_label_set_s
    config.render_per_name_s = front_end.render_per_name_s
    config.coalesce_below = front_end.coalesce_below
    config.tokenizer_s = front_end.tokenizer_s

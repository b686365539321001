"""Engines at rest, and what they are given: adapters and requests, at the start or while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adapter_twin.engine.linked_list import empty_lists
from adapter_twin.engine.policy import UNSCRAPED, FrontEndPolicy
from adapter_twin.engine.state import (
    ADAPTER,
    BATCH,
    CONFIG,
    GAP_BINS,
    REQUEST,
    SEEN_KEYS,
    SERIES,
    STATE,
    Engine,
    records,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter_twin.engine.policy import SchedulerPolicy

_KEY_BITS: Final = 62


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
    preload: bool = False,
    **settings: Any,
) -> Engine:
    """An engine at rest that knows all its requests.

    Args:
        policy: limits and switches of the scheduler.
        coefficients: of the step time.
        arrival_s: sorted arrival times, shape (requests,).
        prompt_tokens: shape (requests,).
        output_tokens: at least 1 each, shape (requests,).
        adapter: index of the adapter of each request, -1 for the base model, shape (requests,).
        cpu_to_gpu_s: seconds to copy each adapter to a slot, shape (adapters,).
        disk_s: seconds to read each adapter from disk, shape (adapters,).
        preload: load all adapters at the start, as a server with `--lora-modules` does.
        settings: more of those of `empty_engine`.
    """
    n, adapters = arrival_s.size, cpu_to_gpu_s.size
    longest = int(output_tokens.max(initial=1))
    engine = empty_engine(
        policy, coefficients, requests=n, adapters=adapters, longest_output=longest, **settings
    )
    engine.adapters.cpu_to_gpu_s[:adapters], engine.adapters.disk_s[:adapters] = cpu_to_gpu_s, disk_s
    engine.config.adapters = adapters
    shuffle_adapters(engine)
    enter_requests(engine, slice(0, n), arrival_s, prompt_tokens, output_tokens, adapter)
    engine.upcoming[:n] = np.arange(n, dtype=np.int32)
    engine.state.submitted = n
    engine.config.preload = preload
    return engine


def empty_engine(
    policy: SchedulerPolicy,
    coefficients: NDArray[np.float64],
    *,
    requests: int,
    adapters: int,
    longest_output: int,
    front_end: FrontEndPolicy = UNSCRAPED,
    max_lora_rank: int = 1,
    start_s: float = 0.0,
    duration_s: float = np.inf,
    fixed_step_s: float = 0.0,
    bins: int = 1,
    log_size: int = 0,
    stream: bool = False,
    applied: tuple[NDArray[np.int32], NDArray[np.int64]] | None = None,
) -> Engine:
    """An engine at rest that knows neither requests nor adapters, its slots and its CPU tier empty.

    Args:
        policy: limits and switches of the scheduler.
        coefficients: of the step time.
        requests: records to hold.
        adapters: records to hold.
        longest_output: tokens that no request's output exceeds.
        front_end: what the server in front of the engine does.
        max_lora_rank: rank that the slots are padded to.
        start_s: the clock's first value.
        duration_s: how long the time series is.
        fixed_step_s: if positive, what every step takes.
        bins: length of the time series.
        log_size: integers that the step log can hold; 0: no log.
        stream: tell after every step whose clients got a token.
        applied: order in which each step touches adapters (flat, and offsets by step), for recorded steps.
    """
    buckets = 1 << int(longest_output + 1).bit_length()
    engine = Engine(
        config=_configuration(policy, front_end),
        state=records(STATE, 1),
        coefficients=coefficients,
        block_demand=np.zeros(policy.block_size, dtype=np.int64),
        applied=np.zeros(0, dtype=np.int32) if applied is None else applied[0],
        applied_from=np.zeros(0, dtype=np.int64) if applied is None else applied[1],
        seen_keys=np.zeros(SEEN_KEYS if front_end.scrape_interval_s else 1, dtype=np.bool_),
        intended_s=np.zeros(0),
        series=np.zeros((bins, len(SERIES))),
        gaps=np.zeros(GAP_BINS, dtype=np.int64),
        log=np.zeros(log_size, dtype=np.int32),
        **_requests_at_rest(requests, adapters, buckets),
        **_adapters_at_rest(adapters, policy.max_loras),
        **_batches_at_rest(policy.max_running, stream=stream),
    )
    config, state = engine.config[0], engine.state[0]
    config.start_s, config.end_s, config.bin_s = start_s, start_s + duration_s, duration_s / bins
    config.fixed_step_s = fixed_step_s
    config.max_lora_rank = max_lora_rank
    config.base_model = adapters
    config.bucket_mask = buckets - 1
    state.time_s = state.observed_s = start_s
    state.free_blocks, state.free_slots = policy.blocks, policy.max_loras
    state.next_scrape_s = start_s + front_end.scrape_interval_s
    state.pause_start_s = state.pause_end_s = state.tokenizers_until_s = start_s - 1.0
    rest_adapters(engine, 0)
    return engine


def _requests_at_rest(requests: int, adapters: int, buckets: int) -> dict[str, Any]:
    """Records of requests, and the lists that they are linked in."""
    return {
        "requests": records(REQUEST, requests),
        "upcoming": np.zeros(1 << requests.bit_length(), dtype=np.int32),
        "waiting": empty_lists(requests, 1),
        "queues": empty_lists(requests, adapters + 1),
        "running": empty_lists(requests, 1),
        "buckets": empty_lists(requests, buckets),
    }


def _adapters_at_rest(adapters: int, slots: int) -> dict[str, Any]:
    """Records of adapters and of the base model, slots, and what orders them."""
    return {
        "adapters": records(ADAPTER, adapters + 1),
        "heap": np.zeros(adapters + 1, dtype=np.int32),
        "slots": np.full(slots, -1, dtype=np.int32),
        "active": np.zeros(slots, dtype=np.int32),
        "gpu_lru": empty_lists(adapters, 1),
        "cpu_lru": empty_lists(adapters, 1),
    }


def _batches_at_rest(seats: int, *, stream: bool) -> dict[str, Any]:
    """What this step and the one before it hold."""
    return {
        "batches": records(BATCH, 2),
        "batch": np.zeros(seats, dtype=np.int32),
        "sampled": np.zeros((2, seats), dtype=np.int32),
        "ended": np.zeros((2, seats), dtype=np.int32),
        "streamed": np.zeros((2, seats if stream else 0), dtype=np.int32),
    }


def rest_adapters(engine: Engine, first: int) -> None:
    """Initialise the adapters' records from `first` on, the base model's included."""
    adapters = engine.adapters
    adapters.slot[first:] = adapters.place[first:] = -1
    adapters.running[-1] = 1  # the base model is always active
    adapters.known[-1] = True


def shuffle_adapters(engine: Engine) -> None:
    """Draw the order in which steps touch the adapters known so far, as Python's hashes would."""
    adapters = int(engine.config.adapters[0])
    engine.adapters.set_order[:adapters] = np.random.default_rng(adapters).permutation(adapters)
    engine.adapters.key[:adapters] = np.random.default_rng(adapters).integers(2**_KEY_BITS, size=adapters)


def know_adapter(engine: Engine, cpu_to_gpu_s: float, disk_s: float) -> int:
    """Enter one more adapter, touched behind the others; returns its index."""
    index = int(engine.config.adapters[0])
    adapter = engine.adapters[index]
    adapter.cpu_to_gpu_s, adapter.disk_s = cpu_to_gpu_s, disk_s
    adapter.set_order, adapter.key = index, np.random.default_rng(index).integers(2**_KEY_BITS)
    engine.config.adapters = index + 1
    return index


def enter_requests(
    engine: Engine,
    places: slice | NDArray[np.int32],
    arrival_s: NDArray[np.float64],
    prompt_tokens: NDArray[np.integer[Any]],
    output_tokens: NDArray[np.integer[Any]],
    adapter: NDArray[np.integer[Any]],
) -> None:
    """Write requests into records, either unused ones in a row, or any."""
    entered = engine.requests[places] if isinstance(places, slice) else records(REQUEST, places.size)
    entered["arrival_s"], entered["prompt"], entered["output"] = arrival_s, prompt_tokens, output_tokens
    entered["adapter"] = np.where(adapter < 0, engine.config.base_model[0], adapter)
    entered["first_token_s"] = entered["finish_s"] = np.nan
    if not isinstance(places, slice):
        engine.requests[places] = entered


def _configuration(policy: SchedulerPolicy, front_end: FrontEndPolicy) -> Any:
    config = records(CONFIG, 1)
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
    config.batches_ahead = policy.async_scheduling
    config.scheduling_s = policy.scheduling_s
    config.limit_counts_running = policy.adapter_limit_counts_running
    config.request_s = front_end.request_s
    config.scrape_interval_s = front_end.scrape_interval_s
    config.render_per_label_set_s = front_end.render_per_label_set_s
    config.render_per_name_s = front_end.render_per_name_s
    config.coalesce_below = front_end.coalesce_below
    config.tokenizer_s = front_end.tokenizer_s
    return config

"""What a replica's engine is told: from a profile and the replica's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter_twin.engine.policy import FrontEndPolicy, SchedulerPolicy
from adapter_twin.errors import EngineConfigError
from adapter_twin.memory import MemoryVerdict, memory_verdict
from adapter_twin.workload.model import Requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter_twin.profile import Profile
    from adapter_twin.replica import ReplicaConfig
    from adapter_twin.workload.model import Adapter

_NULL_BLOCK = 1
"""vLLM keeps one block to itself, and counts it where it takes a fraction of them."""


def replica_memory(profile: Profile, config: ReplicaConfig) -> MemoryVerdict:
    """Whether the replica starts, and with how many KV cache tokens."""
    return memory_verdict(
        profile,
        config.max_loras,
        config.max_lora_rank,
        max_model_len=config.max_model_len,
        gpu_memory_utilization=config.gpu_memory_utilization,
    )


def require_fitting(config: ReplicaConfig, adapters: Sequence[Adapter]) -> None:
    """Raise an `EngineConfigError` if there is no slot, or none large enough, for an adapter."""
    if adapters and config.max_loras == 0:
        raise EngineConfigError("max_loras: 0 is not allowed, adapters need at least 1 slot")
    for adapter in adapters:
        if adapter.rank > config.max_lora_rank:
            raise EngineConfigError(
                f"max_lora_rank: {config.max_lora_rank} is below rank {adapter.rank} "
                f"of adapter {adapter.name}"
            )


def longest_request(profile: Profile, config: ReplicaConfig) -> int:
    """Tokens that prompt and output together may have."""
    return config.max_model_len or profile.engine.max_model_len


def clipped(requests: Requests, max_model_len: int) -> Requests:
    """Generation stops where prompt and output reach `max_model_len`."""
    output = np.minimum(requests.output_tokens, max_model_len - requests.prompt_tokens)
    return Requests(requests.arrival_s, requests.prompt_tokens, output, requests.adapter)


def scheduler_policy(
    profile: Profile, config: ReplicaConfig, verdict: MemoryVerdict, adapters: int
) -> SchedulerPolicy:
    """Limits and switches of the scheduler of a replica of at most so many adapters."""
    engine = profile.engine
    scheduling = config.scheduling or engine.scheduling
    blocks = verdict.kv_cache_tokens // engine.block_size
    return SchedulerPolicy(
        max_num_seqs=config.max_num_seqs or engine.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens or engine.max_num_batched_tokens,
        blocks=blocks,
        block_size=engine.block_size,
        max_loras=config.max_loras,
        max_cpu_loras=max(config.max_cpu_loras or adapters, config.max_loras),
        max_connections=config.max_connections or engine.max_connections,
        max_num_active_seqs=scheduling.max_num_active_seqs,
        long_prefill_token_threshold=scheduling.long_prefill_token_threshold,
        long_prefill_token_threshold_adaptive=scheduling.long_prefill_token_threshold_adaptive,
        lone_prefill_is_unlimited=scheduling.lone_prefill_is_unlimited,
        scheduler_reserve_full_isl=scheduling.scheduler_reserve_full_isl,
        watermark_blocks=int(scheduling.watermark * (blocks + _NULL_BLOCK)),
        adapter_limit_counts_running=scheduling.adapter_limit_counts_running,
        async_scheduling=scheduling.async_scheduling,
        scheduling_s=scheduling.scheduling_s,
    )


def front_end_policy(profile: Profile, config: ReplicaConfig) -> FrontEndPolicy:
    """What the API server does."""
    front_end = profile.front_end
    interval_s = config.scrape_interval_s
    return FrontEndPolicy(
        request_s=front_end.request_s,
        scrape_interval_s=front_end.scrape_interval_s if interval_s is None else interval_s,
        render_per_label_set_s=front_end.render_per_label_set_s,
        render_per_name_s=front_end.render_per_name_s,
        tokenizer_s=front_end.tokenizer_s,
        coalesce_below=front_end.coalesce_below,
    )


def loading_seconds(
    profile: Profile, config: ReplicaConfig, adapters: Sequence[Adapter]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds to copy each adapter to a slot, and to read it from disk: computed once per rank."""
    ranks = {adapter.rank for adapter in adapters}
    to_gpu_s = {rank: profile.cpu_to_gpu_s(rank, config.max_lora_rank) for rank in ranks}
    disk_s = {rank: profile.disk_s(rank) for rank in ranks}
    return (
        np.array([to_gpu_s[adapter.rank] for adapter in adapters], dtype=np.float64),
        np.array([disk_s[adapter.rank] for adapter in adapters], dtype=np.float64),
    )

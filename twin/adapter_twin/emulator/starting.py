"""What a server starts with: a profile that fits the model, and an engine with the adapters named."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter_twin.arguments import longest_request, replica_memory
from adapter_twin.emulator.adapters import AdapterRegistry, LoadedAdapter
from adapter_twin.emulator.errors import ApiError, EmulatorConfigError
from adapter_twin.emulator.metric_names import CACHE_DEFAULTS
from adapter_twin.live import LiveReplica
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.profile.store import available_profiles, load_profile
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload.model import Adapter

if TYPE_CHECKING:
    from adapter_twin.emulator.flags import Settings
    from adapter_twin.profile import Profile


@dataclass(frozen=True)
class Started:
    """An engine that is ready."""

    profile: Profile
    config: ReplicaConfig
    replica: LiveReplica
    adapters: AdapterRegistry
    max_model_len: int
    cache: dict[str, str]
    """Labels of `vllm:cache_config_info`."""


def choose_profile(settings: Settings) -> Profile:
    """The profile named, or a shipped one of this model.

    Raises:
        EmulatorConfigError: none is named and none fits, or it is of another tensor parallel size.
        ProfileError: there is none of that name.
    """
    if settings.profile is not None:
        profile = load_profile(settings.profile)
    else:
        shipped = [load_profile(name) for name in available_profiles()]
        fitting = [profile for profile in shipped if _same_model(profile.model.name, settings.model)]
        if not fitting:
            raise EmulatorConfigError(
                f"--profile: none of those shipped is of {settings.model}; name one of "
                f"{', '.join(profile.name for profile in shipped)}, or give a .json file"
            )
        profile = fitting[0]
    if settings.tensor_parallel_size not in {1, profile.tensor_parallel_size}:
        raise EmulatorConfigError(
            f"--tensor-parallel-size: {settings.tensor_parallel_size} is not allowed, "
            f"profile {profile.name} is of {profile.tensor_parallel_size}"
        )
    return profile


def _same_model(one: str, other: str) -> bool:
    """`meta-llama/Llama-3.1-8B-Instruct` is `llama-3.1-8b-instruct`."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.rstrip("/").rpartition("/")[2].lower())


def startup_delay_s(settings: Settings, profile: Profile) -> float:
    """Real seconds until the server listens; images are not pulled."""
    if settings.startup_delay_s is not None:
        return settings.startup_delay_s
    return (profile.startup.weights_s + profile.startup.compile_s) / settings.speed_up


def start_engine(settings: Settings, profile: Profile) -> Started:
    """The engine, its adapters preloaded.

    Raises:
        OutOfMemoryError: the slots leave too little memory.
        EmulatorConfigError: an adapter cannot be loaded.
    """
    config = replica_config(settings)
    replica = LiveReplica(profile, config, streaming=True)
    adapters = AdapterRegistry(settings.names, settings.max_lora_rank, enabled=settings.enable_lora)
    for module in settings.lora_modules:
        try:
            adapters.check_name(module.name, module.path, in_place=False)
            rank = adapters.check_files(module.name, module.path)
        except ApiError as error:
            raise EmulatorConfigError(f"--lora-modules: {module.name}: {error}") from error
        index = replica.add_adapter(engine_adapter(module.name, rank))
        adapters.add(LoadedAdapter(module.name, module.path, rank, index, int(time.time())))
    longest = longest_request(profile, config)
    return Started(profile, config, replica, adapters, longest, _cache_labels(profile, config, longest))


def engine_adapter(name: str, rank: int) -> Adapter:
    """As the engine knows it: of the next rank that slots may have."""
    return Adapter(name, 0.0, min(allowed for allowed in ALLOWED_LORA_RANKS if allowed >= rank))


def replica_config(settings: Settings) -> ReplicaConfig:
    """The engine's arguments; by default vLLM keeps no more adapters in host memory than on the GPU."""
    slots = settings.max_loras if settings.enable_lora else 0
    return ReplicaConfig(
        max_loras=slots,
        max_lora_rank=settings.max_lora_rank,
        max_cpu_loras=max(settings.max_cpu_loras or slots, 1) if slots else None,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_model_len=settings.max_model_len,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        scrape_interval_s=settings.scrape_interval_s,
    )


def _cache_labels(profile: Profile, config: ReplicaConfig, max_model_len: int) -> dict[str, str]:
    tokens = replica_memory(profile, config).kv_cache_tokens
    block = profile.engine.block_size
    per_token = profile.model.kv_bytes_per_token // profile.tensor_parallel_size
    return CACHE_DEFAULTS | {
        "block_size": str(block),
        "effective_attention_block_size": str(block),
        "enable_prefix_caching": "False",
        "gpu_memory_utilization": str(config.gpu_memory_utilization or profile.engine.gpu_memory_utilization),
        "kv_cache_max_concurrency": str(round(tokens / max_model_len, 2)),
        "kv_cache_memory_bytes": str(tokens * per_token),
        "kv_cache_size_tokens": str(tokens),
        "num_gpu_blocks": str(tokens // block),
    }

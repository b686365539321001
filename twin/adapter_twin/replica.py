"""One replica, compiled end to end: from requests to a report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter_twin.arguments import (
    clipped,
    front_end_policy,
    loading_seconds,
    longest_request,
    replica_memory,
    require_fitting,
    scheduler_policy,
)
from adapter_twin.engine.building import new_engine
from adapter_twin.engine.client import hold_back
from adapter_twin.engine.loop import run_engine
from adapter_twin.errors import EngineConfigError
from adapter_twin.memory import ALLOWED_LORA_RANKS, MemoryVerdict
from adapter_twin.outcome import out_of_memory, summarize
from adapter_twin.profile.slora import SloraProfile
from adapter_twin.slora.replica import simulate_slora, slora_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_twin.engine.state import Engine
    from adapter_twin.profile import AnyProfile, Profile
    from adapter_twin.profile.model import Scheduling
    from adapter_twin.report import Report
    from adapter_twin.workload.model import Adapter, Requests

SERIES_BINS = 120

During = Callable[[Callable[[], float]], AbstractContextManager[None]]


@dataclass(frozen=True)
class ReplicaConfig:
    """Engine arguments of a replica; None means the profile's default."""

    max_loras: int
    max_lora_rank: int
    max_cpu_loras: int | None = None
    """None: as many as there are adapters, so that none is read from disk."""
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    max_connections: int | None = None
    scrape_interval_s: float | None = None
    """Pause between two scrapes of the metrics; 0: nobody scrapes."""
    client_concurrency: int | None = None
    """Requests that a closed-loop client has open at most; it holds the others back."""
    scheduling: Scheduling | None = None
    """Rules of the scheduler; `Scheduling.of_version` has those of other versions than the profile's."""

    def __post_init__(self) -> None:
        if self.max_loras < 0:
            raise EngineConfigError(f"max_loras: {self.max_loras} is not allowed, it must be 0 or more")
        if self.max_lora_rank not in ALLOWED_LORA_RANKS:
            allowed = ", ".join(map(str, ALLOWED_LORA_RANKS))
            raise EngineConfigError(f"max_lora_rank: {self.max_lora_rank} is not one of {allowed}")
        if self.max_cpu_loras is not None and self.max_cpu_loras < self.max_loras:
            raise EngineConfigError(
                f"max_cpu_loras: {self.max_cpu_loras} is not allowed, "
                f"it must be at least max_loras {self.max_loras}"
            )
        for name in (
            "max_num_seqs",
            "max_num_batched_tokens",
            "max_model_len",
            "max_connections",
            "client_concurrency",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise EngineConfigError(f"{name}: {value} is not allowed, it must be at least 1")
        utilization = self.gpu_memory_utilization
        if utilization is not None and not 0 < utilization <= 1:
            raise EngineConfigError(
                f"gpu_memory_utilization: {utilization:g} is not allowed, it must be above 0 and at most 1"
            )


def simulate_replica(
    profile: AnyProfile,
    config: ReplicaConfig,
    requests: Requests,
    adapters: Sequence[Adapter],
    *,
    duration_s: float,
    during: During | None = None,
) -> Report:
    """Serve `requests` for `duration_s` seconds from a server that has just started, its adapters preloaded.

    The profile decides the engine. S-LoRA has no slots: of `config`, it knows the limits on requests, tokens
    and connections.

    A replica without room for its slots yields a report with status OUT_OF_MEMORY. `during`, if given, is
    entered while the engine runs; it gets a function that tells the simulated time, which a thread may call.

    Raises:
        EngineConfigError: an adapter's rank exceeds `max_lora_rank`, or adapters are given and no slots.
    """
    _require_known(requests, adapters)
    if isinstance(profile, SloraProfile):
        arguments = slora_arguments(profile.engine, config)
        return simulate_slora(
            profile, requests, adapters, duration_s=duration_s, engine=arguments, during=during
        )
    require_fitting(config, adapters)
    verdict = replica_memory(profile, config)
    offered = requests.select(requests.arrival_s < duration_s)
    if not verdict.fits:
        return out_of_memory(verdict, offered, adapters, duration_s)
    max_model_len = longest_request(profile, config)
    accepted = offered.prompt_tokens < max_model_len
    served = clipped(offered.select(accepted), max_model_len)
    engine = _engine(profile, config, verdict, served, adapters, duration_s)
    if config.client_concurrency is not None:
        engine = hold_back(engine, config.client_concurrency)
    with during(lambda: float(engine.state.time_s[0])) if during else nullcontext():
        run_engine(engine)
    return summarize(engine, verdict, offered, accepted, adapters, duration_s)


def _require_known(requests: Requests, adapters: Sequence[Adapter]) -> None:
    if requests.count and int(requests.adapter.max()) >= len(adapters):
        raise EngineConfigError(
            f"requests: adapter {int(requests.adapter.max())} is not among the {len(adapters)} adapters given"
        )


def _engine(
    profile: Profile,
    config: ReplicaConfig,
    verdict: MemoryVerdict,
    requests: Requests,
    adapters: Sequence[Adapter],
    duration_s: float,
) -> Engine:
    return new_engine(
        scheduler_policy(profile, config, verdict, len(adapters)),
        profile.coefficients(),
        requests.arrival_s,
        requests.prompt_tokens,
        requests.output_tokens,
        requests.adapter,
        *loading_seconds(profile, config, adapters),
        front_end=front_end_policy(profile, config),
        max_lora_rank=config.max_lora_rank,
        duration_s=duration_s,
        bins=SERIES_BINS,
        preload=True,
    )

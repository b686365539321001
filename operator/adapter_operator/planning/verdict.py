"""What the twin says of a plan: Verified, or Rejected with a typed reason, and the figures behind it."""

from dataclasses import dataclass, field
from typing import Literal

from adapter_twin.report import TimeSeries

Status = Literal["Verified", "Rejected"]
Reason = Literal[
    "",
    "Starvation",
    "OutOfMemory",
    "LatencyObjective",
    "TransitionWorse",
    "Timeout",
    "ProfileInvalid",
    "ObjectivesUnreachable",
]
"""Why a plan is rejected; empty where it is verified. Conditions and metrics use the same words."""

WORST_ADAPTERS = 10
"""How many adapters a verdict names."""


@dataclass(frozen=True)
class ReplicaFigures:
    """What the twin saw of one replica: means over the seeds, with latencies over finished requests.

    Attributes:
        name: The replica's.
        max_loras: Its adapter slots.
        max_lora_rank: The rank to which they are padded.
        adapters: How many adapters it serves.
        offered_per_s: Requests/s sent to it, headroom included.
        kv_cache_tokens: Tokens of KV cache beside the slots.
        served_fraction: Tokens completed over tokens offered.
        throughput_tokens_per_s: Prompt and output tokens of finished requests.
        itl_s: Mean inter-token latency.
        ttft_s: Mean time to first token.
        ttft_p99_s: Its 99th percentile.
        running: Mean number of running requests.
        waiting: Mean number of waiting requests.
        kv_usage: Mean part of the KV cache in use.
        preemptions: Requests thrown out of the batch for lack of KV cache.
        adapter_loads: Adapters copied into a slot.
        timeline: How these went over time, for the first seed.
    """

    name: str
    max_loras: int
    max_lora_rank: int
    adapters: int
    offered_per_s: float
    kv_cache_tokens: int
    served_fraction: float
    throughput_tokens_per_s: float
    itl_s: float
    ttft_s: float
    ttft_p99_s: float
    running: float
    waiting: float
    kv_usage: float
    preemptions: float
    adapter_loads: float
    timeline: TimeSeries | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class AdapterFigures:
    """How one adapter was served, over all its replicas and all seeds.

    Attributes:
        name: The adapter's.
        requests: Requests it sent.
        completed: Requests of these that were served.
        served_fraction: Tokens completed over tokens offered.
        starving: Whether that is below the objective by more than chance explains.
        shut_out: Whether it is below even half of it.
    """

    name: str
    requests: int
    completed: int
    served_fraction: float
    starving: bool
    shut_out: bool = False


@dataclass(frozen=True)
class Envelope:
    """How far traffic may grow before the verdict has been seen to fail.

    Attributes:
        rate_scale: The highest multiple of every adapter's rate at which the twin met the objectives.
        fails_at: The lowest multiple at which it did not; None where none that was tried failed.
    """

    rate_scale: float
    fails_at: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The twin's word on one plan.

    Attributes:
        status: Whether the plan may be applied.
        reason: Why not; empty where it may.
        message: The verdict in one sentence.
        plan_hash: The plan it speaks of; empty where there is none.
        profile_hash: The profile it was simulated with.
        seeds: The seeds of the simulated arrivals.
        horizon_s: Simulated seconds for each seed.
        failing: Replicas that miss an objective.
        margin: The tightest objective's distance from its limit, relative to the limit: the worst over
            replicas and objectives, negative where one is missed; None where nothing was simulated.
        replicas: Figures of each replica.
        worst_adapters: The ten adapters served worst, worst first.
        starving: How many adapters starve.
        missing_gpus: GPUs that a plan which meets the objectives needs beyond the limits.
        envelope: How far traffic may grow, where that was looked at.
    """

    status: Status
    reason: Reason
    message: str
    plan_hash: str
    profile_hash: str
    seeds: tuple[int, ...] = ()
    horizon_s: float = 0.0
    failing: tuple[str, ...] = ()
    margin: float | None = None
    replicas: tuple[ReplicaFigures, ...] = ()
    worst_adapters: tuple[AdapterFigures, ...] = ()
    starving: int = 0
    missing_gpus: int = 0
    envelope: Envelope | None = None

    @property
    def verified(self) -> bool:
        """Whether the plan may be applied."""
        return self.status == "Verified"

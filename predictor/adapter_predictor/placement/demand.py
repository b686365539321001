"""What a placement is asked: adapters and their demand, objectives, and limits."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from adapter_predictor.errors import PlacementError
from adapter_twin.memory import ALLOWED_LORA_RANKS


@dataclass(frozen=True)
class AdapterDemand:
    """One adapter and what it needs.

    Attributes:
        name: Its name.
        rate: Requests/s.
        rank: Its LoRA rank; the slots of every replica that serves it are at least as wide.
        min_copies: Replicas, all different, that must hold it.
    """

    name: str
    rate: float
    rank: int
    min_copies: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate >= 0.0):
            raise PlacementError(f"{self.name}.rate: {self.rate} is not a finite number of requests/s >= 0")
        if not 0 < self.rank <= ALLOWED_LORA_RANKS[-1]:
            raise PlacementError(
                f"{self.name}.rank: {self.rank} is not between 1 and {ALLOWED_LORA_RANKS[-1]}"
            )
        if self.min_copies < 1:
            raise PlacementError(f"{self.name}.min_copies: {self.min_copies} is not at least 1")


@dataclass(frozen=True)
class Objectives:
    """What every replica must reach.

    Attributes:
        served_fraction: Tokens completed over tokens offered, at least.
        headroom: How much more traffic the plan must carry: 0.1 plans for rates 10 % higher.
        itl_s: Mean inter-token latency in seconds, at most; no limit where None.
        ttft_s: Mean time to first token in seconds, at most; no limit where None.
    """

    served_fraction: float = 0.95
    headroom: float = 0.10
    itl_s: float | None = None
    ttft_s: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.served_fraction <= 1.0:
            raise PlacementError(f"objectives.served_fraction: {self.served_fraction} is not in (0, 1]")
        if not (math.isfinite(self.headroom) and self.headroom >= 0.0):
            raise PlacementError(f"objectives.headroom: {self.headroom} is not a finite number >= 0")
        for field, limit in (("itl_s", self.itl_s), ("ttft_s", self.ttft_s)):
            if limit is not None and not limit > 0.0:
                raise PlacementError(f"objectives.{field}: {limit} is not a number of seconds > 0")


@dataclass(frozen=True)
class Limits:
    """How many replicas and GPUs the plan may have.

    Attributes:
        min_replicas: Replicas, at least.
        max_replicas: Replicas, at most.
        max_gpus: GPUs, at most; only `max_replicas` limits them where None.
    """

    min_replicas: int = 1
    max_replicas: int = 8
    max_gpus: int | None = None

    def __post_init__(self) -> None:
        if self.min_replicas < 1:
            raise PlacementError(f"limits.min_replicas: {self.min_replicas} is not at least 1")
        if self.max_replicas < self.min_replicas:
            raise PlacementError(
                f"limits.max_replicas: {self.max_replicas} is below min_replicas ({self.min_replicas})"
            )
        if self.max_gpus is not None and self.max_gpus < 1:
            raise PlacementError(f"limits.max_gpus: {self.max_gpus} is not at least 1")

    def replicas(self, tensor_parallel_size: int) -> int:
        """The most replicas allowed, each of which takes `tensor_parallel_size` GPUs; may be 0."""
        if self.max_gpus is None:
            return self.max_replicas
        return min(self.max_replicas, self.max_gpus // tensor_parallel_size)


@dataclass(frozen=True)
class TokenMeans:
    """Mean tokens of a request.

    Attributes:
        prompt: Prompt tokens.
        output: Output tokens.
    """

    prompt: float
    output: float

    def __post_init__(self) -> None:
        for field, mean in (("prompt", self.prompt), ("output", self.output)):
            if not (math.isfinite(mean) and mean >= 1.0):
                raise PlacementError(f"tokens.{field}: {mean} is not a finite mean >= 1")

    @property
    def total(self) -> float:
        """Prompt and output tokens together."""
        return self.prompt + self.output


def checked(demands: Iterable[AdapterDemand]) -> Sequence[AdapterDemand]:
    """The demands by name, or a `PlacementError` where there are none or two have one name."""
    ordered = sorted(demands, key=lambda demand: demand.name)
    if not ordered:
        raise PlacementError("adapters: there is none; at least one is needed")
    for first, second in pairwise(ordered):
        if first.name == second.name:
            raise PlacementError(f"adapters: {first.name} is there twice; names of adapters are unique")
    return ordered

"""A fleet and what happens to it, as data: replicas with shares of traffic, rollouts, failures, durations."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Self

from adapter_twin.errors import WorkloadError
from adapter_twin.workload.model import require_distinct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapter_twin.profile import Profile
    from adapter_twin.replica import ReplicaConfig


@dataclass(frozen=True)
class FleetReplica:
    """A replica and the shares of adapters' traffic that are routed to it."""

    name: str
    config: ReplicaConfig
    shares: tuple[tuple[str, float], ...]
    """Adapter name and share in (0, 1]."""

    @property
    def pool(self) -> str:
        """The name without its ordinal: `pool-3` belongs to `pool`."""
        return self._split[0]

    @property
    def ordinal(self) -> int:
        """3 for `pool-3`; 0 for a name that ends in no number."""
        return self._split[1]

    @property
    def _split(self) -> tuple[str, int]:
        pool, dash, ordinal = self.name.rpartition("-")
        return (pool, int(ordinal)) if dash and ordinal.isdigit() else (self.name, 0)


@dataclass(frozen=True)
class Fleet:
    """Replicas and who serves whom."""

    replicas: tuple[FleetReplica, ...]

    def __post_init__(self) -> None:
        require_distinct((replica.name for replica in self.replicas), "replicas")
        for replica in self.replicas:
            require_distinct((name for name, _ in replica.shares), f"replica {replica.name}")

    @classmethod
    def of(cls, replicas: Iterable[FleetReplica]) -> Self:
        """From any collection of replicas."""
        return cls(tuple(replicas))

    @cached_property
    def by_name(self) -> Mapping[str, FleetReplica]:
        """The replicas by their names, in order."""
        return {replica.name: replica for replica in self.replicas}

    @cached_property
    def holders(self) -> Mapping[str, Mapping[str, float]]:
        """For each adapter the replicas that hold it, with their shares."""
        turned: dict[str, dict[str, float]] = {}
        for replica in self.replicas:
            for adapter, share in replica.shares:
                turned.setdefault(adapter, {})[replica.name] = share
        return turned

    def copies(self, adapter: str) -> int:
        """Replicas that hold the adapter."""
        return len(self.holders.get(adapter, {}))


@dataclass(frozen=True)
class Rollout:
    """From the fleet as it is to another one, without an interruption where the GPUs allow it."""

    to: Fleet
    at_s: float = 0.0
    surge_gpus: int = 0
    """GPUs that may be taken beyond what the larger of the two fleets needs."""
    gpus_per_replica: int = 1
    min_copies: tuple[tuple[str, int], ...] = ()
    """Copies that an adapter keeps throughout; where not given, the smaller number of the two fleets."""

    def __post_init__(self) -> None:
        _require_time("rollout.at_s", self.at_s)
        if self.surge_gpus < 0:
            raise WorkloadError(f"surge_gpus: {self.surge_gpus} is not allowed, it must be 0 or more")
        if self.gpus_per_replica < 1:
            raise WorkloadError(
                f"gpus_per_replica: {self.gpus_per_replica} is not allowed, it must be at least 1"
            )

    @property
    def surge_replicas(self) -> int:
        """Whole replicas that the surge holds."""
        return self.surge_gpus // self.gpus_per_replica


@dataclass(frozen=True)
class Failure:
    """A replica dies: its requests are cut off, its adapters gone. It may come back."""

    replica: str
    at_s: float
    back_after_s: float | None = None
    """Until its engine is started again, from the cached image; None: never."""

    def __post_init__(self) -> None:
        _require_time(f"failure of {self.replica}", self.at_s)
        if self.back_after_s is not None:
            _require_time(f"return of {self.replica}", self.back_after_s)


FleetChange = Rollout | Failure


@dataclass(frozen=True)
class Mechanics:
    """How long the operator, its agents and the gateway take for what they do; seconds."""

    image_s: float
    """Until the image is on the node; skipped where an engine is restarted in place."""
    weights_s: float
    compile_s: float
    fetch_base_s: float = 1.0
    """To reach an adapter's source, for each adapter."""
    fetch_bytes_per_s: float = 250e6
    """From an adapter's source to the replica's disk, for each fetch."""
    parallel_fetches: int = 4
    """That an agent makes at once; loading into the engine is one after another, as the engine does it."""
    confirm_s: float = 1.0
    """From loaded to seen as loaded by the operator."""
    route_s: float = 1.0
    """From the operator's decision to the gateway's routing."""
    poll_s: float = 1.0
    """How often a drain looks whether requests are still in flight."""
    drain_timeout_s: float = 300.0
    """After which a drain goes on without those that are."""
    retry_before_first_byte: bool = True
    """The gateway sends a request again if its connection breaks before the first byte of the answer."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value >= 0 and math.isfinite(value)):
                raise WorkloadError(
                    f"{field.name}: {value:g} is not allowed, it must be finite and 0 or more"
                )
        for name in ("fetch_bytes_per_s", "parallel_fetches", "poll_s"):
            if getattr(self, name) <= 0:
                raise WorkloadError(f"{name}: 0 is not allowed, it must be positive")

    @classmethod
    def for_profile(cls, profile: Profile, **overrides: float) -> Self:
        """The profile's start-up times, and defaults for the rest."""
        return cls(**{**profile.startup.model_dump(), **overrides})


def _require_time(field: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise WorkloadError(f"{field}: {value:g} is not allowed, it must be finite and 0 s or more")

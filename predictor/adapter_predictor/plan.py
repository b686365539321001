"""The plan: pools of identical replicas and which adapters each replica serves. A frozen, hashed value."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from adapter_predictor.errors import PlanError
from adapter_twin.fleet import FleetReplica
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.replica import ReplicaConfig

SHARE_TOLERANCE = 1e-6
"""How far an adapter's shares may add up beside one."""

Share = Annotated[float, Field(gt=0.0, le=1.0)]


def pool_name(max_loras: int, max_lora_rank: int, engine: str = "") -> str:
    """The name of the pool with this engine configuration.

    Args:
        max_loras: Adapter slots of each replica.
        max_lora_rank: The rank to which every slot is padded.
        engine: Whatever else of the engine's configuration the user can see, as a fingerprint.
    """
    canonical = json.dumps([engine, max_loras, max_lora_rank], separators=(",", ":"))
    return f"p-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def replica_name(pool: str, ordinal: int) -> str:
    """The name of a pool's replica, which is also its pod's: ``<pool>-<ordinal>``."""
    return f"{pool}-{ordinal}"


class Pool(BaseModel):
    """Replicas that share one engine configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=52)
    replicas: int = Field(ge=1)
    max_loras: int = Field(ge=1)
    max_lora_rank: int

    @field_validator("max_lora_rank")
    @classmethod
    def _rank_is_allowed(cls, rank: int) -> int:
        if rank not in ALLOWED_LORA_RANKS:
            raise ValueError(f"{rank} is not one of {', '.join(map(str, ALLOWED_LORA_RANKS))}")
        return rank

    def replica_names(self) -> Iterator[str]:
        """The names of this pool's replicas, lowest ordinal first."""
        return (replica_name(self.name, ordinal) for ordinal in range(self.replicas))


class Plan(BaseModel):
    """Pools and assignment, checked to belong together.

    Attributes:
        pools: The pools, by name.
        assignment: For each replica the adapters it serves, with the share of each adapter's
            traffic; the shares of one adapter over all replicas add up to one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pools: tuple[Pool, ...]
    assignment: dict[str, dict[str, Share]]

    @model_validator(mode="after")
    def _pools_and_assignment_agree(self) -> Self:
        _check_pools(self.pools)
        _check_replicas(self.pools, self.assignment)
        _check_shares(self.assignment)
        return self

    @classmethod
    def build(cls, pools: tuple[Pool, ...], assignment: Mapping[str, Mapping[str, float]]) -> Self:
        """A plan in canonical order, or a `PlanError` in one sentence."""
        ordered = tuple(sorted(pools, key=lambda pool: pool.name))
        names = [name for pool in ordered for name in pool.replica_names()]
        unknown = [name for name in assignment if name not in names]
        mapping = {name: dict(sorted(assignment.get(name, {}).items())) for name in [*names, *unknown]}
        return cls._checked({"pools": ordered, "assignment": mapping})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise PlanError(f"plan: not JSON ({error})") from error
        return cls._checked(document)

    @classmethod
    def _checked(cls, document: Any) -> Self:
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise PlanError(_first_sentence(error)) from error

    def to_json(self) -> str:
        """Canonical JSON: the same plan always gives the same bytes."""
        return json.dumps(self._canonical, sort_keys=True, separators=(",", ":"))

    @property
    def replicas(self) -> int:
        """Replicas of all pools together."""
        return sum(pool.replicas for pool in self.pools)

    @cached_property
    def hash(self) -> str:
        """Ten hexadecimal digits that name this content; the order of its parts does not matter."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    @cached_property
    def shares(self) -> dict[str, dict[str, float]]:
        """The assignment turned around: for each adapter its replicas and their shares."""
        turned: dict[str, dict[str, float]] = {}
        for replica, adapters in self.assignment.items():
            for adapter, share in adapters.items():
                turned.setdefault(adapter, {})[replica] = share
        return turned

    def gpus(self, tensor_parallel_size: int = 1) -> int:
        """GPUs that the plan occupies."""
        return self.replicas * tensor_parallel_size

    @property
    def _canonical(self) -> dict[str, Any]:
        pools = sorted((pool.model_dump() for pool in self.pools), key=lambda pool: str(pool["name"]))
        return {"pools": pools, "assignment": self.assignment}


def to_fleet(plan: Plan, *, max_cpu_loras: int | None = None) -> list[FleetReplica]:
    """The plan as the twin's static fleet, in the order of pools and ordinals.

    Args:
        plan: The plan.
        max_cpu_loras: Adapters that host memory keeps; all of a replica's where it is None.
    """
    return [
        FleetReplica(
            name=name,
            config=ReplicaConfig(pool.max_loras, pool.max_lora_rank, max_cpu_loras),
            shares=tuple(sorted(plan.assignment[name].items())),
        )
        for pool in plan.pools
        for name in pool.replica_names()
    ]


def _check_pools(pools: tuple[Pool, ...]) -> None:
    names = [pool.name for pool in pools]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"pools: {name} is there twice; names of pools are unique")


def _check_replicas(pools: tuple[Pool, ...], assignment: Mapping[str, Mapping[str, float]]) -> None:
    expected = {name for pool in pools for name in pool.replica_names()}
    if strange := sorted(assignment.keys() - expected):
        raise ValueError(f"assignment: {strange[0]} is no replica of the plan's pools")
    if missing := sorted(expected - assignment.keys()):
        raise ValueError(f"assignment: the replica {missing[0]} is missing (it may be empty)")


def _check_shares(assignment: Mapping[str, Mapping[str, float]]) -> None:
    totals: dict[str, float] = {}
    for adapters in assignment.values():
        for adapter, share in adapters.items():
            totals[adapter] = totals.get(adapter, 0.0) + share
    for adapter, total in totals.items():
        if not math.isclose(total, 1.0, abs_tol=SHARE_TOLERANCE):
            raise ValueError(f"assignment: the shares of {adapter} add up to {total:.6g}, not to 1")


def _first_sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"plan: {where}: {message}" if where else f"plan: {message}"

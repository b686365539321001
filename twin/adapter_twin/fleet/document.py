"""Fleets in files: pools and assignment, as `adaptwin plan -o yaml` writes them."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from adapter_twin.errors import WorkloadError
from adapter_twin.fleet.model import Fleet, FleetReplica
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload.model import Adapter


class _Part(BaseModel):
    """Part of a plan; what else a plan says is of no concern here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PoolDocument(_Part):
    """Replicas with the same engine arguments."""

    name: str = Field(min_length=1)
    replicas: int = Field(ge=0)
    max_loras: int
    max_lora_rank: int


class DemandDocument(_Part):
    """An adapter and its demand."""

    name: str
    rate: float = Field(description="requests/s")
    rank: int


class FleetDocument(_Part):
    """A plan, read for its fleet."""

    pools: tuple[PoolDocument, ...]
    assignment: dict[str, dict[str, float]]
    adapters: tuple[DemandDocument, ...] = ()

    @field_validator("assignment", mode="before")
    @classmethod
    def _names_are_text(cls, assignment: Any) -> Any:
        """YAML reads a replica or an adapter named 7 as a number."""
        if not isinstance(assignment, dict):
            return assignment
        return {
            str(replica): {str(name): share for name, share in held.items()} if held else {}
            for replica, held in assignment.items()
        }

    def fleet(self, max_cpu_loras: int | None = None) -> Fleet:
        """Replicas in the order of pools and ordinals.

        Raises:
            WorkloadError: the assignment names a replica that no pool has.
        """
        replicas = [
            FleetReplica(
                name,
                ReplicaConfig(pool.max_loras, pool.max_lora_rank, max_cpu_loras),
                tuple(sorted(self.assignment.get(name, {}).items())),
            )
            for pool in self.pools
            for name in (f"{pool.name}-{ordinal}" for ordinal in range(pool.replicas))
        ]
        if strange := sorted(self.assignment.keys() - {replica.name for replica in replicas}):
            raise WorkloadError(f"assignment: {strange[0]} is no replica of the pools")
        return Fleet.of(replicas)

    def demand(self) -> tuple[Adapter, ...]:
        """The adapters with their rates, if the file says them."""
        return tuple(Adapter(adapter.name, adapter.rate, adapter.rank) for adapter in self.adapters)


def read_fleet(path: Path) -> FleetDocument:
    """A plan file, YAML or JSON.

    Raises:
        WorkloadError: it cannot be read, or holds no pools and assignment; the first problem, in a sentence.
    """
    try:
        return FleetDocument.model_validate(_parsed(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise WorkloadError(
            f"{path}: {field}: {first['msg']}; expected what `adaptwin plan -o yaml` writes"
        ) from error


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read, {error.strerror}") from error
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: is neither YAML nor JSON") from error

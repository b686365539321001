"""What the operator answers."""

from typing import Annotated, Literal

from pydantic import Field

from adapter_operator.api.base import ApiModel, KeyedBy

MAX_EXCEPTIONS = 20
MAX_HISTORY = 10
MAX_EXPLANATION = 20

_Count = Annotated[int, Field(ge=0)]
_Name = Annotated[str, Field(max_length=253)]
_Hash = Annotated[str, Field(max_length=64)]
_Message = Annotated[str, Field(max_length=1024)]
_Short = Annotated[str, Field(max_length=64)]
_Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
_Names = Annotated[tuple[_Name, ...], Field(max_length=10)]


class Condition(ApiModel):
    """A condition as Kubernetes defines it (`metav1.Condition`)."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[
        str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    ]
    message: Annotated[str, Field(max_length=32768)]
    last_transition_time: _Time
    observed_generation: _Count | None = None


class PoolStatus(ApiModel):
    """One pool of replicas with the same engine configuration."""

    name: _Name
    replicas: _Count
    ready_replicas: _Count = 0
    max_loras: _Count
    max_lora_rank: _Count
    adapters: _Count = 0
    generation: _Count = 0


class PlanStatus(ApiModel):
    """Where the applied plan is kept, and what it was made from."""

    config_map: _Name = ""
    generation: _Count = 0
    inputs_hash: _Hash = ""


class PredictionStatus(ApiModel):
    """What the plan is predicted to deliver: the worst replica, and the sum of tokens."""

    served_fraction_percent: Annotated[int, Field(ge=0, le=100)]
    tokens_per_second: _Count
    inter_token_latency: _Short | None = None
    time_to_first_token: _Short | None = None


class LowerBoundStatus(ApiModel):
    """The fewest GPUs that any plan could need, by the predictor's feasibility."""

    gpus: _Count
    statement: _Message = ""


class VerdictStatus(ApiModel):
    """What the twin says of the plan."""

    status: Literal["Verified", "Rejected"]
    reason: _Short = ""
    message: _Message = ""
    plan_hash: _Hash = ""
    profile_hash: _Hash = ""
    seeds: Annotated[tuple[_Count, ...], Field(max_length=20)] = ()
    horizon: _Short = ""
    served_fraction_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    tokens_per_second: _Count | None = None
    inter_token_latency: _Short | None = None
    time_to_first_token: _Short | None = None
    failing_replicas: _Names = ()
    starving_adapters: _Names = ()
    verified_at: _Time | None = None


class ObservedTraffic(ApiModel):
    """What traffic the plan rests on, and how old it is."""

    source: Literal["Declared", "Gateway", "Prometheus"]
    total_rate: _Short
    observed_at: _Time | None = None


class StatusException(ApiModel):
    """Something that is not as it should be: one adapter, replica or pool."""

    kind: Literal["Adapter", "Replica", "Pool"]
    name: _Name
    reason: _Short
    message: _Message = ""


class HistoryEntry(ApiModel):
    """One decision of the past, newest first."""

    decision_id: _Short = Field(alias="decisionID")
    time: _Time
    action: _Short
    reason: _Short = ""
    plan_hash: _Hash = ""
    replicas: _Count = 0
    message: _Message = ""


class Status(ApiModel):
    """What the operator decided, what became of it, and why."""

    observed_generation: _Count | None = None
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), KeyedBy("type")] = ()
    adapters: _Count | None = None
    replicas: _Count | None = None
    ready_replicas: _Count | None = None
    gpus: _Count | None = None
    pools: Annotated[tuple[PoolStatus, ...], Field(max_length=64), KeyedBy("name")] = ()
    plan_hash: _Hash | None = None
    plan: PlanStatus | None = None
    prediction: PredictionStatus | None = None
    lower_bound: LowerBoundStatus | None = None
    verdict: VerdictStatus | None = None
    explanation: Annotated[tuple[_Message, ...], Field(max_length=MAX_EXPLANATION)] = ()
    traffic: ObservedTraffic | None = None
    exceptions: Annotated[tuple[StatusException, ...], Field(max_length=MAX_EXCEPTIONS)] = ()
    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=MAX_HISTORY)] = ()

"""What a user asks for."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from adapter_operator.api.base import ApiModel, KeyedBy, Rule, unless
from adapter_operator.api.quantities import (
    DurationText,
    QuantityText,
    RequestRate,
    parse_duration_s,
    parse_quantity,
)
from adapter_operator.api.text import HttpUrl, ServedName
from adapter_operator.api.v1alpha1.engine import Engine
from adapter_operator.api.v1alpha1.sources import AdapterSource, ConfigMapKey, ModelSource, ProfileReference

MAX_ADAPTERS = 500
Rank = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]
Percent = Annotated[int, Field(ge=0, le=100)]
PositivePercent = Annotated[int, Field(ge=1, le=100)]


class Model(ApiModel):
    """The base model."""

    name: ServedName
    source: ModelSource
    served_name: ServedName | None = None

    @property
    def request_name(self) -> str:
        """The name by which requests ask for the base model."""
        return self.served_name or self.name


class Adapter(ApiModel):
    """One LoRA adapter."""

    name: ServedName
    source: AdapterSource
    rank: Rank
    rate: RequestRate | None = None
    min_replicas: Annotated[int, Field(ge=1, le=100)] = 1

    @property
    def rate_per_s(self) -> float | None:
        """The declared rate in requests per second, where one is declared."""
        return None if self.rate is None else parse_quantity(self.rate)


class AdapterList(ApiModel):
    """A ConfigMap key that holds more adapters, as a YAML or JSON list of the same shape."""

    config_map: ConfigMapKey


class Prometheus(ApiModel):
    """Where per-adapter request rates are read."""

    address: HttpUrl
    query: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class Arrivals(ApiModel):
    """How bursty declared traffic is."""

    process: Literal["Poisson", "Gamma"] = "Poisson"
    coefficient_of_variation: Annotated[str | int, QuantityText("0", "100", low_allowed=False)] | None = None

    rules: ClassVar = (
        Rule(
            "coefficientOfVariation belongs to process Gamma, which needs it",
            unless(
                lambda arrivals: (
                    (arrivals.process == "Gamma") == (arrivals.coefficient_of_variation is not None)
                ),
                "coefficientOfVariation",
            ),
        ),
    )

    @property
    def burstiness(self) -> float:
        """Coefficient of variation of the times between arrivals; 1 for Poisson."""
        written = self.coefficient_of_variation
        return 1.0 if written is None else parse_quantity(written)


class Tokens(ApiModel):
    """Mean lengths of declared requests, where they differ from the profile's assumptions."""

    prompt_mean: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    output_mean: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Traffic(ApiModel):
    """Where the rates come from."""

    source: Literal["Declared", "Gateway", "Prometheus"] = "Declared"
    prometheus: Prometheus | None = None
    window: Annotated[str, DurationText("1m", "24h")] = "10m"
    quantile_percent: PositivePercent = 95
    default_rate: RequestRate | None = None
    arrivals: Arrivals = Arrivals()
    tokens: Tokens = Tokens()

    rules: ClassVar = (
        Rule(
            "prometheus belongs to source Prometheus, which needs it",
            unless(
                lambda traffic: (traffic.source == "Prometheus") == (traffic.prometheus is not None),
                "prometheus",
            ),
        ),
    )

    @property
    def window_s(self) -> float:
        """The window of observation in seconds."""
        return parse_duration_s(self.window)

    @property
    def default_rate_per_s(self) -> float | None:
        """Requests per second of adapters that neither observation nor declaration gives a rate."""
        return None if self.default_rate is None else parse_quantity(self.default_rate)


class Objectives(ApiModel):
    """What must hold of every replica and every adapter."""

    served_fraction_percent: PositivePercent = 95
    inter_token_latency: Annotated[str, DurationText("1ms", "1m")] | None = None
    time_to_first_token: Annotated[str, DurationText("1ms", "1h")] | None = None
    headroom_percent: Percent = 10

    @property
    def inter_token_latency_s(self) -> float | None:
        """The mean time between two tokens of a request, in seconds, where it is an objective."""
        return None if self.inter_token_latency is None else parse_duration_s(self.inter_token_latency)

    @property
    def time_to_first_token_s(self) -> float | None:
        """The mean time until a request's first token, in seconds, where it is an objective."""
        return None if self.time_to_first_token is None else parse_duration_s(self.time_to_first_token)


class Scaling(ApiModel):
    """How many replicas there may be, and how briskly they change."""

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 8
    mode: Literal["Auto", "Recommend", "Paused"] = "Auto"
    scale_up_window: Annotated[str, DurationText("0s", "24h")] = "0s"
    scale_down_window: Annotated[str, DurationText("0s", "24h")] = "10m"
    moves_per_decision: Annotated[int, Field(ge=1, le=MAX_ADAPTERS)] = 50

    rules: ClassVar = (
        Rule(
            "minReplicas may not be above maxReplicas",
            unless(lambda scaling: scaling.min_replicas <= scaling.max_replicas, "minReplicas"),
        ),
    )

    @property
    def scale_up_window_s(self) -> float:
        """Seconds for which more replicas must be wanted before they are added."""
        return parse_duration_s(self.scale_up_window)

    @property
    def scale_down_window_s(self) -> float:
        """Seconds for which fewer replicas must suffice before some are removed."""
        return parse_duration_s(self.scale_down_window)


class Rollout(ApiModel):
    """What a change of engine configuration may cost."""

    max_surge_gpus: Annotated[int, Field(ge=0, le=1000)] = Field(default=1, alias="maxSurgeGPUs")
    max_unavailable: Annotated[int, Field(ge=0, le=1000)] = 1
    progress_deadline: Annotated[str, DurationText("1m", "24h")] = "30m"

    rules: ClassVar = (
        Rule(
            "maxSurgeGPUs and maxUnavailable may not both be 0, for then nothing could ever change",
            unless(lambda rollout: rollout.max_surge_gpus > 0 or rollout.max_unavailable > 0),
        ),
    )

    @property
    def progress_deadline_s(self) -> float:
        """Seconds after which a rollout without progress is given up."""
        return parse_duration_s(self.progress_deadline)


class Capacity(ApiModel):
    """Which GPUs there are to plan with."""

    mode: Literal["Fixed", "Elastic"] = "Fixed"
    max_gpus: Annotated[int, Field(ge=1, le=8000)] | None = Field(default=None, alias="maxGPUs")


class Verification(ApiModel):
    """How the twin judges a plan before it is applied."""

    runner: Literal["Inline", "Job"] = "Inline"
    horizon: Annotated[str, DurationText("1m", "24h")] = "1h"
    seeds: Annotated[int, Field(ge=1, le=20)] = 2
    on_failure: Literal["BestEffort", "KeepLast"] = "BestEffort"
    timeout: Annotated[str, DurationText("1s", "1h")] = "2m"

    @property
    def horizon_s(self) -> float:
        """Simulated seconds."""
        return parse_duration_s(self.horizon)

    @property
    def timeout_s(self) -> float:
        """Seconds of real time that one verification may take."""
        return parse_duration_s(self.timeout)


def _adapter_where(wrong: Callable[[Adapter, "Spec"], bool], field: str) -> Callable[["Spec"], str | None]:
    """A rule's `fault`: the field of the first adapter of which something is wrong."""

    def fault(spec: "Spec") -> str | None:
        at_fault = (index for index, adapter in enumerate(spec.adapters) if wrong(adapter, spec))
        index = next(at_fault, None)
        return None if index is None else f"adapters[{index}].{field}"

    return fault


class Spec(ApiModel):
    """What a user asks for: a model, its adapters, their traffic, and what must hold."""

    model: Model
    profile: ProfileReference
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    adapters: Annotated[tuple[Adapter, ...], Field(max_length=MAX_ADAPTERS), KeyedBy("name")] = ()
    adapters_from: Annotated[tuple[AdapterList, ...], Field(max_length=16)] = ()
    traffic: Traffic = Traffic()
    objectives: Objectives = Objectives()
    scaling: Scaling = Scaling()
    rollout: Rollout = Rollout()
    capacity: Capacity = Capacity()
    verification: Verification = Verification()
    engine: Engine = Engine()

    rules: ClassVar = (
        Rule(
            "adapters or adaptersFrom must name at least one adapter",
            unless(lambda spec: bool(spec.adapters or spec.adapters_from), "adapters"),
        ),
        Rule(
            "no adapter may have the name under which the base model is served",
            _adapter_where(lambda adapter, spec: adapter.name == spec.model.request_name, "name"),
        ),
        Rule(
            "an adapter needs a rate where traffic.defaultRate is not set",
            _adapter_where(
                lambda adapter, spec: adapter.rate is None and spec.traffic.default_rate is None, "rate"
            ),
        ),
        Rule(
            "an adapter's minReplicas may not be above scaling.maxReplicas",
            _adapter_where(
                lambda adapter, spec: adapter.min_replicas > spec.scaling.max_replicas, "minReplicas"
            ),
        ),
    )

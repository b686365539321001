"""What a user may say about the engine's pods: an allow-list, not a pod template."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from adapter_operator.api.base import ApiModel, KeyedBy, NoDuplicates, Rule, unless
from adapter_operator.api.quantities import ResourceQuantity
from adapter_operator.api.text import (
    AbsolutePath,
    ConfigKey,
    DnsLabel,
    DnsName,
    EngineArgument,
    EngineVersion,
    EnvName,
    Image,
    RelativePath,
)

RESERVED_ENVIRONMENT: Final = (
    "LD_PRELOAD",
    "PYTHONPATH",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_API_KEY",
    "VLLM_PLUGINS",
)
"""Variables that adaptwin sets itself, or that would run other code in the engine."""


class ResourceList(ApiModel):
    """Amounts of the resources that a user may set; the operator sets the GPUs from the profile."""

    cpu: ResourceQuantity | None = None
    memory: ResourceQuantity | None = None
    ephemeral_storage: ResourceQuantity | None = Field(default=None, alias="ephemeral-storage")


class Resources(ApiModel):
    """What the engine's container asks for and may use, besides GPUs."""

    requests: ResourceList = ResourceList()
    limits: ResourceList = ResourceList()


class ValueSource(ApiModel):
    """A key of a Secret or a ConfigMap in the object's namespace."""

    name: DnsName
    key: ConfigKey
    optional: bool = False


class EnvValueFrom(ApiModel):
    """Where a variable's value comes from: exactly one of the fields."""

    secret_key_ref: ValueSource | None = None
    config_map_key_ref: ValueSource | None = None

    rules: ClassVar = (
        Rule(
            "set exactly one of secretKeyRef and configMapKeyRef",
            unless(lambda origin: (origin.secret_key_ref is None) != (origin.config_map_key_ref is None)),
        ),
    )


class EnvVar(ApiModel):
    """An environment variable of the engine."""

    name: EnvName
    value: Annotated[str, Field(max_length=4096)] | None = None
    value_from: EnvValueFrom | None = None

    rules: ClassVar = (
        Rule(
            "set exactly one of value and valueFrom",
            unless(lambda variable: (variable.value is None) != (variable.value_from is None)),
        ),
        Rule(
            f"adaptwin sets this variable itself, as it does each of {', '.join(RESERVED_ENVIRONMENT)}",
            unless(lambda variable: variable.name not in RESERVED_ENVIRONMENT, "name"),
        ),
    )


class Toleration(ApiModel):
    """A taint that the engine's pods tolerate, as in a pod."""

    key: Annotated[str, Field(max_length=316)] | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None


class TopologySpread(ApiModel):
    """How a pool's pods spread over nodes or zones; the operator adds the selector."""

    topology_key: Annotated[str, Field(min_length=1, max_length=316)]
    max_skew: Annotated[int, Field(ge=1, le=100)] = 1
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = "ScheduleAnyway"


class LocalReference(ApiModel):
    """An object in the same namespace, by name."""

    name: DnsName


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim as a volume."""

    claim_name: DnsName
    read_only: bool = False


class EmptyDirVolume(ApiModel):
    """Scratch space that lives as long as the pod."""

    medium: Literal["Memory"] | None = None
    size_limit: ResourceQuantity | None = None


class Volume(ApiModel):
    """A volume of the engine's pods and where it is mounted: exactly one kind of volume."""

    name: DnsLabel
    mount_path: AbsolutePath
    sub_path: RelativePath | None = None
    persistent_volume_claim: ClaimVolume | None = None
    config_map: LocalReference | None = None
    empty_dir: EmptyDirVolume | None = None

    rules: ClassVar = (
        Rule(
            "set exactly one of persistentVolumeClaim, configMap and emptyDir",
            unless(
                lambda volume: (
                    sum(
                        kind is not None
                        for kind in (volume.persistent_volume_claim, volume.config_map, volume.empty_dir)
                    )
                    == 1
                )
            ),
        ),
    )


class Affinity(ApiModel):
    """Scheduling preferences, each as in a pod; the API server checks them with the StatefulSet."""

    node_affinity: dict[str, Any] | None = None
    pod_affinity: dict[str, Any] | None = None
    pod_anti_affinity: dict[str, Any] | None = None


def _repeated_argument(engine: "Engine") -> str | None:
    """A rule's `fault`: the first argument whose name was given before, with another value."""
    names = [argument.split("=")[0] for argument in engine.args]
    return next((f"args[{i}]" for i, name in enumerate(names) if name in names[:i]), None)


class Engine(ApiModel):
    """The engine's pods, as far as they are the user's to decide."""

    image: Image | None = None
    version: EngineVersion | None = None
    args: Annotated[tuple[EngineArgument, ...], Field(max_length=32), NoDuplicates()] = ()
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), KeyedBy("name")] = ()
    resources: Resources = Resources()
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    affinity: Affinity = Affinity()
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    topology_spread: Annotated[tuple[TopologySpread, ...], Field(max_length=8), KeyedBy("topology_key")] = ()
    priority_class_name: DnsName | None = None
    image_pull_secrets: Annotated[tuple[LocalReference, ...], Field(max_length=8), KeyedBy("name")] = ()
    volumes: Annotated[tuple[Volume, ...], Field(max_length=16), KeyedBy("name")] = ()

    rules: ClassVar = (Rule("each engine argument may be given once", _repeated_argument),)

    def argument(self, name: str) -> str | None:
        """The value that an engine argument is given, such as `argument("max-model-len")`."""
        prefix = f"--{name}="
        return next((item.removeprefix(prefix) for item in self.args if item.startswith(prefix)), None)

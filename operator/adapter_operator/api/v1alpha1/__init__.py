"""Models of the custom resource `AdapterDeployment`, group adaptwin.io, version v1alpha1."""

import re
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from adapter_operator.api.base import ApiModel, Rule, unless
from adapter_operator.api.v1alpha1.spec import Adapter, Spec
from adapter_operator.api.v1alpha1.status import Condition, Status

GROUP: Final = "adaptwin.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "AdapterDeployment"
PLURAL: Final = "adapterdeployments"
NAME_PATTERN: Final = "[a-z]([-a-z0-9]{0,38}[a-z0-9])?"
"""Objects' names: pools, replicas and their labels still fit in 63 characters with one of these before."""


class Metadata(BaseModel):
    """The part of an object's metadata that adaptwin reads; what else is there is left alone."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class AdapterDeployment(ApiModel):
    """A model and its adapters, served within objectives on as few GPUs as the twin will vouch for."""

    api_version: Literal["adaptwin.io/v1alpha1"] = "adaptwin.io/v1alpha1"
    kind: Literal["AdapterDeployment"] = "AdapterDeployment"
    metadata: Metadata
    spec: Spec
    status: Status = Status()

    rules: ClassVar = (
        Rule(
            "a name must be at most 40 lower-case letters, digits and '-', and begin with a letter",
            unless(lambda item: re.fullmatch(NAME_PATTERN, item.metadata.name) is not None, "metadata.name"),
        ),
    )

    def to_object(self) -> dict[str, Any]:
        """The object as Kubernetes takes it, without what is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "Adapter",
    "AdapterDeployment",
    "Condition",
    "Metadata",
    "Spec",
    "Status",
]

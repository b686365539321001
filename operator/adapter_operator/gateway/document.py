"""Routing tables as documents (YAML or JSON), for machines without Kubernetes."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from adapter_operator.gateway.errors import GatewayError
from adapter_operator.gateway.routing import (
    ANY_DOMAIN,
    Endpoint,
    Limits,
    RoutingTable,
    VirtualHost,
    routing_table,
)


def _checked_endpoint(text: str) -> str:
    """`address:port`, an IPv6 address in brackets."""
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("must be an address and a port, such as 10.0.0.7:8000")
    ip_address(address.strip("[]"))
    return text


EndpointText = Annotated[str, AfterValidator(_checked_endpoint)]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class LimitsDocument(_Document):
    """`Limits`, written down."""

    requests_per_adapter: int = Field(default=Limits.requests_per_adapter, ge=1, alias="requestsPerAdapter")
    body_bytes: int = Field(default=Limits.body_bytes, ge=1, le=1 << 30, alias="bodyBytes")
    idle_s: float = Field(default=Limits.idle_s, gt=0, alias="idleSeconds")


class HostDocument(_Document):
    """`VirtualHost`, written down."""

    name: Name = Field(pattern=r"^[^|]+$")
    domains: tuple[Name, ...] = (ANY_DOMAIN,)
    served_name: Name = Field(alias="servedName")
    base: tuple[EndpointText, ...] = ()
    adapters: dict[Name, tuple[EndpointText, ...]] = Field(default_factory=dict)
    lists_models: bool = Field(default=True, alias="listsModels")
    limits: LimitsDocument = LimitsDocument()

    def to_host(self) -> VirtualHost:
        """The value that it describes."""
        return VirtualHost(
            name=self.name,
            domains=self.domains,
            served_name=self.served_name,
            base=_endpoints(self.base),
            adapters={name: _endpoints(texts) for name, texts in self.adapters.items()},
            lists_models=self.lists_models,
            limits=Limits(**self.limits.model_dump()),
        )


class RoutingDocument(_Document):
    """`RoutingTable`, written down; hosts in the order of their precedence."""

    hosts: tuple[HostDocument, ...] = ()


def read_table(text: str, source: str) -> RoutingTable:
    """The routing table of a document.

    Args:
        text: YAML or JSON.
        source: The document's name, for errors.

    Raises:
        GatewayError: naming the field that is wrong.
    """
    try:
        document = RoutingDocument.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise GatewayError(f"{source}: not YAML ({str(error).splitlines()[0]})") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "document"
        raise GatewayError(f"{source}: {field}: {first['msg'].removeprefix('Value error, ')}") from error
    return routing_table(host.to_host() for host in document.hosts)


def to_document(table: RoutingTable) -> dict[str, object]:
    """What `read_table` reads."""
    return {
        "hosts": [
            {
                "name": host.name,
                "domains": list(host.domains),
                "servedName": host.served_name,
                "base": list(map(str, host.base)),
                "adapters": {name: list(map(str, found)) for name, found in host.adapters.items()},
                "listsModels": host.lists_models,
                "limits": {
                    "requestsPerAdapter": host.limits.requests_per_adapter,
                    "bodyBytes": host.limits.body_bytes,
                    "idleSeconds": host.limits.idle_s,
                },
            }
            for host in table.hosts
        ]
    }


def _endpoints(texts: tuple[str, ...]) -> tuple[Endpoint, ...]:
    split = (text.rpartition(":") for text in texts)
    return tuple(sorted(Endpoint(address.strip("[]"), int(port)) for address, _, port in split))

"""Who serves what: the routing table that the gateway brings to Envoy. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapter_operator.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANY_DOMAIN: Final = "*"
"""Requests whose Host header no other virtual host claims."""


@dataclass(frozen=True, order=True)
class Endpoint:
    """An engine that takes requests.

    Attributes:
        address: Its IP address.
        port: Its port.
    """

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Limits:
    """What one virtual host lets through.

    Attributes:
        requests_per_adapter: Requests of one adapter that may be in flight, in each Envoy; more get 503.
        body_bytes: Longest request body; longer ones get 413.
        idle_s: A stream on which nothing is sent for so long is ended.
    """

    requests_per_adapter: int = 1024
    body_bytes: int = 16 * 1024 * 1024
    idle_s: float = 600.0


@dataclass(frozen=True)
class VirtualHost:
    """The traffic of one AdapterDeployment.

    Attributes:
        name: The object's name, `namespace/name`; no look-up ever leaves it.
        domains: Host headers that choose it; `*` for all that no other host claims.
        served_name: The name of the base model.
        base: Engines that serve the base model: any that is ready.
        adapters: For each adapter the engines that hold it.
        lists_models: Whether `GET /v1/models` is answered, to anybody, with all names.
        limits: What it lets through.
    """

    name: str
    domains: tuple[str, ...]
    served_name: str
    base: tuple[Endpoint, ...] = ()
    adapters: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    lists_models: bool = True
    limits: Limits = Limits()


@dataclass(frozen=True)
class HostConflict:
    """Two virtual hosts that claim the same domain.

    Attributes:
        name: The one that is left out.
        domain: What both claim.
        owner: The one that keeps it.
    """

    name: str
    domain: str
    owner: str

    def __str__(self) -> str:
        return f"{self.name}: host {self.domain} belongs to {self.owner}"


@dataclass(frozen=True)
class RoutingTable:
    """Virtual hosts without overlap.

    Attributes:
        hosts: The virtual hosts, in the order of their precedence.
        conflicts: Those that were left out.
    """

    hosts: tuple[VirtualHost, ...] = ()
    conflicts: tuple[HostConflict, ...] = ()


def routing_table(hosts: Iterable[VirtualHost]) -> RoutingTable:
    """The table of these hosts; of two that claim a domain the earlier keeps it, the later is left out.

    Raises:
        GatewayError: a host has no domain, an adapter has the base model's name, or two hosts have one name.
    """
    kept: list[VirtualHost] = []
    conflicts: list[HostConflict] = []
    owners: dict[str, str] = {}
    for host in hosts:
        _require_valid(host, kept)
        taken = next((domain for domain in host.domains if domain.lower() in owners), None)
        if taken is not None:
            conflicts.append(HostConflict(host.name, taken, owners[taken.lower()]))
            continue
        owners |= dict.fromkeys((domain.lower() for domain in host.domains), host.name)
        kept.append(host)
    return RoutingTable(tuple(kept), tuple(conflicts))


def _require_valid(host: VirtualHost, earlier: Iterable[VirtualHost]) -> None:
    if any(other.name == host.name for other in earlier):
        raise GatewayError(f"hosts: {host.name} is there twice")
    if not host.domains:
        raise GatewayError(f"{host.name}: domains must name at least one host, or {ANY_DOMAIN}")
    if host.served_name in host.adapters:
        raise GatewayError(f"{host.name}: adapter {host.served_name} has the name of the base model")

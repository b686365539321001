"""All resources of a routing table, with versions that follow from their content. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter_operator.gateway.envoy.resources import clusters, load_assignments, route_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from adapter_operator.gateway.routing import RoutingTable

_PREFIX: Final = "type.googleapis.com/"
CLUSTER: Final = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
ROUTES: Final = f"{_PREFIX}envoy.config.route.v3.RouteConfiguration"


class Resource(NamedTuple):
    """One resource: its version, which is a hash of its content, and the content."""

    version: str
    content: bytes


Resources = dict[str, Resource]


@dataclass(frozen=True)
class Snapshot:
    """What Envoy should know at one moment: resources by type and name."""

    resources: Mapping[str, Resources] = field(
        default_factory=lambda: {CLUSTER: {}, ENDPOINTS: {}, ROUTES: {}}
    )

    @property
    def version(self) -> str:
        """A hash of all of it."""
        digest = blake2b(digest_size=8)
        for kind in sorted(self.resources):
            for name in sorted(self.resources[kind]):
                digest.update(f"{kind}\0{name}\0{self.resources[kind][name].version}\0".encode())
        return digest.hexdigest()


def snapshot_of(table: RoutingTable) -> Snapshot:
    """The snapshot of a routing table."""
    routes = route_configuration(table)
    return Snapshot(
        {
            CLUSTER: {cluster.name: _resource(cluster) for cluster in clusters(table)},
            ENDPOINTS: {load.cluster_name: _resource(load) for load in load_assignments(table)},
            ROUTES: {routes.name: _resource(routes)},
        }
    )


def _resource(message: Message) -> Resource:
    content = message.SerializeToString(deterministic=True)
    return Resource(blake2b(content, digest_size=8).hexdigest(), content)

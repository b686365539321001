"""One Envoy's side of the delta protocol: what it asked for, what it has, and so what it is to be sent. Pure.

Order matters while something changes: engines must be reachable before anything points to them, and nothing
may point to what goes. So endpoints are sent first, then new clusters, then routes; clusters that are gone go
last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from adapter_operator.gateway.discovery.snapshot import CLUSTER, ENDPOINTS, ROUTES, Resource, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

WILDCARD: Final = "*"
RESOURCES_PER_RESPONSE: Final = 2000
"""Messages stay well below what gRPC allows."""


@dataclass
class Subscription:
    """What an Envoy knows of one type of resource.

    Attributes:
        names: The resources it asked for by name.
        wildcard: Whether it wants all there are.
        known: Versions that it was sent, by name.
    """

    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    known: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Whether it asked for this resource."""
        return self.wildcard or name in self.names


@dataclass(frozen=True)
class Refusal:
    """An Envoy did not accept what it was sent.

    Attributes:
        kind: The type of resource.
        message: Why, in Envoy's words.
    """

    kind: str
    message: str


class DiscoveryStream:
    """The state of one stream. Every method yields the responses to send, in order."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._subscriptions: dict[str, Subscription] = {}
        self._unconfirmed: dict[str, str] = {}
        self._nonces = count(1)

    @property
    def confirmed(self) -> bool:
        """Whether everything that was sent was acknowledged."""
        return not self._unconfirmed

    def answer(self, request: DeltaDiscoveryRequest) -> Iterator[DeltaDiscoveryResponse]:
        """What a request calls for: the resources that it newly asks for."""
        if request.response_nonce:
            self._unconfirmed.pop(request.response_nonce, None)
        kind = request.type_url
        first = kind not in self._subscriptions
        subscription = self._subscriptions.setdefault(kind, Subscription())
        asked = set(request.resource_names_subscribe)
        if first:
            subscription.known |= dict(request.initial_resource_versions)
            subscription.wildcard = not asked
        if WILDCARD in asked:
            subscription.wildcard = True
            asked.discard(WILDCARD)
        subscription.names |= asked
        for name in request.resource_names_unsubscribe:
            self._unsubscribe(subscription, name)
        fresh = asked - set(request.initial_resource_versions)
        for name in fresh:
            subscription.known.pop(name, None)
        if first or asked:
            yield from self._respond(kind, *self._difference(kind), missing=fresh, always=first)

    def _unsubscribe(self, subscription: Subscription, name: str) -> None:
        if name == WILDCARD:
            subscription.wildcard = False
        subscription.names.discard(name)
        if not subscription.wildcard:
            subscription.known.pop(name, None)

    def update(self, snapshot: Snapshot) -> Iterator[DeltaDiscoveryResponse]:
        """What changes with a new snapshot, in the order in which it does no harm."""
        self._snapshot = snapshot
        changed, gone = self._difference(CLUSTER)
        endpoints, lost = self._difference(ENDPOINTS)
        yield from self._respond(ENDPOINTS, endpoints, [])
        yield from self._respond(CLUSTER, changed, [])
        yield from self._respond(ROUTES, *self._difference(ROUTES))
        yield from self._respond(CLUSTER, {}, gone)
        yield from self._respond(ENDPOINTS, {}, lost)

    def _difference(self, kind: str) -> tuple[dict[str, Resource], list[str]]:
        """Resources that it lacks or has in another version, and names that it has and that are gone."""
        subscription = self._subscriptions.get(kind)
        if subscription is None:
            return {}, []
        resources: Mapping[str, Resource] = self._snapshot.resources.get(kind, {})
        known = subscription.known
        changed = {
            name: resource
            for name, resource in resources.items()
            if subscription.wants(name) and known.get(name) != resource.version
        }
        return changed, [name for name in known if name not in resources]

    def _respond(
        self,
        kind: str,
        changed: Mapping[str, Resource],
        gone: Iterable[str],
        *,
        missing: Iterable[str] = (),
        always: bool = False,
    ) -> Iterator[DeltaDiscoveryResponse]:
        """Responses that carry these changes, and that say so of names asked for that do not exist."""
        resources = self._snapshot.resources.get(kind, {})
        removed = [*gone, *(name for name in missing if name not in resources)]
        pieces = list(_pieces(list(changed.items()))) or ([[]] if removed or always else [])
        for piece in pieces:
            response = DeltaDiscoveryResponse(type_url=kind, nonce=str(next(self._nonces)))
            response.system_version_info = self._snapshot.version
            for name, resource in piece:
                entry = response.resources.add(name=name, version=resource.version)
                entry.resource.type_url = kind
                entry.resource.value = resource.content
            if piece is pieces[-1]:
                response.removed_resources.extend(removed)
            self._remember(kind, response)
            yield response

    def _remember(self, kind: str, response: DeltaDiscoveryResponse) -> None:
        known = self._subscriptions[kind].known
        known |= {resource.name: resource.version for resource in response.resources}
        for name in response.removed_resources:
            known.pop(name, None)
        self._unconfirmed[response.nonce] = kind


def refusal(request: DeltaDiscoveryRequest) -> Refusal | None:
    """The refusal that a request carries, if it does."""
    if not request.HasField("error_detail"):
        return None
    return Refusal(request.type_url, request.error_detail.message)


def _pieces(items: list[tuple[str, Resource]]) -> Iterator[list[tuple[str, Resource]]]:
    for start in range(0, len(items), RESOURCES_PER_RESPONSE):
        yield items[start : start + RESOURCES_PER_RESPONSE]

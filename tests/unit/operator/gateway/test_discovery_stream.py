"""The delta protocol: an Envoy that applies what it is sent knows what it asked for, whatever happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_operator.gateway.discovery.snapshot import CLUSTER, ENDPOINTS, ROUTES, Snapshot, snapshot_of
from adapter_operator.gateway.discovery.stream import DiscoveryStream, refusal
from adapter_operator.gateway.routing import Endpoint, VirtualHost, routing_table

ENGINES = [Endpoint("10.0.0.1", port) for port in (8000, 8001, 8002)]


def snapshot(adapters: dict[str, tuple[Endpoint, ...]]) -> Snapshot:
    return snapshot_of(routing_table([VirtualHost("ns/a", ("*",), "base", (ENGINES[0],), adapters)]))


@dataclass
class Envoy:
    """What Envoy does with the protocol: all clusters, their endpoints by name, one route configuration."""

    resources: dict[str, dict[str, bytes]] = field(
        default_factory=lambda: {CLUSTER: {}, ENDPOINTS: {}, ROUTES: {}}
    )
    order: list[tuple[str, str]] = field(default_factory=list)

    def connect(self, stream: DiscoveryStream) -> None:
        self._say(stream, DeltaDiscoveryRequest(type_url=CLUSTER))
        self._say(stream, DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=["models"]))

    def reconnect(self, stream: DiscoveryStream, versions: dict[str, dict[str, str]]) -> int:
        """With what it still knows; how many resources it is sent."""
        sent = 0
        for kind in (CLUSTER, ENDPOINTS, ROUTES):
            names = [] if kind == CLUSTER else list(self.resources[kind])
            request = DeltaDiscoveryRequest(
                type_url=kind, resource_names_subscribe=names, initial_resource_versions=versions[kind]
            )
            for response in list(stream.answer(request)):
                sent += len(response.resources)
                self.apply(stream, response)
        return sent

    def _say(self, stream: DiscoveryStream, request: DeltaDiscoveryRequest) -> None:
        for response in list(stream.answer(request)):
            self.apply(stream, response)

    def apply(self, stream: DiscoveryStream, response: DeltaDiscoveryResponse) -> None:
        kind = response.type_url
        added = [
            resource.name for resource in response.resources if resource.name not in self.resources[kind]
        ]
        for resource in response.resources:
            self.resources[kind][resource.name] = resource.resource.value
            self.order.append((kind, f"+{resource.name}"))
        gone = [
            name for name in response.removed_resources if self.resources[kind].pop(name, None) is not None
        ]
        self.order.extend((kind, f"-{name}") for name in gone)
        self._say(stream, DeltaDiscoveryRequest(type_url=kind, response_nonce=response.nonce))
        if kind == CLUSTER and (added or gone):
            self._say(
                stream,
                DeltaDiscoveryRequest(
                    type_url=ENDPOINTS, resource_names_subscribe=added, resource_names_unsubscribe=gone
                ),
            )
            for name in gone:
                self.resources[ENDPOINTS].pop(name, None)

    def update(self, stream: DiscoveryStream, new: Snapshot) -> None:
        for response in list(stream.update(new)):
            self.apply(stream, response)


def knows(envoy: Envoy, wanted: Snapshot) -> bool:
    return all(
        envoy.resources[kind] == {name: resource.content for name, resource in resources.items()}
        for kind, resources in wanted.resources.items()
    )


assignments = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d.e/f"]), st.lists(st.sampled_from(ENGINES), unique=True).map(tuple)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(assignments, min_size=1, max_size=6))
def test_after_any_sequence_of_tables_an_envoy_knows_the_last(tables):
    stream = DiscoveryStream(snapshot(tables[0]))
    envoy = Envoy()
    envoy.connect(stream)
    for table in tables:
        envoy.update(stream, snapshot(table))
        assert knows(envoy, snapshot(table))
    assert stream.confirmed


@settings(max_examples=40, deadline=None)
@given(assignments, assignments)
def test_an_envoy_that_comes_back_is_sent_only_what_it_lacks(before, after):
    envoy = Envoy()
    envoy.connect(DiscoveryStream(snapshot(before)))
    versions = {
        kind: {name: resource.version for name, resource in resources.items()}
        for kind, resources in snapshot(before).resources.items()
    }
    sent = envoy.reconnect(DiscoveryStream(snapshot(after)), versions)
    assert knows(envoy, snapshot(after))
    if before == after:
        assert sent == 0


def test_nothing_is_sent_twice():
    stream = DiscoveryStream(snapshot({"a": (ENGINES[0],)}))
    envoy = Envoy()
    envoy.connect(stream)
    assert list(stream.update(snapshot({"a": (ENGINES[0],)}))) == []


def test_endpoints_come_before_routes_and_clusters_go_last():
    stream = DiscoveryStream(snapshot({"old": (ENGINES[0],), "kept": (ENGINES[0],)}))
    envoy = Envoy()
    envoy.connect(stream)
    envoy.order.clear()
    envoy.update(stream, snapshot({"new": (ENGINES[1],), "kept": (ENGINES[1],)}))
    told = [entry for entry in envoy.order if entry[0] != ROUTES or entry[1].startswith("+")]
    assert told == [
        (ENDPOINTS, "+ns/a|kept"),
        (CLUSTER, "+ns/a|new"),
        (ENDPOINTS, "+ns/a|new"),
        (ROUTES, "+models"),
        (CLUSTER, "-ns/a|old"),
    ]


def test_a_name_that_does_not_exist_is_answered_so():
    stream = DiscoveryStream(snapshot({}))
    request = DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=["ns/a|nobody"])
    (response,) = stream.answer(request)
    assert list(response.removed_resources) == ["ns/a|nobody"]


def test_a_refusal_is_told_with_its_reason():
    request = DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce="1")
    assert refusal(request) is None
    request.error_detail.message = "no such field"
    assert refusal(request).message == "no such field"

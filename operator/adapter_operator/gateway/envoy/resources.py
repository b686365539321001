"""Clusters, endpoints and routes of a routing table, as Envoy's messages."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_components_pb2 import LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.json_format import ParseDict

from adapter_operator.gateway.envoy.bootstrap import HOST_FILTER, HOST_HEADER, MODEL_HEADER, ROUTES, typed
from adapter_operator.gateway.envoy.names import BASE_NAMES, cluster_name, stat_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter_operator.gateway.routing import Endpoint, RoutingTable, VirtualHost

INFERENCE_PATHS: Final = (
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
)
"""What is routed to engines, by POST; nothing else is: not loading adapters, not putting engines to sleep."""

MODELS_PATH: Final = "/v1/models"
HEALTH_PATH: Final = "/health"
UPSTREAM_IDLE_S: Final = 4
"""vLLM closes idle connections after 5 s; a pool that keeps them longer meets resets."""

RETRIES: Final = 2
EJECTION_S: Final = 10
_NO_LIMIT: Final = 1 << 20
_MESSAGES: Final = (header_mutation_pb2, http_protocol_options_pb2, previous_hosts_pb2)
"""Imported so that their messages are known where typed configurations are packed."""


def clusters(table: RoutingTable) -> Iterator[Cluster]:
    """One cluster per model of each virtual host."""
    for host in table.hosts:
        for model, _ in _models(host):
            name = cluster_name(host.name, model)
            cluster = Cluster()
            cluster.CopyFrom(_cluster_template(host.limits.requests_per_adapter))
            cluster.name = name
            cluster.alt_stat_name = stat_name(name)
            yield cluster


def load_assignments(table: RoutingTable) -> Iterator[ClusterLoadAssignment]:
    """The endpoints of every cluster; adapters that share replicas share the message that lists them."""
    known: dict[tuple[Endpoint, ...], LocalityLbEndpoints] = {}
    for host in table.hosts:
        for model, endpoints in _models(host):
            if endpoints not in known:
                known[endpoints] = _locality(endpoints)
            assignment = ClusterLoadAssignment(cluster_name=cluster_name(host.name, model))
            assignment.endpoints.add().CopyFrom(known[endpoints])
            yield assignment


def route_configuration(table: RoutingTable) -> RouteConfiguration:
    """All virtual hosts. A request chooses one by its Host header, and a cluster within it by its model."""
    longest = max((len(_models_page(host)) for host in table.hosts), default=0)
    return ParseDict(
        {
            "name": ROUTES,
            "virtual_hosts": [_virtual_host(host) for host in table.hosts],
            "max_direct_response_body_size_bytes": max(4096, longest),
        },
        RouteConfiguration(),
    )


def _models(host: VirtualHost) -> Iterator[tuple[str, tuple[Endpoint, ...]]]:
    """Every model by which requests may ask, with its endpoints; the base model by name and by no name."""
    for name in (*BASE_NAMES, host.served_name):
        if name not in host.adapters:
            yield name, host.base
    yield from host.adapters.items()


@cache
def _cluster_template(requests: int) -> Cluster:
    breaker = {
        "max_connections": _NO_LIMIT,  # or requests would queue for one, instead of being refused
        "max_pending_requests": requests,
        "max_requests": requests,
        "max_retries": max(3, requests // 5),
    }
    options = typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http_protocol_options": {}},
        common_http_protocol_options={"idle_timeout": f"{UPSTREAM_IDLE_S}s"},
    )
    return ParseDict(
        {
            "type": "EDS",
            "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
            "connect_timeout": "2s",
            "lb_policy": "LEAST_REQUEST",
            "ignore_health_on_host_removal": True,
            "circuit_breakers": {"thresholds": [breaker]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
            },
            "outlier_detection": {
                "split_external_local_origin_errors": True,
                "consecutive_local_origin_failure": 2,
                "enforcing_consecutive_local_origin_failure": 100,
                "consecutive_gateway_failure": 5,
                "enforcing_consecutive_gateway_failure": 100,
                "enforcing_success_rate": 0,
                "enforcing_local_origin_success_rate": 0,
                "interval": "2s",
                "base_ejection_time": f"{EJECTION_S}s",
                "max_ejection_percent": 50,
            },
        },
        Cluster(),
    )


def _locality(endpoints: tuple[Endpoint, ...]) -> LocalityLbEndpoints:
    locality = LocalityLbEndpoints()
    for endpoint in endpoints:
        socket = locality.lb_endpoints.add().endpoint.address.socket_address
        socket.address = endpoint.address
        socket.port_value = endpoint.port
    return locality


def _virtual_host(host: VirtualHost) -> dict[str, Any]:
    header = {
        "header": {"key": HOST_HEADER, "value": host.name},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return {
        "name": host.name,
        "domains": list(host.domains),
        "request_body_buffer_limit": host.limits.body_bytes,
        "routes": [*_inference_routes(host), *_other_routes(host)],
        "request_headers_to_remove": [HOST_HEADER, MODEL_HEADER],
        "typed_per_filter_config": {
            HOST_FILTER: typed(
                "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
                mutations={"request_mutations": [{"append": header}]},
            )
        },
    }


def _inference_routes(host: VirtualHost) -> list[dict[str, Any]]:
    return [
        {
            "match": {"path": path, "headers": [_method("POST")]},
            "route": {
                "cluster_header": MODEL_HEADER,
                "cluster_not_found_response_code": "NOT_FOUND",
                "timeout": "0s",
                "idle_timeout": f"{host.limits.idle_s:g}s",
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,reset-before-request",
                    "num_retries": RETRIES,
                    "retry_host_predicate": [
                        {
                            "name": "envoy.retry_host_predicates.previous_hosts",
                            "typed_config": typed(
                                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                            ),
                        }
                    ],
                    "host_selection_retry_max_attempts": 3,
                },
            },
        }
        for path in INFERENCE_PATHS
    ]


def _other_routes(host: VirtualHost) -> list[dict[str, Any]]:
    routes = [
        {"match": {"path": HEALTH_PATH, "headers": [_method("GET")]}, "direct_response": {"status": 200}}
    ]
    if host.lists_models:
        routes.append(
            {
                "match": {"path": MODELS_PATH, "headers": [_method("GET")]},
                "direct_response": {"status": 200, "body": {"inline_string": _models_page(host)}},
                "response_headers_to_add": [{"header": {"key": "content-type", "value": "application/json"}}],
            }
        )
    return routes


def _method(name: str) -> dict[str, Any]:
    return {"name": ":method", "string_match": {"exact": name}}


def _models_page(host: VirtualHost) -> str:
    """What vLLM answers to `GET /v1/models`, of all replicas together."""
    base = {"id": host.served_name, "object": "model", "created": 0, "owned_by": "adaptwin", "parent": None}
    adapters = [base | {"id": name, "parent": host.served_name} for name in sorted(host.adapters)]
    return json.dumps({"object": "list", "data": [base, *adapters]}, separators=(",", ":"))

"""Envoy's bootstrap: listeners and filters never change; routes, clusters and endpoints are discovered.

The virtual host writes its name into a header, the model in the body's JSON becomes dynamic metadata, both
together become a header, and that header names the cluster. The order matters: a filter that looks for its
configuration in the route fixes the route, until `json_to_metadata` makes Envoy look for it again. No code of
ours is in the data path.
"""

from typing import Any, Final

from adapter_operator.gateway.envoy.errors import local_replies
from adapter_operator.gateway.envoy.names import METADATA, MODEL_KEY, MODEL_METADATA, NOT_JSON, SEPARATOR
from adapter_operator.gateway.envoy.tokens import access_log, response_token_rules, streamed_token_filter
from adapter_operator.gateway.settings import EnvoySettings, TlsSettings

Config = dict[str, Any]

DISCOVERY_CLUSTER: Final = "xds"
ADMIN_CLUSTER: Final = "admin"
ROUTES: Final = "models"
HOST_HEADER: Final = "x-adaptwin-host"
MODEL_HEADER: Final = "x-adaptwin-model"
HOST_FILTER: Final = "adaptwin.host"

LOOPBACK: Final = "127.0.0.1"
REQUEST_S: Final = 300
"""A request that has not arrived as a whole by then is given up."""
MAX_CONNECTIONS: Final = 65_536

_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_JSON_TO_METADATA: Final = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def typed(name: str, **fields: Any) -> Config:
    """A typed configuration of Envoy's."""
    return {"@type": f"type.googleapis.com/{name}", **fields}


def bootstrap(settings: EnvoySettings, node: str) -> Config:
    """The whole bootstrap, to be written as JSON or YAML.

    Args:
        settings: Ports and options.
        node: This Envoy's name.
    """
    return {
        "node": {"id": node, "cluster": "adaptwin-gateway"},
        "admin": {"address": _address(LOOPBACK, settings.admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": DISCOVERY_CLUSTER}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [_discovery_cluster(settings), _admin_cluster(settings)],
            "listeners": [_listener(settings), _observation_listener(settings)],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": typed(
                        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        max_active_downstream_connections=MAX_CONNECTIONS,
                    ),
                }
            ]
        },
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 1000}}]
        },
    }


def _address(address: str, port: int) -> Config:
    return {"socket_address": {"address": address, "port_value": port}}


def _discovery_cluster(settings: EnvoySettings) -> Config:
    http2 = typed(
        _HTTP_OPTIONS,
        explicit_http_config={
            "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
        },
    )
    return _static_cluster(DISCOVERY_CLUSTER, settings.discovery_port) | {
        "typed_extension_protocol_options": {_HTTP_OPTIONS: http2}
    }


def _admin_cluster(settings: EnvoySettings) -> Config:
    return _static_cluster(ADMIN_CLUSTER, settings.admin_port)


def _static_cluster(name: str, port: int) -> Config:
    endpoint = {"endpoint": {"address": _address(LOOPBACK, port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _listener(settings: EnvoySettings) -> Config:
    chain: Config = {"filters": [_network_filter(_connection_manager(settings))]}
    if settings.tls is not None:
        chain["transport_socket"] = _tls(settings.tls)
    return {
        "name": "clients",
        "address": _address(settings.address, settings.port),
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [chain],
    }


def _connection_manager(settings: EnvoySettings) -> Config:
    return typed(
        _HCM,
        stat_prefix="clients",
        rds={"route_config_name": ROUTES, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        http_filters=_http_filters(settings),
        access_log=access_log(),
        local_reply_config=local_replies(),
        common_http_protocol_options={
            "idle_timeout": "3600s",
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        stream_idle_timeout="0s",
        request_headers_timeout="10s",
        request_timeout=f"{REQUEST_S}s",
        delayed_close_timeout="1s",
        drain_timeout="10s",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        strip_any_host_port=True,
        server_name="adaptwin",
        generate_request_id=False,
    )


def _http_filters(settings: EnvoySettings) -> list[Config]:
    filters = [
        {"name": HOST_FILTER, "typed_config": _mutation({"remove": HOST_HEADER})},
        _http_filter("json_to_metadata", _model_of_body()),
        _http_filter("header_mutation", _mutation({"append": _cluster_header()})),
    ]
    if settings.counts_streamed_tokens:
        filters.append(_http_filter("sse_to_metadata", streamed_token_filter()))
    return [*filters, _http_filter("router", typed("envoy.extensions.filters.http.router.v3.Router"))]


def _http_filter(name: str, config: Config) -> Config:
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}


def _network_filter(manager: Config) -> Config:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _model_of_body() -> Config:
    """The body's `model` as metadata; the tokens of an answer as well.

    An empty model is written nowhere, and where nothing is written the route is not looked for again: hence
    the second rule.
    """
    found = {"metadata_namespace": METADATA, "key": MODEL_KEY}
    seen = {"metadata_namespace": METADATA, "key": "seen", "value": True}
    selectors = [{"key": "model"}]
    model = {
        "selectors": selectors,
        "on_present": found | {"type": "STRING"},
        "on_missing": found | {"value": ""},
        "on_error": found | {"value": NOT_JSON},
    }
    return typed(
        _JSON_TO_METADATA,
        request_rules={
            "rules": [model, {"selectors": selectors, "on_present": seen}],
            "allow_content_types_regex": {"regex": "application/json(;.*)?"},
        },
        response_rules=response_token_rules(),
    )


def _cluster_header() -> Config:
    """Replaces whatever a client sent under this name."""
    value = f"%REQ({HOST_HEADER})%{SEPARATOR}{MODEL_METADATA}"
    return {"header": {"key": MODEL_HEADER, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _mutation(*mutations: Config) -> Config:
    return typed(
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": list(mutations)},
    )


def _observation_listener(settings: EnvoySettings) -> Config:
    """GET /ready and GET /stats/prometheus, and nothing else of the admin interface."""
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    routes = [
        {"match": {"path": path, "headers": [get]}, "route": {"cluster": ADMIN_CLUSTER}}
        for path in ("/ready", "/stats/prometheus")
    ]
    manager = typed(
        _HCM,
        stat_prefix="observation",
        normalize_path=True,
        http_filters=[_http_filter("router", typed("envoy.extensions.filters.http.router.v3.Router"))],
        route_config={"virtual_hosts": [{"name": "admin", "domains": ["*"], "routes": routes}]},
    )
    return {
        "name": "observation",
        "address": _address(settings.address, settings.observation_port),
        "filter_chains": [{"filters": [_network_filter(manager)]}],
    }


def _tls(tls: TlsSettings) -> Config:
    """Certificate files, watched: a renewed certificate is taken without a restart."""
    certificate = {
        "certificate_chain": {"filename": str(tls.certificate)},
        "private_key": {"filename": str(tls.key)},
        "watched_directory": {"path": str(tls.certificate.parent)},
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificates": [certificate],
            },
        ),
    }

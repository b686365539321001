"""The command `adaptwin gateway`."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry, start_http_server

from adapter_operator.gateway.envoy.bootstrap import LOOPBACK, bootstrap
from adapter_operator.gateway.errors import GatewayError
from adapter_operator.gateway.metrics import GatewayMetrics
from adapter_operator.gateway.run import run_gateway
from adapter_operator.gateway.settings import EnvoySettings, TlsSettings
from adapter_operator.gateway.sources.cluster import tables_of_cluster
from adapter_operator.gateway.sources.file import tables_in
from adapter_operator.kubernetes.logs import configure_logging
from adapter_operator.settings import LogFormat, LogLevel

app = typer.Typer(
    help="Tell Envoy which replicas hold which adapters.", no_args_is_help=True, add_completion=False
)

DiscoveryPort = Annotated[
    int, typer.Option(min=1, max=65535, help="Where Envoy asks for routes, on loopback.")
]

_DEFAULTS = EnvoySettings()


@app.callback()
def gateway() -> None:
    """Tell Envoy which replicas hold which adapters."""


@app.command()
def run(
    routes: Annotated[
        Path | None,
        typer.Option(help="Routing table (YAML or JSON), read again when it changes.", dir_okay=False),
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="Route the AdapterDeployments of this namespace of a cluster.")
    ] = "",
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", help="Route those of all namespaces.")
    ] = False,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Kubeconfig file; the pod's account if absent."),
    ] = None,
    discovery_port: DiscoveryPort = _DEFAULTS.discovery_port,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Prometheus metrics; 0 for none.")] = 0,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines are written.")] = "json",
    log_level: Annotated[LogLevel, typer.Option(help="The least severe line that is written.")] = "info",
) -> None:
    """Serve routes, clusters and endpoints to Envoy, and every change of them, until stopped."""
    if [routes is not None, bool(namespace), all_namespaces].count(True) != 1:
        raise GatewayError("give one of --routes, --namespace and --all-namespaces")
    configure_logging(log_format, log_level)
    tables = tables_in(routes) if routes is not None else tables_of_cluster(kubeconfig, namespace)
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    if metrics_port:
        start_http_server(metrics_port, registry=registry)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_gateway(tables, metrics, LOOPBACK, discovery_port))


@app.command(name="bootstrap")
def print_bootstrap(
    node: Annotated[
        str, typer.Option(envvar="POD_NAME", help="This Envoy's name; the host's if absent.")
    ] = "",
    address: Annotated[str, typer.Option(help="Where clients connect.")] = _DEFAULTS.address,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for clients.")] = _DEFAULTS.port,
    observation_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of /ready and /stats/prometheus.")
    ] = _DEFAULTS.observation_port,
    admin_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of Envoy's admin interface, on loopback.")
    ] = _DEFAULTS.admin_port,
    discovery_port: DiscoveryPort = _DEFAULTS.discovery_port,
    tls_certificate: Annotated[Path | None, typer.Option(help="Certificate chain for clients (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    streamed_tokens: Annotated[
        bool,
        typer.Option(help="Count the tokens of streamed answers, with a filter that Envoy calls unfinished."),
    ] = _DEFAULTS.counts_streamed_tokens,
) -> None:
    """Print the configuration that Envoy is started with: `envoy -c FILE`."""
    if (tls_certificate is None) != (tls_key is None):
        raise GatewayError("--tls-certificate and --tls-key: give both, or neither")
    settings = EnvoySettings(
        address=address,
        port=port,
        observation_port=observation_port,
        admin_port=admin_port,
        discovery_port=discovery_port,
        tls=TlsSettings(certificate=tls_certificate, key=tls_key) if tls_certificate and tls_key else None,
        counts_streamed_tokens=streamed_tokens,
    )
    typer.echo(json.dumps(bootstrap(settings, node or socket.gethostname()), indent=2))

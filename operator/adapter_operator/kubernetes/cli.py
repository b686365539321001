"""The command `adaptwin operator`."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from adapter_operator.kubernetes.logs import configure_logging
from adapter_operator.kubernetes.operator import run_operator
from adapter_operator.settings import (
    LeaderSettings,
    LogFormat,
    LogLevel,
    OperatorSettings,
    PlanningSettings,
    QueueSettings,
    ServerSettings,
)

app = typer.Typer(help="Run the Kubernetes operator.", no_args_is_help=True, add_completion=False)


@app.callback()
def operator() -> None:
    """Run the Kubernetes operator."""


@app.command()
def run(
    namespace: Annotated[
        list[str] | None, typer.Option(help="Namespace to watch; may be given several times.")
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", help="Watch all namespaces.")] = False,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Kubeconfig file; the pod's account if absent."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Objects reconciled at the same time.")] = 32,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that plan and verify, one core each.")
    ] = 2,
    resync: Annotated[
        float, typer.Option(min=1.0, help="Seconds after which all is looked at again.")
    ] = 300.0,
    leader_election: Annotated[
        bool, typer.Option(help="Wait for the Lease before acting; needed for several replicas.")
    ] = True,
    lease_namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Namespace of the Lease.")
    ] = "default",
    identity: Annotated[
        str, typer.Option(envvar="POD_NAME", help="This process's name; the host's and its pid if absent.")
    ] = "",
    bind_address: Annotated[str, typer.Option(help="Address of metrics and liveness.")] = "0.0.0.0",  # noqa: S104
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Prometheus metrics; 0 for none.")
    ] = 9090,
    liveness_port: Annotated[int, typer.Option(min=0, max=65535, help="Liveness probe; 0 for none.")] = 8080,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines are written.")] = "json",
    log_level: Annotated[LogLevel, typer.Option(help="The least severe line that is written.")] = "info",
) -> None:
    """Watch AdapterDeployments, plan and verify them, and run the engines that serve them."""
    if all_namespaces == bool(namespace):
        raise typer.BadParameter("give either --all-namespaces or at least one --namespace")
    settings = OperatorSettings.model_validate(
        {
            "namespaces": tuple(namespace or ()),
            "kubeconfig": kubeconfig,
            "identity": identity or f"{socket.gethostname()}-{os.getpid()}",
            "log_format": log_format,
            "log_level": log_level,
            "queue": QueueSettings(workers=workers, resync_s=resync),
            "planning": PlanningSettings(processes=processes),
            "leader": LeaderSettings(enabled=leader_election, namespace=lease_namespace),
            "server": ServerSettings(
                address=bind_address, metrics_port=metrics_port, liveness_port=liveness_port
            ),
        }
    )
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(run_operator(settings))

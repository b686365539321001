"""The operator process: watches, leads or waits to lead, and reconciles while it leads."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from prometheus_client import CollectorRegistry, start_http_server

from adapter_operator.api.v1alpha1 import GROUP, KIND, PLURAL
from adapter_operator.kubernetes.client import KubernetesClient, connect
from adapter_operator.kubernetes.cluster import ADAPTER_DEPLOYMENTS, KubernetesCluster, KubernetesEngines
from adapter_operator.kubernetes.errors import (
    ApiError,
    ForbiddenError,
    LeadershipLostError,
    MissingResourceError,
    NotFoundError,
)
from adapter_operator.kubernetes.handlers import KnownObjects, kopf_settings, register
from adapter_operator.kubernetes.leader import LeaderElector
from adapter_operator.metrics import Metrics
from adapter_operator.reconcile.clock import SystemClock
from adapter_operator.reconcile.loop import Ports, Reconciler
from adapter_operator.reconcile.planner import InlinePlanner
from adapter_operator.reconcile.queue import Backoff, WorkQueue
from adapter_operator.reconcile.traffic import DeclaredTraffic
from adapter_operator.reconcile.values import ObjectKey
from adapter_operator.reconcile.workers import resync, run_workers
from adapter_operator.settings import OperatorSettings

logger = logging.getLogger(__name__)

FIELD_MANAGER: Final = "adaptwin-operator"
STATUS_FIELD_MANAGER: Final = "adaptwin-operator-status"


@dataclass(frozen=True)
class Parts:
    """What a running operator is made of."""

    settings: OperatorSettings
    api_client: ApiClient
    elector: LeaderElector
    reconciler: Reconciler
    queue: WorkQueue[ObjectKey]
    known: KnownObjects
    metrics: Metrics


async def run_operator(settings: OperatorSettings, planner: InlinePlanner | None = None) -> None:
    """Run until a signal comes.

    Args:
        settings: The settings.
        planner: Plans and verifies; processes with the real twin where None.

    Raises:
        MissingResourceError: the custom resource is not installed.
    """
    planner = planner or InlinePlanner(
        processes=settings.planning.processes, grace_s=settings.planning.grace_s
    )
    async with connect(settings.kubeconfig) as api_client:
        parts = _assemble(settings, api_client, planner)
        await _check_installation(parts)
        with contextlib.closing(planner), _metrics_server(settings, parts.metrics):
            await _run(parts, planner)


def _assemble(settings: OperatorSettings, api_client: ApiClient, planner: InlinePlanner) -> Parts:
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def count(method: str, status: int) -> None:
        metrics.api_requests.labels(method, str(status)).inc()

    plain = KubernetesClient(api_client, field_manager=FIELD_MANAGER, on_request=count)
    elector = LeaderElector(plain, settings.leader, settings.identity)
    fence = elector.fence if settings.leader.enabled else _no_fence
    objects = KubernetesClient(api_client, field_manager=FIELD_MANAGER, fence=fence, on_request=count)
    statuses = KubernetesClient(api_client, field_manager=STATUS_FIELD_MANAGER, fence=fence, on_request=count)
    ports = Ports(
        cluster=KubernetesCluster(objects, statuses, settings.identity),
        engines=KubernetesEngines(objects),
        traffic=DeclaredTraffic(),
        planner=planner,
        clock=SystemClock(),
    )
    backoff = Backoff(settings.queue.backoff_initial_s, settings.queue.backoff_maximum_s)
    return Parts(
        settings=settings,
        api_client=api_client,
        elector=elector,
        reconciler=Reconciler(ports, metrics),
        queue=WorkQueue(backoff),
        known=KnownObjects(),
        metrics=metrics,
    )


def _no_fence() -> None:
    """Without leader election nothing holds writes back."""


async def _check_installation(parts: Parts) -> None:
    """Say at once what would otherwise only show as nothing happening."""
    namespace = parts.settings.namespaces[0] if parts.settings.namespaces else ""
    client = KubernetesClient(parts.api_client, field_manager=FIELD_MANAGER)
    try:
        await client.list(ADAPTER_DEPLOYMENTS, namespace, limit=1)
    except NotFoundError as error:
        message = f"the custom resource {PLURAL}.{GROUP} is not installed; apply the files under crds/ first"
        raise MissingResourceError(message) from error
    except ForbiddenError as error:
        raise MissingResourceError(f"RBAC does not let this account watch {KIND} objects: {error}") from error
    except ApiError as error:
        raise MissingResourceError(f"the API server cannot be used: {error}") from error


@contextlib.contextmanager
def _metrics_server(settings: OperatorSettings, metrics: Metrics) -> Any:
    """Serve the metrics while the operator runs."""
    if settings.server.metrics_port == 0:
        yield
        return
    server, thread = start_http_server(
        settings.server.metrics_port, settings.server.address, registry=metrics.registry
    )
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _run(parts: Parts, planner: InlinePlanner) -> None:
    """Watch and lead at the same time, until either ends; both then end."""
    stop = asyncio.Event()
    leading = asyncio.create_task(_prepare_and_lead(parts, planner), name="leadership")
    watching = asyncio.create_task(_watch(parts, leading, stop), name="watch")
    await asyncio.wait({leading, watching}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    leading.cancel()
    results = await asyncio.gather(leading, watching, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _prepare_and_lead(parts: Parts, planner: InlinePlanner) -> None:
    """Start the planning processes; lead whenever this process may, and wait to lead whenever it may not."""
    async with asyncio.TaskGroup() as group:
        group.create_task(planner.start())
        group.create_task(_lead_again_and_again(parts))


async def _lead_again_and_again(parts: Parts) -> None:
    while True:
        try:
            await _lead(parts)
        except* LeadershipLostError:
            logger.warning("no longer leading; nothing is written until this process leads again")


async def _lead(parts: Parts) -> None:
    """Wait for leadership, then reconcile for as long as it lasts, beginning with all that exists."""
    queue = parts.settings.queue
    async with _leadership(parts), asyncio.TaskGroup() as group:
        if parts.settings.leader.enabled:
            group.create_task(parts.elector.hold())
        for key in parts.known:
            parts.queue.add(key)
        group.create_task(run_workers(parts.queue, parts.reconciler.reconcile, queue.workers, parts.metrics))
        group.create_task(resync(parts.queue, parts.known, queue.resync_s))


@asynccontextmanager
async def _leadership(parts: Parts) -> AsyncIterator[None]:
    if parts.settings.leader.enabled:
        await parts.elector.acquire()
    parts.metrics.leader.set(1)
    try:
        yield
    finally:
        parts.metrics.leader.set(0)
        await parts.elector.release()


async def _watch(parts: Parts, leading: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Let kopf watch; it ends on a signal, and then leadership is given up before it waits for tasks."""
    registry = kopf.OperatorRegistry()
    register(registry, parts.queue.add, parts.known)

    @kopf.on.login(registry=registry)  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection_info(parts.api_client.configuration)

    @kopf.on.cleanup(registry=registry)  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def cleanup(**_: Any) -> None:
        leading.cancel()
        await asyncio.wait({leading})

    server = parts.settings.server
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not parts.settings.namespaces,
        namespaces=parts.settings.namespaces,
        liveness_endpoint=f"http://{server.address}:{server.liveness_port}/healthz"
        if server.liveness_port
        else None,
        stop_flag=stop,
    )


async def _connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same connection for kopf; asked for again whenever the API server no longer accepts it."""
    header = await configuration.get_api_key_with_prefix("BearerToken")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme="Bearer" if header else None,
        token=header.partition(" ")[2] if header else None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )

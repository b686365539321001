"""Routing tables from a Kubernetes cluster: from objects alone, without the operator and without a leader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from adapter_operator.gateway.routing import RoutingTable, routing_table
from adapter_operator.gateway.sources.objects import ROUTES_ROLE, virtual_hosts
from adapter_operator.kubernetes.client import KubernetesClient, Resource, connect
from adapter_operator.kubernetes.informer import Informer
from adapter_operator.kubernetes.manifests import names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

CONFIG_MAPS: Final = Resource("v1", "ConfigMap", "configmaps")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")

SETTLE_S: Final = 0.05
"""Changes often come in numbers: a pod that becomes ready, and the routes that then name it."""


async def tables_of_cluster(kubeconfig: Path | None, namespace: str) -> AsyncIterator[RoutingTable]:
    """The table, as soon as everything has been listed, and every one that differs from the last.

    Args:
        kubeconfig: The kubeconfig file; the pod's ServiceAccount where None.
        namespace: Whose AdapterDeployments are routed; all where it is empty.
    """
    managed = f"{names.MANAGED_BY_LABEL}={names.MANAGER},{names.ROLE_LABEL}="
    changed = asyncio.Event()
    async with connect(kubeconfig) as connection:
        client = KubernetesClient(connection, field_manager="adaptwin-gateway")
        routes, slices = (
            Informer(client, resource, namespace, managed + role, changed.set)
            for resource, role in ((CONFIG_MAPS, ROUTES_ROLE), (ENDPOINT_SLICES, names.ENGINE_ROLE))
        )
        running = [asyncio.create_task(informer.run()) for informer in (routes, slices)]
        try:
            last: RoutingTable | None = None
            while True:
                await _next_change(changed, running)
                if routes.synced and slices.synced:
                    table = routing_table(virtual_hosts(routes.objects, slices.objects))
                    if table != last:
                        yield table
                        last = table
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _next_change(changed: asyncio.Event, running: Iterable[asyncio.Task[None]]) -> None:
    """Wait for a change, and for those that come with it; an informer that ended tells why."""
    waiting = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait({waiting, *running}, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            if task.done():
                task.result()
    finally:
        waiting.cancel()
    await asyncio.sleep(SETTLE_S)
    changed.clear()

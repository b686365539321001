"""Routing tables from a real API server: nothing before all is known, then every change."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from adapter_operator.gateway.routing import Endpoint, RoutingTable
from adapter_operator.gateway.sources.cluster import tables_of_cluster

if TYPE_CHECKING:
    from controlplane.cluster import Cluster

pytestmark = pytest.mark.cluster

LABELS = {"app.kubernetes.io/managed-by": "adaptwin", "adaptwin.io/deployment": "llama"}


def routes(adapters: dict[str, list[str]]) -> dict:
    content = json.dumps({"servedName": "base", "adapters": adapters})
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "llama-routes", "labels": LABELS | {"adaptwin.io/role": "routes"}},
        "data": {"routes.json": content},
    }


def pods(*names: str) -> dict:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "llama-engines", "labels": LABELS | {"adaptwin.io/role": "engine"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.9.0.{n + 1}"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": name},
            }
            for n, name in enumerate(names)
        ],
    }


def adapters(table: RoutingTable) -> dict:
    return {host.name: dict(host.adapters) for host in table.hosts}


def test_every_change_brings_a_table(cluster: Cluster, namespace: str):
    first, second = Endpoint("10.9.0.1", 8000), Endpoint("10.9.0.2", 8000)
    name = f"{namespace}/llama"

    async def scenario():
        tables = tables_of_cluster(cluster.kubeconfig, namespace)

        async def until(wanted: dict) -> None:
            async with asyncio.timeout(10.0):
                async for table in tables:
                    if adapters(table) == wanted:
                        return

        def apply(*manifests: dict) -> asyncio.Future:
            return asyncio.get_running_loop().run_in_executor(
                None, lambda: cluster.apply(*manifests, namespace=namespace)
            )

        await until({})
        await apply(pods("p-0"), routes({"a": ["p-0", "p-1"]}))
        await until({name: {"a": (first,)}})
        await apply(pods("p-0", "p-1"))
        await until({name: {"a": (first, second)}})
        await apply(routes({"a": ["p-1"], "b": ["p-0"]}))
        await until({name: {"a": (second,), "b": (first,)}})
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: cluster.kubectl("delete", "configmap", "llama-routes", "-n", namespace)
        )
        await until({})
        await tables.aclose()

    asyncio.run(scenario())

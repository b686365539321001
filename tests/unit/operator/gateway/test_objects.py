"""From ConfigMaps and EndpointSlices to virtual hosts."""

from __future__ import annotations

import json

from adapter_operator.gateway.routing import Endpoint
from adapter_operator.gateway.sources.objects import virtual_hosts

LABELS = {"adaptwin.io/deployment": "llama"}


def routes(
    adapters: dict[str, list[str]], *, namespace: str = "team", created: str = "2026-01-01", **more
) -> dict:
    content = {"servedName": "base", "adapters": adapters} | more
    return {
        "metadata": {
            "namespace": namespace,
            "name": "llama-routes",
            "labels": LABELS,
            "creationTimestamp": created,
        },
        "data": {"routes.json": json.dumps(content)},
    }


def pods(*endpoints: dict, namespace: str = "team") -> dict:
    return {
        "metadata": {"namespace": namespace, "name": "llama-engines-x", "labels": LABELS},
        "ports": [{"name": "http", "port": 8000}],
        "endpoints": list(endpoints),
    }


def pod(name: str, address: str, *, ready: bool = True, terminating: bool = False) -> dict:
    return {
        "addresses": [address],
        "conditions": {"ready": ready, "terminating": terminating},
        "targetRef": {"kind": "Pod", "name": name},
    }


def test_what_is_routed_is_ready_and_confirmed():
    slices = [
        pods(pod("p-0", "10.0.0.1"), pod("p-1", "10.0.0.2", ready=False)),
        pods(pod("p-2", "10.0.0.3", terminating=True)),
    ]
    (host,) = virtual_hosts([routes({"a": ["p-0", "p-1"], "b": ["p-2", "p-9"]})], slices)
    assert host.name == "team/llama"
    assert host.base == (Endpoint("10.0.0.1", 8000),)
    assert host.adapters == {"a": (Endpoint("10.0.0.1", 8000),), "b": ()}


def test_pods_of_a_namesake_in_another_namespace_are_not_routed():
    (host,) = virtual_hosts([routes({"a": ["p-0"]})], [pods(pod("p-0", "10.0.0.1"), namespace="other")])
    assert host.base == ()
    assert host.adapters == {"a": ()}


def test_the_oldest_comes_first():
    younger, older = routes({}, namespace="a", created="2026-02-02"), routes({}, namespace="b")
    assert [host.name for host in virtual_hosts([younger, older], [])] == ["b/llama", "a/llama"]


def test_what_cannot_be_read_is_left_out_and_named(caplog):
    broken = routes({}, servedName=None, namespace="bad")
    assert [host.name for host in virtual_hosts([broken, routes({})], [])] == ["team/llama"]
    assert "bad/llama-routes is left out: servedName" in caplog.text


def test_limits_and_hosts_are_taken_over():
    (host,) = virtual_hosts([routes({}, hosts=["x.example"], limits={"requestsPerAdapter": 7})], [])
    assert host.domains == ("x.example",)
    assert host.limits.requests_per_adapter == 7

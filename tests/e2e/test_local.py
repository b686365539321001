"""The whole system on one machine: real HTTP through Envoy to emulated engines, with the loop that plans."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from adapter_operator.local.view import View
from local_world import deployment, world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("default"),  # what libraries leave to the garbage collector is not ours
]

NAMES = ("alpha", "beta", "gamma", "delta")


def scale(**limits):
    return lambda spec: spec.update(scaling={**spec["scaling"], **limits})


async def spread_and_gather(w):
    """Two replicas are wanted, then one: adapters move there and back while streams run."""
    async with w.traffic(dict.fromkeys(NAMES, 0.15)):
        w.edit(scale(minReplicas=2))
        await w.until(lambda: w.record.plan.replicas == 2 and w.settled())
        assert len({name for found in w.system.cluster.routes.values() for name in found}) == 2
        w.edit(scale(minReplicas=1))
        await w.until(lambda: w.record.plan.replicas == 1 and w.settled())
    assert len(w.system.cluster.replicas) == 1
    assert len(w.outcomes) > 20
    assert w.failures == []


async def lose_a_replica_without_the_loop(w):
    """An engine that crashes while nobody decides gets its adapters back from its agent."""
    (replica,) = w.system.cluster.replicas.values()
    await w.system.stop_loop()
    replica.engine.kill()
    await w.until(lambda: not replica.seen.answers)
    await w.until(lambda: replica.seen.loaded == set(NAMES))
    for name in NAMES:
        assert (await w.ask(name)).ok


async def lose_the_gateway_without_the_loop(w):
    """Envoy goes on without what tells it its routes; a new Envoy learns them from the file."""
    gateway = w.system.gateway
    gateway.discovery.kill()
    assert all([(await w.ask(name)).ok for name in NAMES])
    starts = gateway.envoy.starts
    gateway.envoy.kill()
    await w.until(lambda: gateway.envoy.starts > starts and gateway.envoy.pid)
    for name in NAMES:
        await answers(w, name)


async def answers(w, name, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not (await w.ask(name)).ok:  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.1)


def test_adapters_move_without_a_failed_request_and_what_crashes_comes_back(tmp_path):
    pids = []

    async def scenario():
        async with world(deployment(dict.fromkeys(NAMES, "0.15")), tmp_path) as w:
            await w.until_serving()
            await spread_and_gather(w)
            await lose_a_replica_without_the_loop(w)
            await lose_the_gateway_without_the_loop(w)
            children = [w.system.gateway.envoy, w.system.gateway.discovery]
            children += [c for r in w.system.cluster.replicas.values() for c in (r.engine, r.agent)]
            pids.extend(child.pid for child in children if child.pid)

    asyncio.run(scenario())
    assert len(pids) == 4
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def drawn(w):
    """What a terminal would show."""
    console = Console(file=io.StringIO(), width=200)
    console.print(View(w.system))
    return console.file.getvalue()


def test_a_broken_adapter_harms_no_other(tmp_path):
    async def scenario():
        item = deployment(dict.fromkeys(NAMES, "0.15"))
        item["spec"]["adapters"][0]["source"] = {"path": str(tmp_path / "nowhere")}
        broken, *good = NAMES
        async with world(item, tmp_path) as w:
            await w.until(lambda: bool(w.system.resource.status.get("exceptions")))
            (trouble,) = w.system.resource.status["exceptions"]
            assert (trouble["kind"], trouble["name"], trouble["reason"]) == (
                "Adapter",
                broken,
                "SourceNotFound",
            )
            for name in good:
                await answers(w, name)
            assert (await w.ask(broken)).status == 503
            assert w.condition("Ready")[0] == "True"
            assert f"failed: {broken}" in drawn(w)

    asyncio.run(scenario())


def test_a_surge_leads_to_a_verified_scale_up_and_its_end_to_fewer_replicas(tmp_path):
    async def scenario():
        item = deployment(dict.fromkeys(NAMES, "0.1"), traffic={"source": "Gateway", "window": "1m"})
        async with world(item, tmp_path) as w:
            await w.until_serving()
            async with w.traffic(dict.fromkeys(NAMES, 0.9)):
                await w.until(lambda: w.record.plan.replicas > 1 and w.settled(), 120.0)
            assert w.condition("Verified")[0] == "True"
            assert w.condition("TrafficObserved") == ("True", "Observed")
            assert w.failures == []
            await w.until(lambda: w.record.plan.replicas == 1 and w.settled(), 60.0)

    asyncio.run(scenario())

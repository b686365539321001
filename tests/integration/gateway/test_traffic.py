"""Demand as Envoy counts it: what is offered, also where limits turn most of it away."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from adapter_operator.gateway.routing import Limits, VirtualHost, routing_table
from adapter_operator.traffic.gateways import GatewayTraffic
from gateway_under_test import Engine, Gateway, engine, gateway

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 20
INTERVAL_S = 10.0


class Clock:
    """Rounds take no time, and are ten seconds apart."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def observer(envoy: Gateway, clock: Clock) -> GatewayTraffic:
    async def addresses():
        return {"envoy": f"http://127.0.0.1:{envoy.settings.observation_port}"}

    return GatewayTraffic(addresses, clock, longest_window_s=ROUNDS * INTERVAL_S, interval_s=INTERVAL_S)


async def observed(envoy: Gateway, traffic: GatewayTraffic, clock: Clock, send) -> dict[str, float]:
    """Rates after twenty rounds, in each of which `send` sends requests."""
    await traffic.read(envoy.session)
    for _ in range(ROUNDS + 1):
        await send()
        clock.now += INTERVAL_S
        await traffic.read(envoy.session)
    observation = traffic.observe("ns/a", ROUNDS * INTERVAL_S, 0.95)
    assert observation.state == "Healthy"
    return dict(observation.rates)


async def ten_at_once(envoy: Gateway, one: Engine) -> None:
    """Ten requests of which nine are turned away, and one for an adapter that nobody holds."""
    one.hold = asyncio.Event()
    requests = [asyncio.create_task(envoy.post({"model": "hot"})) for _ in range(10)]

    async def nine_are_refused() -> bool:
        return sum(request.done() for request in requests) == 9

    await envoy.until(nine_are_refused)
    one.hold.set()
    assert sorted([(await request).status for request in requests]) == [200] + [503] * 9
    await envoy.post({"model": "cold"})


def test_a_limit_of_one_and_tenfold_load_are_seen_as_offered(tmp_path: Path):
    async def scenario():
        clock = Clock()
        async with engine("one") as one:
            adapters = {"hot": (one.endpoint,), "cold": ()}
            table = routing_table([VirtualHost("ns/a", ("*",), "base", (), adapters, limits=Limits(1))])
            async with gateway(table, tmp_path) as envoy:
                send = partial(ten_at_once, envoy, one)
                return await observed(envoy, observer(envoy, clock), clock, send)

    rates = asyncio.run(scenario())
    assert 1.0 <= rates["hot"] < 1.25
    assert 0.1 <= rates["cold"] < 0.16

"""Observed traffic on one machine: the local Envoy's statistics, in emulated time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from aiohttp import ClientSession

from adapter_operator.api.load import parse_adapter_deployment
from adapter_operator.errors import SpecError
from adapter_operator.traffic.gateways import GatewayTraffic
from adapter_operator.traffic.steady import Held, steady

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_operator.api.v1alpha1 import Spec
    from adapter_operator.local.gateway import LocalGateway
    from adapter_operator.local.resource import ResourceFile
    from adapter_operator.reconcile.values import ObjectKey
    from adapter_operator.traffic.demand import Observation

LONGEST_WINDOW_S: Final = 86_400.0
INTERVAL_S: Final = 5.0
"""Emulated seconds between readings."""
SHORTEST_INTERVAL_S: Final = 0.5
"""Real seconds between readings are never fewer."""


class LocalTraffic:
    """What the one gateway sees; rates are those of emulated time."""

    def __init__(self, resource: ResourceFile, gateway: LocalGateway, speed_up: float) -> None:
        self._resource = resource
        self._speed_up = speed_up
        self._interval_s = max(SHORTEST_INTERVAL_S, INTERVAL_S / speed_up)
        self._held: Held | None = None

        async def addresses() -> Mapping[str, str]:
            return {"local": gateway.observation_url}

        self._traffic = GatewayTraffic(
            addresses,
            self._now_s,
            longest_window_s=LONGEST_WINDOW_S,
            interval_s=self._interval_s * speed_up,
        )

    def _now_s(self) -> float:
        """Emulated seconds."""
        return time.monotonic() * self._speed_up

    async def run(self) -> None:
        """Read the statistics again and again, until cancelled."""
        async with ClientSession() as session:
            while True:
                await self._traffic.read(session)
                await asyncio.sleep(self._interval_s)

    def observe(self, spec: Spec) -> Observation:
        """What is known of the traffic now."""
        traffic = spec.traffic
        return self._traffic.observe(
            str(self._resource.key), traffic.window_s, traffic.quantile_percent / 100.0
        )

    async def rates(self, key: ObjectKey) -> Mapping[str, float] | None:  # noqa: ARG002 - a port's signature
        """Rates to plan for; None where they are declared, or not yet observed for a whole window."""
        try:
            spec = parse_adapter_deployment(self._resource.get()).spec
        except SpecError:
            return None
        if spec.traffic.source != "Gateway":
            self._held = None
            return None
        observation = self.observe(spec)
        if observation.state == "Healthy":
            observed = {adapter.name: observation.rates.get(adapter.name, 0.0) for adapter in spec.adapters}
            scaling = spec.scaling
            self._held = steady(
                self._held,
                observed,
                self._now_s(),
                up_s=scaling.scale_up_window_s,
                down_s=scaling.scale_down_window_s,
            )
        return None if self._held is None else self._held.rates

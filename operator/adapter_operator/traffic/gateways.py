"""Reading the statistics of all gateways, and keeping what they say of the demand."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout

from adapter_operator.traffic.counters import FILTER, Models, read_counters
from adapter_operator.traffic.demand import DemandWindow, Observation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 10.0
TIMEOUT_S: Final = 5.0
_PATH: Final = f"/stats/prometheus?usedonly&filter={quote(FILTER)}"


class GatewayTraffic:
    """The demand that all gateways together see."""

    def __init__(
        self,
        addresses: Callable[[], Awaitable[Mapping[str, str]]],
        clock: Callable[[], float],
        *,
        longest_window_s: float,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """An observer that has read nothing yet.

        Args:
            addresses: Gives all gateways: by name the base URL of their observation port.
            clock: Seconds that never go back.
            longest_window_s: How far back anybody will look.
            interval_s: Seconds between rounds.
        """
        self._addresses = addresses
        self._clock = clock
        self._interval_s = interval_s
        self._window = DemandWindow(longest_window_s, interval_s)

    async def run(self) -> None:
        """Read all gateways, round by round, until cancelled."""
        async with ClientSession(timeout=ClientTimeout(total=TIMEOUT_S)) as session:
            while True:
                started = self._clock()
                await self.read(session)
                await asyncio.sleep(max(0.0, self._interval_s - (self._clock() - started)))

    async def read(self, session: ClientSession) -> None:
        """One round."""
        addresses = await self._addresses()
        pages = await asyncio.gather(*(_read_one(session, name, url) for name, url in addresses.items()))
        readings = {name: page for name, page in zip(addresses, pages, strict=True) if page is not None}
        self._window.add(self._clock(), readings, addresses.keys())

    def observe(self, host: str, window_s: float, quantile: float) -> Observation:
        """What is known of a virtual host's traffic; see `DemandWindow.observe`."""
        return self._window.observe(host, window_s, quantile, self._clock())


async def _read_one(session: ClientSession, name: str, url: str) -> Models | None:
    """A gateway's counters; None where it does not answer."""
    try:
        async with session.get(url + _PATH) as response:
            response.raise_for_status()
            text = await response.text()
    except (ClientError, TimeoutError) as error:
        logger.warning("the statistics of gateway %s could not be read: %s", name, error)
        return None
    return await asyncio.to_thread(read_counters, text)

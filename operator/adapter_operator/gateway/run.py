"""`adaptwin gateway run`: from a source of routing tables to the Envoys that ask for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from adapter_operator.gateway.discovery.server import DiscoveryServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapter_operator.gateway.metrics import GatewayMetrics
    from adapter_operator.gateway.routing import RoutingTable

logger = logging.getLogger(__name__)


async def run_gateway(
    tables: AsyncIterator[RoutingTable], metrics: GatewayMetrics, address: str, port: int
) -> None:
    """Serve every table of the source until cancelled; Envoys that connect before the first wait for it."""
    server = DiscoveryServer(metrics)
    await server.start(address, port)
    try:
        async for table in tables:
            snapshot = server.publish(table)
            metrics.conflicts.set(len(table.conflicts))
            for conflict in table.conflicts:
                logger.warning("HostConflict: %s", conflict)
            logger.info("published %s: %d hosts", snapshot.version, len(table.hosts))
    finally:
        await server.stop()

"""The discovery server: every connected Envoy is brought to the newest snapshot."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc

from adapter_operator.gateway.discovery.snapshot import Snapshot, snapshot_of
from adapter_operator.gateway.discovery.stream import DiscoveryStream, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

    from adapter_operator.gateway.metrics import GatewayMetrics
    from adapter_operator.gateway.routing import RoutingTable

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
GRACE_S: Final = 1.0


class SnapshotBoard:
    """The newest snapshot, and word of each new one. None until the first is published."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self._changed = asyncio.Event()

    def publish(self, snapshot: Snapshot) -> None:
        """Make a snapshot the newest."""
        self.snapshot = snapshot
        self._changed.set()
        self._changed = asyncio.Event()

    def changed(self) -> asyncio.Event:
        """An event that the next publication sets."""
        return self._changed

    async def first(self) -> Snapshot:
        """The newest snapshot, as soon as there is one: nothing is sent before the sources have been read."""
        while self.snapshot is None:
            await self._changed.wait()
        return self.snapshot


class DiscoveryService(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Delta ADS over the board's snapshots."""

    def __init__(self, board: SnapshotBoard, metrics: GatewayMetrics) -> None:
        self._board = board
        self._metrics = metrics

    async def DeltaAggregatedResources(  # noqa: N802 - gRPC's name
        self, requests: AsyncIterator[DeltaDiscoveryRequest], _context: Any
    ) -> AsyncIterator[DeltaDiscoveryResponse]:
        """One Envoy's stream: answers to its requests, and what each new snapshot changes."""
        snapshot = await self._board.first()
        stream = DiscoveryStream(snapshot)
        inbox: asyncio.Queue[DeltaDiscoveryRequest | None] = asyncio.Queue()
        reader = asyncio.create_task(_read(requests, inbox))
        self._metrics.envoys.inc()
        try:
            async for response in self._converse(stream, inbox, snapshot):
                yield response
        finally:
            self._metrics.envoys.dec()
            reader.cancel()

    async def _converse(
        self,
        stream: DiscoveryStream,
        inbox: asyncio.Queue[DeltaDiscoveryRequest | None],
        sent: Snapshot,
    ) -> AsyncIterator[DeltaDiscoveryResponse]:
        """What to send, request by request and snapshot by snapshot, until Envoy hangs up."""
        received = asyncio.create_task(inbox.get())
        try:
            while True:
                newest = await self._news(received, sent)
                if newest is not None:
                    sent = newest
                    for response in stream.update(newest):
                        yield response
                    continue
                request = received.result()
                if request is None:
                    return
                self._note(request)
                for response in stream.answer(request):
                    yield response
                received = asyncio.create_task(inbox.get())
        finally:
            received.cancel()

    async def _news(self, received: asyncio.Task[Any], sent: Snapshot) -> Snapshot | None:
        """A snapshot newer than the one sent, as soon as there is one; None where a request came before."""
        while True:
            newest, changed = self._board.snapshot, asyncio.create_task(self._board.changed().wait())
            try:
                if newest is not None and newest is not sent:
                    return newest
                await asyncio.wait({received, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if received.done():
                return None

    def _note(self, request: DeltaDiscoveryRequest) -> None:
        refused = refusal(request)
        if refused is not None:
            self._metrics.refusals.inc()
            logger.error("Envoy refused %s: %s", refused.kind, refused.message)


async def _read(
    requests: AsyncIterator[DeltaDiscoveryRequest], inbox: asyncio.Queue[DeltaDiscoveryRequest | None]
) -> None:
    try:
        async for request in requests:
            inbox.put_nowait(request)
    finally:
        inbox.put_nowait(None)


class DiscoveryServer:
    """Listens for Envoy on loopback."""

    def __init__(self, metrics: GatewayMetrics) -> None:
        self._board = SnapshotBoard()
        self._metrics = metrics
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ]
        )
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(
            DiscoveryService(self._board, metrics), self._server
        )

    async def start(self, address: str, port: int) -> int:
        """Begin to listen; the port, which the system chooses where 0 was asked for."""
        bound = self._server.add_insecure_port(f"{address}:{port}")
        await self._server.start()
        return int(bound)

    def publish(self, table: RoutingTable) -> Snapshot:
        """Bring every Envoy to this table."""
        snapshot = snapshot_of(table)
        self._board.publish(snapshot)
        self._metrics.publications.inc()
        return snapshot

    async def stop(self) -> None:
        """Close all streams."""
        await self._server.stop(GRACE_S)

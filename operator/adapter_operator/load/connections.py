"""HTTP/1.1 connections that answers stream in on, kept for a while for the next request.

One is a protocol of asyncio's: what arrives goes to the parser and from there to the answer within one call,
which is several times cheaper per token than a general client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter_operator.load.target import Target

IDLE_S: Final = 2.0
"""A connection idle for longer is not used again: vLLM closes them after 5 s."""
CONNECT_S: Final = 30.0


class Receiver(Protocol):
    """Who takes an answer."""

    def status(self, status: int) -> None:
        """Its head has come."""

    def body(self, data: bytes, now_s: float) -> None:
        """A piece of its body."""

    def end(self, now_s: float) -> None:
        """It is complete."""

    def broken(self, reason: str, now_s: float) -> None:
        """It never will be."""


class Connection(asyncio.Protocol):
    """One connection; one answer at a time."""

    transport: asyncio.Transport

    def __init__(self, pool: ConnectionPool, now_s: Callable[[], float]) -> None:
        self._pool = pool
        self._now_s = now_s
        self._received_s = 0.0
        self._receiver: Receiver | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._keep_alive = True
        self._until_closed = False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return not self.transport.is_closing()

    def ask(self, request: bytes, receiver: Receiver) -> None:
        """Send a request."""
        self._receiver = receiver
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(request)

    def drop(self) -> None:
        """Cut it."""
        self._receiver = None
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self.transport = transport
        self._pool.opened.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._received_s = self._now_s()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._break("not an HTTP answer")
            self.transport.abort()

    def eof_received(self) -> bool:
        """The server sends no more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone; an answer without a length ends so."""
        self._pool.opened.discard(self)
        if self._receiver is not None and self._until_closed and exc is None:
            self._end()
        self._break("connection lost")

    def on_headers_complete(self) -> None:
        """Parser: the head is complete."""
        if self._receiver is not None:
            self._receiver.status(self._parser.get_status_code())
        self._keep_alive = self._parser.should_keep_alive()
        self._until_closed = not self._keep_alive

    def on_body(self, body: bytes) -> None:
        """Parser: a piece of the body."""
        if self._receiver is not None:
            self._receiver.body(body, self._received_s)

    def on_message_complete(self) -> None:
        """Parser: the answer is complete."""
        if 100 <= self._parser.get_status_code() < 200:
            return
        self._end()

    def _end(self) -> None:
        receiver, self._receiver = self._receiver, None
        if self._keep_alive:
            self._pool.give_back(self)
        else:
            self.transport.close()
        if receiver is not None:
            receiver.end(self._received_s)

    def _break(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.broken(reason, self._now_s())


class ConnectionPool:
    """Connections to one server."""

    def __init__(self, target: Target, now_s: Callable[[], float]) -> None:
        self._target = target
        self._ssl = target.ssl_context()
        self._now_s = now_s
        self._idle: deque[tuple[float, Connection]] = deque()
        self.opened: set[Connection] = set()
        """All that exist, idle or not."""

    def idle(self) -> Connection | None:
        """The one idle for the shortest time, unless that is too long."""
        while self._idle:
            since_s, connection = self._idle.pop()
            if connection.usable and self._now_s() - since_s < IDLE_S:
                return connection
            connection.drop()
        return None

    async def connect(self) -> Connection:
        """A new one.

        Raises:
            OSError: the server does not take it; TimeoutError is one.
        """
        async with asyncio.timeout(CONNECT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self, self._now_s), self._target.host, self._target.port, ssl=self._ssl
            )
        return connection

    def give_back(self, connection: Connection) -> None:
        """It may be used again."""
        self._idle.append((self._now_s(), connection))

    def close(self) -> None:
        """Cut all."""
        for connection in list(self.opened):
            connection.drop()

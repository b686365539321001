"""HTTP/1.1 as uvicorn speaks it, with a cheap way to write streams of events.

A stream's chunk is one `write` of bytes that were mostly made beforehand: hundreds of streams get a token in
every step of the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CORS: Final = (("vary", "Origin"),)
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream; charset=utf-8"
LAST_CHUNK: Final = b"0\r\n\r\n"
MOST_PIPELINED: Final = 16
_REFUSAL: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: 30\r\n\r\nInvalid HTTP request received."
)


@dataclass
class Request:
    """One request, read to its end."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name; of several with one name, the last."""
    body: bytes = b""
    keep_alive: bool = True

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]


class Application(Protocol):
    """What answers requests."""

    def __call__(self, request: Request, exchange: Exchange) -> None:
        """Answer at once, or keep the exchange and answer later."""


class Exchange:
    """One request's answer on its way."""

    __slots__ = (
        "_connection",
        "closed",
        "finished",
        "on_finish",
        "on_gone",
        "request",
        "sent_bytes",
        "status",
    )

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self.request = request
        self.on_gone: Callable[[], None] | None = None
        """Called when the client goes away before the end."""
        self.on_finish: Callable[[Exchange], None] | None = None
        """Called at the end of the answer."""
        self.closed = self.finished = False
        self.status = 0
        self.sent_bytes = 0
        """Of the body, where its length is announced."""

    def respond(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = "",
        headers: Iterable[tuple[str, str]] = CORS,
        allow: str = "",
    ) -> None:
        """The whole answer."""
        head = [("allow", allow)] if allow else []
        head.append(("content-length", str(len(body))))
        if content_type:
            head.append(("content-type", content_type))
        self.sent_bytes = len(body)
        self.status = status
        shown = b"" if self.request.method == "HEAD" else body
        self.write(self._head(status, [*head, *headers]) + shown)
        self._finish()

    def start_stream(self, content_type: str = EVENTS) -> None:
        """Begin an answer of unknown length."""
        self.status = HTTPStatus.OK
        head = [("content-type", content_type), *CORS, ("transfer-encoding", "chunked")]
        self.write(self._head(HTTPStatus.OK, head))

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if not self.closed:
            self._connection.transport.write(data)

    def end_stream(self) -> None:
        """Say that it is complete."""
        self.write(LAST_CHUNK)
        self._finish()

    def drop(self) -> None:
        """Cut the connection without a word."""
        self._connection.transport.abort()

    def gone(self) -> None:
        """The client has left."""
        if self.finished:
            return
        self.closed = True
        if self.on_gone is not None:
            self.on_gone()
        self._finish()

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"date: {http_date()}", "server: uvicorn"]
        lines += [f"{name}: {value}" for name, value in headers]
        if not self.request.keep_alive:
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        if self.on_finish is not None:
            self.on_finish(self)
        self._connection.answered(self)


def chunk(data: bytes) -> bytes:
    """Bytes as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class _DateClock:
    """The date header, formatted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


http_date: Final = _DateClock()


class Listener:
    """What connections have in common, and which of them there are."""

    def __init__(self, application: Application, *, keep_alive_s: float) -> None:
        self.application = application
        self.keep_alive_s = keep_alive_s
        self.connections: set[Connection] = set()
        self.closing = False
        self.empty = asyncio.Event()
        """Nobody is connected."""
        self.empty.set()

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self)

    def close_idle(self) -> None:
        """Close connections when they have nothing more to send, and keep none alive from now on."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """Cut all connections."""
        for connection in list(self.connections):
            connection.transport.abort()


class Connection(asyncio.Protocol):
    """One client's connection: requests are answered one after another."""

    transport: asyncio.Transport

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._parts: list[bytes] = []
        self._queue: deque[Request] = deque()
        self._exchange: Exchange | None = None
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self.transport = transport
        transport.set_write_buffer_limits(high=2**20)
        self._listener.connections.add(self)
        self._listener.empty.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        del exc
        self._listener.connections.discard(self)
        if not self._listener.connections:
            self._listener.empty.set()
        self._stop_idling()
        self._queue.clear()
        if self._exchange is not None:
            self._exchange.gone()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._stop_idling()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse()
        except httptools.HttpParserError:
            self._refuse()

    def eof_received(self) -> bool:
        """A client that closes its sending half has gone, to uvicorn as to us."""
        return False

    def on_message_begin(self) -> None:
        """Parser: a request begins."""
        self._request = Request()
        self._parts = []

    def on_url(self, url: bytes) -> None:
        """Parser: its target, perhaps a part of it."""
        self._request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parser: a header."""
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Parser: the headers are complete."""
        self._request.method = self._parser.get_method().decode("latin-1")
        if self._request.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Parser: a part of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Parser: the request is complete."""
        self._request.body = b"".join(self._parts)
        self._request.keep_alive = self._parser.should_keep_alive()
        self._queue.append(self._request)
        if len(self._queue) >= MOST_PIPELINED:
            self.transport.pause_reading()
        if self._exchange is None:
            self._answer_next()

    def answered(self, exchange: Exchange) -> None:
        """An answer is complete: on to the next request, or wait for one, or close."""
        self._exchange = None
        if self.transport.is_closing():
            return
        if not exchange.request.keep_alive or self._listener.closing:
            self.transport.close()
        elif self._queue:
            self._loop.call_soon(self._answer_next)
        else:
            self._idle = self._loop.call_later(self._listener.keep_alive_s, self.transport.close)

    def close_if_idle(self) -> None:
        """Close unless an answer is on its way."""
        if self._exchange is None:
            self.transport.close()

    def _answer_next(self) -> None:
        if not self._queue or self._exchange is not None or self.transport.is_closing():
            return
        self.transport.resume_reading()
        request = self._queue.popleft()
        self._exchange = exchange = Exchange(self, request)
        self._listener.application(request, exchange)

    def _refuse(self) -> None:
        self.transport.write(_REFUSAL)
        self.transport.close()

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

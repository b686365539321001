"""The emulated server: vLLM's API over the twin's engine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import numpy as np
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from adapter_twin.emulator.admin import AdminApi
from adapter_twin.emulator.answers import compact, model_list
from adapter_twin.emulator.api import GenerationApi
from adapter_twin.emulator.clock import Clock
from adapter_twin.emulator.engine_loop import EngineLoop
from adapter_twin.emulator.errors import ApiError, engine_dead
from adapter_twin.emulator.faults import CRASH, ENGINE_CRASH, FREEZE, HANG, Fault, Faults, parse_fault
from adapter_twin.emulator.http import JSON, Listener
from adapter_twin.emulator.http_metrics import HttpMetrics
from adapter_twin.emulator.loading import LoadingApi
from adapter_twin.emulator.metrics import EngineMetrics, Shown
from adapter_twin.emulator.routes import Router
from adapter_twin.emulator.starting import choose_profile, start_engine, startup_delay_s
from adapter_twin.emulator.validation import UnreadableBodyError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from adapter_twin.emulator.flags import Settings
    from adapter_twin.emulator.http import Exchange, Request
    from adapter_twin.emulator.routes import Handler
    from adapter_twin.profile import Profile

_LOG: Final = logging.getLogger(__name__)
_LINGER_S: Final = 1.0
"""How long the last bytes may take to leave."""


class Emulator:
    """One server. Make it, `start` it, and `wait` for its exit code; `drain` or `stop` it."""

    def __init__(
        self,
        settings: Settings,
        *,
        profile: Profile | None = None,
        on_crash: Callable[[int], None] | None = None,
    ) -> None:
        """A server of these settings.

        Args:
            settings: of the command line.
            profile: instead of the one that the settings name.
            on_crash: ends the process; None: connections are cut and `wait` returns.

        Raises:
            AdaptwinError: it cannot be.
        """
        self.settings = settings
        self.faults = Faults(parse_fault(fault) for fault in settings.faults)
        self._profile = profile or choose_profile(settings)
        self._on_crash = on_crash
        self._exit: asyncio.Future[int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._held: list[tuple[Request, Exchange]] = []
        self._frozen = False
        self._dead = False

    async def start(self) -> None:
        """Start the engine, wait as long as that takes on a GPU, and listen.

        Raises:
            OutOfMemoryError: the slots leave too little memory.
            EmulatorConfigError: an adapter cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        self._exit = loop.create_future()
        ready_at = loop.time() + startup_delay_s(self.settings, self._profile)
        self._started = started = start_engine(self.settings, self._profile)
        await asyncio.sleep(max(ready_at - loop.time(), 0.0))
        self._created = int(time.time())
        self.metrics = EngineMetrics(
            self.settings.names[0], self.settings.max_loras, started.cache, self.settings.enable_lora
        )
        self.metrics.show = self._shown
        self.engine = EngineLoop(
            started.replica,
            Clock(self.settings.speed_up),
            self.metrics,
            coalesce_below=self._profile.front_end.coalesce_below,
        )
        self.api = GenerationApi(self.settings, started, self.engine, self.metrics)
        self._loading = LoadingApi(started.adapters, self.engine, self.faults)
        self._http_metrics = HttpMetrics()
        self._registry = self._collectors()
        self._router = Router(self._routes(), self.settings.api_keys)
        await self._listen(loop)
        self._spawn(self.engine.run())
        self.apply_faults(self.faults.active)
        gc.collect()
        gc.freeze()

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = Listener(self._answer, keep_alive_s=self.settings.keep_alive_s)
        self._server = await loop.create_server(
            self._listener, self.settings.host, self.settings.port, backlog=2048
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._admin: asyncio.Server | None = None
        self.admin_port: int | None = None
        if self.settings.admin_port is not None:
            admin = Listener(AdminApi(self), keep_alive_s=self.settings.keep_alive_s)
            self._admin = await loop.create_server(admin, "127.0.0.1", self.settings.admin_port)
            self.admin_port = self._admin.sockets[0].getsockname()[1]

    async def wait(self) -> int:
        """The exit code, when the server has ended."""
        assert self._exit is not None  # noqa: S101 - `start` was called
        return await asyncio.shield(self._exit)

    async def drain(self) -> None:
        """What SIGTERM does: let requests end within the shutdown timeout, abort the others, stop.

        Until then the server goes on listening, and answers new completions with `finish_reason: abort`.
        """
        self.api.draining = True
        if self.settings.shutdown_timeout_s > 0:
            await _within(self.settings.shutdown_timeout_s, self.api.idle)
        await self.stop()

    async def stop(self, code: int = 0) -> None:
        """Abort what is on its way, tell its clients, and end."""
        self._server.close()
        if self._admin is not None:
            self._admin.close()
        self._thaw()
        self.engine.abort_all()
        self._listener.close_idle()
        await _within(_LINGER_S, self._listener.empty)
        self._end(code)

    def _end(self, code: int) -> None:
        for timer in self._timers:
            timer.cancel()
        self._server.close()
        if self._admin is not None:
            self._admin.close()
        self._listener.abort()
        for task in self._tasks:
            task.cancel()
        if self._exit is not None and not self._exit.done():
            self._exit.set_result(code)

    def apply_faults(self, faults: tuple[Fault, ...]) -> None:
        """Have these faults from now on, and no others."""
        self.faults.active = faults
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._thaw()
        self.engine.go_on()
        befall: Mapping[str, Callable[[], None]] = {
            CRASH: self._crash,
            ENGINE_CRASH: self._lose_engine,
            HANG: self.engine.hang,
            FREEZE: self._freeze,
        }
        loop = asyncio.get_running_loop()
        for fault in self.faults.timed():
            self._timers.append(loop.call_later(fault.seconds, befall[fault.kind]))

    def state(self) -> dict[str, object]:
        """For those who test with it."""
        shown = self._shown()
        return {
            "faults": [str(fault) for fault in self.faults.active],
            "emulatedSeconds": self.engine.clock.now_s(),
            "behindSeconds": self.engine.behind_s,
            "running": shown.running,
            "waiting": shown.waiting,
            "kvUsage": shown.kv_usage,
            "adapters": [adapter.name for adapter in self._started.adapters.loaded],
        }

    def _crash(self) -> None:
        _LOG.error("injected fault: the process ends")
        if self._on_crash is not None:
            self._on_crash(1)
        self._end(1)

    def _lose_engine(self) -> None:
        _LOG.error("injected fault: the engine ends")
        self._dead = True
        self.engine.hang()
        self.api.fail_all(engine_dead())
        self._spawn(self.stop(1))

    def _freeze(self) -> None:
        self._frozen = True
        self.engine.hang()

    def _thaw(self) -> None:
        self._frozen = False
        held, self._held = self._held, []
        for request, exchange in held:
            if not exchange.closed:
                self._answer(request, exchange)

    def _routes(self) -> Mapping[str, Mapping[str, Handler]]:
        routes: dict[str, dict[str, Handler]] = {
            "/health": {"GET": self._health},
            "/ping": {"GET": self._health, "POST": self._health},
            "/version": {"GET": lambda _, exchange: _say(exchange, {"version": self.settings.version})},
            "/load": {"GET": lambda _, exchange: _say(exchange, {"server_load": 0})},
            "/metrics": {"GET": self._metrics},
            "/v1/models": {"GET": self._models},
            "/v1/completions": {"POST": self.api.complete},
            "/v1/chat/completions": {"POST": self.api.chat},
        }
        if self.settings.runtime_lora_updating:
            routes["/v1/load_lora_adapter"] = {"POST": self._load}
            routes["/v1/unload_lora_adapter"] = {"POST": self._unload}
        return routes

    def _answer(self, request: Request, exchange: Exchange) -> None:
        """Every request comes here."""
        if self._frozen:
            self._held.append((request, exchange))
            return
        began = time.perf_counter()
        exchange.on_finish = lambda done: self._count_request(done, began)
        handler = self._router.find(request, exchange)
        if handler is None:
            return
        try:
            handler(request, exchange)
        except ApiError as error:
            exchange.respond(error.status, compact(error.body()), JSON)
        except UnreadableBodyError:
            exchange.respond(400, compact({"detail": "There was an error parsing the body"}), JSON)
        except Exception:  # noqa: BLE001 - one request must not end the others
            _LOG.exception("%s %s", request.method, request.path)
            exchange.respond(500, b"Internal Server Error", "text/plain; charset=utf-8", headers=())

    def _count_request(self, exchange: Exchange, began: float) -> None:
        request = exchange.request
        self._http_metrics.observe(
            request.path, request.method, exchange.status, len(request.body), exchange.sent_bytes,
            time.perf_counter() - began, known=self._router.knows(request),
        )  # fmt: skip

    def _health(self, _: Request, exchange: Exchange) -> None:
        exchange.respond(HTTPStatus.SERVICE_UNAVAILABLE if self._dead else HTTPStatus.OK)

    def _models(self, _: Request, exchange: Exchange) -> None:
        settings, started = self.settings, self._started
        _say(
            exchange,
            model_list(
                settings.names,
                settings.model,
                started.max_model_len,
                self._created,
                started.adapters.loaded,
            ),
        )

    def _metrics(self, _: Request, exchange: Exchange) -> None:
        exchange.respond(200, generate_latest(self._registry), CONTENT_TYPE_LATEST)

    def _load(self, request: Request, exchange: Exchange) -> None:
        self._spawn(self._answer_load(request, exchange))

    async def _answer_load(self, request: Request, exchange: Exchange) -> None:
        try:
            exchange.respond(200, (await self._loading.load(request)).encode())
        except ApiError as error:
            exchange.respond(error.status, compact(error.body()), JSON)
        except UnreadableBodyError:
            exchange.respond(400, compact({"detail": "There was an error parsing the body"}), JSON)

    def _unload(self, request: Request, exchange: Exchange) -> None:
        exchange.respond(200, self._loading.unload(request).encode())

    def _collectors(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        GCCollector(registry)
        PlatformCollector(registry)
        ProcessCollector(registry=registry)
        registry.register(self.metrics)
        registry.register(self._http_metrics)
        return registry

    def _shown(self) -> Shown:
        gauges = self.engine.gauges()
        slots_full = gauges.running_adapters.size >= self._started.config.max_loras
        deferred = 0
        if slots_full:
            waiting = self.engine.queued_adapters()
            deferred = int(np.sum((waiting >= 0) & ~np.isin(waiting, gauges.running_adapters)))
        return Shown(gauges.running, gauges.waiting, deferred, gauges.kv_usage, gauges.preemptions)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            error = task.exception()
            if error is not None:
                _LOG.error("unexpected", exc_info=error)
                self._end(1)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for something, but not longer."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _say(exchange: Exchange, content: object) -> None:
    exchange.respond(200, compact(content), JSON)

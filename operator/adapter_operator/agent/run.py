"""The agent's process: the keeper, the file that it follows, and its server."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry

from adapter_operator.agent.engine import EngineClient
from adapter_operator.agent.follow import follow
from adapter_operator.agent.keeper import Keeper
from adapter_operator.agent.library import Library
from adapter_operator.agent.metrics import AgentMetrics
from adapter_operator.agent.server import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapter_operator.agent.settings import AgentSettings


async def run_agent(settings: AgentSettings) -> None:
    """Keep the engine's adapters until cancelled."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession())
        metrics = AgentMetrics(CollectorRegistry())
        library = Library(settings.adapters, settings.max_lora_rank)
        await asyncio.to_thread(library.prepare)
        engine = EngineClient(session, settings.engine_url, settings.engine_api_key)
        keeper = Keeper(engine, library, settings.volumes, metrics, time.monotonic)
        await stack.enter_async_context(_serving(application(keeper, metrics, settings.token), settings))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keeper.run())
            if settings.assignment is not None:
                tasks.create_task(follow(settings.assignment, keeper))


@asynccontextmanager
async def _serving(app: web.Application, settings: AgentSettings) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.address, settings.port).start()
        yield
    finally:
        await runner.cleanup()

"""The process of an emulated server: signals, logs and the exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

from adapter_twin.emulator.faults import OUT_OF_MEMORY
from adapter_twin.emulator.server import Emulator
from adapter_twin.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_twin.emulator.flags import Settings

_LOG: Final = logging.getLogger(__name__)
_FAILED: Final = 1


def serve(settings: Settings, ignored: Sequence[str] = ()) -> int:
    """Serve until SIGTERM or SIGINT, or until a fault ends it; returns the exit code.

    Raises:
        AdaptwinError: a flag that cannot be.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(asctime)s %(message)s")
    if ignored:
        _LOG.info("ignored, as nothing here depends on them: %s", ", ".join(ignored))
    try:
        return asyncio.run(_serve(settings))
    except OutOfMemoryError as error:
        _LOG.error("No available memory for the cache blocks: %s", error)
        return _FAILED


async def _serve(settings: Settings) -> int:
    emulator = Emulator(settings, on_crash=os._exit)
    if emulator.faults.has(OUT_OF_MEMORY):
        _LOG.error("CUDA out of memory (injected fault)")
        return _FAILED
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    stopping = loop.create_task(told.wait())
    starting = loop.create_task(emulator.start())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        return 0
    await starting
    _LOG.info("Application startup complete: http://%s:%d", settings.host, emulator.port)
    ending = loop.create_task(emulator.wait())
    await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, os._exit, _FAILED)
        await emulator.drain()
    return await ending

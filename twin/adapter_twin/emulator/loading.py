"""Loading and forgetting adapters while the server runs."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from adapter_twin.emulator.adapters import LoadedAdapter, worker_error
from adapter_twin.emulator.faults import FAIL_LOAD, HANG_LOAD, SLOW_LOAD
from adapter_twin.emulator.requests import LoadRequest, UnloadRequest
from adapter_twin.emulator.starting import engine_adapter
from adapter_twin.emulator.validation import read_request

if TYPE_CHECKING:
    from adapter_twin.emulator.adapters import AdapterRegistry
    from adapter_twin.emulator.engine_loop import EngineLoop
    from adapter_twin.emulator.faults import Faults
    from adapter_twin.emulator.http import Request


class LoadingApi:
    """`/v1/load_lora_adapter` and `/v1/unload_lora_adapter`."""

    def __init__(self, adapters: AdapterRegistry, engine: EngineLoop, faults: Faults) -> None:
        self._adapters = adapters
        self._engine = engine
        self._faults = faults
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def load(self, request: Request) -> str:
        """Load an adapter; returns what to answer.

        Raises:
            ApiError: it cannot be loaded.
        """
        asked = read_request(LoadRequest, request.headers.get("content-type", ""), request.body)
        async with self._locks[asked.lora_name]:
            self._adapters.check_name(asked.lora_name, asked.lora_path, in_place=asked.load_inplace)
            rank = self._adapters.check_files(asked.lora_name, asked.lora_path)
            await self._suffer(asked.lora_name)
            index, loaded_s = self._engine.load(engine_adapter(asked.lora_name, rank))
            await self._engine.clock.sleep_until(loaded_s)
            self._adapters.add(LoadedAdapter(asked.lora_name, asked.lora_path, rank, index, int(time.time())))
        return f"Success: LoRA adapter '{asked.lora_name}' added successfully."

    async def _suffer(self, name: str) -> None:
        """What faults do to a load."""
        faults = self._faults.of_loading(name)
        if SLOW_LOAD in faults:
            await asyncio.sleep(faults[SLOW_LOAD].seconds)
        if HANG_LOAD in faults:
            await asyncio.Event().wait()
        if FAIL_LOAD in faults:
            raise worker_error("injected fault")

    def unload(self, request: Request) -> str:
        """Forget an adapter; requests in flight end as if it stayed.

        Raises:
            ApiError: there is none of that name.
        """
        asked = read_request(UnloadRequest, request.headers.get("content-type", ""), request.body)
        self._adapters.remove(asked.lora_name)
        return f"Success: LoRA adapter '{asked.lora_name}' removed successfully."

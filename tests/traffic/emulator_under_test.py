"""An emulated engine as a process of its own, with faults to throw in while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from aiohttp import ClientSession

from adapter_operator.gateway.envoy.bootstrap import LOOPBACK
from gateway_under_test import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

START_S = 90.0
WAIT_S = 60.0
PROGRAM = "from adapter_operator.cli import main; main()"


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = WAIT_S) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.05)


class EmulatedEngine:
    """An `adaptwin emulate` that can be started and killed."""

    def __init__(self, folder: Path, *arguments: str):
        self._arguments, self._log = arguments, folder / "emulator.log"
        self.port, self.admin_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it is healthy."""
        command = [sys.executable, "-c", PROGRAM, "emulate", *self._arguments, "--startup-delay", "0"]
        command += ["--host", LOOPBACK, "--port", str(self.port), "--admin-port", str(self.admin_port)]
        with self._log.open("ab") as log:
            environment = os.environ | {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = monotonic() + START_S
        while not self._healthy():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert monotonic() < deadline, "the emulator does not start"
            sleep(0.05)

    def _healthy(self) -> bool:
        try:
            with urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False

    def kill(self) -> None:
        """Kill it at once; fine where it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@dataclass
class EngineClient:
    """What clients, and people who break things, do with an engine."""

    engine: EmulatedEngine
    session: ClientSession

    async def fault(self, *faults: str) -> None:
        """Replace the faults that are in force."""
        url = f"http://{LOOPBACK}:{self.engine.admin_port}/faults"
        async with self.session.put(url, json=list(faults)) as response:
            assert response.status == 200, await response.text()

    async def held(self) -> dict[str, str]:
        """By name the path of each adapter that it holds."""
        async with self.session.get(f"{self.engine.url}/v1/models") as response:
            models = (await response.json())["data"]
        return {model["id"]: model["root"] for model in models if model["parent"]}

    async def forget_all(self) -> None:
        """Mend it, and make it forget every adapter."""
        await self.fault()
        for name in await self.held():
            async with self.session.post(
                f"{self.engine.url}/v1/unload_lora_adapter", json={"lora_name": name}
            ) as response:
                assert response.status == 200

    async def complete(self, model: str, **options: Any) -> tuple[int, str]:
        """Status and text of a completion."""
        body = {"model": model, "prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": True} | options
        async with self.session.post(f"{self.engine.url}/v1/completions", json=body) as response:
            return response.status, await response.text()


@asynccontextmanager
async def client_of(engine: EmulatedEngine) -> AsyncIterator[EngineClient]:
    """A client of an engine that holds nothing."""
    async with ClientSession() as session:
        client = EngineClient(engine, session)
        await client.forget_all()
        yield client


def write_adapter(folder: Path, rank: int = 8, weights: bytes = b"weights") -> Path:
    """Files that look like an adapter's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder

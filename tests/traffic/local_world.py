"""The whole system on one machine, and clients that send requests to it, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from adapter_operator.local.cluster import Emulation
from adapter_operator.local.system import LocalSettings, LocalSystem
from adapter_operator.reconcile.planner import InlinePlanner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

PROMPT = "one two three four five six seven eight " * 4


def deployment(rates: Mapping[str, str], **sections: Any) -> dict[str, Any]:
    """An AdapterDeployment of small engines, which little traffic fills: few requests run at a time."""
    adapters = [
        {"name": name, "rank": 8, "rate": rate, "source": {"huggingFace": {"repository": f"o/{name}"}}}
        for name, rate in rates.items()
    ]
    spec = {
        "model": {
            "name": "llama-3.1-8b-instruct",
            "source": {"huggingFace": {"repository": "meta-llama/Llama-3.1-8B-Instruct"}},
        },
        "profile": {"name": "llama-3.1-8b-instruct-h100-64gb"},
        "traffic": {"source": "Declared", "tokens": {"promptMean": 32, "outputMean": 64}},
        "objectives": {"headroomPercent": 0},
        "verification": {"horizon": "5m", "seeds": 1},
        "scaling": {"maxReplicas": 3, "scaleDownWindow": "1m"},
        "engine": {"args": ["--max-num-seqs=2"]},
        "adapters": adapters,
    }
    for section, content in sections.items():
        spec[section] = {**spec[section], **content} if isinstance(content, dict) else content
    return {
        "apiVersion": "adaptwin.io/v1alpha1",
        "kind": "AdapterDeployment",
        "metadata": {"name": "world"},
        "spec": spec,
    }


@dataclass(frozen=True)
class Outcome:
    """How one request went; seconds are real ones."""

    model: str
    status: int
    began_s: float
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    tokens: int = 0
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.error

    @property
    def itl_s(self) -> float:
        return (self.last_token_s - self.first_token_s) / max(1, self.tokens - 1)


@dataclass
class World:
    """A running system and what was sent to it."""

    system: LocalSystem
    session: ClientSession
    path: Path
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.ok]

    @property
    def speed_up(self) -> float:
        return self.system.settings.emulation.speed_up

    @property
    def record(self):
        return self.system.cluster.record

    def condition(self, name: str) -> tuple[str, str]:
        conditions = self.system.resource.status.get("conditions", ())
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == name), ("", ""))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the file that the system reads."""
        item = yaml.safe_load(self.path.read_text())
        change(item["spec"])
        beside = self.path.with_suffix(".new")
        beside.write_text(yaml.safe_dump(item))
        beside.replace(self.path)

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> float:
        """Wait until something holds; the seconds that took."""
        started = time.monotonic()
        while not holds():
            events = "\n".join(map(str, self.system.events.latest))
            assert time.monotonic() - started < seconds, f"it did not come to hold in time:\n{events}"
            await asyncio.sleep(0.05)
        return time.monotonic() - started

    def settled(self) -> bool:
        """Whether everything is where the plan wants it, and confirmed."""
        return self.system.settled

    async def until_serving(self) -> None:
        await self.until(self.settled)
        deadline = time.monotonic() + 20.0
        while any([not (await self.ask(name, 1)).ok for name in self.record.plan.shares]):
            assert time.monotonic() < deadline, "the gateway does not answer"
            await asyncio.sleep(0.1)

    async def ask(self, model: str, tokens: int = 16, prompt: str = PROMPT) -> Outcome:
        """One streamed request."""
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "stream": True}
        began, first, last, count, status = time.monotonic(), 0.0, 0.0, 0, 0
        try:
            async with self.session.post(f"{self.system.url}/v1/completions", json=body) as response:
                status = response.status
                if status != 200:
                    return Outcome(model, status, began, error=(await response.text())[:300])
                done = False
                async for line in response.content:
                    done = done or line.startswith(b"data: [DONE]")
                    if line.startswith(b"data: {"):
                        count += _tokens(line)
                        last = time.monotonic()
                        first = first or last
        except (ClientError, TimeoutError, OSError) as error:
            return Outcome(model, status, began, error=repr(error))
        return Outcome(model, status, began, first, last, count, "" if done else "the stream was cut off")

    async def send(self, rates: Mapping[str, float], seconds: float, tokens: int = 64, seed: int = 0) -> None:
        """Poisson traffic, in emulated requests/s, for so many real seconds; waits for all answers."""
        random_ = random.Random(seed)
        names, weights = list(rates), list(rates.values())
        total, now = sum(weights) * self.speed_up, 0.0
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while (now := now + random_.expovariate(total)) < seconds:
                await asyncio.sleep(max(0.0, started + now - time.monotonic()))
                tasks.create_task(self._record(random_.choices(names, weights)[0], tokens))

    async def _record(self, model: str, tokens: int) -> None:
        self.outcomes.append(await self.ask(model, tokens))

    @asynccontextmanager
    async def traffic(self, rates: Mapping[str, float], tokens: int = 64) -> AsyncIterator[None]:
        """Traffic as long as the block lasts; all of it is answered in the end."""
        stop = asyncio.Event()

        async def flow() -> None:
            seed = 0
            while not stop.is_set():
                await self.send(rates, 2.0, tokens, seed := seed + 1)

        flowing = [asyncio.create_task(flow())]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*flowing)


def _tokens(line: bytes) -> int:
    chunk = json.loads(line.removeprefix(b"data: "))
    return sum(bool(choice["text"]) for choice in chunk["choices"])


@asynccontextmanager
async def world(item: Mapping[str, Any], folder: Path, **emulation: Any) -> AsyncIterator[World]:
    """Everything runs within the block."""
    path = folder / "deployment.yaml"
    path.write_text(yaml.safe_dump(item))
    settings = LocalSettings(
        path, folder, emulation=Emulation(**{"speed_up": 10.0, "startup_delay_s": 0.5} | emulation)
    )
    with contextlib.closing(InlinePlanner()) as planner:
        system = LocalSystem(settings, planner)
        connector = TCPConnector(limit=0)
        session = ClientSession(timeout=ClientTimeout(total=120.0), connector=connector)
        async with system.running(), session:
            yield World(system, session, path)

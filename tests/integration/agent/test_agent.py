"""The agent beside an emulated engine: what it keeps, and what happens when something breaks."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientConnectionError

from adapter_operator.agent.run import run_agent
from adapter_operator.agent.settings import AgentSettings
from adapter_operator.assignment import Assignment
from emulator_under_test import EmulatedEngine, EngineClient, client_of, until, write_adapter
from gateway_under_test import free_port

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "a-token"
ENGINE = (
    *("--model", "llama-3.1-8b-instruct", "--profile", "llama-3.1-8b-instruct-h100-64gb", "--speed-up", "50"),
    *("--enable-lora", "--max-loras", "8", "--max-lora-rank", "16", "--max-cpu-loras", "64"),
)


class Agent:
    """An agent in this process, as others see it: by HTTP."""

    def __init__(self, client: EngineClient, settings: AgentSettings):
        self._session, self._url = client.session, f"http://127.0.0.1:{settings.port}"

    async def answers(self) -> bool:
        try:
            await self.state()
        except ClientConnectionError:
            return False
        return True

    async def state(self) -> dict:
        async with self._session.get(f"{self._url}/v1/state") as response:
            return await response.json()

    async def adapters(self) -> dict[str, dict]:
        return {adapter["name"]: adapter for adapter in (await self.state())["adapters"]}

    async def ready(self) -> bool:
        async with self._session.get(f"{self._url}/readyz") as response:
            return response.status == 200

    async def away(self) -> bool:
        return not await self.ready()

    async def post(self, text: str, token: str = TOKEN) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.post(f"{self._url}/v1/assignment", data=text, headers=headers) as response:
            return response.status

    async def metrics(self) -> str:
        async with self._session.get(f"{self._url}/metrics") as response:
            return await response.text()

    async def until_loaded(self, *names: str) -> None:
        async def loaded() -> bool:
            adapters = (await self.adapters()).values()
            return {each["name"] for each in adapters if each["state"] == "Loaded"} == set(names)

        await until(loaded)


@asynccontextmanager
async def agent(client: EngineClient, folder: Path):
    settings = AgentSettings(
        engine_url=client.engine.url,
        assignment=folder / "assignment.json",
        adapters=folder / "adapters",
        max_lora_rank=16,
        address="127.0.0.1",
        port=free_port(),
        token=TOKEN,
    )
    task = asyncio.create_task(run_agent(settings))
    try:
        running = Agent(client, settings)
        await until(running.answers)
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def assignment(generation: int, sources: dict[str, Path]) -> str:
    adapters = [{"name": name, "rank": 16, "source": {"path": str(path)}} for name, path in sources.items()]
    document = {"plan": "0123456789", "generation": generation, "adapters": adapters}
    return Assignment.model_validate(document).to_json()


def publish(folder: Path, text: str) -> None:
    """As the kubelet does: the file is there as a whole, or not at all."""
    new = folder / "assignment.new"
    new.write_text(text)
    new.rename(folder / "assignment.json")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory):
    """One engine for all tests; each finds it empty and mended."""
    running = EmulatedEngine(tmp_path_factory.mktemp("engine"), *ENGINE)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def files(tmp_path: Path):
    def make(name: str, rank: int = 8, content: bytes = b"weights") -> Path:
        return write_adapter(tmp_path / "volume" / name, rank, content)

    return make


@pytest.fixture
def play(engine: EmulatedEngine, tmp_path: Path):
    """Run a scenario against the engine and a new agent."""

    def run(scenario) -> None:
        async def play() -> None:
            async with client_of(engine) as client, agent(client, tmp_path) as running:
                await scenario(client, running)

        asyncio.run(play())

    return run


def holds(client: EngineClient, *names: str):
    async def check() -> bool:
        return (await client.held()).keys() == set(names)

    return check


def test_assignments_are_followed_from_the_file_and_by_post(tmp_path: Path, files, play):
    a, b, c = files("a"), files("b"), files("c")

    async def scenario(client: EngineClient, running: Agent):
        assert not await running.ready()
        publish(tmp_path, assignment(1, {"a": a, "b": b}))
        await running.until_loaded("a", "b")
        await until(running.ready)
        assert (await client.complete("a"))[0] == 200
        assert await running.post(assignment(2, {"b": b, "c": c})) == 202
        await running.until_loaded("b", "c")
        assert await running.ready(), "a later move unreadied it"
        await until(holds(client, "b", "c"))
        assert await running.post(assignment(1, {"a": a})) == 409
        assert await running.post(assignment(3, {}), token="guess") == 401
        assert await running.post("{}") == 400
        assert (await running.state())["generation"] == 2
        assert "adaptwin_agent_generation 2.0" in await running.metrics()

    play(scenario)


def test_an_engine_that_restarts_alone_is_given_its_adapters_again(tmp_path: Path, engine, files, play):
    async def scenario(client: EngineClient, running: Agent):
        publish(tmp_path, assignment(1, {"a": files("a"), "b": files("b")}))
        await running.until_loaded("a", "b")
        await until(running.ready)
        engine.kill()
        await until(running.away)
        await asyncio.to_thread(engine.start)
        await until(running.ready)
        await running.until_loaded("a", "b")
        assert (await client.held()).keys() == {"a", "b"}

    play(scenario)


def test_an_agent_that_restarts_loads_nothing_twice_and_unloads_what_is_left_over(
    tmp_path: Path, engine, files
):
    a, b = files("a"), files("b")

    async def scenario():
        async with client_of(engine) as client:
            publish(tmp_path, assignment(1, {"a": a, "b": b}))
            async with agent(client, tmp_path) as first:
                await first.until_loaded("a", "b")
            before = await client.held()
            publish(tmp_path, assignment(2, {"a": a}))
            async with agent(client, tmp_path) as second:
                await second.until_loaded("a")
                await until(holds(client, "a"))
                assert (await client.held())["a"] == before["a"]
                assert "adaptwin_agent_load_seconds_count 0.0" in await second.metrics()

    asyncio.run(scenario())


def test_adapters_that_cannot_be_had_harm_no_other_and_say_why(tmp_path: Path, files, play):
    empty = files("empty")
    (empty / "adapter_model.safetensors").unlink()
    sources = {
        "good": files("good"),
        "wide": files("wide", rank=32),
        "empty": empty,
        "nowhere": tmp_path / "nowhere",
        "refused": files("refused"),
    }

    async def scenario(client: EngineClient, running: Agent):
        await client.fault("fail-load@refused")
        publish(tmp_path, assignment(1, sources))
        await until(running.ready)
        assert {name: adapter["reason"] for name, adapter in (await running.adapters()).items()} == {
            "good": "",
            "wide": "RankTooHigh",
            "empty": "InvalidAdapter",
            "nowhere": "SourceNotFound",
            "refused": "EngineRefused",
        }
        assert (await client.complete("good"))[0] == 200
        await client.fault()
        await running.until_loaded("good", "refused")

    play(scenario)


def test_a_slow_load_delays_readiness_and_a_hanging_one_no_other_adapter(tmp_path: Path, files, play):
    async def scenario(client: EngineClient, running: Agent):
        await client.fault("slow-load=2@slow", "hang-load@hangs")
        publish(tmp_path, assignment(1, {name: files(name) for name in ("hangs", "slow", "quick")}))
        await running.until_loaded("quick")
        assert not await running.ready()
        await running.until_loaded("quick", "slow")
        assert not await running.ready(), "an adapter that may still come is waited for"
        assert (await client.complete("quick"))[0] == 200

    play(scenario)


def test_a_changed_adapter_is_a_new_version_and_streams_of_the_old_end_in_it(tmp_path: Path, files, play):
    async def scenario(client: EngineClient, running: Agent):
        publish(tmp_path, assignment(1, {"a": files("v1")}))
        await running.until_loaded("a")
        old = await client.held()
        stream = asyncio.create_task(client.complete("a", max_tokens=4000, stream=True))

        async def swapped() -> bool:
            held = await client.held()
            return held.keys() == {"a"} and held != old

        publish(tmp_path, assignment(2, {"a": files("v2", content=b"other weights")}))
        await until(swapped)
        status, text = await stream
        assert status == 200
        assert text.rstrip().endswith("data: [DONE]")
        assert '"finish_reason":"length"' in text
        assert (await client.complete("a"))[0] == 200

    play(scenario)


def test_a_changed_adapter_that_the_engine_refuses_leaves_the_old_one_serving(tmp_path: Path, files, play):
    async def scenario(client: EngineClient, running: Agent):
        publish(tmp_path, assignment(1, {"a": files("v1")}))
        await running.until_loaded("a")
        old = await client.held()

        async def refused() -> bool:
            return (await running.adapters())["a"]["reason"] == "EngineRefused"

        await client.fault("fail-load@a@*")
        publish(tmp_path, assignment(2, {"a": files("v2", content=b"other weights")}))
        await until(refused)
        assert await client.held() == old
        assert (await client.complete("a"))[0] == 200

    play(scenario)


@pytest.mark.parametrize("text", ["{", json.dumps({"generation": 0}), json.dumps({"generation": 2, "x": 1})])
def test_a_bad_assignment_changes_nothing(tmp_path: Path, files, play, text, caplog):
    async def complained() -> bool:
        return "assignment: " in caplog.text

    async def scenario(client: EngineClient, running: Agent):
        publish(tmp_path, assignment(1, {"a": files("a")}))
        await running.until_loaded("a")
        publish(tmp_path, text)
        await until(complained)
        assert (await running.state())["generation"] == 1
        assert (await client.held()).keys() == {"a"}

    play(scenario)

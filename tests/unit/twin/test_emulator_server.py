import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openai
import pytest

from adapter_twin.emulator.errors import EmulatorConfigError
from adapter_twin.emulator.faults import parse_fault
from adapter_twin.emulator.flags import parse_flags
from adapter_twin.emulator.server import Emulator
from adapter_twin.emulator.starting import choose_profile, replica_config
from adapter_twin.errors import OutOfMemoryError
from adapter_twin.live import LiveReplica
from adapter_twin.workload.model import Requests

ARGUMENTS = [
    "meta-llama/Llama-3.1-8B-Instruct", "--served-model-name", "base", "--host", "127.0.0.1", "--port", "0",
    "--enable-lora", "--max-loras", "2", "--max-cpu-loras", "4", "--max-model-len", "4096",
    "--startup-delay", "0", "--speed-up", "20", "--scrape-interval", "0", "--admin-port", "0",
]  # fmt: skip
CONNECTED: list[asyncio.StreamWriter] = []
"""To be closed at the end of a test."""
ENVIRONMENT = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}


@pytest.fixture
def adapters(tmp_path):
    for number in range(4):
        folder = tmp_path / f"a{number}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text('{"r": 8}')
        (folder / "adapter_model.safetensors").write_bytes(b"x")
    return tmp_path


@contextlib.asynccontextmanager
async def emulated(*arguments, **environment):
    emulator = Emulator(parse_flags([*ARGUMENTS, *arguments], ENVIRONMENT | environment)[0])
    await emulator.start()
    try:
        yield emulator
    finally:
        await emulator.stop()
        while CONNECTED:
            await close(CONNECTED.pop())


async def close(writer):
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def openai_client(emulator, key="unused"):
    client = openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{emulator.port}/v1", api_key=key, max_retries=0, timeout=20
    )
    async with client:
        yield client


async def connect(port, method, path, body=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    CONNECTED.append(writer)
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
    writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + data)
    return reader, writer


async def ask(port, method, path, body=None):
    """Status and body of an answer that has a length."""
    reader, writer = await connect(port, method, path, body)
    CONNECTED.remove(writer)
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split()[1]), (await reader.readexactly(length)).decode()
    finally:
        await close(writer)


async def load(emulator, folder, name):
    body = {"lora_name": name, "lora_path": str(folder / name)}
    return await ask(emulator.port, "POST", "/v1/load_lora_adapter", body)


def streaming(model="base", tokens=1000):
    return {"model": model, "prompt": [1, 2, 3], "max_tokens": tokens, "ignore_eos": True, "stream": True}


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)


def test_the_openai_client_lists_models_and_generates(adapters):
    async def use():
        modules = [f"a{n}={adapters / f'a{n}'}" for n in range(2)]
        async with emulated("--lora-modules", *modules) as emulator, openai_client(emulator) as client:
            models = {model.id: model for model in (await client.models.list()).data}
            assert models.keys() == {"base", "a0", "a1"}
            assert models["a0"].parent == "base"
            completion = await client.completions.create(
                model="a0", prompt="tell me", max_tokens=7, extra_body={"ignore_eos": True}
            )
            assert completion.usage.completion_tokens == 7
            assert len(completion.choices[0].text.split()) == 7
            assert completion.choices[0].finish_reason == "length"
            chat = await client.chat.completions.create(
                model="a1", messages=[{"role": "user", "content": "hello"}], max_tokens=5, logprobs=True,
                top_logprobs=2, extra_body={"ignore_eos": True},
            )  # fmt: skip
            assert chat.usage.completion_tokens == 5
            assert len(chat.choices[0].logprobs.content) == 5

    asyncio.run(use())


def test_the_openai_client_streams_what_it_would_get_at_once():
    async def use():
        async with emulated() as emulator, openai_client(emulator) as client:
            asked = {"model": "base", "temperature": 0, "max_tokens": 12, "extra_body": {"ignore_eos": True}}
            whole = await client.completions.create(prompt="tell me", **asked)
            stream = await client.completions.create(
                prompt="tell me", stream=True, stream_options={"include_usage": True}, **asked
            )
            chunks = [chunk async for chunk in stream]
            assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
            assert chunks[-1].usage == whole.usage.model_copy(update={
                "prompt_tokens_details": None, "completion_tokens_details": None,
            })  # fmt: skip
            messages = [{"role": "user", "content": "hello"}]
            chat = await client.chat.completions.create(messages=messages, **asked)
            parts = await client.chat.completions.create(messages=messages, stream=True, **asked)
            deltas = [part.choices[0].delta async for part in parts]
            assert deltas[0].role == "assistant"
            assert "".join(delta.content for delta in deltas) == chat.choices[0].message.content

    asyncio.run(use())


def test_errors_are_those_that_the_openai_client_knows():
    async def use():
        async with emulated("--api-key", "secret") as emulator:
            async with openai_client(emulator, "secret") as client:
                with pytest.raises(openai.NotFoundError) as unknown:
                    await client.completions.create(model="nope", prompt="x")
                assert unknown.value.param == "model"
                with pytest.raises(openai.BadRequestError, match="max_tokens must be at least 1"):
                    await client.completions.create(model="base", prompt="x", max_tokens=0)
            async with openai_client(emulator, "wrong") as client:
                with pytest.raises(openai.AuthenticationError):
                    await client.models.list()

    asyncio.run(use())


def test_its_steps_are_those_of_the_twin():
    """What the engine did in real time is, to the bit, what it does with the same arrivals at once."""

    async def serve():
        async with emulated() as emulator:

            async def later(delay_s, tokens):
                await asyncio.sleep(delay_s)
                body = {"prompt": [1] * 40, "max_tokens": tokens, "ignore_eos": True}
                return await ask(emulator.port, "POST", "/v1/completions", body)

            replica = emulator._started.replica
            submitted = []
            submit = replica.submit
            replica.submit = lambda *request: submitted.append(request) or submit(*request)
            answers = await asyncio.gather(*(later(0.02 * n, 20 + 7 * n) for n in range(10)))
            assert {status for status, _ in answers} == {200}
            sums = {name: emulator.metrics.histograms[name].total for name in (
                "vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds",
            )}  # fmt: skip
            return emulator.settings, submitted, sums

    settings, submitted, sums = asyncio.run(serve())
    replica = LiveReplica(choose_profile(settings), replica_config(settings))
    columns = [np.array(column) for column in zip(*submitted, strict=True)]
    requests = replica.submit_many(Requests(*columns))
    replica.advance(1e6)
    arrival_s = replica.arrival_s[requests]
    first_s, finish_s = replica.first_token_s[requests], replica.finish_s[requests]
    assert sums["vllm:time_to_first_token_seconds"] == pytest.approx((first_s - arrival_s).sum(), rel=1e-12)
    assert sums["vllm:e2e_request_latency_seconds"] == pytest.approx((finish_s - arrival_s).sum(), rel=1e-12)


def test_a_client_that_leaves_frees_what_its_request_held():
    async def leave():
        async with emulated() as emulator:
            clients = [await connect(emulator.port, "POST", "/v1/completions", streaming()) for _ in range(3)]
            await until(lambda: emulator.state()["running"] == 3)
            held = emulator.state()["kvUsage"]
            for _, writer in clients[:2]:
                writer.close()
            await until(lambda: emulator.state()["running"] == 1)
            assert emulator.state()["kvUsage"] < held
            clients[2][1].transport.abort()
            await until(lambda: emulator.state()["running"] == 0)
            assert emulator.state()["kvUsage"] == 0.0
            assert emulator.engine.in_flight == 0
            status, _ = await ask(emulator.port, "POST", "/v1/completions", {"prompt": [1], "max_tokens": 2})
            assert status == 200

    asyncio.run(leave())


def test_numbers_of_requests_are_used_again():
    async def serve():
        async with emulated() as emulator:
            body = {"prompt": [1], "max_tokens": 2, "ignore_eos": True}
            for _ in range(20):
                await ask(emulator.port, "POST", "/v1/completions", body)
            return emulator._started.replica._used

    assert asyncio.run(serve()) <= 2


def test_a_stream_goes_on_when_its_adapter_is_forgotten_and_a_reload_is_a_new_copy(adapters):
    async def use():
        async with emulated() as emulator:
            assert await load(emulator, adapters, "a0") == (
                200,
                "Success: LoRA adapter 'a0' added successfully.",
            )
            first = emulator._started.adapters.get("a0").index
            reader, _ = await connect(emulator.port, "POST", "/v1/completions", streaming("a0", 100))
            await until(lambda: emulator.state()["running"] == 1)
            await ask(emulator.port, "POST", "/v1/unload_lora_adapter", {"lora_name": "a0"})
            assert (await load(emulator, adapters, "a0"))[0] == 200
            assert emulator._started.adapters.get("a0").index != first
            answer = await reader.readuntil(b"0\r\n\r\n")
            assert answer.count(b"data: {") == 100

    asyncio.run(use())


def test_two_loads_of_one_name_at_once_are_one_load(adapters):
    async def use():
        async with emulated("--fault", "slow-load=0.2") as emulator:
            answers = await asyncio.gather(*(load(emulator, adapters, "a0") for _ in range(2)))
            assert sorted(status for status, _ in answers) == [200, 400]

    asyncio.run(use())


def test_faults_of_loading_strike_the_adapters_they_name(adapters):
    async def use():
        faults = ["--fault", "slow-load=0.3@a0", "--fault", "fail-load@a1", "--fault", "hang-load@a2"]
        async with emulated(*faults) as emulator:
            began = time.monotonic()
            assert (await load(emulator, adapters, "a3"))[0] == 200
            quick = time.monotonic() - began
            assert (await load(emulator, adapters, "a0"))[0] == 200
            assert time.monotonic() - began - quick >= 0.3
            status, body = await load(emulator, adapters, "a1")
            assert status == 500
            assert json.loads(body)["error"]["type"] == "InternalServerError"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(load(emulator, adapters, "a2"), 0.3)
            assert emulator.state()["adapters"] == ["a3", "a0"]

    asyncio.run(use())


def test_faults_come_and_go_over_the_admin_port(adapters):
    async def use():
        async with emulated() as emulator:

            async def admin(method, path, body=None):
                status, answer = await ask(emulator.admin_port, method, path, body)
                return status, json.loads(answer)

            assert await admin("PUT", "/faults", ["fail-load@a*"]) == (200, ["fail-load@a*"])
            assert (await load(emulator, adapters, "a0"))[0] == 500
            assert await admin("DELETE", "/faults") == (200, [])
            assert (await load(emulator, adapters, "a0"))[0] == 200
            assert (await admin("GET", "/state"))[1]["adapters"] == ["a0"]
            for wrong in (["explode"], {"a": 1}, 5):
                status, answer = await admin("PUT", "/faults", wrong)
                assert status == 400
                assert answer["error"]
            assert (await admin("POST", "/nothing"))[0] == 404

    asyncio.run(use())


def test_an_engine_that_hangs_answers_health_and_goes_on_when_mended():
    async def use():
        async with emulated() as emulator:
            reader, _ = await connect(emulator.port, "POST", "/v1/completions", streaming(tokens=60))
            await until(lambda: emulator.state()["running"] == 1)
            emulator.apply_faults((parse_fault("hang"),))
            await asyncio.sleep(0.1)
            stood_at = emulator.state()["emulatedSeconds"]
            assert (await ask(emulator.port, "GET", "/health"))[0] == 200
            await asyncio.sleep(0.3)
            assert emulator.state()["emulatedSeconds"] == stood_at
            emulator.apply_faults(())
            assert (await reader.readuntil(b"0\r\n\r\n")).count(b"data: {") == 60

    asyncio.run(use())


def test_a_server_that_is_frozen_answers_nothing_until_mended():
    async def use():
        async with emulated("--fault", "freeze") as emulator:
            waiting = asyncio.create_task(ask(emulator.port, "GET", "/health"))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            emulator.apply_faults(())
            assert (await waiting)[0] == 200

    asyncio.run(use())


def test_when_the_engine_dies_requests_get_500_and_the_server_ends():
    async def use():
        async with emulated() as emulator:
            body = {"prompt": [1], "max_tokens": 1000, "ignore_eos": True}
            whole = asyncio.create_task(ask(emulator.port, "POST", "/v1/completions", body))
            reader, _ = await connect(emulator.port, "POST", "/v1/completions", streaming())
            await until(lambda: emulator.state()["running"] == 2)
            emulator.apply_faults((parse_fault("engine-crash"),))
            status, answer = await whole
            assert status == 500
            assert "EngineCore encountered an issue" in json.loads(answer)["error"]["message"]
            assert b'"code":500' in await reader.readuntil(b"0\r\n\r\n")
            assert await emulator.wait() == 1

    asyncio.run(use())


def test_a_crash_resets_connections():
    async def use():
        async with emulated() as emulator:
            reader, _ = await connect(emulator.port, "POST", "/v1/completions", streaming())
            await until(lambda: emulator.state()["running"] == 1)
            emulator.apply_faults((parse_fault("crash"),))
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readuntil(b"0\r\n\r\n")
            assert await emulator.wait() == 1

    asyncio.run(use())


def test_slots_that_do_not_fit_and_adapters_that_are_not_there_end_the_start():
    async def start(*arguments):
        async with emulated(*arguments):
            pass

    with pytest.raises(OutOfMemoryError):
        asyncio.run(start("--max-loras", "400", "--max-lora-rank", "64", "--max-cpu-loras", "400"))
    with pytest.raises(EmulatorConfigError, match=r"--lora-modules: x: .*No adapter found"):
        asyncio.run(start("--lora-modules", "x=/nowhere"))


def test_idle_connections_are_closed_and_busy_ones_kept():
    async def use():
        async with emulated(VLLM_HTTP_TIMEOUT_KEEP_ALIVE="0.2") as emulator:
            reader, writer = await connect(emulator.port, "GET", "/health")
            began = time.monotonic()
            await reader.readuntil(b"\r\n\r\n")
            assert await asyncio.wait_for(reader.read(), 5) == b""
            assert time.monotonic() - began >= 0.2
            writer.close()

    asyncio.run(use())


def test_requests_may_be_chunked_pipelined_or_nonsense():
    async def use():
        async with emulated() as emulator:
            reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
            CONNECTED.append(writer)
            body = b'{"prompt": [1], "max_tokens": 1}'
            writer.write(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            )
            writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answers = await reader.read()
            assert answers.count(b"HTTP/1.1 200 OK") == 2
            assert b"connection: close" in answers
            reader, writer = await asyncio.open_connection("127.0.0.1", emulator.port)
            CONNECTED.append(writer)
            writer.write(b"nonsense\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request")

    asyncio.run(use())


@contextlib.contextmanager
def process(*arguments):
    command = [str(Path(sys.executable).with_name("adaptwin")), "emulate", *ARGUMENTS, *arguments]
    run = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        yield run
    finally:
        run.kill()
        run.wait()
        run.stderr.close()


def port_of(run):
    for line in run.stderr:
        if "startup complete" in line:
            return int(line.rpartition(":")[2])
    raise AssertionError("it did not start")


@pytest.mark.parametrize(("timeout", "reason"), [("30", "length"), ("0", "abort")])
def test_sigterm_drains_or_aborts_and_exits_with_0(timeout, reason):
    async def use(run):
        port = port_of(run)
        reader, writer = await connect(port, "POST", "/v1/completions", streaming(tokens=200))
        await reader.readuntil(b"data: {")
        run.send_signal(signal.SIGTERM)
        answer = await reader.readuntil(b"0\r\n\r\n")
        assert f'"finish_reason":"{reason}"'.encode() in answer
        assert await asyncio.to_thread(run.wait, 10) == 0
        await close(writer)

    with process("--shutdown-timeout", timeout) as run:
        asyncio.run(use(run))
        CONNECTED.clear()


def test_out_of_memory_at_the_start_is_an_exit_code():
    with process("--fault", "out-of-memory") as run:
        assert run.wait(60) == 1
        assert "CUDA out of memory" in run.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "--lora-modules NAME=PATH"),
        (["--max-loras", "x"], 2, "error: --max-loras: x is not allowed"),
        (["--fault", "explode"], 2, "error: --fault: explode is not one of"),
    ],
)
def test_the_command_helps_and_refuses(arguments, code, said):
    command = [str(Path(sys.executable).with_name("adaptwin")), "emulate", *ARGUMENTS, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == code
    assert said in run.stdout + run.stderr

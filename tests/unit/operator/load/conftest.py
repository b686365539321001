"""A server of OpenAI's API whose timing is known, and traffic to send to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web


@dataclass
class Streaming:
    """What the server does; may be changed while it runs."""

    first_s: float = 0.05
    gap_s: float = 0.01
    refuse: dict = field(default_factory=dict)
    """Model → (status, headers, body)."""
    break_after: dict = field(default_factory=dict)
    """Model → tokens after which its connection is cut."""
    models: tuple = ()
    bodies: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    arrivals: list = field(default_factory=list)


async def _generate(request, streaming, *, chat):
    body = await request.json()
    streaming.arrivals.append(asyncio.get_running_loop().time())
    streaming.bodies.append(body)
    streaming.headers.append(dict(request.headers))
    model = body["model"]
    if model in streaming.refuse:
        status, headers, text = streaming.refuse[model]
        return web.Response(status=status, headers=headers, text=text, content_type="application/json")
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await _stream(request, response, streaming, body, chat=chat)
    return response


async def _stream(request, response, streaming, body, *, chat):
    loop = asyncio.get_running_loop()
    start, count = loop.time(), body["max_tokens"]
    if chat:
        await _event(response, choice(delta={"role": "assistant", "content": ""}))
    for token in range(count):
        await asyncio.sleep(max(0.0, start + streaming.first_s + token * streaming.gap_s - loop.time()))
        if token == streaming.break_after.get(body["model"]):
            request.transport.abort()
            return
        reason = "length" if token == count - 1 else None
        said = {"delta": {"content": "x"}} if chat else {"text": "x"}
        await _event(response, choice(finish_reason=reason, **said))
    prompt = len(body["prompt"]) if not chat else len(body["messages"][0]["content"].split())
    usage = {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}
    await _event(response, {"choices": [], "usage": usage})
    await response.write(b"data: [DONE]\n\n")


async def _event(response, document):
    await response.write(b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n")


def choice(**what):
    return {"choices": [{"index": 0, "finish_reason": None, **what}]}


@asynccontextmanager
async def serving(streaming, tls=None):
    async def completions(request):
        return await _generate(request, streaming, chat=False)

    async def chat(request):
        return await _generate(request, streaming, chat=True)

    async def models(request):
        return web.json_response({"data": [{"id": name} for name in streaming.models]})

    app = web.Application()
    app.router.add_post("/v1/completions", completions)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def streaming():
    return Streaming()


@pytest.fixture
def serve():
    """`async with serve(streaming) as url`."""
    return serving


@pytest.fixture
def served_url(streaming):
    """The server in a thread of its own, for tests of the command."""
    import threading

    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    address = []

    async def run():
        async with serving(streaming) as url:
            address.append(url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert started.wait(10)
    yield address[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

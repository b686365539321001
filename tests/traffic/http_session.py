"""A recorded session with vLLM's HTTP server, and how it is played to another server."""

import asyncio
import contextlib
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parents[1] / "data" / "http_conformance"

_FIVES = {"model": "base", "temperature": 0, "ignore_eos": True}
SHORTENED: dict[str, Any] = {
    "cmpl_stop_string": {**_FIVES, "prompt": [5] * 2040, "max_tokens": 8, "stop": "^^"},
    "cmpl_stop_string_included": {
        **_FIVES, "prompt": [5] * 2040, "max_tokens": 8, "stop": "^^", "include_stop_str_in_output": True,
    },
    "cmpl_stream_stop_string": {
        **_FIVES, "prompt": [5] * 2040, "max_tokens": 8, "stop": "^^", "stream": True,
        "stream_options": {"include_usage": True},
    },
    "cmpl_prompt_too_long": {**_FIVES, "prompt": [5] * 2048, "max_tokens": 2},
    "cmpl_prompt_much_too_long": {**_FIVES, "prompt": [5] * 3000, "max_tokens": 2},
    "cmpl_prompt_too_long_stream": {**_FIVES, "prompt": [5] * 3000, "max_tokens": 2, "stream": True},
    "cmpl_prompt_plus_max_too_long": {**_FIVES, "prompt": [5] * 2000, "max_tokens": 100},
    "cmpl_prompt_long_no_max_tokens": {**_FIVES, "prompt": [5] * 2040},
    "cmpl_max_tokens_null": {**_FIVES, "prompt": [5] * 2040, "max_tokens": None},
    "chat_prompt_too_long": {
        **_FIVES, "messages": [{"role": "user", "content": "hello " * 3000}], "max_tokens": 2,
    },
}  # fmt: skip
"""Bodies that the recording only shows the beginning of."""


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: list[list[str]]
    body: str

    @property
    def events(self) -> list[str]:
        """Of a stream."""
        return [event for event in self.body.split("\n\n") if event]


@dataclass(frozen=True)
class Recorded:
    """One request and the answer that vLLM gave."""

    name: str
    request: dict[str, Any]
    response: dict[str, Any]

    def body(self, adapters: Path) -> bytes:
        """The request's body, its adapters in the given folder."""
        if "body_raw" in self.request:
            return str(self.request["body_raw"]).encode("latin-1")
        content = self.request.get("body")
        if content is None:
            return b""
        if isinstance(content, str):
            content = SHORTENED[self.name]
        return json.dumps(content).replace("/adapters/", f"{adapters}/").encode()


@dataclass(frozen=True)
class Session:
    """A whole recording."""

    command: list[str]
    environment: dict[str, str]
    requests: list[Recorded]

    def of(self, name: str) -> Recorded:
        """The request of a name."""
        return next(recorded for recorded in self.requests if recorded.name == name)


def read_session(name: str) -> Session:
    """A recording by the name of its file."""
    lines = gzip.decompress((RECORDINGS / f"{name}.jsonl.gz").read_bytes()).decode().splitlines()
    entries = [json.loads(line) for line in lines]
    server = entries[0]
    requests = [
        Recorded(entry["name"], entry["request"], entry["response"])
        for entry in entries
        if entry["kind"] == "http"
    ]
    return Session(server["cmd"].split()[3:], server["env"], requests)


async def ask(port: int, recorded: Recorded, adapters: Path) -> Answer:
    """Send a recorded request, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request, body = recorded.request, recorded.body(adapters)
        headers = {"Host": f"127.0.0.1:{port}", **request["headers"]}
        if body or "body" in request or "body_raw" in request:
            headers["Content-Length"] = str(len(body))
        lines = [f"{request['method']} {request['path']} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        return await _read_answer(reader, recorded.request["method"])
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = [line.split(": ", 1) for line in head[1:] if line]
    lengths = [int(value) for name, value in headers if name == "content-length"]
    if ["transfer-encoding", "chunked"] in headers:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
    else:
        body = b"" if method == "HEAD" else await reader.readexactly(lengths[0])
    return Answer(int(head[0].split()[1]), headers, body.decode())

"""What the gateway costs: added latency, requests/s of a worker, time to configure 2,000 adapters on 64 pods.

Needs `wrk` (Debian: apt install wrk). The same upstream is asked with and without Envoy, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic

sys.path.insert(0, str(Path(__file__).parents[1] / "traffic"))

from adapter_operator.gateway.routing import Endpoint, VirtualHost, routing_table
from gateway_under_test import free_port, gateway

SECONDS = 4
ADAPTERS = 2000
REPLICAS = 64
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n" + b'{"answer":"ok"}'
)


class Upstream(asyncio.Protocol):
    """Answers every request at once; reads just enough HTTP for that."""

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"(?i)content-length: (\d+)", self.buffer[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            self.buffer = self.buffer[whole:]
            self.transport.write(ANSWER)


def wrk(url: str, body: int, connections: int, adapters: int, folder: Path) -> tuple[float, float]:
    """Median latency (ms) and requests/s."""
    script = folder / "post.lua"
    script.write_text(
        f"""
local prompt = string.rep("x", {max(0, body - 60)})
request = function()
  local model = "adapter-" .. math.random(0, {adapters - 1})
  return wrk.format("POST", "/v1/completions", {{["Content-Type"] = "application/json"}},
    '{{"model":"' .. model .. '","prompt":"' .. prompt .. '"}}')
end"""
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", str(script), url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in out, out
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
    return float(value) * scale, float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def serve_upstream(port: int) -> None:
    async def forever():
        server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(forever())


def timings(folder: Path) -> dict[str, object]:
    """Latency and throughput with and without Envoy."""
    port = free_port()
    upstream = subprocess.Popen([sys.executable, __file__, "--upstream", str(port)])
    try:
        return asyncio.run(_timings(folder, port))
    finally:
        upstream.kill()


async def _timings(folder: Path, port: int) -> dict[str, object]:
    endpoint = Endpoint("127.0.0.1", port)
    adapters = dict.fromkeys((f"adapter-{n}" for n in range(ADAPTERS)), (endpoint,))
    found: dict[str, object] = {}
    run = asyncio.to_thread
    alone = f"http://127.0.0.1:{port}"
    async with gateway(routing_table([VirtualHost("ns/a", ("*",), "base", (), adapters)]), folder) as envoy:
        for body in (300, 30_000):
            without, _ = await run(wrk, alone, body, 1, ADAPTERS, folder)
            through, _ = await run(wrk, envoy.url, body, 1, ADAPTERS, folder)
            found[f"added p50 at {body} B (ms)"] = round(through - without, 3)
        for what, url in (("upstream alone", alone), ("one Envoy worker", envoy.url)):
            _, rate = await run(wrk, url, 300, 32, ADAPTERS, folder)
            found[f"{what}, 32 connections (requests/s)"] = round(rate)
    return found


async def configuring(folder: Path) -> dict[str, float]:
    """Until Envoy answers for the last of 2,000 adapters with 64 endpoints each, and for a changed one."""
    endpoints = tuple(Endpoint("127.0.0.1", 20_000 + n) for n in range(REPLICAS))
    names = [f"adapter-{n}" for n in range(ADAPTERS)]

    def table(*more: str):
        host = VirtualHost("ns/a", ("*",), "base", (), dict.fromkeys([*names, *more], endpoints))
        return routing_table([host])

    async def known(envoy, name: str) -> bool:
        return (await envoy.post({"model": name})).status != 404

    async with gateway(routing_table([VirtualHost("ns/a", ("*",), "base")]), folder) as envoy:
        started = monotonic()
        envoy.publish(table())
        await envoy.until(lambda: known(envoy, names[-1]), 30.0)
        all_s = monotonic() - started
        started = monotonic()
        envoy.publish(table("new"))
        await envoy.until(lambda: known(envoy, "new"), 30.0)
        return {
            f"{ADAPTERS} adapters x {REPLICAS} replicas configured (s)": round(all_s, 2),
            "one more adapter routed (s)": round(monotonic() - started, 2),
        }


def main() -> None:
    if sys.argv[1:2] == ["--upstream"]:
        serve_upstream(int(sys.argv[2]))
        return
    if shutil.which("wrk") is None:
        raise SystemExit("error: wrk is missing (Debian: apt install wrk)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = timings(folder) | asyncio.run(configuring(folder))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

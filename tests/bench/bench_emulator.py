"""500 concurrent streams: how far the emulator's timing is from the twin's prediction, and what it costs.

The server has a core of its own, and real-time priority where that is allowed. The same arrivals, as its
clients sent them, go through `simulate_replica`.

    python tests/bench/bench_emulator.py [--streams 500] [--seconds 30] [--speed-up 1]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from adapter_twin.emulator.flags import parse_flags
from adapter_twin.emulator.starting import choose_profile, engine_adapter, replica_config
from adapter_twin.replica import simulate_replica
from adapter_twin.workload.model import Requests

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
ADAPTERS, RANK, SLOTS = 16, 8, 16
PROMPT, OUTPUT = 64, 250
PORT, ADMIN = 18790, 18791
TOLERANCE = 0.05


@dataclass
class Stream:
    """One request as its client saw it; times are the client's clock, in seconds."""

    adapter: int
    sent_s: float
    first_s: float = 0.0
    last_s: float = 0.0
    tokens: int = 0


class Client(asyncio.Protocol):
    """Sends one request and counts the events of its answer, looking at nothing else."""

    def __init__(self, stream: Stream, request: bytes, done: asyncio.Future[None]) -> None:
        self.stream, self.request, self.done = stream, request, done

    def connection_made(self, transport):
        self.transport = transport
        self.stream.sent_s = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data):
        events = data.count(b"data: {")
        if events:
            stream, now = self.stream, time.perf_counter()
            stream.first_s = stream.first_s or now
            stream.last_s = now
            stream.tokens += events
        if data.endswith(b"0\r\n\r\n"):
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)


def arguments(folder: Path, speed_up: float) -> list[str]:
    modules = []
    for number in range(ADAPTERS):
        adapter = folder / f"a{number}"
        adapter.mkdir(exist_ok=True)
        (adapter / "adapter_config.json").write_text(json.dumps({"r": RANK}))
        (adapter / "adapter_model.safetensors").write_bytes(b"weights")
        modules.append(f"a{number}={adapter}")
    return [
        "--model", MODEL, "--enable-lora", "--max-loras", str(SLOTS), "--max-cpu-loras", str(ADAPTERS),
        "--max-lora-rank", str(RANK), "--host", "127.0.0.1", "--port", str(PORT), "--admin-port", str(ADMIN),
        "--startup-delay", "0", "--speed-up", str(speed_up), "--lora-modules", *modules,
    ]  # fmt: skip


def undisturbed() -> None:
    """Let nothing else on this machine take the processor from server and client, where that is allowed."""
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
    except PermissionError:
        print("without real-time priority: on a busy machine the figures are the machine's, not the server's")


def admin_state() -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{ADMIN}/state", timeout=5) as answer:
        return json.load(answer)


def wait_until_ready() -> None:
    for _ in range(600):
        try:
            admin_state()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not start")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def drive(rate: float, seconds: float) -> list[Stream]:
    """Open-loop Poisson arrivals at `rate` per real second."""
    loop, rng = asyncio.get_running_loop(), np.random.default_rng(7)
    arrivals = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    adapters = rng.integers(0, ADAPTERS, arrivals.size)
    streams, waits = [], []
    start = loop.time() + 0.1
    for at_s, adapter in zip(arrivals.tolist(), adapters.tolist(), strict=True):
        await asyncio.sleep(max(start + at_s - loop.time(), 0))
        body = json.dumps({
            "model": f"a{adapter}", "prompt": [7] * PROMPT, "max_tokens": OUTPUT, "ignore_eos": True,
            "stream": True,
        }).encode()  # fmt: skip
        head = (
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        stream, done = Stream(adapter, 0.0), loop.create_future()
        streams.append(stream)
        waits.append(done)
        client = Client(stream, request, done)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", PORT)
    await asyncio.gather(*waits)
    return streams


def concurrency(streams: list[Stream]) -> tuple[float, int]:
    """Mean over the middle half of the run, and the most."""
    begins, ends = np.sort([s.sent_s for s in streams]), np.sort([s.last_s for s in streams])
    at = np.linspace(begins[0], ends[-1], 400)
    there = np.searchsorted(begins, at) - np.searchsorted(ends, at)
    return float(there[100:300].mean()), int(there.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--speed-up", type=float, default=1.0)
    parser.add_argument("--step-s", type=float, default=0.044, help="about what a step takes there")
    options = parser.parse_args()
    undisturbed()
    with tempfile.TemporaryDirectory() as folder:
        flags = arguments(Path(folder), options.speed_up)
        settings, _ = parse_flags(flags, {})
        server = subprocess.Popen(
            ["taskset", "-c", "0", str(Path(sys.executable).with_name("adaptwin")), "emulate", *flags],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_ready()
            asked = time.perf_counter()
            offset_s = admin_state()["emulatedSeconds"]
            asked = (asked + time.perf_counter()) / 2
            rate = options.streams / (OUTPUT * options.step_s) * options.speed_up
            gc.disable()
            before, cpu = time.perf_counter(), cpu_seconds(server.pid)
            streams = asyncio.run(drive(rate, options.seconds))
            share = (cpu_seconds(server.pid) - cpu) / (time.perf_counter() - before)
        finally:
            server.terminate()
            server.wait()
    compare(settings, streams, offset_s, asked, options.speed_up, share)


def compare(settings, streams, offset_s, asked, speed_up, share) -> None:
    """Print measured and predicted figures, in emulated seconds."""

    def emulated(real_s):
        return offset_s + (np.asarray(real_s) - asked) * speed_up

    sent = emulated([s.sent_s for s in streams])
    first, last = emulated([s.first_s for s in streams]), emulated([s.last_s for s in streams])
    tokens = np.array([s.tokens for s in streams])
    order = np.argsort(sent)
    requests = Requests(
        sent[order],
        np.full(len(streams), PROMPT),
        np.full(len(streams), OUTPUT),
        np.array([s.adapter for s in streams])[order],
    )
    adapters = [engine_adapter(f"a{n}", RANK) for n in range(ADAPTERS)]
    end_s = float(last.max()) + 60.0
    report = simulate_replica(
        choose_profile(settings), replica_config(settings), requests, adapters, duration_s=end_s
    )
    measured = {
        "throughput tokens/s": len(streams) * OUTPUT / (last.max() - sent.min()),
        "TTFT mean s": float((first - sent).mean()),
        "ITL mean s": float((last - first).sum() / (tokens - 1).sum()),
    }
    predicted = {
        "throughput tokens/s": report.output_tokens / (report.last_finish_s - sent.min()),
        "TTFT mean s": report.ttft_s.mean,
        "ITL mean s": report.itl_s.mean,
    }
    mean, most = concurrency(streams)
    print(f"{len(streams)} streams, {mean:.0f} at a time, at most {most}")
    assert report.completed_requests == len(streams)
    worst = 0.0
    for name, value in measured.items():
        error = value / predicted[name] - 1
        worst = max(worst, abs(error))
        print(f"{name:<20} measured {value:10.4f}   predicted {predicted[name]:10.4f}   error {error:+.2%}")
    per_cpu_s = tokens.sum() / share / max(last.max() - sent.min(), 1e-9) * speed_up
    print(f"server: {share:.0%} of one core, {per_cpu_s:,.0f} events per second of its time")
    raise SystemExit(worst >= TOLERANCE)


if __name__ == "__main__":
    main()

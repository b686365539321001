"""What the twin predicts for a server is what the load generator measures of it."""

import json
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapter_operator.cli import app

PROFILE = "llama-3.1-8b-instruct-h100-64gb"
ADAPTERS, SLOTS, RANK = 8, 4, 8
TRAFFIC = f"""
duration_s: 25
adapters: [{{name: tenant, count: {ADAPTERS}, rank: {RANK}, rate: 0.6}}]
prompt: {{distribution: lognormal, mean: 200, sigma: 0.8, maximum: 1000}}
output: {{distribution: lognormal, mean: 60, sigma: 0.6, maximum: 300}}
"""
ATTEMPTS = 3
"""A machine that is busy with something else may be late; the twin is not to blame for that."""


@pytest.fixture
def modules(tmp_path):
    """`NAME=PATH` of adapters as vLLM takes them."""
    paths = []
    for i in range(ADAPTERS):
        folder = tmp_path / f"tenant-{i}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 16, "target_modules": ["q_proj"]})
        )
        (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
        paths.append(f"tenant-{i}={folder}")
    return paths


@pytest.fixture
def server(modules):
    """URL of an emulated replica."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    script = str(Path(sys.executable).with_name("adaptwin"))
    command = [script, "emulate", "--model", "meta-llama/Llama-3.1-8B-Instruct", "--profile", PROFILE]
    command += ["--enable-lora", "--max-loras", str(SLOTS), "--max-lora-rank", str(RANK)]
    command += ["--max-cpu-loras", str(ADAPTERS), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--startup-delay", "0", "--lora-modules", *modules]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield ready(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(30)


def ready(url, process):
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return url
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the emulator does not answer")


def measured(server, file):
    """Figures of one run; None if the client could not send in time."""
    arguments = ["load", "--url", server, "-f", str(file), "-o", "json", "--seed", "3"]
    arguments += ["--profile", PROFILE, "--compare-with-twin"]
    arguments += ["--max-loras", str(SLOTS), "--max-lora-rank", str(RANK)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in {0, 3}, result.output
    return json.loads(result.stdout) if result.exit_code == 0 else None


def errors(figures):
    return {name: abs(figure["error_percent"]) for name, figure in figures["comparison"].items()}


@pytest.mark.slow
def test_predicted_throughput_and_latency_are_measured(server, tmp_path):
    file = tmp_path / "traffic.yaml"
    file.write_text(TRAFFIC)
    seen = []
    for _ in range(ATTEMPTS):
        figures = measured(server, file)
        if figures is None:
            continue
        assert figures["failures"] == {}
        seen.append(errors(figures))
        if seen[-1]["throughput"] <= 5 and seen[-1]["inter-token latency"] <= 10:
            return
    raise AssertionError(f"predictions are off by percent: {seen}")

"""The engine schedules as vLLM does: step by step equal to recordings of the real scheduler."""

import gzip
import json
import os
from pathlib import Path

import pytest

from adapter_twin.engine.replay import replay

FOLDER = Path(os.environ.get("ADAPTWIN_CONFORMANCE", Path(__file__).parents[1] / "data" / "conformance"))
COMPARED = ("sched", "new", "resumed", "preempted", "finished", "running", "waiting", "skipped", "lora_ev")


def recordings():
    return sorted(path for path in FOLDER.glob("*.json*") if "async" not in path.name)


def read(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return json.loads(text)


def expected_step(recorded):
    step = {name: recorded.get(name, []) for name in COMPARED}
    step["t"] = recorded["t"]
    step["kv"] = recorded["kv"]
    step["kv_end"] = recorded.get("kv_end", recorded["kv"])
    step["running_end"] = recorded.get("running_end", recorded.get("running", []))
    step["loras"] = sorted(recorded.get("loras", []))
    step["computed"] = {i: computed for i, computed, _ in recorded.get("computed", [])}
    return step


def simulated_step(step, recorded):
    known = {i for i, _, _ in recorded.get("computed", [])}
    computed = {i: tokens for i, tokens in step["computed"].items() if i in known}
    return step | {"loras": sorted(step["loras"]), "computed": computed}


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name.split(".")[0])
def test_schedules_as_recorded(path):
    recording = read(path)
    recorded = [step for step in recording["steps"] if "sched" in step]
    simulated = replay(recording)
    for step, recorded_step in zip(simulated, recorded, strict=False):
        assert simulated_step(step, recorded_step) == expected_step(recorded_step)
    assert len(simulated) == len(recorded)


def test_recordings_are_there():
    assert len(recordings()) >= 15

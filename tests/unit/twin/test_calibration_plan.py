"""The plan of calibration runs: small, telling, and a shell script that runs and whose results are read."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from adapter_twin.calibration.bench_serve import read_bench_results
from adapter_twin.calibration.cli import calibrate
from adapter_twin.calibration.dummy_adapter import write_adapter
from adapter_twin.calibration.plan import plan_runs
from adapter_twin.calibration.plan_script import plan_script
from adapter_twin.errors import AdaptwinError, MeasurementError
from adapter_twin.profile import load_profile

LLAMA = "llama-3.1-8b-instruct-h100-64gb"
app = typer.Typer(add_completion=False)
app.command()(calibrate)


@pytest.fixture(scope="module")
def plan():
    return plan_runs(load_profile(LLAMA), lambda *_: None, slots=(8, 32), ranks=(8, 16), most=9)


def test_a_plan_is_small_and_covers_what_was_asked_for(plan):
    assert 5 <= len(plan.runs) <= 9
    assert len({run.name for run in plan.runs}) == len(plan.runs)
    assert plan.expected_s < 45 * 60
    slots = {server.max_loras for server in plan.servers}
    assert {0, 32} <= slots <= {0, 8, 32}
    assert {server.max_lora_rank for server in plan.servers} == {8, 16}
    assert plan.expected_error < 0.05


def test_more_runs_tell_more(plan):
    fewer = plan_runs(load_profile(LLAMA), lambda *_: None, slots=(8, 32), ranks=(8, 16), most=4)
    assert len(fewer.runs) == 4
    assert plan.expected_error < fewer.expected_error


def test_a_server_is_started_once(plan):
    servers = [run.server for run in plan.runs]
    changes = sum(a != b for a, b in pairwise(servers))
    assert changes == len(plan.servers) - 1


def test_what_no_gpu_can_do_is_refused():
    profile = load_profile(LLAMA)
    with pytest.raises(MeasurementError, match="ranks: 7 is not one of 1, 8, 16"):
        plan_runs(profile, lambda *_: None, ranks=(7,))
    with pytest.raises(MeasurementError, match="no server with adapters fits H100-64GB"):
        plan_runs(profile, lambda *_: None, slots=(4000,), ranks=(256,))


STUB = """#!{python}
import json, os, sys, time
arguments = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
if arguments[0] == "serve":
    print("INFO GPU KV cache size: 123,456 tokens", flush=True)
    time.sleep(600)
def values(option):
    if option not in arguments:
        return []
    start = arguments.index(option) + 1
    end = next((i for i in range(start, len(arguments)) if arguments[i].startswith("--")), len(arguments))
    return arguments[start:end]
if "--save-result" in arguments:
    count = int(values("--num-prompts")[0])
    result = dict(item.split("=", 1) for item in values("--metadata"))
    result |= dict(model_id=values("--model")[0], num_prompts=count, request_rate="inf", burstiness=1.0,
        max_concurrency=int(values("--max-concurrency")[0]), duration=60.0, completed=count,
        total_input_tokens=100 * count, total_output_tokens=100 * count, mean_ttft_ms=50.0,
        mean_tpot_ms=10.0, mean_itl_ms=10.0)
    path = os.path.join(values("--result-dir")[0], values("--result-filename")[0])
    with open(path, "w") as file:
        json.dump(result, file)
"""


@pytest.fixture(scope="module")
def executed(plan, tmp_path_factory):
    """The script, run by bash with a vllm that only notes how it was called."""
    folder = tmp_path_factory.mktemp("script")
    tools = folder / "bin"
    tools.mkdir()
    for name, content in {
        "vllm": STUB.replace("{python}", sys.executable),
        "curl": '#!/bin/sh\n[ -s "$(ls -t "$RESULTS"/*.log | head -n 1)" ]\n',
        "sleep": "#!/bin/sh\nexec /bin/sleep 0.1\n",
        "python3": f'#!/bin/sh\n[ "$1" = -c ] && echo 0.9.2 || exec {sys.executable} "$@"\n',
    }.items():
        (tools / name).write_text(content, encoding="utf-8")
        (tools / name).chmod(0o755)
    script = folder / "plan.sh"
    script.write_text(plan_script(plan, "some/model name"), encoding="utf-8")
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "RESULTS": str(folder / "my results"),
        "CALLS": str(folder / "calls"),
    }
    done = subprocess.run(
        ["bash", str(script)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    calls = [json.loads(line) for line in (folder / "calls").read_text(encoding="utf-8").splitlines()]
    return Path(environment["RESULTS"]), calls


def test_the_results_that_the_script_leaves_are_read(plan, executed):
    folder, _ = executed
    results = read_bench_results(folder)
    assert len(results) == len(plan.runs)
    for result, run in zip(results, plan.runs, strict=True):
        assert result.source.endswith(f"{run.name}.json")
        assert (result.max_loras, result.adapters) == (run.server.max_loras, run.adapters)
        assert result.max_lora_rank == run.server.max_lora_rank
        assert result.max_concurrency == run.max_concurrency
        assert result.vllm_version == "0.9.2"
        assert result.kv_cache_tokens == 123_456
        assert (result.profile_model, result.profile_gpu) == ("llama-3.1-8b-instruct", "H100-64GB")


def test_the_script_starts_servers_with_their_adapters(plan, executed):
    folder, calls = executed
    serves = [call for call in calls if call[0] == "serve"]
    assert len(serves) == len(plan.servers)
    assert all(call[1] == "some/model name" for call in serves)
    for call, server in zip(serves, plan.servers, strict=True):
        assert ("--enable-lora" in call) == bool(server.max_loras)
        if server.max_loras:
            most = max(run.adapters for run in plan.runs if run.server == server)
            modules = call[call.index("--lora-modules") + 1 :]
            assert modules[0] == f"adapter-0={folder}/adapters/rank-{server.max_lora_rank}"
            assert len(modules) == most
            assert int(call[call.index("--max-cpu-loras") + 1]) == max(most, server.max_loras)
            assert call[call.index("--max-loras") + 1] == str(server.max_loras)


def test_each_server_is_warmed_up_before_its_runs_and_the_adapters_are_there(plan, executed):
    folder, calls = executed
    kinds = [call[0] if call[0] == "serve" else "--save-result" in call for call in calls]
    for place, kind in enumerate(kinds):
        if kind == "serve":
            assert kinds[place + 1] is False
            assert kinds[place + 2] is True
    for rank in {server.max_lora_rank for server in plan.servers if server.max_loras}:
        config = folder / f"adapters/rank-{rank}/adapter_config.json"
        assert json.loads(config.read_text(encoding="utf-8"))["r"] == rank


def test_without_a_name_the_script_asks_for_the_model(plan):
    done = subprocess.run(
        ["bash", "-c", plan_script(plan, None)], env={"PATH": os.environ["PATH"]}, capture_output=True,
        text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode != 0
    assert "MODEL" in done.stderr


def test_a_dummy_adapter_is_one_that_peft_would_write(tmp_path):
    write_adapter(tmp_path / "a", rank=4, layers=2, hidden=16, query=24, kv=8, intermediate=32)
    config = json.loads((tmp_path / "a/adapter_config.json").read_text(encoding="utf-8"))
    assert config["peft_type"] == "LORA"
    assert len(config["target_modules"]) == 7
    content = (tmp_path / "a/adapter_model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    assert len(header) == 2 * 7 * 2
    shapes = {name.split("layers.1.")[1]: entry["shape"] for name, entry in header.items() if "s.1." in name}
    assert shapes["self_attn.o_proj.lora_A.weight"] == [4, 24]
    assert shapes["self_attn.k_proj.lora_B.weight"] == [8, 4]
    assert shapes["mlp.down_proj.lora_A.weight"] == [4, 32]
    ends = [0, *(entry["data_offsets"][1] for entry in header.values())]
    assert [entry["data_offsets"][0] for entry in header.values()] == ends[:-1]
    assert ends[-1] == len(data) == 2 * sum(int(np.prod(entry["shape"])) for entry in header.values())
    assert np.frombuffer(data[: 4 * 16 * 2], np.float16).std() == pytest.approx(0.01, rel=0.3)


def test_the_command_prints_a_script_that_is_valid_shell(tmp_path):
    arguments = ["--plan", "--slots", "8", "--ranks", "8", "--runs", "3", "--gpu", "A100-40GB"]
    done = CliRunner().invoke(app, [LLAMA, *arguments])
    assert done.exit_code == 0, done.output
    checked = subprocess.run(["bash", "-n"], input=done.stdout, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "profile_gpu=A100-40GB" in done.stdout
    assert "3 runs" in done.stderr


def test_the_command_rehearses_calibrates_and_writes_the_profile(tmp_path):
    rehearsed, mine = tmp_path / "rehearsed", tmp_path / "mine.json"
    options = ["--slots", "8", "--ranks", "8", "--runs", "5"]
    arguments = ["--plan", *options, "--rehearse", str(rehearsed), "-o", str(tmp_path / "plan.sh")]
    assert CliRunner().invoke(app, [LLAMA, *arguments]).exit_code == 0
    done = CliRunner().invoke(app, [LLAMA, "--results", str(rehearsed), "-o", str(mine), "--iterations", "1"])
    assert done.exit_code == 0, done.output
    assert "What the data identify" in done.stdout
    assert load_profile(mine).fit.source == "vllm bench serve, 5 runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "output: missing"),
        (["--rehearse", "results"], "rehearse: goes with --plan"),
        (["--plan", "--results", "results"], "results: does not go with --plan"),
        (["--results", "nowhere", "-o", "out.json"], "there is no folder nowhere"),
        (["--plan", "--slots", "8,none"], "slots: '8,none' is not a list of whole numbers"),
        (["--plan", "-o", "no/such/folder/plan.sh"], "cannot be written"),
        (["--plan", "--gpu", "H1"], "gpu: there is none named 'H1'"),
    ],
)
def test_what_the_command_cannot_do_is_an_error(arguments, message):
    done = CliRunner().invoke(app, [LLAMA, *arguments])
    assert isinstance(done.exception, AdaptwinError)
    assert message in str(done.exception)


def test_a_profile_of_s_lora_is_fitted_to_its_own_table_only(tmp_path):
    done = CliRunner().invoke(app, ["llama-2-7b-slora-h100-64gb", "--plan"])
    assert "for profiles of vLLM only" in str(done.exception)
    missing = ["--measurements", str(tmp_path), "-o", str(tmp_path / "mine.json")]
    done = CliRunner().invoke(app, ["llama-2-7b-slora-h100-64gb", *missing])
    assert "slora_runs.csv" in str(done.exception)

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapter_operator.cli import app

TRAFFIC = """
prompt: {distribution: fixed, tokens: 10}
output: {distribution: fixed, tokens: 4}
phases:
  - {name: calm, duration_s: 0.5, adapters: [{name: a, rate: 10, rank: 8}]}
  - {name: surge, duration_s: 0.5, adapters: [{name: a, rate: 10, rank: 8}, {name: b, rate: 20, rank: 8}]}
"""
OPTIONS = ("--drain", "10", "--late-after", "5")
"""However busy the machine is: these tests are not about that."""


@pytest.fixture
def load(tmp_path):
    (tmp_path / "traffic.yaml").write_text(TRAFFIC)

    def run(url, *arguments):
        file = str(tmp_path / "traffic.yaml")
        return CliRunner().invoke(app, ["load", "--url", url, "-f", file, *OPTIONS, *arguments])

    return run


def test_a_table_with_phases_and_adapters(load, served_url):
    result = load(served_url)
    assert result.exit_code == 0, result.output
    for word in ("calm", "surge", "throughput", "inter-token latency"):
        assert word in result.stdout


def test_json_files_and_requests(load, served_url, tmp_path):
    result = load(
        served_url,
        "-o",
        "json",
        "--json",
        str(tmp_path / "out.json"),
        "--requests",
        str(tmp_path / "out.csv"),
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "out.json").read_text())
    assert document["failures"] == {}
    assert [phase["name"] for phase in document["phases"]] == ["calm", "surge"]
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == document["offered_requests"]
    assert {row["outcome"] for row in rows} == {"completed"}
    for row in rows:
        times = [float(row[f"{name}_time"]) for name in ("arrival", "first_token", "last_token")]
        assert times == sorted(times)


def test_failures_have_their_exit_code(load, served_url, streaming):
    streaming.refuse = {"b": (429, {}, '{"error":{"message":"slow down","type":"RateLimit"}}')}
    result = load(served_url)
    assert result.exit_code == 1
    assert "HTTP 429 RateLimit" in result.stdout
    assert "slow down" in result.stdout
    assert load(served_url, "--allow-failures").exit_code == 0


def test_what_others_named_is_not_markup(served_url, streaming, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_time,prompt_tokens,output_tokens,adapter\n0.1,3,4,[/bold]\n")
    streaming.refuse = {"[/bold]": (404, {}, '{"error":{"message":"no [/red] model","type":"[/x]"}}')}
    arguments = ["load", "--url", served_url, "--trace", str(trace), "--duration", "0.3", *OPTIONS]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    for word in ("[/bold]", "[/x]", "no [/red] model"):
        assert word in result.stdout


def test_a_client_that_cannot_keep_up_says_so(load, served_url, streaming):
    streaming.first_s = 0.4
    result = load(served_url, "--max-inflight", "1", "--late-after", "0.05")
    assert result.exit_code == 3
    assert "the client is the bottleneck" in result.stderr


def test_models_that_are_not_there_are_warned_of(load, served_url, streaming):
    streaming.models = ("a",)
    assert "the server does not list 1 of 2 models: b" in load(served_url).stderr


def test_predicted_beside_measured(load, served_url):
    arguments = ("--compare-with-twin", "--profile", "llama-3.1-8b-instruct-h100-64gb", "-o", "json")
    result = load(served_url, *arguments)
    assert result.exit_code == 0, result.output
    comparison = json.loads(result.stdout)["comparison"]
    assert comparison["throughput"].keys() == {"unit", "predicted", "measured", "error_percent"}
    result = load(served_url, *arguments, "--tolerance", "0.001")
    assert result.exit_code == 1
    assert "was predicted" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "xml"), "--output: xml is not one of table, json"),
        (("--speed-up", "0"), "--speed-up: 0 is not allowed"),
        (("--timeout", "-1"), "--timeout: -1 is not allowed"),
        (("--token-ids", "9-1"), "--token-ids: '9-1' is not a range"),
        (("--compare-with-twin",), "--compare-with-twin: needs --profile"),
        (("--tolerance", "5"), "--tolerance: needs --compare-with-twin"),
        (("--trace", "x.csv"), "--trace: does not go with --file"),
        (("--adapters", "3"), "--adapters: does not go with --file"),
        (("--arrivals", "gamma:cv=2"), "arrivals: does not go with a file with phases"),
        (("--json", "/nowhere/x.json"), "--json: /nowhere/x.json cannot be written"),
        (("--max-inflight", "100000000"), "--max-inflight: 100000000 is not allowed"),
        (("--profile", "nothing"), "nothing"),
    ],
)
def test_bad_input_is_one_sentence(load, served_url, streaming, arguments, message):
    result = load(served_url, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not streaming.bodies


def test_requests_for_the_base_model_need_its_name(served_url, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_time,prompt_tokens,output_tokens,adapter\n0.1,3,4,\n0.2,3,4,x\n")
    arguments = ["load", "--url", served_url, "--trace", str(trace), "--duration", "0.5"]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "--model: 1 requests name no adapter" in refused.stderr
    result = CliRunner().invoke(app, [*arguments, *OPTIONS, "--model", "base", "-o", "json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["per_adapter"]["names"] == ["x"]


def test_ctrl_c_ends_with_a_partial_report(served_url, streaming, tmp_path):
    traffic = tmp_path / "traffic.yaml"
    traffic.write_text(TRAFFIC.replace("duration_s: 0.5", "duration_s: 60"))
    script = str(Path(sys.executable).with_name("adaptwin"))
    command = [script, "load", "--url", served_url, "-f", str(traffic), "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while len(streaming.bodies) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    document = json.loads(stdout)
    assert document["interrupted"]
    assert 0 < document["completed_requests"] <= document["offered_requests"] < 600
    assert b"Traceback" not in stderr

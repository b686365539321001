import json
import re

import pytest
from typer.testing import CliRunner

from adapter_operator.cli import app

PROFILE = "qwen-2.5-7b-instruct-h100-64gb"

WORKLOAD = """
duration_s: 120
adapters:
  - {name: base, rate: 0.5, rank: 16}
  - {name: many, count: 3, rates: [0.2, 0.1], ranks: [8, 16]}
prompt: {distribution: lognormal, mean: 100, sigma: 1, maximum: 500}
output: {distribution: fixed, tokens: 20}
arrivals: {process: gamma, cv: 2}
"""

TRACE = "arrival_time,prompt_tokens,output_tokens,adapter\n" + "".join(
    f"{i},{50 + i},20,user-{i % 3}\n" for i in range(30)
)


@pytest.fixture
def twin_run():
    def call(*arguments):
        return CliRunner().invoke(app, ["twin", "run", "--profile", PROFILE, *map(str, arguments)])

    return call


@pytest.fixture
def file(tmp_path):
    def write(text, name="workload.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_table(twin_run):
    result = twin_run("--adapters", 8, "--rates", "0.2,0.1", "--ranks", "8,16", "--duration", 120)
    assert result.exit_code == 0
    assert "of the offered tokens served" in result.output
    assert "inter-token latency" in result.output


def test_starving_adapters_are_listed(twin_run):
    result = twin_run("--adapters", 32, "--rates", 2, "--duration", 120, "--max-loras", 4)
    assert re.search(r"\d+ of 32 adapters starve", result.output)


def test_json_from_a_workload_file(twin_run, file):
    result = twin_run("--workload", file(WORKLOAD), "-o", "json")
    report = json.loads(result.output)
    assert report["duration_s"] == 120
    assert report["per_adapter"]["names"] == ["base", "many-0", "many-1", "many-2"]
    assert report["output_tokens"] == 20 * report["completed_requests"]


def test_duration_overrides_the_file(twin_run, file):
    report = json.loads(twin_run("--workload", file(WORKLOAD), "--duration", 30, "-o", "json").output)
    assert report["duration_s"] == 30


@pytest.mark.parametrize(
    "lines",
    [
        "prompt: {distribution: empirical, values: [5, 9]}\narrivals: {process: on_off, on_s: 5, off_s: 5}",
        "arrivals: {process: diurnal, amplitude: 0.5}\ncorrelation: 0.2\nmax_total_tokens: 100",
        "arrivals: {process: poisson}",
    ],
)
def test_other_distributions_and_processes(twin_run, file, lines):
    text = f"adapters: [{{name: a, rate: 1, rank: 8}}]\nduration_s: 60\n{lines}\n"
    assert twin_run("--workload", file(text)).exit_code == 0


def test_trace(twin_run, file):
    report = json.loads(twin_run("--trace", file(TRACE, "trace.csv"), "-o", "json").output)
    assert report["completed_requests"] == 30
    assert report["duration_s"] == 120


def test_page_with_plots(twin_run, tmp_path):
    path = tmp_path / "report.html"
    arguments = ("--adapters", 8, "--duration", 120, "--report", path)
    assert twin_run(*arguments).exit_code == 0
    page = path.read_text()
    assert page.count("<svg") == 4
    assert "qwen-2.5-7b-instruct on H100-64GB" in page
    assert "http://" not in re.sub(r'(xmlns|xmlns:\w+|rdf:resource|href)="http[^"]*"', "", page).replace(
        "http://www.w3.org", ""
    ).replace("http://purl.org", "").replace("http://creativecommons.org", "")
    assert twin_run(*arguments).exit_code == 0
    assert path.read_text() == page


def test_out_of_memory_is_said(twin_run, tmp_path):
    path = tmp_path / "report.html"
    result = twin_run("--adapters", 600, "--ranks", 64, "--duration", 60, "--report", path)
    assert result.exit_code == 0
    assert "Out of memory: 600 slots of rank 64" in result.output.replace("\n", " ")
    assert "Out of memory" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "workload: give exactly one of --adapters, --workload, --trace"),
        (("--adapters", 1, "--rates", "x"), "rates: 'x' is not a list of numbers such as 0.4,0.05"),
        (("--adapters", 1, "--ranks", "7.5"), "ranks: '7.5' is not a list of numbers such as 8,16"),
        (("--adapters", 1, "--ranks", "7"), "rank 7 is not one of 1, 8"),
        (("--adapters", 1, "--rates", "-1"), "rate -1 is not allowed"),
        (("--adapters", 1, "-o", "xml"), "output: xml is not one of table, json"),
        (("--adapters", 1, "--duration", "-5"), "duration_s: -5 is not allowed"),
        (("--adapters", 1, "--report", "/nowhere/at/all.html"), "/nowhere/at/all.html cannot be written"),
        (("--workload", "/nowhere.yaml"), "/nowhere.yaml: cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(twin_run, arguments, message):
    result = twin_run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adapters: []\nadaptors: 1", "adaptors: Extra inputs are not permitted"),
        ("adapters: [{name: a, rank: 8}]", "adapter a: rate is missing, give rate or rates"),
        ("adapters: [{name: a, rate: 1}]", "adapter a: rank is missing"),
        ("adapters: [{name: a, rate: fast, rank: 8}]", "adapters.0.rate: Input should be a valid number"),
        ("[1", "not a YAML file"),
        ("3", "the file: Input should be a valid dictionary"),
    ],
)
def test_bad_workload_files_are_one_sentence(twin_run, file, text, message):
    result = twin_run("--workload", file(text))
    assert result.exit_code == 2
    assert message in result.stderr

import json
import re
from xml.etree import ElementTree as ET

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
    report = json.loads(result.stdout)
    assert report["duration_s"] == 120
    assert report["per_adapter"]["names"] == ["base", "many-0", "many-1", "many-2"]
    assert report["output_tokens"] == 20 * report["completed_requests"]


def test_duration_overrides_the_file(twin_run, file):
    report = json.loads(twin_run("--workload", file(WORKLOAD), "--duration", 30, "-o", "json").stdout)
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
    report = json.loads(twin_run("--trace", file(TRACE, "trace.csv"), "-o", "json").stdout)
    assert report["completed_requests"] == 30
    assert report["duration_s"] == 120


@pytest.mark.parametrize(
    "arrivals", ["poisson", "gamma:cv=2", "on_off:on_s=5,off_s=10", "diurnal:amplitude=0.5,period_s=60"]
)
def test_arrivals_and_lengths_in_options(twin_run, arrivals):
    lengths = (
        "--prompt-tokens",
        "fixed:tokens=64",
        "--output-tokens",
        "lognormal:mean=20,sigma=0.5,maximum=50",
    )
    result = twin_run(
        "--adapters", 4, "--rates", 1, "--duration", 120, "--arrivals", arrivals, *lengths, "-o", "json"
    )
    report = json.loads(result.stdout)
    assert report["input_tokens"] == 64 * report["completed_requests"]
    assert 10 < report["output_tokens"] / report["completed_requests"] < 30


def test_options_override_a_workload_file(twin_run, file):
    path = file(WORKLOAD)
    report = json.loads(
        twin_run("--workload", path, "--output-tokens", "fixed:tokens=7", "-o", "json").stdout
    )
    assert report["output_tokens"] == 7 * report["completed_requests"]


def test_zipf_in_a_workload_file(twin_run, file):
    text = (
        "duration_s: 600\nadapters: [{name: z, count: 10, zipf: {total_rate: 10, exponent: 1.5}, rank: 8}]\n"
    )
    report = json.loads(twin_run("--workload", file(text), "-o", "json").stdout)
    offered = report["per_adapter"]["offered_requests"]
    assert offered[0] / offered[7] == pytest.approx(8**1.5, rel=0.4)
    assert sum(offered) == pytest.approx(6000, rel=0.1)


def test_json_holds_what_is_documented(twin_run):
    report = json.loads(twin_run("--adapters", 2, "--duration", 120, "-o", "json").stdout)
    assert {
        "status",
        "throughput_tokens_per_s",
        "served_fraction",
        "ttft_s",
        "itl_s",
        "tpot_s",
        "e2e_s",
    } <= report.keys()
    assert set(report["ttft_s"]) == {"mean", "p50", "p90", "p99"}
    assert len(report["timeseries"]["adapter_loads_per_s"]) == len(report["timeseries"]["time_s"])
    assert sum(report["ttft_histogram"]["counts"]) == report["completed_requests"]
    assert len(report["e2e_histogram"]["edges_s"]) == len(report["e2e_histogram"]["counts"]) + 1


def test_loads_over_time_add_up(twin_run):
    arguments = ("--adapters", 12, "--max-loras", 3, "--rates", 0.5, "--duration", 600)
    report = json.loads(twin_run(*arguments, "-o", "json").stdout)
    assert report["adapter_loads"] > 50
    assert sum(report["timeseries"]["adapter_loads_per_s"]) * 600 / 120 == pytest.approx(
        report["adapter_loads"], abs=3
    )


def test_warns_outside_of_what_was_measured(twin_run):
    result = twin_run("--adapters", 2, "--ranks", 64, "--duration", 60, "-o", "json")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: profile qwen")
    assert "padded rank" in result.stderr
    json.loads(result.stdout)


def test_slora_has_no_slots_to_set(twin_run, tmp_path):
    path = tmp_path / "report.html"
    slora = ("--profile", "llama-2-7b-slora-h100-64gb", "--adapters", 4, "--ranks", 32, "--duration", 120)
    result = twin_run(*slora, "--report", path)
    assert result.exit_code == 0
    assert "llama-2-7b" in path.read_text()
    result = twin_run(*slora, "--max-loras", 4)
    assert result.exit_code == 2
    assert "max-loras: profile llama-2-7b-slora-h100-64gb is of S-LoRA, which has no slots" in result.stderr


class TestPage:
    @pytest.fixture
    def page(self, twin_run, tmp_path):
        def write(*arguments):
            path = tmp_path / "report.html"
            assert twin_run(*arguments, "--report", path).exit_code == 0
            return path.read_text()

        return write

    def test_shows_everything_and_fetches_nothing(self, page):
        text = page("--adapters", 8, "--duration", 600, "--rates", 1)
        assert text.count("<svg") == 9
        assert "qwen-2.5-7b-instruct on H100-64GB" in text
        assert "No adapter starves" in text
        assert not re.search(r"https?://|<script|<link|@import|url\(", text)
        assert text == page("--adapters", 8, "--duration", 600, "--rates", 1)

    def test_every_chart_has_a_text(self, page):
        text = page("--adapters", 8, "--duration", 600, "--rates", 1)
        labels = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', text)
        assert len(labels) == 9
        assert all(len(label) > 20 for label in labels)

    def test_is_well_formed(self, page):
        text = page("--adapters", 8, "--duration", 600, "--rates", 1)
        for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            assert ET.fromstring(svg).tag == "svg"

    def test_starving_adapters_stand_out(self, page):
        text = page("--adapters", 32, "--rates", 2, "--duration", 300, "--max-loras", 4)
        assert text.count('class="bar bad"') >= 10
        assert "Adapters served least" in text
        assert 'class="headline bad"' in text

    def test_names_are_escaped(self, page, file):
        trace = file("arrival_time,prompt_tokens,output_tokens,adapter\n0,9,9,<b>&\n1,9,9,<b>&\n", "t.csv")
        text = page("--trace", trace)
        assert "<b>&" not in text

    def test_base_model_alone_has_no_adapters_to_show(self, page, file):
        trace = file("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.1,30,4\n", "azure.csv")
        text = page("--trace", trace)
        assert text.count("<svg") == 8
        assert "the trace names no adapters" in text


def test_out_of_memory_is_said(twin_run, tmp_path):
    path = tmp_path / "report.html"
    result = twin_run("--adapters", 600, "--ranks", 64, "--duration", 60, "--report", path)
    assert result.exit_code == 0
    assert "Out of memory: 600 slots of rank 64" in result.output.replace("\n", " ")
    text = path.read_text()
    assert "Out of memory" in text
    assert "<svg" not in text
    assert "most slots of rank 64" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "workload: give --adapters, --workload or --trace"),
        (("--adapters", 1, "--arrivals", "gamma"), "arrivals: gamma.cv: Field required"),
        (("--adapters", 1, "--arrivals", "gamma:cv=0"), "arrivals: cv: 0 is not allowed"),
        (
            ("--adapters", 1, "--arrivals", "gamma:2"),
            "arrivals: '2' in 'gamma:2' is not of the form name=value",
        ),
        (("--adapters", 1, "--arrivals", "sometimes"), "arrivals: sometimes: Input tag 'sometimes'"),
        (
            ("--adapters", 1, "--prompt-tokens", "fixed:tokens=x"),
            "prompt-tokens: fixed.tokens: Input should be",
        ),
        (
            ("--adapters", 1, "--output-tokens", "empirical:values=1/0"),
            "output-tokens: values: 0 is not allowed",
        ),
        (("--adapters", 1, "--correlation", 2), "correlation: 2 is not allowed"),
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
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


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

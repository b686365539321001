import pytest
from typer.testing import CliRunner

from adapter_operator.cli import app
from adapter_twin.workload import read_trace

LENGTHS = ("--prompt-tokens", "fixed:tokens=100", "--output-tokens", "empirical:values=10/20/30")
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,230,1317,Conversation log
60,GPT-4,300,0,300,API log
"""


@pytest.fixture
def write(tmp_path):
    out = tmp_path / "out.csv"

    def call(*arguments):
        result = CliRunner().invoke(app, ["twin", "trace", str(out), *map(str, arguments)])
        return result, out

    return call


def test_writes_what_a_seed_draws(write):
    result, out = write("--adapters", 5, "--rates", "1,2", "--duration", 100, *LENGTHS)
    assert result.exit_code == 0
    assert f"wrote {out}" in result.stderr
    first = out.read_bytes()
    read = read_trace(out)
    assert read.requests.arrival_s[-1] < 100
    assert set(read.requests.output_tokens.tolist()) == {10, 20, 30}
    write("--adapters", 5, "--rates", "1,2", "--duration", 100, *LENGTHS)
    assert out.read_bytes() == first
    write("--adapters", 5, "--rates", "1,2", "--duration", 100, "--seed", 1, *LENGTHS)
    assert out.read_bytes() != first


def test_zipf_rates_add_up(write):
    result, out = write(
        "--adapters",
        20,
        "--total-rate",
        10,
        "--zipf",
        1.2,
        "--duration",
        1000,
        "--arrivals",
        "gamma:cv=0.3",
        *LENGTHS,
    )
    assert result.exit_code == 0
    read = read_trace(out)
    assert read.requests.count == pytest.approx(10_000, rel=0.02)
    rates = {adapter.name: adapter.rate for adapter in read.adapters}
    assert rates["adapter-0"] / rates["adapter-9"] == pytest.approx(10**1.2, rel=0.15)


def test_lengths_of_a_profile(write):
    result, out = write("--adapters", 5, "--profile", "qwen-2.5-7b-instruct-h100-64gb", "--duration", 300)
    assert result.exit_code == 0
    assert len(set(read_trace(out).requests.prompt_tokens.tolist())) > 20


def test_gives_adapters_to_a_public_trace(write, tmp_path):
    public = tmp_path / "burst.csv"
    public.write_text(BURSTGPT)
    result, out = write("--trace", public, "--adapter-column", "Model")
    assert result.exit_code == 0
    assert "1 requests without prompt or output tokens are left out" in result.stderr
    assert [adapter.name for adapter in read_trace(out).adapters] == ["ChatGPT", "GPT-4"]
    write("--trace", public, "--adapters", 1, "--trace-speed", 10)
    read = read_trace(out)
    assert [adapter.name for adapter in read.adapters] == ["adapter-0"]
    assert read.requests.arrival_s.tolist() == [0.0, 4.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--adapters", 5), "prompt, output: give the lengths of both, or a profile that assumes them"),
        (("--adapters", 5, "--zipf", 1, *LENGTHS), "zipf: needs --total-rate"),
        (
            ("--adapters", 5, "--rates", 1, "--total-rate", 1, *LENGTHS),
            "rates: does not go with --total-rate",
        ),
        (("--adapters", 5, "--total-rate", -1, *LENGTHS), "total rate: -1 is not allowed"),
        (("--adapters", 5, "--trace-speed", 2, *LENGTHS), "trace-speed: does not go with --adapters"),
        (("--trace", "x.csv", "--arrivals", "poisson"), "arrivals: does not go with --trace"),
        (("--trace", "x.csv", "--zipf", 1), "zipf: a trace needs --adapters with it"),
        (("--workload", "x.yaml", "--rates", 1), "rates: does not go with --workload"),
    ],
)
def test_bad_input_writes_nothing(write, arguments, message):
    result, out = write(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not out.exists()


def test_a_folder_that_is_missing_is_named(tmp_path):
    result = CliRunner().invoke(app, ["twin", "trace", str(tmp_path / "no" / "out.csv"), "--adapters", "1"])
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_what_is_read_is_not_written_over(write):
    _, out = write("--adapters", 2, "--duration", 50, *LENGTHS)
    before = out.read_bytes()
    result, _ = write("--trace", out)
    assert result.exit_code == 2
    assert "is what is read, name another file to write to" in result.stderr
    assert out.read_bytes() == before

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
import yaml

FIELDS = {
    "replicas",
    "pools",
    "assignment",
    "adapters",
    "prediction",
    "lower_bound",
    "frontier",
    "verdict",
    "explanation",
    "timings",
}


def test_text_says_what_why_and_how_long(adaptwin, spec):
    result = adaptwin("plan", "-f", spec)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("support · 4 adapters · 1.8/s · llama-3.1-8b-instruct on H100-64GB")
    assert lines[2].startswith("✔ Verified")
    for title in (
        "Plan",
        "Expected at the declared rates",
        "Seen in the digital twin",
        "Why",
        "Lower bound",
        "GPUs against headroom",
        "Time",
    ):
        assert any(line.startswith(title) for line in lines), title
    assert "1 replica in 1 pool on 1 GPU" in result.stdout
    assert "billing (1.5/s)" in result.stdout
    assert "and 2 more" in " ".join(result.stdout.split())
    assert "night-shift" not in result.stdout.split("Expected")[0]
    assert max(map(len, lines)) <= 100


def test_wide_names_every_adapter(adaptwin, spec):
    result = adaptwin("plan", "-f", spec, "--wide")
    flat = " ".join(result.stdout.split())
    assert "night-shift (0.002/s)" in flat
    assert "<b>returns</b>" in flat


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_machines_get_exactly_the_promised_fields(adaptwin, spec, form, parse):
    result = adaptwin("plan", "-f", spec, "-o", form)
    assert result.exit_code == 0
    content = parse(result.stdout)
    assert content.keys() == FIELDS
    assert content["replicas"] == 1
    assert type(content["replicas"]) is int
    assert content["pools"][0].keys() == {"name", "replicas", "max_loras", "max_lora_rank"}
    replica = f"{content['pools'][0]['name']}-0"
    assert content["assignment"] == {
        replica: {"billing": 1.0, "<b>returns</b>": 1.0, "fx$rates$": 1.0, "night-shift": 1.0}
    }
    assert content["verdict"]["status"] == "Verified"
    assert content["verdict"]["reason"] == ""
    assert content["verdict"]["replicas"][0]["served_fraction"] > 0.95
    assert {"read", "place", "verify"} <= content["timings"].keys()


def test_a_rejected_plan_is_shown_and_exits_with_one(adaptwin, hopeless):
    result = adaptwin("plan", "-f", hopeless, "-o", "json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["verdict"]["status"] == "Rejected"
    assert content["verdict"]["reason"] == "ObjectivesUnreachable"
    assert content["verdict"]["missing_gpus"] > 1
    assert content["replicas"] == 1
    text = adaptwin("plan", "-f", hopeless)
    assert text.exit_code == 1
    assert "✘ Rejected (ObjectivesUnreachable)" in text.stdout
    assert "more GPUs needed" in " ".join(text.stdout.split())


def test_the_present_plan_is_read_back_and_kept(adaptwin, spec, tmp_path):
    present = tmp_path / "present.yaml"
    present.write_text(adaptwin("plan", "-f", spec, "-o", "yaml").stdout)
    again = adaptwin("plan", "-f", spec, "-o", "json", "--present", present)
    assert json.loads(again.stdout)["assignment"] == yaml.safe_load(present.read_text())["assignment"]


def test_seeds_and_horizon_override_the_spec(adaptwin, spec):
    result = adaptwin("plan", "-f", spec, "-o", "json", "--seeds", "2", "--horizon", "5m")
    verdict = json.loads(result.stdout)["verdict"]
    assert len(verdict["seeds"]) == 2
    assert verdict["horizon_s"] == 300.0


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a page refers to."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.references = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_well_formed_page_that_needs_no_network(adaptwin, spec, tmp_path):
    report = tmp_path / "plan.html"
    result = adaptwin("plan", "-f", spec, "--report", report)
    assert result.exit_code == 0, result.output
    page = report.read_text()
    parsed = Page(page)
    assert parsed.open == []
    assert all(reference.startswith("#") for reference in parsed.references)
    assert "<script" not in page
    assert page.count("<svg") == 5
    for svg in page.split("<svg")[1:]:
        ET.fromstring("<svg" + svg.split("</svg>")[0] + "</svg>")
    assert "<b>returns</b>" not in page
    assert "&lt;b&gt;returns&lt;/b&gt;" in page
    assert "fx$rates$" in page


def test_a_report_that_cannot_be_written_is_one_sentence(adaptwin, spec, tmp_path):
    result = adaptwin("plan", "-f", spec, "--report", tmp_path / "no" / "plan.html")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --report: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("rank: 16", "rank: 12"), "spec.adapters[0].rank: 12"),
        (('rate: "1.5"', 'rate: "-1"'), "spec.adapters[0].rate"),
        (("rank: 16", "rank: 16, colour: red"), "colour"),
        (("night-shift", "billing"), "billing"),
        (
            ("llama-3.1-8b-instruct-h100-64gb", "llama-9"),
            "spec.profile.name: llama-9 is not a shipped profile",
        ),
        (("metadata", ": ["), "cannot be read as YAML"),
        (("kind: AdapterDeployment", "kind: Deployment"), "exactly one is expected"),
        (("horizon: 10m", "horizon: soon"), "spec.verification.horizon"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_field(adaptwin, spec, spec_text, change, message):
    spec.write_text(spec_text.replace(*change))
    result = adaptwin("plan", "-f", spec)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_each_of_several_faults_is_a_sentence_of_its_own(adaptwin, spec, spec_text):
    spec.write_text(spec_text.replace("rank: 16", "rank: 12").replace('rate: "0.2"', 'rate: "-1"'))
    lines = adaptwin("plan", "-f", spec).stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: spec.adapters[0].rank")
    assert lines[1].startswith("error: spec.adapters[1].rate")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-f", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("-f", "SPEC", "--profile", "nowhere"), "nowhere"),
        (("-f", "SPEC", "--present", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("-f", "SPEC", "--present", "SPEC"), "has no pools and assignment"),
        (("-f", "SPEC", "--horizon", "soon"), "--horizon: soon is not a duration"),
        (("-f", "SPEC", "--horizon", "1s"), "not between 1m and 24h"),
        (("-f", "SPEC", "--seeds", "0"), "not between 1 and 20"),
    ],
)
def test_bad_options_are_one_sentence(adaptwin, spec, arguments, message):
    result = adaptwin("plan", *(str(spec) if argument == "SPEC" else argument for argument in arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr


def test_help_is_quick_because_nothing_heavy_is_imported():
    script = (
        "import sys; from adapter_operator.cli import app; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['plan', '--help']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'numba', 'scipy', 'matplotlib', 'kopf', 'kubernetes', 'sklearn'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_memory_that_does_not_suffice_is_explained_without_a_plan(adaptwin, spec, spec_text, tmp_path):
    spec.write_text(
        spec_text.replace("  adapters:", '  engine: {args: ["--gpu-memory-utilization=0.2"]}\n  adapters:')
    )
    text = adaptwin("plan", "-f", spec, "--report", tmp_path / "plan.html")
    assert text.exit_code == 1
    assert "✘ Rejected (OutOfMemory)" in text.stdout
    assert "GiB per GPU are missing" in " ".join(text.stdout.split())
    assert Page((tmp_path / "plan.html").read_text()).open == []
    content = json.loads(adaptwin("plan", "-f", spec, "-o", "json").stdout)
    assert content.keys() == FIELDS
    assert (content["replicas"], content["pools"], content["assignment"]) == (0, [], {})
    assert content["lower_bound"] is None

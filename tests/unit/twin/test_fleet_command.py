"""`adaptwin twin transition` and the files that it reads."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from adapter_operator.cli import app
from adapter_twin.errors import WorkloadError
from adapter_twin.fleet.document import read_fleet
from adapter_twin.fleet.figures import demand_groups
from adapter_twin.workload import Adapter

NAMES = [f"a{i}" for i in range(6)]


def plan(pool, replicas, **more):
    return {
        "replicas": replicas,
        "pools": [{"name": pool, "replicas": replicas, "max_loras": 8, "max_lora_rank": 8}],
        "assignment": {f"{pool}-{i}": dict.fromkeys(NAMES[i::replicas], 1.0) for i in range(replicas)},
        "explanation": ["what else a plan says is ignored"],
        **more,
    }


def demand(rate):
    return [{"name": name, "rate": rate, "rank": 8} for name in NAMES]


@pytest.fixture
def written(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
        return str(path)

    return write


QUICK = ("--image-s", "5", "--weights-s", "5", "--compile-s", "10", "--at", "30", "--duration", "300")


def call(*arguments):
    profile = ("--profile", "qwen-2.5-7b-instruct-h100-64gb")
    return CliRunner().invoke(app, ["twin", "transition", *profile, *QUICK, *arguments])


def test_a_transition_is_shown_over_time_and_written(written, tmp_path):
    before, after = written("a.yaml", plan("p", 1)), written("b.json", plan("p", 2, adapters=demand(0.5)))
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    done = call(
        "--from", before, "--to", after, "--fail", "p-0@200+5", "--json", str(out), "--report", str(page)
    )
    assert done.exit_code == 0, done.output
    assert "Changing is" in done.stdout
    assert "The rollout took" in done.stdout
    assert "Over time" in done.stdout
    content = json.loads(out.read_text())
    requests = content["transition"]["requests"]
    assert sum(requests.values()) == sum(content["staying"]["requests"].values())
    assert requests["completed"] > 0
    assert len(content["transition"]["adapters"]) == len(NAMES)
    assert len(content["transition"]["adapters"][0]["served_fraction_by_bin"]) == 60
    assert {"at_s": 200.0, "kind": "replica failed", "replica": "p-0"} in content["staying"]["events"]
    html = page.read_text()
    assert html.count("<svg") >= 3
    assert "http" not in html


def test_a_workload_file_says_the_rates_where_plans_do_not(written):
    before, after = written("a.yaml", plan("p", 1)), written("b.yaml", plan("q", 1))
    workload = {"adapters": [{"name": name, "rate": 0.2, "rank": 8} for name in NAMES]}
    arguments = ("--from", before, "--to", after, "--surge-gpus", "1", "--served", "0.9")
    done = call(*arguments, "--workload", written("w.yaml", workload), "--ttft-s", "0.5", "--rows", "3")
    assert done.exit_code == 0, done.output
    assert "slower than the objectives" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "to: give a plan to roll out, or a replica that fails"),
        (("--fail", "p-0"), "fail: 'p-0' is not REPLICA@AT"),
        (("--fail", "p-0@1", "--ttft-s", "0"), "ttft_s: 0 is not allowed, it must be positive"),
        (("--fail", "p-0@1", "--itl-s", "nan"), "itl_s: nan is not allowed, it must be positive"),
        (("--fail", "x-0@5"), "failure: there is no replica x-0; known are p-0"),
        (("--fail", "p-0@1", "--json", "/nowhere/out.json"), "json: /nowhere/out.json cannot be written"),
    ],
)
def test_bad_options_are_named(written, arguments, message):
    done = call("--from", written("a.yaml", plan("p", 1, adapters=demand(0.1))), *arguments)
    assert done.exit_code == 2
    assert f"error: {message}" in done.stderr


def test_rates_are_needed(written):
    done = call("--from", written("a.yaml", plan("p", 1)), "--fail", "p-0@1")
    assert done.exit_code == 2
    assert "error: workload: the plans do not say their adapters' rates" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pools": []}, "assignment: Field required; expected what `adaptwin plan -o yaml` writes"),
        ({"pools": [], "assignment": {"p-0": {"a": 1.0}}}, "assignment: p-0 is no replica of the pools"),
        ([1], "the file: Input should be"),
    ],
)
def test_files_that_hold_no_plan_are_refused(written, tmp_path, content, message):
    path = tmp_path / "plan.yaml"
    written("plan.yaml", content)
    with pytest.raises(WorkloadError, match=message):
        read_fleet(path).fleet()


def test_unreadable_files_are_named(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(WorkloadError, match=r"broken\.json: is neither YAML nor JSON"):
        read_fleet(broken)
    with pytest.raises(WorkloadError, match=r"missing\.yaml: cannot be read"):
        read_fleet(tmp_path / "missing.yaml")


def test_a_plan_is_a_fleet_in_the_order_of_pools_and_ordinals(written, tmp_path):
    written("plan.yaml", plan("p", 2, adapters=demand(0.3)))
    document = read_fleet(tmp_path / "plan.yaml")
    fleet = document.fleet(max_cpu_loras=32)
    assert list(fleet.by_name) == ["p-0", "p-1"]
    assert fleet.by_name["p-1"].shares == (("a1", 1.0), ("a3", 1.0), ("a5", 1.0))
    assert fleet.by_name["p-1"].config.max_cpu_loras == 32
    assert document.demand()[2] == Adapter("a2", 0.3, 8)


def test_groups_of_adapters_have_about_the_same_traffic():
    adapters = [
        Adapter("hot", 3.0, 8),
        *(Adapter(f"m{i}", 1.0, 8) for i in range(3)),
        Adapter("cold", 3e-3, 8),
    ]
    groups = demand_groups(adapters)
    assert [len(group.adapters) for group in groups] == [1, 2, 2]
    assert groups[0].name == "1 adapter of 3 requests/s"
    assert sorted(i for group in groups for i in group.adapters) == list(range(5))
    silent = [Adapter(name, 0.0, 8) for name in "ab"]
    assert [group.adapters for group in demand_groups(silent)] == [(0, 1)]


def test_names_that_look_like_markup_are_shown_as_they_are(written):
    named = plan("p", 1, adapters=[{"name": "[/x]", "rate": 0.5, "rank": 8}])
    named["assignment"] = {"p-0": {"[/x]": 1.0}}
    done = call("--from", written("a.yaml", named), "--fail", "p-0@10")
    assert done.exit_code == 0, done.output
    assert "[/x]" in done.stdout

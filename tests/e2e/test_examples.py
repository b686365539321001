"""The examples, planned from file to verdict with what is shipped: nothing is faked."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapter_operator.cli import app

EXAMPLES = Path(__file__).parents[2] / "examples"


def planned(name, *options):
    result = CliRunner().invoke(app, ["plan", "-f", str(EXAMPLES / name), "-o", "json", *options])
    return result.exit_code, json.loads(result.stdout)


def test_the_measured_workload_needs_the_one_replica_that_served_it():
    code, plan = planned("llama-3.1-8b-160-adapters.yaml")
    assert code == 0
    assert plan["replicas"] == 1
    assert plan["verdict"]["status"] == "Verified"
    assert len(next(iter(plan["assignment"].values()))) == 160
    assert plan["verdict"]["horizon_s"] == 3600.0


@pytest.mark.parametrize("name", ["llama-3.1-8b-defaults.yaml", "qwen-2.5-7b-minimal.yaml"])
def test_other_examples_are_verified(name):
    code, plan = planned(name)
    assert code == 0
    assert plan["verdict"]["status"] == "Verified"
    assert plan["replicas"] >= plan["lower_bound"]["gpus"]


def test_the_impossible_example_says_how_many_gpus_are_missing():
    code, plan = planned("impossible.yaml")
    assert code == 1
    assert plan["verdict"]["reason"] == "ObjectivesUnreachable"
    assert plan["verdict"]["missing_gpus"] >= 4
    assert plan["replicas"] == 2

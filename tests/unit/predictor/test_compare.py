import json
import math

import pytest
from rich.console import Console
from typer.testing import CliRunner

from adapter_predictor.compare.cli import app
from adapter_predictor.compare.comparison import Comparison, compare, steps
from adapter_predictor.compare.contenders import CONTENDERS, OURS
from adapter_predictor.compare.drift import drifted
from adapter_predictor.compare.needs import fewest
from adapter_predictor.compare.suite import Case, chosen, suite
from adapter_predictor.compare.tables import document, equal_table, needs_table, summary
from adapter_predictor.compare.verdicts import Trial, judged
from adapter_predictor.errors import ComparisonError
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, place
from adapter_predictor.predictor import Predictor

TRIAL = Trial(horizon_s=60.0, seeds=(1,))


@pytest.fixture
def case(profile):
    demands = tuple(AdapterDemand(f"a{i}", 4.0 + i, 8) for i in range(6))
    return Case("tiny", "six hot ones", profile.name, demands)


@pytest.fixture
def predicted(monkeypatch, steady):
    """The profile's own predictor is the closed form."""
    monkeypatch.setattr(Predictor, "for_profile", classmethod(lambda cls, profile: steady))


def test_the_suite_is_fixed_and_half_of_it_large():
    first, second = suite(), suite()
    assert [case.demands for case in first] == [case.demands for case in second]
    assert len({case.name for case in first}) == len(first) == 14
    assert sum(sum(demand.rate for demand in case.demands) > 300.0 for case in first) == 7
    assert {len(case.demands) for case in first if case.name.startswith("growing")} == {100, 500, 2000}


def test_workloads_are_chosen_by_name():
    assert [case.name for case in chosen(["zipf-500", "uniform-400"], quick=False)] == [
        "uniform-400",
        "zipf-500",
    ]
    assert 0 < len(chosen([], quick=True)) < len(chosen([], quick=False))
    with pytest.raises(ComparisonError, match="--workloads: nothing is not one of uniform-400"):
        chosen(["nothing"], quick=False)


@pytest.mark.parametrize("needed", [1, 2, 5, 9, 16])
@pytest.mark.parametrize("guess", [1, 4, 16])
def test_the_search_finds_the_fewest(needed, guess):
    asked = []

    def does(replicas):
        asked.append(replicas)
        return replicas >= needed

    assert fewest(does, guess, 16) == needed
    assert len(asked) == len(set(asked)) <= 9


def test_the_search_gives_up_at_the_most():
    assert fewest(lambda _: False, 2, 8) is None


def test_every_contender_is_compared(case, predicted):
    told = []
    found = compare([case], TRIAL, told.append)
    (result,) = found.cases
    assert len(told) == steps([case]) == len(CONTENDERS)
    assert result.entries.keys() == CONTENDERS.keys()
    assert result.lower_bound <= result.planned_gpus
    assert result.entries[OURS].gpus is not None
    assert all(entry.gpus is None or entry.gpus >= 1 for entry in result.entries.values())
    assert result.entries["all on all"].moves_a_day == 0.0
    assert found.median_gap_of_large is None
    _check_shown(found)


def _check_shown(found: Comparison):
    console = Console(width=160, record=True, quiet=True)
    console.print(needs_table(found), equal_table(found), summary(found))
    text = json.dumps(document(found), allow_nan=False)
    assert json.loads(text)["cases"][0]["name"] == "tiny"
    assert "Gap to the lower bound" in summary(found)


def test_the_twin_sees_starvation(case, profile, steady):
    objectives = Objectives()
    enough = place(case.demands, steady, objectives, Limits(max_replicas=20)).plan
    assert judged(enough, case.demands, profile, objectives, TRIAL).serves
    hot = [AdapterDemand(d.name, 12.0 * d.rate, d.rank) for d in case.demands]
    verdict = judged(enough, hot, profile, objectives, Trial(200.0, (1, 2)))
    assert not verdict.serves
    assert verdict.starving > 0
    assert verdict.served_fraction < 0.95


def test_drift_changes_rates_but_hardly_their_sum():
    demands = [AdapterDemand(f"a{i}", 1.0, 8) for i in range(400)]
    dawn, noon = drifted(demands, 0.0, 7), drifted(demands, 12.0, 7)
    assert drifted(demands, 0.0, 7) == dawn
    assert math.isclose(sum(d.rate for d in dawn), 400.0, rel_tol=0.1)
    assert all(0.5 <= d.rate <= 1.5 for d in dawn)
    assert all(math.isclose(one.rate + two.rate, 2.0) for one, two in zip(dawn, noon, strict=True))


def test_the_command_lists_and_refuses(tmp_path):
    listed = CliRunner().invoke(app, ["--workloads", "list"])
    assert listed.exit_code == 0
    assert "zipf-3000" in listed.stdout
    refused = CliRunner().invoke(app, ["--plot", str(tmp_path / "plot.txt")])
    assert "is no image" in str(refused.exception)


def test_the_command_writes_table_plot_and_figures(monkeypatch, tmp_path, case, predicted):
    monkeypatch.setattr("adapter_predictor.compare.cli.chosen", lambda names, *, quick: (case,))
    plot, figures = tmp_path / "c.svg", tmp_path / "c.json"
    options = ["--horizon", "60", "--seeds", "1", "--plot", str(plot), "--json", str(figures)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "| tiny" in result.stdout
    assert "adaptwin" in result.stdout
    assert plot.read_text().count("<svg") == 1
    assert json.loads(figures.read_text())["seeds"] == [101]

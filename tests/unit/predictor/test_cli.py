import json

import pytest
from typer.testing import CliRunner

from adapter_predictor import cli
from adapter_predictor.drawing import described_tree
from adapter_predictor.errors import ArtifactError, DatasetError, PredictionError
from adapter_twin.errors import AdaptwinError

PROFILE = "llama-3.1-8b-instruct-h100-64gb"


@pytest.fixture
def run():
    def invoke(*arguments):
        return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)

    return invoke


@pytest.fixture
def artifact_file(artifact, tmp_path):
    path = tmp_path / "artifact.json"
    path.write_text(artifact.to_json())
    return path


def test_dataset_is_made_and_goes_on(run, tmp_path):
    arguments = ("dataset", "-p", PROFILE, "--out", tmp_path / "d", "--samples", 1, "--horizon", 20)
    assert "1 runs" in run(*arguments).output
    assert run(*arguments).exit_code == 0
    assert len((tmp_path / "d" / "samples.jsonl").read_text().splitlines()) == 1


def test_train_needs_enough_runs_and_a_dataset_for_each_profile(run, tmp_path):
    run("dataset", "-p", PROFILE, "--out", tmp_path / "d", "--samples", 2, "--horizon", 20)
    arguments = ("train", "-p", PROFILE, "--dataset", tmp_path / "d", "--out", tmp_path / "a.json")
    with pytest.raises(DatasetError, match="2 runs are too few"):
        run(*arguments)
    with pytest.raises(DatasetError, match="2 profiles need as many folders, not 1"):
        run(*arguments, "-p", PROFILE)
    assert not (tmp_path / "a.json").exists()


def test_shards_are_made_and_merged(run, tmp_path):
    for index in range(2):
        out = tmp_path / f"shard-{index}"
        run("dataset", "-p", PROFILE, "--out", out, "--samples", 3, "--horizon", 20, "--shard", f"{index}/2")
    done = run("merge", tmp_path / "shard-0", tmp_path / "shard-1", "--out", tmp_path / "d", "--samples", 3)
    assert "3 runs" in done.output


def test_a_job_is_printed(run):
    done = run("job", "-p", PROFILE, "--samples", 100, "--shards", 4)
    assert "completionMode: Indexed" in done.output
    assert "predictor\n" in run("job", "-p", PROFILE, "--samples", 100, "--shards", 4, "--merge").output


def test_capacity_says_how_many_adapters_fit(run, artifact_file):
    done = run("capacity", "-p", PROFILE, "-a", artifact_file, "--rates", "0.4,0.05", "--max-lora-rank", 16)
    assert "Up to" in done.output
    done = run("capacity", "-p", PROFILE, "-a", artifact_file, "--rates", "900")
    assert "Not even one" in done.output


def test_targets_that_there_are_none_of_are_refused(run, artifact_file):
    with pytest.raises(PredictionError, match="target: 'speed' is not one of served_fraction"):
        run("explain", "-p", PROFILE, "-a", artifact_file, "--target", "speed")


def test_evaluate_needs_something_to_compare_with(run):
    with pytest.raises(PredictionError, match="--dataset, --measured, or --mixes"):
        run("evaluate", "-p", PROFILE)


def test_evaluate_against_measured_optima(run, artifact_file, tmp_path, request):
    table = request.config.rootpath / "tests/data/measurements/runs.csv"
    out = tmp_path / "scores.json"
    done = run("evaluate", "-p", PROFILE, "-a", artifact_file, "--measured", table, "--json", out)
    assert done.exit_code == 0
    scores = json.loads(out.read_text())
    assert len(scores["by_combination"]) == 4
    assert "slots_regret_percent" in scores["overall"]


def test_evaluate_counts_models_without_a_profile_as_missed(run, artifact_file, tmp_path, request):
    table = (request.config.rootpath / "tests/data/measurements/runs.csv").read_text()
    other = tmp_path / "runs.csv"
    other.write_text(table.replace("qwen-2.5-7b-instruct", "gemma"))
    out = tmp_path / "scores.json"
    done = run("evaluate", "--measured", other, "--json", out)
    assert "no profile of gemma is known" in done.stderr
    scores = json.loads(out.read_text())
    assert scores["overall"]["adapters_smape"] >= 50.0
    assert len(scores["by_combination"]) == 8


def test_evaluate_writes_nothing_where_it_cannot(run, tmp_path, request):
    table = request.config.rootpath / "tests/data/measurements/runs.csv"
    with pytest.raises(AdaptwinError, match="json: "):
        run("evaluate", "--measured", table, "--json", tmp_path / "missing" / "scores.json")
    gone = tmp_path / "none.csv"
    with pytest.raises(AdaptwinError, match="cannot read"):
        run("evaluate", "--measured", gone, "--json", tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


def test_evaluate_against_the_twin(run, artifact_file, tmp_path):
    run("dataset", "-p", PROFILE, "--out", tmp_path / "d", "--samples", 3, "--horizon", 20)
    out = tmp_path / "scores.json"
    done = run("evaluate", "-p", PROFILE, "-a", artifact_file, "--dataset", tmp_path / "d", "--json", out)
    assert "starvation macro-F1" in done.output
    assert json.loads(out.read_text())["twin"]["samples"] == 3


def test_a_model_card_holds_what_an_artifact_was_held_against(run, artifact_file, tmp_path, request):
    run("dataset", "-p", PROFILE, "--out", tmp_path / "d", "--samples", 3, "--horizon", 20)
    table = request.config.rootpath / "tests/data/measurements/runs.csv"
    done = run(
        "card", "-p", PROFILE, "-a", artifact_file, "--dataset", tmp_path / "d", "--held-out", tmp_path / "d",
        "--measured", table, "--out", tmp_path / "cards",
    )  # fmt: skip
    assert done.exit_code == 0
    card = (tmp_path / "cards" / f"{PROFILE}.md").read_text()
    for section in ("Data", "Out-of-fold scores", "Against the twin", "Against measured optima", "Validity"):
        assert f"\n## {section}\n" in card
    assert card.count("rate_0.4-0.05-0.00625") == 1
    assert "offered rate over the rate that a full batch sustains at most 0.8?" in card
    for picture in ("tree", "residuals"):
        assert (tmp_path / "cards" / f"{PROFILE}-{picture}.svg").read_text().startswith("<?xml")
        assert f"({PROFILE}-{picture}.svg)" in card


def test_a_decision_stands_out_in_the_drawn_tree(run, artifact_file, tmp_path):
    drawn = []
    for number, load in enumerate(((), ("--adapters", 40))):
        plot = tmp_path / f"{number}.svg"
        run("explain", "-p", PROFILE, "-a", artifact_file, *load, "--plot", plot)
        drawn.append(plot.read_text())
    assert "#c2410c" not in drawn[0]
    assert "#c2410c" in drawn[1]


def test_explain_prints_the_tree_and_a_decision(run, artifact_file, tmp_path):
    plot = tmp_path / "tree.svg"
    done = run(
        "explain", "-p", PROFILE, "-a", artifact_file, "--adapters", 160, "--rates", "0.4,0.05,0.00625",
        "--max-loras", 32, "--max-lora-rank", 32, "--served", 0.9, "--plot", plot,
    )  # fmt: skip
    assert "offered rate over the rate that a full batch sustains at most 0.8?" in done.output
    assert "160 adapters at 24.6 req/s on 32 slots of rank 32" in done.output
    assert "Nearest flip (served fraction 90%)" in done.output
    assert "adapters like these" in done.output
    assert plot.read_text().startswith("<?xml")


def test_explain_says_what_does_not_fit(run, artifact_file):
    done = run("explain", "-p", PROFILE, "-a", artifact_file, "--adapters", 2, "--max-loras", 384)
    assert "Does not fit: 384 slots of rank 16" in done.output


@pytest.mark.parametrize(("rates", "message"), [("fast", "not a list"), (",", "at least one rate")])
def test_rates_are_numbers(run, artifact_file, rates, message):
    with pytest.raises(PredictionError, match=message):
        run("explain", "-p", PROFILE, "-a", artifact_file, "--adapters", 2, "--rates", rates)


def test_a_corrupted_artifact_is_one_clear_sentence(run, artifact_file):
    artifact_file.write_text(artifact_file.read_text()[:-100])
    with pytest.raises(ArtifactError, match=r"^artifact: artifact\.json: "):
        run("explain", "-p", PROFILE, "-a", artifact_file)


def test_trees_in_words(stump_nodes):
    lines = described_tree(stump_nodes.tree(), "steady_served")
    assert lines[0] == "offered rate over the rate that a full batch sustains at most 0.8?"
    assert lines[1] == "  → 1 × served fraction of the steady state  (25 runs)"
    assert described_tree(stump_nodes.tree(), None)[3] == "  → 0.8  (25 runs)"


def test_ranks_that_no_server_takes_are_refused_before_anything_is_printed(run, capsys):
    with pytest.raises(PredictionError, match="12 is not one of 1, 8, 16"):
        run("explain", "-p", PROFILE, "--adapters", 4, "--max-lora-rank", 12)
    assert capsys.readouterr().out == ""


def test_no_jobs_at_all_are_refused(run, tmp_path):
    with pytest.raises(DatasetError, match="jobs: 0 is not allowed"):
        run("dataset", "-p", PROFILE, "--out", tmp_path / "d", "--jobs", 0)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("capacity", "-p", PROFILE, "--rates", "nan"), "rates: every rate is a finite number"),
        (("capacity", "-p", PROFILE, "--rates", "0.4,-0.1"), "rates: every rate is a finite number"),
        (
            ("explain", "-p", PROFILE, "--adapters", 4, "--prompt-tokens", 0),
            "prompt_tokens: a mean of 0 is not",
        ),
        (
            ("explain", "-p", PROFILE, "--adapters", 4, "--output-tokens", "nan"),
            "output_tokens: a mean of nan",
        ),
        (("job", "-p", PROFILE, "--name", "Bad Name"), "name: 'Bad Name' is not"),
        (("job", "-p", PROFILE, "--name", "n" * 53), "is not 1 to 52"),
        (("job", "-p", PROFILE, "--image", ""), "image: it is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_printed(run, capsys, arguments, message):
    with pytest.raises(AdaptwinError, match=message):
        run(*arguments)
    assert capsys.readouterr().out == ""


def test_runs_that_the_trees_know_are_no_fair_test(run, artifact_file, artifact, tmp_path):
    seed = artifact.datasets[0].seed
    run("dataset", "-p", PROFILE, "--out", tmp_path / "d", "--samples", 2, "--horizon", 20, "--seed", seed)
    done = run("evaluate", "-p", PROFILE, "-a", artifact_file, "--dataset", tmp_path / "d")
    assert "no fair test" in done.stderr


def test_runs_of_another_version_of_the_profile_are_refused(run, tmp_path):
    run("dataset", "-p", PROFILE, "--out", tmp_path / "d", "--samples", 1, "--horizon", 20)
    manifest = tmp_path / "d" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"profile_hash": "0"}))
    with pytest.raises(DatasetError, match="another version of"):
        run("evaluate", "-p", PROFILE, "--dataset", tmp_path / "d")

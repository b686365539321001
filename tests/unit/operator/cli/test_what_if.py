import json

import pytest


def flat(result):
    return " ".join(result.stdout.split())


def test_what_fits_costs_nothing(adaptwin, spec):
    result = adaptwin("what-if", "-f", spec, "--add", 4, "--rate", "0.1", "--rank", 16)
    assert result.exit_code == 0, result.output
    assert "✔ Fits on the GPUs that there are" in flat(result)
    assert "adapters 4 8" in flat(result)
    assert "requests 1.8/s 2.2/s" in flat(result)
    assert "0 of 4 adapters that stay would be loaded elsewhere" in flat(result)
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_what_takes_more_gpus_says_how_many(adaptwin, spec):
    result = adaptwin("what-if", "-f", spec, "--scale-rates", 12, "-o", "json")
    assert result.exit_code == 3, result.output
    answer = json.loads(result.stdout)
    assert answer["fits"]
    assert answer["verified"] is None
    assert answer["before"]["gpus"] == 1
    assert answer["after"]["gpus"] == 2
    assert answer["after"]["rate"] == pytest.approx(12 * answer["before"]["rate"])
    assert 0.0 <= answer["after"]["headroom"] < answer["before"]["headroom"]


def test_what_does_not_fit_names_the_missing_gpus(adaptwin, hopeless):
    result = adaptwin("what-if", "-f", hopeless, "--add", 10, "--rate", "2")
    assert result.exit_code == 1
    assert "✘ Does not fit within the limits" in flat(result)
    assert "more GPUs needed" in flat(result)


def test_fewer_adapters_by_name_and_pattern(adaptwin, spec):
    result = adaptwin("what-if", "-f", spec, "--remove", "night-*", "--remove", "billing", "-o", "json")
    assert result.exit_code == 0
    (shares,) = json.loads(result.stdout)["after"]["assignment"].values()
    assert shares.keys() == {"<b>returns</b>", "fx$rates$"}


def test_the_plan_that_runs_is_the_one_before(adaptwin, spec, tmp_path):
    running = tmp_path / "plan.yaml"
    running.write_text(adaptwin("plan", "-f", spec, "-o", "yaml").stdout)
    result = adaptwin("what-if", "-f", spec, "--present", running, "--scale-rates", 2, "-o", "json")
    answer = json.loads(result.stdout)
    assert answer["moves"] == 0
    assert answer["new_pools"] == []
    assert answer["before"]["assignment"] == answer["after"]["assignment"]


def test_the_twin_has_the_last_word_where_it_is_asked(adaptwin, spec):
    result = adaptwin("what-if", "-f", spec, "--add", 2, "--rate", "200m", "--verify", "-o", "json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["verified"] is True
    assert "the twin saw every objective met" in answer["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing changes"),
        (("--add", "2"), "--rate: adapters that are added need a rate"),
        (("--add", "2", "--rate", "much"), "--rate: much is not a rate"),
        (("--remove", "nobody"), "--remove: no adapter is called nobody"),
        (("--remove", "*"), "--remove: nothing is left"),
        (("--scale-rates", "0"), "--scale-rates: 0 is not above 0"),
        (("--add", "1", "--rate", "1", "--rank", "4096"), "rank: 4096"),
        (("--add", "1", "--rate", "1", "--rank", "0"), "--rank: 0 is not one of 1, 8"),
        (("--add", "1", "--rate", "1", "--rank", "7"), "--rank: 7 is not one of 1, 8"),
        (("--add", "1000000000", "--rate", "1"), "100000"),
    ],
)
def test_bad_input_is_one_sentence(adaptwin, spec, arguments, message):
    result = adaptwin("what-if", "-f", spec, *arguments)
    assert result.exit_code == 2
    assert "error" in result.stderr.lower()
    assert message in result.stderr


def test_help_names_the_exit_codes(adaptwin):
    result = adaptwin("what-if", "--help")
    assert result.exit_code == 0
    assert "takes more GPUs" in flat(result)

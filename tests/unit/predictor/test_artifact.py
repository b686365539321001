import json

import pytest

from adapter_predictor.artifact import (
    FOLDER_VARIABLE,
    Artifact,
    find_artifact,
    parse_artifact,
    prediction_hash,
    read_artifact,
)
from adapter_predictor.errors import ArtifactError


def test_round_trip(artifact, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(artifact.to_json())
    assert read_artifact(path) == artifact


def test_an_altered_artifact_is_refused(artifact):
    text = artifact.to_json().replace('"smape_percent":5.0', '"smape_percent":1.0')
    with pytest.raises(ArtifactError, match=r"^artifact: a\.json: sha256 does not match the content"):
        parse_artifact(text, "a.json")


def test_a_cut_artifact_is_refused(artifact):
    with pytest.raises(ArtifactError, match=r"^artifact: a\.json: document: Invalid JSON"):
        parse_artifact(artifact.to_json()[:1000], "a.json")


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda d: d.update(more=1), "more: Extra inputs"),
        (lambda d: d.pop("profile_hash"), "profile_hash: Field required"),
        (lambda d: d["targets"].pop("itl_s"), "itl_s is missing"),
        (lambda d: d["features"].pop(), "features: they must be"),
        (lambda d: d["targets"]["itl_s"].update(scale="luck"), "luck is not a feature"),
        (lambda d: d["targets"]["itl_s"]["tree"]["left"].append(1), "differ in length"),
        (lambda d: d["datasets"][0].update(seed="0"), "datasets.0.seed"),
        (lambda d: d.update(format="adaptwin.io/predictor/v1"), "format"),
    ],
)
def test_what_breaks_the_schema_is_named(artifact, alter, message):
    document = json.loads(artifact.to_json())
    alter(document)
    with pytest.raises(ArtifactError, match=message):
        parse_artifact(json.dumps(document), "a.json")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ArtifactError, match="cannot read"):
        read_artifact(tmp_path / "none.json")


def test_no_artifact_for_an_unknown_profile():
    assert find_artifact("nobody-knows") is None


def test_the_hash_ignores_what_acts_through_memory_alone(profile):
    engine = profile.engine.model_copy(update={"max_model_len": 4096, "gpu_memory_utilization": 0.8})
    assert prediction_hash(profile.model_copy(update={"engine": engine})) == prediction_hash(profile)
    slower = profile.step_time.model_copy(update={"base": 2.0 * profile.step_time.base})
    assert prediction_hash(profile.model_copy(update={"step_time": slower})) != prediction_hash(profile)


def test_the_schema_is_strict():
    assert Artifact.model_config["strict"]
    assert Artifact.model_config["extra"] == "forbid"


def test_ones_own_artifacts_come_before_the_shipped(artifact, tmp_path, monkeypatch):
    shipped = find_artifact(artifact.profile)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert find_artifact(artifact.profile) == shipped
    (tmp_path / f"{artifact.profile}.json").write_text(artifact.to_json())
    assert find_artifact(artifact.profile) == artifact != shipped
    assert find_artifact("nobody's") is None

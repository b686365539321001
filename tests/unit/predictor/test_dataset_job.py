import pytest
import yaml

from adapter_predictor.errors import DatasetError
from adapter_predictor.training.job import DatasetJob
from adapter_twin.profile import Profile


@pytest.fixture
def job(profile):
    return DatasetJob(profile, samples=1000, seed=7, horizon_s=3600.0, shards=8, parallelism=4)


@pytest.fixture
def documents(job):
    return {document["kind"]: document for document in yaml.safe_load_all(job.to_yaml())}


def container(document):
    return document["spec"]["template"]["spec"]["containers"][0]


def test_an_indexed_job_makes_each_shard_once(documents):
    spec = documents["Job"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 4)
    assert spec["backoffLimitPerIndex"] > 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    arguments = container(documents["Job"])["args"]
    assert arguments[:2] == ["predictor", "dataset"]
    assert arguments[arguments.index("--shard") + 1] == "/8"
    assert arguments[arguments.index("--samples") + 1] == "1000"


def test_the_profile_travels_with_the_job(documents, profile):
    carried = Profile.model_validate_json(documents["ConfigMap"]["data"]["profile.json"])
    assert carried == profile
    mounts = {mount["name"]: mount["mountPath"] for mount in container(documents["Job"])["volumeMounts"]}
    arguments = container(documents["Job"])["args"]
    assert arguments[arguments.index("--profile") + 1] == f"{mounts['profile']}/profile.json"


def test_pods_need_no_rights(documents):
    pod = documents["Job"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(documents["Job"])["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_merging_job_reads_what_the_shards_wrote(job, documents):
    merging = yaml.safe_load(job.merge_yaml())
    arguments = container(merging)["args"]
    written = container(documents["Job"])["args"]
    prefix = written[written.index("--out") + 1].removesuffix("$(JOB_COMPLETION_INDEX)")
    assert arguments[2:10] == [f"{prefix}{index}" for index in range(8)]
    assert (
        merging["spec"]["template"]["spec"]["volumes"]
        == documents["Job"]["spec"]["template"]["spec"]["volumes"]
    )


def test_a_storage_class_is_named_where_one_is_wanted(profile):
    job = DatasetJob(profile, 10, 0, 60.0, shards=2, parallelism=1, storage_class="shared")
    claim = next(d for d in yaml.safe_load_all(job.to_yaml()) if d["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "shared"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shards": 0}, "shards: 0"),
        ({"shards": 11}, "shards: 11"),
        ({"parallelism": 3}, "parallelism: 3"),
    ],
)
def test_impossible_numbers_are_refused(profile, changed, message):
    numbers = {"shards": 2, "parallelism": 2} | changed
    with pytest.raises(DatasetError, match=message):
        DatasetJob(profile, samples=10, seed=0, horizon_s=60.0, **numbers)

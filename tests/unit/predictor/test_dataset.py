import json
import subprocess
import sys
import textwrap
import time

import pytest

from adapter_predictor.errors import DatasetError
from adapter_predictor.training import backends
from adapter_predictor.training.backends import Workers
from adapter_predictor.training.dataset import generate, read_dataset
from adapter_predictor.training.shards import Shard, merge

HORIZON_S = 30.0
RUNS = 6


@pytest.fixture
def make(profile, tmp_path):
    """Makes runs of a dataset in a folder; returns how many were there at each moment."""

    def generated(name, indices, *, seed=3, workers=None):
        folder = tmp_path / name
        return list(
            generate(profile, folder, indices=indices, seed=seed, horizon_s=HORIZON_S, workers=workers)
        )

    return generated


@pytest.fixture
def written(tmp_path):
    return lambda name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}


def test_a_dataset_grows_and_never_repeats(make, tmp_path):
    assert make("a", range(2)) == [0, 1, 2]
    assert make("a", range(4)) == [2, 3, 4]
    assert make("a", range(4)) == [4]
    assert [sample.index for sample in read_dataset(tmp_path / "a").samples] == [0, 1, 2, 3]


def test_its_bytes_depend_on_nothing_but_seed_and_size(make, written):
    make("at once", range(RUNS))
    make("grown", range(2))
    make("grown", range(RUNS))
    for number, workers in enumerate((Workers(2), Workers(2, "threading"))):
        make(f"elsewhere {number}", range(RUNS), workers=workers)
        assert written(f"elsewhere {number}") == written("at once")
    assert written("grown") == written("at once")
    make("other", range(RUNS), seed=4)
    assert written("other") != written("at once")


def test_backends_that_hand_back_results_in_batches_make_the_same(make, written, monkeypatch):
    make("one by one", range(RUNS))
    monkeypatch.setattr(backends, "_one_by_one", lambda: None)
    monkeypatch.setattr(backends, "_BATCH", 4)
    assert make("in batches", range(RUNS))[-1] == RUNS
    assert written("in batches") == written("one by one")


def test_merged_shards_are_the_whole_byte_for_byte(make, written, tmp_path):
    make("whole", range(RUNS))
    folders = []
    for index in (2, 0, 1):
        make(f"shard {index}", Shard(index, 3).indices(RUNS))
        folders.append(tmp_path / f"shard {index}")
    merge(folders, tmp_path / "merged", samples=RUNS)
    assert written("merged") == written("whole")


def test_a_shard_that_is_absent_is_named(make, tmp_path):
    for index in range(3):
        make(f"shard {index}", Shard(index, 3).indices(RUNS))
    with pytest.raises(DatasetError, match=r"2 of 6 runs are missing \(number 1, 4\)"):
        merge([tmp_path / "shard 0", tmp_path / "shard 2"], tmp_path / "merged")
    with pytest.raises(DatasetError, match="missing"):
        merge([tmp_path / "shard 0"], tmp_path / "merged", samples=RUNS)
    with pytest.raises(DatasetError, match="name the folders"):
        merge([], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_shards_of_two_datasets_are_not_merged(make, tmp_path):
    make("a", range(1))
    make("b", range(1), seed=4)
    with pytest.raises(DatasetError, match="was begun with seed 4, not 3"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")


def test_merging_writes_over_no_runs_that_the_shards_lack(make, written, tmp_path):
    make("other", range(1), seed=4)
    make("larger", range(2))
    make("shard", range(1))
    before = written("other"), written("larger")
    with pytest.raises(DatasetError, match="was begun with seed 4, not 3"):
        merge([tmp_path / "shard"], tmp_path / "other")
    with pytest.raises(DatasetError, match="holds 1 runs that the shards lack"):
        merge([tmp_path / "shard"], tmp_path / "larger")
    assert (written("other"), written("larger")) == before
    merge([tmp_path / "larger"], tmp_path / "shard")
    assert written("shard") == written("larger")


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("0/4", {}, Shard(0, 4)),
        ("/4", {"JOB_COMPLETION_INDEX": "3"}, Shard(3, 4)),
        (None, {"JOB_COMPLETION_INDEX": "3"}, Shard(0, 1)),
    ],
)
def test_shards_are_given_by_hand_or_by_a_pods_index(text, environment, expected):
    assert Shard.parse(text, environment) == expected


@pytest.mark.parametrize("text", ["4/4", "-1/4", "1", "a/b", "/4", "0/0", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(DatasetError, match="shard: "):
        Shard.parse(text, {})


def test_shards_are_disjoint_and_complete():
    parts = [Shard(index, 4).indices(10) for index in range(4)]
    assert sorted(number for part in parts for number in part) == list(range(10))


def test_a_dask_cluster_is_reached_by_its_schedulers_address(make, written):
    distributed = pytest.importorskip("distributed")
    make("here", range(3))
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        make("there", range(3), workers=Workers(1, "dask", cluster.scheduler_address))
    assert written("there") == written("here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"jobs": 0}, "jobs: 0 is not allowed"),
        ({"jobs": -3}, "jobs: -3 is not allowed"),
        ({"backend": "abacus"}, "joblib knows no 'abacus'"),
        ({"backend": "loky", "scheduler": "tcp://x:1"}, "give it with --backend dask or ray"),
    ],
)
def test_workers_that_there_are_none_of(arguments, message):
    with pytest.raises(DatasetError, match=message):
        Workers(**arguments)


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_that_is_not_installed_says_what_to_install(make, monkeypatch, backend, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DatasetError, match=rf"install adaptwin\[{backend}\]"):
        make("a", range(1), workers=Workers(1, backend, "tcp://127.0.0.1:1"))


def test_a_torn_line_is_made_again(make, written, tmp_path):
    make("a", range(3))
    whole = written("a")
    path = tmp_path / "a" / "samples.jsonl"
    path.write_text(path.read_text()[:-40])
    make("a", range(3))
    assert written("a") == whole


def test_runs_that_lie_in_any_order_are_put_in_order(make, written, tmp_path):
    make("a", range(3))
    whole = written("a")
    path = tmp_path / "a" / "samples.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    make("a", range(3))
    assert written("a") == whole


def test_nothing_is_lost_when_it_is_killed(make, written, profile, tmp_path):
    folder = tmp_path / "killed"
    program = textwrap.dedent(f"""
        import pathlib
        from adapter_predictor.training.dataset import generate
        from adapter_twin.profile import load_profile
        list(generate(load_profile("{profile.name}"), pathlib.Path(r"{folder}"), indices=range(10**6), seed=3,
                      horizon_s={HORIZON_S}))
    """)
    process = subprocess.Popen([sys.executable, "-c", program])
    path = folder / "samples.jsonl"
    deadline = time.monotonic() + 240.0
    while time.monotonic() < deadline and (not path.exists() or path.read_bytes().count(b"\n") < 3):
        time.sleep(0.05)
    process.kill()
    process.wait()
    finished = path.read_bytes().count(b"\n")
    assert finished >= 3
    assert make("killed", range(finished + 2))[0] == finished
    make("fresh", range(finished + 2))
    assert written("killed") == written("fresh")


def test_a_folder_never_mixes_two_datasets(make):
    make("a", range(1))
    with pytest.raises(DatasetError, match="was begun with seed 3, not 4"):
        make("a", range(1), seed=4)


def test_folders_that_hold_no_dataset(make, tmp_path):
    with pytest.raises(DatasetError, match="holds no run"):
        read_dataset(tmp_path)
    (tmp_path / "samples.jsonl").write_text(json.dumps({"index": 0}) + "\n")
    with pytest.raises(DatasetError, match="line 1 is not a run"):
        read_dataset(tmp_path)
    for junk in (b"\xff\xfe\n", b'{"index": 0, "rates": [NaN]}\n'):
        (tmp_path / "samples.jsonl").write_bytes(junk)
        with pytest.raises(DatasetError, match="line 1 is not a run"):
            read_dataset(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff")
    with pytest.raises(DatasetError, match="not a manifest"):
        make(".", range(1))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DatasetError, match="not a manifest"):
        make(".", range(1))

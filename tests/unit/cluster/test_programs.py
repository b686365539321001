"""Where the control plane's programs come from."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from controlplane import pins as pinned
from controlplane.errors import Unavailable
from controlplane.pins import ALL, CLIENTS, CONTROL_PLANE
from controlplane.programs import Machine, cache_folder, choose, look, obtain, rebuild, uses_existing
from controlplane.progress import Reporter
from controlplane.session import existing_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Collection

PINS = pinned.read_pins()


def folder_of(name: str, programs: Collection[str]) -> dict[str, Path]:
    return {program: Path(name) / program for program in programs}


def put(folder: Path, programs: Collection[str], content: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        (folder / program).write_text(content)
        (folder / program).chmod(0o755)


class Fake:
    """A source that has some programs."""

    def __init__(self, *has: str) -> None:
        self.has = has
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, programs, folder, _pins, _reporter) -> None:
        self.asked.append(tuple(programs))
        put(folder, set(programs) & set(self.has), "fetched")
        if lacking := set(programs) - set(self.has):
            raise Unavailable(f"I lack {sorted(lacking)}")


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def reporter(log: io.StringIO) -> Reporter:
    return Reporter(Console(file=log, width=400))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


class TestChoose:
    def test_nothing_at_hand_means_that_everything_is_fetched(self):
        assert choose(Machine()).missing == ALL

    def test_an_existing_cluster_needs_only_the_clients(self):
        assert choose(Machine(existing_cluster=True)).missing == CLIENTS

    def test_assets_come_before_the_cache(self):
        machine = Machine(assets=folder_of("assets", ALL), cached=folder_of("cache", ALL))
        assert choose(machine).present == folder_of("assets", ALL)

    def test_the_cache_gives_what_the_assets_lack(self):
        envtest = {"etcd", "kube-apiserver", "kubectl"}
        machine = Machine(assets=folder_of("assets", envtest), cached=folder_of("cache", ALL))
        choice = choose(machine)
        assert {name for name, path in choice.present.items() if path.parent.name == "assets"} == envtest
        assert choice.missing == ()

    def test_what_neither_has_is_missing(self):
        machine = Machine(assets=folder_of("assets", CONTROL_PLANE))
        assert choose(machine).missing == CLIENTS


class TestObtain:
    def test_the_first_source_that_has_them_is_enough(self, environment, reporter):
        first, second = Fake(*ALL), Fake(*ALL)
        programs = obtain(environment, reporter, [first, second])
        assert programs == {name: cache_folder(environment, PINS) / name for name in ALL}
        assert (len(first.asked), len(second.asked)) == (1, 0)

    def test_the_next_source_is_asked_when_one_fails(self, environment, reporter, log):
        assert set(obtain(environment, reporter, [Fake("etcd"), Fake(*ALL)])) == set(ALL)
        assert "I lack" in log.getvalue()

    def test_when_none_has_them_the_error_says_what_each_answered(self, environment, reporter):
        with pytest.raises(Unavailable, match=r"cannot be had; I lack .*; I lack"):
            obtain(environment, reporter, [Fake(), Fake("etcd")])

    def test_a_failed_source_leaves_nothing_in_the_cache(self, environment, reporter):
        with pytest.raises(Unavailable):
            obtain(environment, reporter, [Fake("etcd")])
        assert [path.name for path in cache_folder(environment, PINS).iterdir()] == [".lock"]

    def test_a_second_time_nothing_is_fetched(self, environment, reporter):
        obtain(environment, reporter, [Fake(*ALL)])
        assert set(obtain(environment, reporter, [])) == set(ALL)

    def test_only_what_is_missing_is_fetched(self, environment, reporter, tmp_path):
        put(tmp_path / "assets", CONTROL_PLANE)
        source = Fake(*ALL)
        programs = obtain({**environment, "KUBEBUILDER_ASSETS": str(tmp_path / "assets")}, reporter, [source])
        assert source.asked == [CLIENTS]
        assert programs["etcd"] == tmp_path / "assets" / "etcd"

    def test_a_cached_program_of_another_version_is_fetched_again(self, environment, reporter):
        obtain(environment, reporter, [Fake(*ALL)])
        record = cache_folder(environment, PINS) / "versions.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "helm": "v3.0.0"}))
        source = Fake(*ALL)
        obtain(environment, reporter, [source])
        assert source.asked == [("helm",)]

    def test_a_broken_record_counts_as_an_empty_cache(self, environment):
        cache = cache_folder(environment, PINS)
        put(cache, ALL)
        (cache / "versions.json").write_text("{")
        assert look(environment, PINS).cached == {}

    def test_rebuild_builds_what_the_cache_has_already(self, environment, reporter, monkeypatch):
        obtain(environment, reporter, [Fake(*ALL)])
        source = Fake(*ALL)
        monkeypatch.setattr("controlplane.programs.build", source)
        rebuild(environment, reporter)
        assert source.asked == [ALL]


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_use_existing_cluster(value: str, expected: bool):
    assert uses_existing({"USE_EXISTING_CLUSTER": value}) is expected


def test_an_existing_cluster_needs_a_kubeconfig(tmp_path: Path):
    with pytest.raises(Unavailable, match=r"no kubeconfig at .*/nowhere"):
        existing_kubeconfig({"KUBECONFIG": str(tmp_path / "nowhere")})
    (tmp_path / "config").touch()
    assert existing_kubeconfig({"KUBECONFIG": f"{tmp_path}/config:other"}) == tmp_path / "config"

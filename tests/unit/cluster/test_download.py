"""Official releases, against a web server of our own."""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import yaml
from rich.console import Console

from controlplane.download import Sites, download, envtest_release
from controlplane.errors import Unavailable
from controlplane.pins import ALL, read_pins
from controlplane.progress import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PINS = read_pins()
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
REPORTER = Reporter(Console(file=io.StringIO()))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


def archive(*members: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in members:
            info = tarfile.TarInfo(member)
            content = member.rpartition("/")[2].encode()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def web(tmp_path: Path) -> Path:
    return tmp_path / "web"


@pytest.fixture
def sites(web: Path) -> Iterator[Sites]:
    """A site with every release, in the layout of the real ones."""
    web.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=web))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    root = f"http://127.0.0.1:{server.server_address[1]}"
    publish(web, root)
    yield Sites(f"{root}/index.yaml", f"{root}/release", root)
    server.shutdown()
    thread.join()
    server.server_close()


def publish(web: Path, root: str) -> None:
    system = f"{sys.platform}-{ARCHITECTURE}"
    name = f"envtest-{PINS.kubernetes}-{system}.tar.gz"
    envtest = archive(*(f"controller-tools/envtest/{each}" for each in ("etcd", "kube-apiserver", "kubectl")))
    (web / name).write_bytes(envtest)
    release = {"hash": hashlib.sha512(envtest).hexdigest(), "selfLink": f"{root}/{name}"}
    (web / "index.yaml").write_text(yaml.safe_dump({"releases": {PINS.kubernetes: {name: release}}}))
    programs = web / "release" / PINS.kubernetes / "bin" / sys.platform / ARCHITECTURE
    programs.mkdir(parents=True)
    for program in ("kube-controller-manager", "kube-scheduler"):
        (programs / program).write_text(program)
        (programs / f"{program}.sha256").write_text(hashlib.sha256(program.encode()).hexdigest())
    helm = archive(f"{system}/helm", f"{system}/LICENSE")
    (web / f"helm-{PINS.helm}-{system}.tar.gz").write_bytes(helm)
    checksum = f"{hashlib.sha256(helm).hexdigest()}  helm.tar.gz\n"
    (web / f"helm-{PINS.helm}-{system}.tar.gz.sha256sum").write_text(checksum)


def test_every_program_has_a_release(sites: Sites, tmp_path: Path):
    download(ALL, tmp_path, PINS, REPORTER, sites)
    assert {name: (tmp_path / name).read_text() for name in ALL} == {name: name for name in ALL}
    assert all((tmp_path / name).stat().st_mode & 0o111 for name in ALL)


def test_only_what_is_asked_for_is_downloaded(sites: Sites, tmp_path: Path):
    download(["helm"], tmp_path, PINS, REPORTER, sites)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["helm"]


def test_a_wrong_checksum_is_refused(sites: Sites, web: Path, tmp_path: Path):
    next(web.glob("release/**/kube-scheduler")).write_text("something else")
    with pytest.raises(Unavailable, match="published checksum"):
        download(["kube-scheduler"], tmp_path, PINS, REPORTER, sites)


def test_no_internet_means_unavailable(tmp_path: Path):
    with pytest.raises(Unavailable, match="no official release"):
        download(ALL, tmp_path, PINS, REPORTER, Sites(envtest_index="http://127.0.0.1:1/index.yaml"))


class TestEnvtestRelease:
    @staticmethod
    def index(*versions: str) -> dict:
        return {
            "releases": {each: {f"envtest-{each}-linux-amd64.tar.gz": {"hash": each}} for each in versions}
        }

    def test_the_wanted_version(self):
        index = self.index("v1.36.1", "v1.36.3", "v1.36.10")
        assert envtest_release(index, "v1.36.3", "linux-amd64") == ("v1.36.3", {"hash": "v1.36.3"})

    def test_else_the_newest_patch_of_its_minor(self):
        index = self.index("v1.36.2", "v1.36.10", "v1.36.11-rc.0", "v1.37.0", "v1.3.6")
        assert envtest_release(index, "v1.36.3", "linux-amd64")[0] == "v1.36.10"

    def test_another_minor_will_not_do(self):
        with pytest.raises(Unavailable, match=r"no release of v1\.36\.x for linux-amd64"):
            envtest_release(self.index("v1.35.0"), "v1.36.3", "linux-amd64")

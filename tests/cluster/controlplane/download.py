"""Official releases: envtest's archive, and the programs that it lacks."""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import tarfile
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from controlplane.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from controlplane.pins import Pins
    from controlplane.progress import Reporter

IN_ENVTEST = frozenset({"etcd", "kube-apiserver", "kubectl"})
TIMEOUT_S = 4.0
"""Without the internet this is how long it takes to find out."""
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Sites:
    """Where the releases are."""

    envtest_index: str = (
        "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
    )
    kubernetes: str = "https://dl.k8s.io/release"
    helm: str = "https://get.helm.sh"


def download(
    programs: Collection[str], folder: Path, pins: Pins, reporter: Reporter, sites: Sites = Sites()
) -> None:
    """Downloads programs into a folder, each checked against its published checksum.

    Raises:
        Unavailable: The internet is not there, or a release is not.
    """
    system, machine = sys.platform, {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
    try:
        index = yaml.safe_load(_fetch(sites.envtest_index))
        version, archive = envtest_release(index, pins.kubernetes, f"{system}-{machine}")
        if IN_ENVTEST & set(programs):
            reporter.say(f"downloading envtest {version}")
            content = _checked(archive["selfLink"], hashlib.sha512, archive["hash"])
            _unpack(content, IN_ENVTEST & set(programs), folder)
        for name in sorted(set(programs) - IN_ENVTEST):
            reporter.say(f"downloading {name}")
            if name == "helm":
                _download_helm(f"{sites.helm}/helm-{pins.helm}-{system}-{machine}.tar.gz", folder)
            else:
                _download_program(
                    f"{sites.kubernetes}/{version}/bin/{system}/{machine}/{name}", folder / name
                )
    except (OSError, tarfile.TarError, yaml.YAMLError) as error:
        raise Unavailable(f"no official release: {error}") from error


def envtest_release(index: dict[str, Any], wanted: str, system: str) -> tuple[str, dict[str, str]]:
    """The release of the wanted version, else the newest patch of the same minor.

    Returns:
        The version, and the archive's ``selfLink`` and ``hash`` (SHA-512, hexadecimal).

    Raises:
        Unavailable: The index has none.
    """
    minor = wanted.rpartition(".")[0] + "."
    fitting = {
        version: archives[name]
        for version, archives in index["releases"].items()
        if version.startswith(minor) and (name := f"envtest-{version}-{system}.tar.gz") in archives
    }
    plain = [version for version in fitting if version.removeprefix(minor).isdigit()]
    if not plain:
        raise Unavailable(f"envtest has no release of {minor}x for {system}")
    newest = max(plain, key=lambda version: int(version.removeprefix(minor)))
    version = wanted if wanted in fitting else newest
    return version, fitting[version]


def _download_program(url: str, path: Path) -> None:
    checksum = _fetch(f"{url}.sha256").decode().split()[0]
    path.write_bytes(_checked(url, hashlib.sha256, checksum))
    path.chmod(0o755)


def _download_helm(url: str, folder: Path) -> None:
    checksum = _fetch(f"{url}.sha256sum").decode().split()[0]
    _unpack(_checked(url, hashlib.sha256, checksum), {"helm"}, folder)


def _unpack(archive: bytes, names: Collection[str], folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name.rpartition("/")[2]: member for member in tar if member.isfile()}
        for name in names:
            content = tar.extractfile(members[name]) if name in members else None
            if content is None:
                raise Unavailable(f"the archive has no {name}")
            (folder / name).write_bytes(content.read())
            (folder / name).chmod(0o755)


def _checked(url: str, algorithm: Callable[[bytes], Any], checksum: str) -> bytes:
    content = _fetch(url)
    if algorithm(content).hexdigest() != checksum:
        raise Unavailable(f"{url} does not have its published checksum")
    return content


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        return response.read()

"""Builds the Dockerfile where there is neither a Docker engine nor a registry, and runs what it made.

    apt-get install buildah debootstrap
    sudo python tests/cluster/build_image.py --output adaptwin.tar

A Debian with Python, made by debootstrap, stands in for the Dockerfile's base image; everything else is as
the Dockerfile says. pip's configuration and the certificates of this machine are mounted while it builds.
The archive can be loaded by ``docker load``, ``kind load image-archive`` or ``ctr images import``.
"""

# ruff: noqa: T201 - a command prints
from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from controlplane.errors import Unavailable

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = "localhost/python-debian:bookworm"
SUITE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-pip,python3-venv"
TRUST = {"default": [{"type": "insecureAcceptAnything"}]}
"""Nothing is pulled, so no signature is ever checked."""
FROM_HOST = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf"))


@dataclass(frozen=True)
class Buildah:
    """buildah with a storage of its own, without privileges of a container engine."""

    folder: Path

    def __call__(self, *arguments: str | Path, capture: bool = False) -> str:
        """Runs one command; its output goes to the terminal unless it is captured."""
        storage = ["--root", self.folder / "storage", "--runroot", self.folder / "run"]
        environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
        command = ["buildah", *storage, *arguments]
        result = subprocess.run(
            command, env=environment, check=True, text=True, stdout=subprocess.PIPE if capture else None
        )
        return (result.stdout or "").strip()

    @property
    def trust(self) -> str:
        """The flag that names the signature policy."""
        policy = self.folder / "policy.json"
        policy.write_text(json.dumps(TRUST), encoding="utf-8")
        return f"--signature-policy={policy}"


def main() -> int:
    """Builds, runs and exports the image; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tag", default="adaptwin:test", help="name of the image (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="write the image as a Docker archive")
    options = parser.parse_args()
    try:
        _check_tools()
        buildah = Buildah(_folder())
        _make_base(buildah)
        _build(buildah, options.tag)
        _run(buildah, options.tag)
        if options.output:
            _export(buildah, options.tag, options.output)
    except (Unavailable, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check_tools() -> None:
    missing = [tool for tool in ("buildah", "debootstrap") if not shutil.which(tool)]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} must be installed")
    if os.geteuid() != 0:
        raise Unavailable("debootstrap and buildah's chroot isolation need root")


def _folder() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "adaptwin" / "image"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_base(buildah: Buildah) -> None:
    """Makes the stand-in for the base image, once."""
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}", capture=True).splitlines():
        return
    with TemporaryDirectory(prefix="adaptwin-base-") as folder:
        _step("debootstrap")
        debootstrap = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE]
        subprocess.run([*debootstrap, f"{folder}/base"], check=True, stdout=subprocess.DEVNULL)
        dockerfile = Path(folder, "Dockerfile")
        dockerfile.write_text("FROM scratch\nCOPY base/ /\n", encoding="utf-8")
        _step("base image")
        buildah("bud", buildah.trust, "--quiet", "--tag", BASE, folder)


def _build(buildah: Buildah, tag: str) -> None:
    _step("building the Dockerfile")
    mounts = [f"--volume={path}:{path}:ro" for path in FROM_HOST if path.exists()]
    flags = ["--pull=never", "--network=host", f"--build-arg=BASE={BASE}", "--tag", tag]
    buildah("bud", buildah.trust, *flags, *mounts, REPOSITORY)


def _run(buildah: Buildah, tag: str) -> None:
    """Runs the command of the image as the image's user."""
    _step("running it")
    container = buildah("from", buildah.trust, "--pull=never", tag, capture=True)
    try:
        inspected = json.loads(buildah("inspect", container, capture=True))
        entrypoint = inspected["OCIv1"]["config"]["Entrypoint"]
        buildah("run", container, "--", "id")
        buildah("run", container, "--", *entrypoint, "--version")
    finally:
        buildah("rm", container, capture=True)


def _export(buildah: Buildah, tag: str, output: Path) -> None:
    _step(f"writing {output}")
    output.unlink(missing_ok=True)
    buildah("push", buildah.trust, "--quiet", tag, f"docker-archive:{output.resolve()}:{tag}")


def _step(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

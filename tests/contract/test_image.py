"""What the Dockerfile promises, as far as its text shows it; the image itself is built elsewhere."""

import os
import re

import pytest

from adapter_twin.version import __version__


@pytest.fixture(scope="session")
def dockerfile(repository):
    return (repository / "Dockerfile").read_text()


def test_the_version_is_the_distributions(dockerfile):
    assert re.findall(r"^ARG VERSION=(.+)$", dockerfile, re.MULTILINE) == [__version__]


def test_it_runs_as_nobody_in_particular(dockerfile):
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == ["65532:65532"]
    assert "PYTHONSAFEPATH=1" in dockerfile


def test_what_is_copied_is_there_and_reaches_the_build(repository, dockerfile):
    ignored, *let_through = [
        line
        for line in (repository / ".dockerignore").read_text().splitlines()
        if line and not line.startswith(("#", "**/"))
    ]
    assert ignored == "*"
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (repository / source).exists()
            assert any(f"{source}/".startswith(f"{path[1:]}/") for path in let_through), source


def test_only_locked_packages_are_installed(dockerfile):
    installs = [line for line in dockerfile.splitlines() if " install " in line]
    assert installs
    assert all("--require-hashes" in line or "--no-deps --no-index" in line for line in installs)


def test_the_entrypoint_can_be_executed(repository):
    assert os.access(repository / "docker" / "entrypoint.sh", os.X_OK)

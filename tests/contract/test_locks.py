"""What is installed is pinned: every dependency, at one version, by hash, from no particular place."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

PINNED = re.compile(r"^([a-z0-9.-]+)==([^ ]+)(?: ; (.+?))? \\$", re.MULTILINE)
NOT_FOR_DEVELOPMENT = {"ray"}  # large, and only of use on a Ray cluster
LOCKS = ["requirements.lock", "requirements-dev.lock"]


@pytest.fixture(scope="session")
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def pinned(repository):
    """Versions by package, of a lock file."""

    def pinned(lock):
        versions: dict[str, set[str]] = {}
        for name, version, _marker in PINNED.findall((repository / lock).read_text()):
            versions.setdefault(name, set()).add(version)
        return versions

    return pinned


def unmet(requirements, versions):
    """The requirements that the pinned versions do not meet."""
    return [
        text
        for text in requirements
        if not (found := versions.get(Requirement(text).name.lower()))
        or not all(Requirement(text).specifier.contains(version) for version in found)
    ]


def test_what_runs_is_pinned(project, pinned):
    assert unmet(project["dependencies"], pinned("requirements.lock")) == []


def test_what_develops_is_pinned(project, pinned):
    groups = project["optional-dependencies"]
    extras = [text for name, group in groups.items() if name not in NOT_FOR_DEVELOPMENT for text in group]
    assert unmet([*project["dependencies"], *extras], pinned("requirements-dev.lock")) == []


def test_both_locks_agree(pinned):
    running, developing = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: developing[name] for name in running} == running


def test_what_only_trains_or_draws_is_not_in_the_image(pinned):
    assert not {"scikit-learn", "matplotlib", "pytest"} & set(pinned("requirements.lock"))


@pytest.mark.parametrize("lock", LOCKS)
def test_packages_come_from_wherever_the_user_gets_packages(repository, lock):
    text = (repository / lock).read_text()
    assert not re.findall(r"https?://|file:|--index-url|--find-links", text)
    assert "--hash=sha256:" in text

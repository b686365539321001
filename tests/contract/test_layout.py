"""No folder of the repository hides a module of the standard library."""

import sys

import pytest


@pytest.mark.parametrize("folder", ["operator", "twin", "predictor"])
def test_package_roots_are_no_packages(repository, folder):
    """`operator/__init__.py` would hide Python's own `operator` from all that runs in the root."""
    assert not (repository / folder / "__init__.py").exists()


def test_test_folders_are_no_packages(repository):
    packages = [path.parent for path in (repository / "tests").rglob("__init__.py")]
    tests = [path for path in packages if any(path.glob("test_*.py")) or path.name in sys.stdlib_module_names]
    assert tests == []
    assert not (repository / "tests" / "__init__.py").exists()

"""What the build is told."""

from __future__ import annotations

import re

import pytest

from controlplane.build import PACKAGES, linker_flags
from controlplane.golang import parse_version
from controlplane.pins import ALL, FOLDER, read_pins


def test_every_program_is_a_tool_of_go_mod():
    block = re.search(r"^tool \((.*?)^\)", (FOLDER / "go.mod").read_text(), re.MULTILINE | re.DOTALL)
    assert sorted(block[1].split()) == sorted(PACKAGES.values())
    assert set(PACKAGES) == set(ALL)


def test_staging_modules_have_the_version_of_kubernetes():
    text = (FOLDER / "go.mod").read_text()
    versions = set(re.findall(r"=> k8s\.io/\S+ v0\.(\S+)", text))
    assert versions == {read_pins().kubernetes.removeprefix("v1.")}


def test_programs_know_their_version():
    flags = linker_flags("v1.36.3")
    assert "version.gitVersion=v1.36.3" in flags
    assert "version.gitMinor=36" in flags


@pytest.mark.parametrize(
    ("text", "expected"),
    [("go version go1.26.6 linux/amd64", (1, 26, 6)), ("1.26", (1, 26)), ("go1.27rc1", (1, 27)), ("", ())],
)
def test_go_versions(text: str, expected: tuple[int, ...]):
    assert parse_version(text) == expected


def test_a_go_mod_without_kubernetes_is_an_error(tmp_path):
    (tmp_path / "go.mod").write_text("module x\n\ngo 1.26\n")
    with pytest.raises(ValueError, match=r"does not require k8s\.io/kubernetes"):
        read_pins(tmp_path / "go.mod")

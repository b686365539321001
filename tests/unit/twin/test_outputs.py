"""Output files are refused before the work, not after it."""

import os
from pathlib import Path

import pytest

from adapter_twin.errors import AdaptwinError
from adapter_twin.outputs import require_image, require_writable, write_text


def test_a_file_in_a_folder_that_exists_is_taken(tmp_path):
    require_writable(tmp_path / "profile.json", "output")
    require_image(tmp_path / "plot.svg", "plot")


def test_a_missing_folder_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none" / "plot.svg", tmp_path):
        with pytest.raises(AdaptwinError, match=r"output: .* cannot be written; name a file in a folder"):
            require_writable(path, "output")


def test_an_image_needs_the_suffix_of_one(tmp_path):
    with pytest.raises(AdaptwinError, match=r"plot: .*x\.foo is no image; name a file that ends in \.svg"):
        require_image(tmp_path / "x.foo", "plot")


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"target.csv", "link.csv"}


def test_a_device_is_written_to_and_not_replaced():
    require_writable(Path(os.devnull), "output")
    write_text(Path(os.devnull), "nothing")
    assert Path(os.devnull).is_char_device()

"""Pictures are whole or not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.reports.drawing import panels, save_picture, save_pictures

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_full_disk_leaves_no_part_of_a_picture(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = panels(1, 1, ["one"])
    (tmp_path / f"a.{suffix}").write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        save_picture(figure, tmp_path / f"a.{suffix}")
    assert caught.value.filename == str(tmp_path / f"a.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_picture_through_a_link_leaves_the_link(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("links need rights")
    figure, _ = panels(1, 1, ["one"])
    (tmp_path / "a.png").symlink_to("b.png")
    assert save_pictures(figure, tmp_path / "a") == [tmp_path / "a.png", tmp_path / "a.svg"]
    assert (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["a", "a.jpegg", "a.svg.txt"])
def test_a_suffix_that_is_no_format_is_refused(tmp_path: Path, name: str) -> None:
    figure, _ = panels(1, 1, ["one"])
    with pytest.raises(InputError, match="suffix must be one of"):
        save_picture(figure, tmp_path / name)
    assert list(tmp_path.iterdir()) == []

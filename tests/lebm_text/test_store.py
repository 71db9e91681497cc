"""Files are complete or absent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.store import atomic_write_bytes, atomic_write_text, check_writable, sha256_file


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"\xc3\xa9\r\n\n").hexdigest()
    assert _names(tmp_path) == ["a"]


def test_failure_before_the_rename_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write_text(tmp_path / "a", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert _names(tmp_path) == ["a"]


def test_mode_and_links_survive(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    atomic_write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_not_replaced() -> None:
    atomic_write_bytes(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()


def test_check_writable_names_the_problem(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    with pytest.raises(InputError, match="is a directory"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        check_writable(tmp_path / "no" / "file")

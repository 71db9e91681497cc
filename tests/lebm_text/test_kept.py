"""What the cache keeps comes back as it was or not at all."""

from __future__ import annotations

from pathlib import Path

from lebm_text.store import keep, kept

from .damage import flips


def test_every_damage_to_what_is_kept_is_seen(tmp_path: Path) -> None:
    entry = tmp_path / "kind" / "entry"
    assert kept(entry) is None
    keep(entry, b"[1, 2]")
    stored = entry.read_bytes()
    assert kept(entry) == b"[1, 2]"
    for content in (*flips(stored), b"", stored[:20], stored[:32], stored[:-1], stored + b"\n"):
        entry.write_bytes(content)
        assert kept(entry) is None


def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    keep(tmp_path / "file" / "entry", b"content")
    assert kept(tmp_path / "file" / "entry") is None
    assert (tmp_path / "file").read_bytes() == b""

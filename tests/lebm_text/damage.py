"""Damage to a file."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["flips"]


def flips(content: bytes) -> Iterator[bytes]:
    """The content with one bit changed, for each of its bits."""
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)

"""Texts larger than memory: what estimation needs and the machine has, and KenLM's estimator, which works on disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lebm_text.errors import InputError

from .counts import canonical_sentences
from .kneser_ney import KneserNeySettings

__all__ = [
    "check_memory",
    "estimated_bytes",
    "estimated_positions",
    "find_lmplz",
    "machine_bytes",
    "train_with_lmplz",
]

# Measured peaks stay below these; the worst case is a text whose n-grams are all different.
_BYTES_PER_POSITION = 60  # temporary arrays of the sort and of one order's estimation
_BYTES_PER_NGRAM = 30  # what is kept of every n-gram until the end
_HEAD = 1 << 20
# lmplz would take 80 % of the machine for any text, and seconds to do so; it sorts on disk what exceeds its memory.
_LEAST_MEMORY, _MEMORY_PER_BYTE = 300_000_000, 40
_FALLBACK_LINE = re.compile(r"fallback discounts for order (\d+)")


def estimated_bytes(n_positions: int, order: int) -> int:
    """Upper estimate of the memory of estimation, for `n_positions` words and sentence markers."""
    return n_positions * (_BYTES_PER_POSITION + _BYTES_PER_NGRAM * (order - 1))


def estimated_positions(path: Path) -> int:
    """Words and sentence markers of a text file, extrapolated from its first megabyte."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    positions = len(head.split()) + 2 * (head.count(b"\n") + 1)
    return round(positions * path.stat().st_size / max(len(head), 1))


def machine_bytes() -> int | None:
    """Memory of this machine, or of the container that limits it; None where the system does not say."""
    limits = []
    with suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=None)


def check_memory(n_positions: int, order: int) -> None:
    """Raise InputError, with the need and the ways out, if a text is too large for this machine."""
    need, have = estimated_bytes(n_positions, order), machine_bytes()
    if have is not None and need > have:
        raise InputError(
            f"a text of about {n_positions / 1e6:.0f} million tokens may need {need / 1e9:.0f} GB for order "
            f"{order}, and this machine has {have / 1e9:.0f} GB; take a lower --order, less text, or "
            "--ngram-backend lmplz, which works on disk"
        )


def find_lmplz() -> str:
    """Path of the binary. Raises InputError if there is none."""
    found = shutil.which("lmplz")
    if found is None:
        raise InputError("lmplz is not on PATH; build it from https://github.com/kpu/kenlm, or use the numpy backend")
    return found


def train_with_lmplz(sentences: Iterable[str], settings: KneserNeySettings, path: Path) -> list[int]:
    """Estimate with lmplz, write the ARPA file `path`, return the orders that took the fallback discounts.

    Temporary files lie beside `path`. Raises InputError if there is no lmplz, for words that no model may
    contain, and with lmplz's last message if it fails.
    """
    command = [find_lmplz(), "--order", str(settings.order)]
    command += ["--interpolate_unigrams", str(int(settings.interpolate_unigrams))]
    if settings.prune:
        command += ["--prune", *map(str, settings.prune)]
    if settings.vocab_pad:
        command += ["--vocab_pad", str(settings.vocab_pad)]
    if settings.fallback:
        command += ["--discount_fallback"]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        text, arpa = Path(scratch, "text"), Path(scratch, "arpa")
        with text.open("w", encoding="utf-8", newline="\n") as stream:
            for sentence in canonical_sentences(sentences):
                stream.write(sentence + "\n")
        command += ["--memory", f"{_memory(text.stat().st_size)}b"]
        command += ["--temp_prefix", f"{scratch}/", "--text", str(text), "--arpa", str(arpa)]
        finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if finished.returncode:
            reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"lmplz failed with exit code {finished.returncode}: {reason}")
        arpa.replace(path)
    return sorted({int(number) + 1 for number in _FALLBACK_LINE.findall(finished.stderr)})


def _memory(n_bytes: int) -> int:
    """Bytes of memory for a text of `n_bytes`: plenty, but at most half the machine."""
    return min(max(_LEAST_MEMORY, _MEMORY_PER_BYTE * n_bytes), (machine_bytes() or 2 * _LEAST_MEMORY) // 2)

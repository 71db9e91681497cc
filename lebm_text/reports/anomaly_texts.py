"""What anomaly detection tells apart: normal sentences and sets of anomalous ones, found or made by spoiling those.

swap      a share of the words change places among themselves, so that none stays: the words are right, their order not
replace   a share of the words become draws from the unigram distribution of a text: neither fits
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from lebm_text.errors import InputError
from lebm_text.store import sha256_file
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.text.reading import read_lines

from .holdout import ANOMALIES

__all__ = ["KINDS", "NORMAL", "Anomalies", "AnomalySettings", "Corruption", "Unigrams", "choose_texts", "corrupt"]

KINDS = ("swap", "replace")
NORMAL = "normal"  # the name of the normal sentences among sets of anomalies


@dataclass(frozen=True)
class AnomalySettings:
    """What is told apart, and how it is scored.

    Attributes:
        anomalous: files, or names or directories of corpora, whose test sentences are anomalous.
        swaps, replacements: strengths of corruptions of the normal sentences, each a set of anomalies.
        split: of the corpus, whose sentences are normal: test or valid.
        n: sentences of each kind at most, a seeded choice; None: all.
        n_draws, n_steps: of z, and of the chains of runs that have them; see `ScoreSettings`.
        rare_words: N, how many words `<unk>` stands for: scores where each `<unk>` costs log N nats more stand beside
            the plain ones; None: as protocol.json beside the corpus says, if it does.
        resamples: of the bootstrap.
        precision, device: see `LatentEBM.from_pretrained`.
        data_dir: where corpora are looked for first.
    """

    anomalous: tuple[str, ...] = ()
    swaps: tuple[float, ...] = ()
    replacements: tuple[float, ...] = ()
    split: str = "test"
    n: int | None = None
    n_draws: int = 8
    n_steps: int | None = None
    seed: int = 1
    precision: str = "fp32"
    rare_words: int | None = None
    resamples: int = 500
    device: str = "auto"
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
    sources = [*([str(own)] if own.is_file() else []), *settings.anomalous]
    found = [_read(source, settings.data_dir) for source in sources]
    corruptions = [Corruption("swap", strength) for strength in settings.swaps]
    corruptions += [Corruption("replace", strength) for strength in settings.replacements]
    if not found and not corruptions:
        raise InputError(
            f"{corpus.name} has no {ANOMALIES} (lebm-text anomaly prepare makes one): say what is anomalous "
            "with --anomalous, --swap or --replace"
        )

    def chosen(sentences: Iterable[str], what: str) -> list[str]:
        fitting = [sentence for sentence in sentences if fits(sentence)]
        if len(fitting) < 2:
            raise InputError(f"{what}: a contrast needs 2 sentences that all models take, found {len(fitting)}")
        order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(len(fitting))
        return [fitting[i] for i in sorted(order[: settings.n])]

    normal = chosen(corpus.splits[settings.split].sentences(), f"{corpus.name} {settings.split}")
    sets = [Anomalies(each.name, chosen(each.sentences, each.name), each.sha256) for each in found]
    sets += [_spoilt(normal, corruption, corpus, fits, settings.seed) for corruption in corruptions]
    names = [NORMAL, *(each.name for each in sets)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two kinds of anomalies have the name {twice.pop()!r}; rename a file or give one of them")
    return normal, sets


def _read(source: str, data_dir: Path | None) -> Anomalies:
    path = Path(source)
    if path.is_file():
        return Anomalies(path.stem, list(filter(None, read_lines(path))), sha256_file(path))
    split = find_corpus(source, data_dir=data_dir).splits["test"]
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
        counts = Counter(chain.from_iterable(sentence.split(" ") for sentence in sentences if sentence))
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
    A replaced word may by chance be the one that was there.

    Args:
        sentences: words with single spaces between them.
        corruption: what is done to them.
        unigrams: what words are drawn from, to replace.
        seed: of all draws.
    """
    if corruption.kind == "replace" and unigrams is None:
        raise ValueError("words are replaced by draws from unigrams, which are missing")
    spoilt = []
    for i, sentence in enumerate(sentences):
        words = sentence.split(" ") if sentence else []
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

"""What perplexity does not see: repetition, emptiness, copying, lengths, and BLEU among the samples.

distinct-n: Li et al. (2016), "A diversity-promoting objective function"; self-BLEU: Zhu et al. (2018),
"Texygen"; seq-rep-n: Welleck et al. (2020), "Neural text generation with unlikelihood training".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .base import split_words
from .counts import BOS, EOS, WordIds, count_ngrams, encode

__all__ = [
    "BleuScore",
    "SampleSummary",
    "bleu_against",
    "distinct_n",
    "self_bleu",
    "sequence_repetition",
    "summarise",
]

_BLEU_SAMPLE = 200


@dataclass(frozen=True)
class SampleSummary:
    """Rates are shares of the sentences, lengths are in words without `</s>`.

    `duplicate_rate` counts the sentences that repeat an earlier one, `in_train_rate` those that stand
    verbatim in the training text, `unk_rate` those with an `<unk>`. `length_quantiles` are the 5, 25, 50, 75
    and 95 % points.
    """

    n_sentences: int
    mean_length: float
    length_quantiles: tuple[float, ...]
    empty_rate: float
    duplicate_rate: float
    in_train_rate: float
    unk_rate: float


def summarise(sentences: Sequence[str], train: Iterable[str]) -> SampleSummary:
    """Rates and lengths of `sentences`, at least one, beside the text that their generator learned from."""
    words = [split_words(sentence) for sentence in sentences]
    plain = [" ".join(sentence) for sentence in words]
    known = set(train)
    lengths = np.array([len(sentence) for sentence in words])
    n = len(sentences)
    return SampleSummary(
        n_sentences=n,
        mean_length=float(lengths.mean()),
        length_quantiles=tuple(np.quantile(lengths, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()),
        empty_rate=float((lengths == 0).mean()),
        duplicate_rate=(n - len(set(plain))) / n,
        in_train_rate=sum(sentence in known for sentence in plain) / n,
        unk_rate=sum("<unk>" in sentence for sentence in words) / n,
    )


def distinct_n(sentences: Iterable[str], order: int = 4) -> list[float]:
    """Distinct n-grams over all n-grams, n = 1..`order`; falls with the size of the text."""
    ids = WordIds()
    text = encode(sentences, ids)
    begins = np.arange(len(ids.words)) == BOS
    shares = []
    for n, table in enumerate(count_ngrams(text, len(ids.words), order), 1):
        begins = begins[table.prefix] if n > 1 else begins
        count = table.count[~begins & (table.word != EOS)]
        shares.append(float((count > 0).sum() / max(int(count.sum()), 1)))
    return shares


def sequence_repetition(sentences: Iterable[str], n: int = 4) -> float:
    """seq-rep-n: share of n-grams that their sentence had before, mean over sentences of n words or more."""
    shares = []
    for sentence in sentences:
        words = split_words(sentence)
        total = len(words) - n + 1
        if total > 0:
            shares.append(1 - len(set(zip(*(words[i:] for i in range(n)), strict=False))) / total)
    return float(np.mean(shares)) if shares else 0.0


@dataclass(frozen=True)
class BleuScore:
    """A BLEU in percent and the signature that says how it was made."""

    score: float
    signature: str


def self_bleu(sentences: Sequence[str], *, seed: int = 1, n: int = _BLEU_SAMPLE) -> BleuScore:
    """Corpus BLEU of `n` sampled sentences, each against all the others; high means that they are alike."""
    chosen = _choose(sentences, n, seed)
    references = [[other for j, other in enumerate(chosen) if j != i] for i in range(len(chosen))]
    return _corpus_bleu(chosen, references, f"self-BLEU|n:{len(chosen)}|refs:all-others|seed:{seed}")


def bleu_against(
    sentences: Sequence[str], references: Sequence[str], *, seed: int = 1, n: int = _BLEU_SAMPLE
) -> BleuScore:
    """Corpus BLEU of `n` sampled sentences against `n` sampled references; high means like real text."""
    chosen, real = _choose(sentences, n, seed), _choose(references, n, seed)
    return _corpus_bleu(chosen, [real] * len(chosen), f"BLEU|n:{len(chosen)}|refs:{len(real)}|seed:{seed}")


def _choose(sentences: Sequence[str], n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(sentences))[:n])
    return [sentences[row] for row in rows.tolist()]


def _corpus_bleu(hypotheses: list[str], references: list[list[str]], label: str) -> BleuScore:
    from sacrebleu.metrics.bleu import BLEU

    streams = [list(stream) for stream in zip(*references, strict=True)]
    if not streams:
        return BleuScore(0.0, label)
    metric = BLEU(tokenize="none", force=True)
    score = metric.corpus_score(hypotheses, streams).score
    return BleuScore(float(score), f"{label}|{metric.get_signature()}")

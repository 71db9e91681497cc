"""What perplexity misses: repetition, empty samples, copying, lengths, and BLEU among the samples.

distinct-n: Li et al. (2016), "A diversity-promoting objective function"; self-BLEU: Zhu et al. (2018),
"Texygen"; seq-rep-n: Welleck et al. (2020), "Neural text generation with unlikelihood training"; n-grams found in
the training text: McCoy et al. (2023), "How much do language models copy from their training data?".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from lebm_text.checks import MAX_SEED, whole
from lebm_text.text.reading import listed, split_words

from .counts import BOS, EOS, WordIds, count_ngrams, drawn, encode

__all__ = ["QUANTILES", "BleuScore", "Diversity", "SampleSummary", "bleu_against", "compare_each", "distinct_n"]
__all__ += ["length_distance", "self_bleu", "sequence_repetition", "shares_in_train", "summarise"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BLEU_SAMPLE = 200
_ORDERS = 4
_COPIED_ORDERS = (3, 4, 6)


@dataclass(frozen=True)
class SampleSummary:
    """Rates, as shares of the sentences, and lengths, in words without `</s>`.

    `duplicate_rate` counts sentences that repeat an earlier one, `in_train_rate` those that occur
    verbatim in the training text, `unk_rate` those with an `<unk>`, `truncated_rate` those that the generator
    cut at its maximum length (None: unknown). `unk_token_rate` is the share of words that are `<unk>`.
    `length_quantiles` are the quantiles `QUANTILES` of the lengths.
    """

    n_sentences: int
    mean_length: float
    length_quantiles: tuple[float, ...]
    empty_rate: float
    truncated_rate: float | None
    duplicate_rate: float
    in_train_rate: float
    unk_rate: float
    unk_token_rate: float


def summarise(sentences: Sequence[str], train: Iterable[str], *, truncated_rate: float | None = None) -> SampleSummary:
    """Return rates and lengths of `sentences`.

    Args:
        sentences: at least one sentence.
        train: the text that their generator was trained on.
        truncated_rate: copied to the result, since the text does not show where it was cut.
    """
    n, known = len(sentences), set(train)
    words = [split_words(sentence) for sentence in sentences]
    lengths = np.array([len(sentence) for sentence in words])
    plain = [" ".join(sentence) for sentence in words]
    return SampleSummary(
        n_sentences=n,
        mean_length=float(lengths.mean()),
        length_quantiles=tuple(np.quantile(lengths, QUANTILES).tolist()),
        empty_rate=float((lengths == 0).mean()),
        truncated_rate=truncated_rate,
        duplicate_rate=(n - len(set(plain))) / n,
        in_train_rate=sum(sentence in known for sentence in plain) / n,
        unk_rate=sum("<unk>" in sentence for sentence in words) / n,
        unk_token_rate=sum(sentence.count("<unk>") for sentence in words) / max(int(lengths.sum()), 1),
    )


def length_distance(sentences: Sequence[str], others: Sequence[str]) -> float:
    """Return the earth mover's distance of two distributions of sentence lengths, in words: ∫ |F(l) − G(l)| dl."""
    a, b = (np.bincount([len(split_words(line)) for line in text]) / len(text) for text in (sentences, others))
    a, b = (np.pad(share, (0, max(len(a), len(b)) - len(share))) for share in (a, b))
    return float(np.abs(np.cumsum(a - b)).sum())


def distinct_n(sentences: Iterable[str]) -> list[float]:
    """Return distinct n-grams over all n-grams for n = 1 to 4; the ratio falls with the size of the text."""
    ids = WordIds()
    tokens = encode(sentences, ids)
    begins, shares = np.arange(len(ids.words)) == BOS, []
    for n, table in enumerate(count_ngrams(tokens, len(ids.words), _ORDERS), 1):
        begins = begins[table.prefix] if n > 1 else begins
        count = table.count[~begins & (table.word != EOS)]
        shares.append(float((count > 0).sum() / max(int(count.sum()), 1)))
    return shares


def sequence_repetition(sentences: Iterable[str]) -> float:
    """Return seq-rep-4: share of 4-grams repeated within their sentence, mean over sentences of 4 words or more."""
    counted = (list(_ngrams(sentence, _ORDERS)) for sentence in sentences)
    shares = [1 - len(set(grams)) / len(grams) for grams in counted if grams]
    return float(np.mean(shares)) if shares else 0.0


def shares_in_train(texts: Sequence[Sequence[str]], train: Sequence[str]) -> list[dict[str, float]]:
    """Return for each text the share of its 3-, 4- and 6-grams that occur anywhere in `train`, by n.

    Shares are of occurrences, not types; an n-gram is n words of one sentence, without `<s>` and `</s>`. A text
    without n-grams has the share 0. Memory does not grow with `train`, which is read once for each n.
    """
    shares: list[dict[str, float]] = [{} for _ in texts]
    for n in _COPIED_ORDERS:
        wanted = {gram for text in texts for sentence in text for gram in _ngrams(sentence, n)}
        seen: set[tuple[str, ...]] = set()
        for sentence in train:
            seen.update(wanted.intersection(_ngrams(sentence, n)))
        for text, of_text in zip(texts, shares, strict=True):
            known = [gram in seen for sentence in text for gram in _ngrams(sentence, n)]
            of_text[str(n)] = sum(known) / max(len(known), 1)
    return shares


def _ngrams(sentence: str, n: int) -> Iterator[tuple[str, ...]]:
    words = split_words(sentence)
    return zip(*(words[i:] for i in range(n)), strict=False)


@dataclass(frozen=True)
class BleuScore:
    """A BLEU score in percent and the signature that states how it was computed."""

    score: float
    signature: str


def self_bleu(sentences: Sequence[str], *, seed: int = 1) -> BleuScore:
    """Return the corpus BLEU of 200 sampled sentences, each against all others; high means that they are alike."""
    chosen = _choose(sentences, _BLEU_SAMPLE, seed)
    return _corpus_bleu(chosen, None, f"self-BLEU|n:{len(chosen)}|refs:all-others|seed:{seed}")


def bleu_against(sentences: Sequence[str], references: Sequence[str], *, seed: int = 1) -> BleuScore:
    """Return the corpus BLEU of 200 sampled sentences against 200 sampled references; high means like real text."""
    chosen, real = _choose(sentences, _BLEU_SAMPLE, seed), _choose(references, _BLEU_SAMPLE, seed)
    return _corpus_bleu(chosen, real, f"BLEU|n:{len(chosen)}|refs:{len(real)}|seed:{seed}")


@dataclass(frozen=True)
class Diversity:
    """Figures of the samples and of real text; `signature` states how all but BLEU were computed.

    `distinct_n` holds n = 1 to 4, computed on equally many sentences of both texts; `bleu` is
    against held-out text, `real_bleu` is that of training text. `in_train` holds the shares of `shares_in_train`; it is
    empty in reports of earlier versions.
    """

    distinct_n: list[float]
    real_distinct_n: list[float]
    sequence_repetition_4: float
    real_sequence_repetition_4: float
    self_bleu: BleuScore
    real_self_bleu: BleuScore
    bleu: BleuScore
    real_bleu: BleuScore
    signature: str
    in_train: dict[str, float] = field(default_factory=dict)
    real_in_train: dict[str, float] = field(default_factory=dict)


def compare_each(
    texts: Sequence[Sequence[str]], held_out: Sequence[str], train: Sequence[str], *, seed: int = 1
) -> list[Diversity]:
    """Return the `Diversity` of each text beside the same real text, which is measured once.

    Args:
        texts: the samples.
        held_out: real text to compare them with.
        train: the training text.
        seed: of the sampling of sentences.
    """
    distinct_real = cache(lambda n: distinct_n(_choose(held_out, n, seed)))
    real_repetition, real_self_bleu = sequence_repetition(held_out), self_bleu(held_out, seed=seed)
    real_bleu = bleu_against(train, held_out, seed=seed)
    *in_train, real_in_train = shares_in_train([*texts, held_out], train)
    orders = ",".join(real_in_train)

    def beside_real(sentences: Sequence[str], shares: dict[str, float]) -> Diversity:
        n = min(len(sentences), len(held_out))
        return Diversity(
            distinct_n=distinct_n(_choose(sentences, n, seed)),
            real_distinct_n=distinct_real(n),
            sequence_repetition_4=sequence_repetition(sentences),
            real_sequence_repetition_4=real_repetition,
            self_bleu=self_bleu(sentences, seed=seed),
            real_self_bleu=real_self_bleu,
            bleu=bleu_against(sentences, held_out, seed=seed),
            real_bleu=real_bleu,
            signature=f"distinct|n:{n}|orders:1-{_ORDERS}|seed:{seed};seq-rep-{_ORDERS}|n:all;"
            f"in-train|orders:{orders}|occurrences|eos:no|n:all",
            in_train=shares,
            real_in_train=real_in_train,
        )

    return [beside_real(*of_text) for of_text in zip(texts, in_train, strict=True)]


def _choose(sentences: Sequence[str], n: int, seed: int) -> list[str]:
    # As a list: a column of a table may number its rows in another way.
    return drawn(list(listed(sentences)), n, whole("seed", seed, 0, MAX_SEED))


def _corpus_bleu(hypotheses: list[str], references: list[str] | None, label: str) -> BleuScore:
    """Return sacrebleu's corpus BLEU of sentences with shared references; None: each against all the others.

    n-grams are counted once for all sentences. sacrebleu counts those of all references for each, which gives the
    same score in 1 to 3.5 s in place of 0.02 to 0.06 s: 12 to 42 s for a default `evaluate --diversity`.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.helpers import extract_all_word_ngrams

    of_own = references is None
    counted = [extract_all_word_ngrams(sentence, 1, _ORDERS) for sentence in hypotheses]
    pool = counted if references is None else [extract_all_word_ngrams(line, 1, _ORDERS) for line in references]
    n_references = len(pool) - of_own
    if not hypotheses or n_references < 1:
        return BleuScore(0.0, label)
    most: dict[tuple[str, ...], tuple[int, int, int]] = {}  # greatest count, the reference that has it, next greatest
    for number, (grams, _) in enumerate(pool):
        for gram, times in grams.items():
            greatest, holder, next_greatest = most.get(gram, (0, -1, 0))
            if times > greatest:
                most[gram] = times, number, greatest
            elif times > next_greatest:
                most[gram] = greatest, holder, times
    correct, total, length, reference_length = [0] * _ORDERS, [0] * _ORDERS, 0, 0
    for number, (grams, n_words) in enumerate(counted):
        for gram, times in grams.items():
            greatest, holder, next_greatest = most.get(gram, (0, -1, 0))
            total[len(gram) - 1] += times
            correct[len(gram) - 1] += min(times, next_greatest if of_own and holder == number else greatest)
        length += n_words
        others = (words for other, (_, words) in enumerate(pool) if not (of_own and other == number))
        reference_length += min(others, key=lambda words: (abs(words - n_words), words))
    metric = BLEU(tokenize="none", force=True)
    metric.num_refs = n_references
    score = metric.compute_bleu(correct, total, length, reference_length, smooth_method=metric.smooth_method).score
    return BleuScore(float(score), f"{label}|{metric.get_signature()}")

"""Forward and reverse perplexity of generated text under one stated convention, beside the real-data row.

    FPPL: a judge of real training text reads the samples
    RPPL: a judge of the samples reads real held-out text

Zhao et al. (2018), "Adversarially regularized autoencoders", for the pair; docs/which-perplexity.md for the
convention and its reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lebm_text.text.vocabulary import closed_vocabulary

from .base import LanguageModel, SentenceScores, naming
from .conventions import CONVENTIONS, Convention, close_vocabulary
from .counts import canonical_sentences
from .kneser_ney import KneserNeySettings
from .ngram import InMemoryJudge, train_judge, train_ngram
from .perplexity import PerplexityScore, paired_ratio_ci95, perplexity

__all__ = [
    "METRICS",
    "Evaluator",
    "JudgeResult",
    "JudgeSettings",
    "RealText",
    "Samples",
    "kn_rppl",
]

METRICS = ("fppl", "rppl")
FEW_SAMPLES = 1000


@dataclass(frozen=True)
class JudgeSettings:
    """Which judge reads, and how: order of the n-gram model, convention, estimator, seed of the bootstrap."""

    order: int = 5
    convention: Convention = CONVENTIONS["default"]
    backend: str = "numpy"
    seed: int = 1


@dataclass(frozen=True)
class RealText:
    """A corpus: the text to train on and the held-out `split` (test or valid)."""

    name: str
    train: Sequence[str]
    split: str
    held_out: Sequence[str]


@dataclass(frozen=True)
class Samples:
    """Generated sentences and, for signatures, how they came about: `decode=sample,T=1` and `seed:1`, say."""

    sentences: Sequence[str]
    decoding: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgeResult:
    """One number and all that is needed to read it.

    `ci95` is over resampled sentences of the scored text; `ratio` is ppl / real_ppl, its interval is paired
    and given for RPPL alone, where both judges read one text. `n_*` count the scored text; `n_oov` are the
    tokens whose type the judge's training text lacks, `n_outside_vocabulary` those read as `<unk>` because
    they are not in the closed vocabulary. `bits_per_byte` is the text's code length over its UTF-8 bytes, one
    byte a sentence end. `extra` holds numbers that only some conventions have.
    """

    metric: str
    judge: str
    ppl: float
    ppl_excluding_oov: float | None
    real_ppl: float
    ratio: float
    ci95: tuple[float, float]
    ci_scope: str
    real_ci95: tuple[float, float]
    ratio_ci95: tuple[float, float] | None
    bits_per_byte: float
    n_sentences: int
    n_tokens: int
    n_oov: int
    n_outside_vocabulary: int
    fallback_orders: list[int]
    signature: str
    extra: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Evaluator:
    """Judges samples against one corpus; what depends on the corpus alone is computed once, when needed."""

    def __init__(
        self,
        real: RealText,
        settings: JudgeSettings | None = None,
        *,
        on_stage: Callable[[str], None] = lambda _stage: None,
    ) -> None:
        """`on_stage` is told what begins, in words. Raises InputError for words that no judge may read."""
        self._real = real
        self._settings = settings or JudgeSettings()
        self._on_stage = on_stage
        self._vocabulary = closed_vocabulary(real.train)
        self._train, _ = self._read(real.train, f"{real.name} train")
        self._held_out, self._held_out_outside = self._read(real.held_out, f"{real.name} {real.split}")

    @cached_property
    def real_score(self) -> PerplexityScore:
        """The real-data row: the judge of the real training text reads the real held-out text."""
        return self._perplexity(self._real_judge[0].score(self._held_out))

    def fppl(self, samples: Samples) -> JudgeResult:
        """Forward perplexity. Raises InputError for no samples and for words that no judge may read."""
        text, outside = self._read(samples.sentences, "samples")
        judge, fallback_orders = self._real_judge
        self._on_stage(f"reading {len(text):,} samples")
        score = self._perplexity(judge.score(text))
        extra = {}
        if self._settings.convention.vocabulary_lines:
            # The published script scores the file that it trains on, vocabulary lines included.
            extra["ppl_with_vocabulary_lines"] = self._perplexity(judge.score([*self._vocabulary, *text])).ppl
        warnings = self._warnings(samples, fallback_orders)
        if score.ppl < self.real_score.ppl:
            warnings.append(
                f"the FPPL {score.ppl:.2f} lies below the real-data row {self.real_score.ppl:.2f}: the "
                "samples are easier than real text, as copied, short or repeated ones are; this is no win"
            )
        return self._result("fppl", samples, score, text, outside, fallback_orders, extra, warnings)

    def rppl(self, samples: Samples) -> JudgeResult:
        """Reverse perplexity. Raises InputError as `fppl` does."""
        text, _ = self._read(samples.sentences, "samples")
        with naming("samples"):
            judge, fallback_orders = self._judge_of(text, f"{len(text):,} samples", generated=True)
        score = self._perplexity(judge.score(self._held_out))
        extra = {}
        n, n_real = len(text), len(self._train)
        warnings = self._warnings(samples, fallback_orders)
        if n < n_real:
            rows = np.random.default_rng(self._settings.seed).permutation(n_real)[:n]
            fewer = [self._train[row] for row in np.sort(rows).tolist()]
            real_judge, _ = self._judge_of(fewer, f"{n:,} real sentences, as many as samples", generated=True)
            extra["real_ppl_at_n"] = self._perplexity(real_judge.score(self._held_out)).ppl
        if n != n_real:
            warnings.append(
                f"{n:,} samples stand against {n_real:,} real training sentences: RPPL falls with the number "
                "of samples, so compare it only at equal numbers"
            )
        return self._result(
            "rppl", samples, score, self._held_out, self._held_out_outside, fallback_orders, extra, warnings
        )

    @cached_property
    def _real_judge(self) -> tuple[LanguageModel, list[int]]:
        return self._judge_of(self._train, f"{len(self._train):,} sentences of {self._real.name} train")

    def _judge_of(
        self, sentences: Sequence[str], what: str, *, generated: bool = False
    ) -> tuple[LanguageModel, list[int]]:
        """A judge of `sentences` and its fallback orders; `generated`: they stand in the samples' place."""
        settings = self._settings
        self._on_stage(f"training kn{settings.order} on {what}")
        if generated and settings.convention.vocabulary_lines:
            sentences = [*self._vocabulary, *sentences]
        options = KneserNeySettings(order=settings.order, vocab_pad=self._n_types if settings.convention.closed else 0)
        return train_judge(sentences, options, backend=settings.backend)

    @property
    def _n_types(self) -> int:
        return len(self._vocabulary) + 2  # `</s>`, and the out-of-vocabulary type of n-gram models

    def _read(self, sentences: Iterable[str], source: str) -> tuple[list[str], int]:
        """Checked sentences, closed if the convention says so, and how many tokens that mapped to `<unk>`."""
        with naming(source):
            if self._settings.convention.closed:
                return close_vocabulary(sentences, self._vocabulary)
            return list(canonical_sentences(sentences)), 0

    def _perplexity(self, scores: SentenceScores) -> PerplexityScore:
        return perplexity(scores, count_eos=self._settings.convention.count_eos, seed=self._settings.seed)

    def _warnings(self, samples: Samples, fallback_orders: list[int]) -> list[str]:
        n = len(samples.sentences)
        warnings = []
        if n < FEW_SAMPLES:
            warnings.append(
                f"{n:,} samples are few: RPPL falls steeply with their number (from PTB, 1,000 real "
                "sentences give 3.0 times the RPPL of all 42,068); generate as many as the training text has"
            )
        if list(samples.sentences) == list(self._real.held_out):
            warnings.append(f"the samples are {self._real.name} {self._real.split} itself: this is the real-data row")
        if fallback_orders:
            warnings.append(
                f"the discounts of orders {', '.join(map(str, fallback_orders))} could not be estimated and "
                "took the fallback 0.5, 1, 1.5: the judge's training text is small or repeats itself"
            )
        return warnings

    def _result(
        self,
        metric: str,
        samples: Samples,
        score: PerplexityScore,
        text: Sequence[str],
        n_outside: int,
        fallback_orders: list[int],
        extra: dict[str, float],
        warnings: list[str],
    ) -> JudgeResult:
        real = self.real_score
        n_bytes = sum(len(sentence.encode()) + 1 for sentence in text)
        return JudgeResult(
            metric=metric,
            judge=f"kn{self._settings.order}",
            ppl=score.ppl,
            ppl_excluding_oov=score.ppl_excluding_oov,
            real_ppl=real.ppl,
            ratio=score.ppl / real.ppl,
            ci95=score.ci95,
            ci_scope=score.ci_scope,
            real_ci95=real.ci95,
            ratio_ci95=paired_ratio_ci95(score, real) if metric == "rppl" else None,
            bits_per_byte=score.nll / math.log(2) / n_bytes,
            n_sentences=score.n_sentences,
            n_tokens=score.n_tokens,
            n_oov=score.n_oov,
            n_outside_vocabulary=n_outside,
            fallback_orders=fallback_orders,
            signature=self._signature(metric, samples),
            extra=extra,
            warnings=tuple(warnings),
        )

    def _signature(self, metric: str, samples: Samples) -> str:
        """E.g. `RPPL|lm:kn5|train:samples(n=42068)|test:ptb-test|vocab:closed-10001|eos:yes|unk:word`."""
        convention, real = self._settings.convention, self._real
        drawn = ",".join(filter(None, [f"n={len(samples.sentences)}", samples.decoding]))
        train, test = f"{real.name}-train", f"samples({drawn})"
        if metric == "rppl":
            train, test = test, f"{real.name}-{real.split}"
        vocabulary = f"closed-{self._n_types}" if convention.closed else "open"
        if convention.vocabulary_lines and metric == "rppl":
            vocabulary += f"+lines-{len(self._vocabulary)}"
        parts = (
            metric.upper(),
            f"lm:kn{self._settings.order}",
            f"train:{train}",
            f"test:{test}",
            f"vocab:{vocabulary}",
            f"eos:{'yes' if convention.count_eos else 'no'}",
            "unk:word",
            *samples.details,
        )
        return "|".join(parts)


def kn_rppl(samples: Sequence[str], real: Sequence[str], vocabulary: Sequence[str], order: int = 5) -> float:
    """RPPL of `samples` on `real` text under the default convention, without files and without kenlm.

    `vocabulary` is the closed vocabulary of the training text. For choosing checkpoints: no real-data row, no
    interval. Raises InputError for texts that are empty or hold words no judge may read.
    """
    with naming("samples"):
        text, _ = close_vocabulary(samples, vocabulary)
        options = KneserNeySettings(order=order, vocab_pad=len({*vocabulary, "<unk>"}) + 2)
        judge = InMemoryJudge(train_ngram(text, options))
    with naming("real text"):
        held_out, _ = close_vocabulary(real, vocabulary)
        return perplexity(judge.score(held_out)).ppl

"""Forward and reverse perplexity of generated text under one stated convention, with the real-data row.

    FPPL: a judge of real training text reads the samples
    RPPL: a judge of the samples reads real held-out text

Zhao et al. (2018), "Adversarially regularized autoencoders", for the pair; docs/which-perplexity.md for the
convention and its reasons.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

from .counts import drawn, naming
from .coverage import Coverage, coverage_warnings
from .judges import JudgeSpec, KneserNeySpec, TrainedJudge, TrainingReport
from .perplexity import PerplexityScore, SentenceScores, paired_ratio_ci95, perplexity
from .texts import Reference, Samples

__all__ = ["METRICS", "Evaluator", "JudgeResult", "diverged", "fell_back", "signature"]

logger = logging.getLogger(__name__)

METRICS = ("fppl", "rppl")
FEW_SAMPLES = 1000


@dataclass(frozen=True)
class JudgeResult:
    """One perplexity and everything needed to interpret it.

    `ci95` is over resampled sentences of the scored text; `ratio` is ppl / real_ppl, its interval is paired and given
    for RPPL alone, where both judges read one text. `n_*` count the scored text; `n_oov` are the tokens whose type the
    judge's training text lacks, `n_outside_vocabulary` those read as `<unk>` because they are not in the closed
    vocabulary. `bits_per_byte` is the code length of the text as it was read over its UTF-8 bytes, one byte a sentence
    end if that is counted. `extra` holds numbers that only some conventions have; `training` and `real_training` are
    the training reports of the two judges, if they have epochs. `coverage` is that of the samples by the
    vocabulary, `real_coverage` that of the held-out text; None in reports of version 0.1.0.
    """

    metric: str
    judge: str
    judge_seed: int | None
    ppl: float
    ppl_excluding_oov: float | None
    real_ppl: float
    ratio: float
    ci95: tuple[float, float]
    ci_scope: str
    real_ci95: tuple[float, float]
    ratio_ci95: tuple[float, float] | None
    bits_per_byte: float
    real_bits_per_byte: float
    n_sentences: int
    n_tokens: int
    n_oov: int
    n_outside_vocabulary: int
    fallback_orders: list[int]
    signature: str
    extra: dict[str, float] = field(default_factory=dict)
    training: TrainingReport | None = None
    real_training: TrainingReport | None = None
    warnings: tuple[str, ...] = ()
    coverage: Coverage | None = None
    real_coverage: Coverage | None = None


class Evaluator:
    """One judge and one corpus; what depends only on these is computed once, when needed."""

    def __init__(self, reference: Reference, spec: JudgeSpec | None = None, *, seed: int = 1) -> None:
        """`spec`: the judge, Kneser-Ney of order 5 by default. `seed`: of the bootstrap."""
        self.spec = spec or KneserNeySpec()
        self._reference = reference
        self._seed = seed
        self._real_ppl_at = cache(self._rppl_of_real)  # by number of sentences

    @cached_property
    def real_score(self) -> PerplexityScore:
        """Return the real-data row: the judge of the real training text reads the real held-out text."""
        return self._perplexity(self._real_judge.model.score(self._reference.held_out))

    def fppl(self, samples: Samples) -> JudgeResult:
        """Return the forward perplexity. Raises InputError for no samples and for words that no judge may read."""
        reference, extra = self._reference, {}
        text, n_outside = reference.read(samples.sentences, samples.name)
        judge = self._real_judge
        if reference.convention.vocabulary_lines:
            # The published script scores the file that it trains on, vocabulary lines included.
            with_lines = judge.model.score([*reference.vocabulary, *text])
            extra["ppl_with_vocabulary_lines"] = self._perplexity(with_lines).ppl
        return self._result("fppl", samples, judge, text, n_outside, extra)

    def rppl(self, samples: Samples) -> JudgeResult:
        """Return the reverse perplexity. Raises InputError as `fppl` does."""
        reference, extra = self._reference, {}
        text, _ = reference.read(samples.sentences, samples.name)
        with naming(samples.name):
            judge = self._judge_of(text, f"{len(text):,} samples", generated=True)
        if len(text) < len(reference.train) and self.spec.cheap:
            extra["real_ppl_at_n"] = self._real_ppl_at(len(text))
        return self._result("rppl", samples, judge, reference.held_out, reference.n_outside, extra)

    @cached_property
    def _real_judge(self) -> TrainedJudge:
        reference = self._reference
        return self._judge_of(reference.train, f"{len(reference.train):,} sentences of {reference.real.name} train")

    def _rppl_of_real(self, n: int) -> float:
        """Return the RPPL of `n` sentences drawn from the real training text."""
        fewer = drawn(self._reference.train, n, self._seed)
        judge = self._judge_of(fewer, f"{n:,} real sentences, as many as samples", generated=True)
        return self._perplexity(judge.model.score(self._reference.held_out)).ppl

    def _judge_of(self, sentences: Sequence[str], what: str, *, generated: bool = False) -> TrainedJudge:
        """Train a judge on `sentences`; `generated`: they are samples or take their place."""
        seed = "" if self.spec.seed is None else f" (seed {self.spec.seed})"
        logger.log(logging.DEBUG if self.spec.cheap else logging.INFO, f"training {self.spec.name}{seed} on {what} …")
        if generated and self._reference.convention.vocabulary_lines:
            sentences = [*self._reference.vocabulary, *sentences]
        return self.spec.train(sentences, self._reference)

    def _perplexity(self, scores: SentenceScores) -> PerplexityScore:
        return perplexity(scores, count_eos=self._reference.convention.count_eos, seed=self._seed)

    def _warnings(
        self, metric: str, samples: Samples, judge: TrainedJudge, ppl: float, coverage: Coverage
    ) -> list[str]:
        real, n, n_real = self._reference.real, len(samples.sentences), len(self._reference.train)
        warnings = coverage_warnings(coverage, self._reference.coverage, samples.tokenizer)
        judges = {"": judge, " of real text": self._real_judge}
        for what, each in judges.items():
            if each.training is not None and (what or metric == "rppl"):  # the judge of FPPL is that of real text
                warnings += diverged(each.training, len(self._reference.vocabulary), what)
        if list(samples.sentences) == list(real.held_out):
            warnings.append(f"the samples are {real.name} {real.split} itself: this is the real-data row")
        warnings += fell_back(judge)
        if real.split == "valid" and self.spec.stop == "real-valid":
            warnings.append(
                "the LSTM judge stopped on the validation text and is scored on it: a little low; use --split test "
                "for figures to report"
            )
        if metric == "fppl" and ppl < self.real_score.ppl:
            warnings.append(
                f"the FPPL {ppl:.2f} lies below the real-data row {self.real_score.ppl:.2f}: the "
                "samples are easier than real text, as copied, short or repeated ones are; this is no win"
            )
        if metric == "rppl" and n != n_real:
            steep = " (1,000 real sentences of PTB have 3.0 times the RPPL of all 42,068)" if n < FEW_SAMPLES else ""
            warnings.append(
                f"{n:,} samples stand against {n_real:,} real training sentences: RPPL falls with the number "
                f"of samples{steep}, so compare it only at equal numbers"
            )
        return warnings

    def _result(
        self,
        metric: str,
        samples: Samples,
        judge: TrainedJudge,
        text: Sequence[str],
        n_outside: int,
        extra: dict[str, float],
    ) -> JudgeResult:
        score, real = self._perplexity(judge.model.score(text)), self.real_score
        coverage = self._reference.coverage_of(samples.sentences)
        return JudgeResult(
            metric=metric,
            judge=self.spec.name,
            judge_seed=self.spec.seed,
            ppl=score.ppl,
            ppl_excluding_oov=score.ppl_excluding_oov,
            real_ppl=real.ppl,
            ratio=score.ppl / real.ppl,
            ci95=score.ci95,
            ci_scope=score.ci_scope,
            real_ci95=real.ci95,
            ratio_ci95=paired_ratio_ci95(score, real) if metric == "rppl" else None,
            bits_per_byte=self._bits_per_byte(score, text),
            real_bits_per_byte=self._bits_per_byte(real, self._reference.held_out),
            n_sentences=score.n_sentences,
            n_tokens=score.n_tokens,
            n_oov=score.n_oov,
            n_outside_vocabulary=n_outside,
            fallback_orders=judge.fallback_orders,
            signature=signature(metric, self.spec, judge, self._reference, samples),
            extra=extra,
            training=judge.training,
            real_training=self._real_judge.training,
            warnings=tuple(dict.fromkeys(self._warnings(metric, samples, judge, score.ppl, coverage))),
            coverage=coverage,
            real_coverage=self._reference.coverage,
        )

    def _bits_per_byte(self, score: PerplexityScore, text: Sequence[str]) -> float:
        n_ends = len(text) if self._reference.convention.count_eos else 0
        return score.nll / math.log(2) / (sum(len(sentence.encode()) for sentence in text) + n_ends)


def diverged(training: TrainingReport, n_words: int, what: str = "") -> list[str]:
    """Return a warning if the judge's validation perplexity exceeds a guess among `n_words` words and `</s>`."""
    if training.valid_ppl <= n_words + 1:
        return []
    return [
        f"the training of the judge{what} diverged: its perplexity on the validation text, {training.valid_ppl:,.0f}, "
        f"exceeds the {n_words + 1:,} types that it chooses among; its figures say nothing"
    ]


def fell_back(judge: TrainedJudge) -> list[str]:
    """Return a warning if discounts of the judge could not be estimated."""
    if not judge.fallback_orders:
        return []
    return [
        f"the discounts of orders {', '.join(map(str, judge.fallback_orders))} could not be estimated and took the "
        "fallback 0.5, 1, 1.5: the judge's training text is small or repeats itself"
    ]


def signature(metric: str, spec: JudgeSpec, trained: TrainedJudge, reference: Reference, samples: Samples) -> str:
    """Return e.g. `RPPL|lm:kn5|train:samples(n=42068)|test:ptb-test|vocab:closed-10001|eos:yes|unk:word|tok:word`.

    Named only where they apply: a protocol other than the default, the text an LSTM judge stopped on, its seed and
    its precision, and at the end the details of the samples.
    """
    convention, real = reference.convention, reference.real
    drawn = ",".join(filter(None, [f"n={len(samples.sentences)}", samples.decoding]))
    train, test = f"{real.name}-train", f"samples({drawn})"
    if metric == "rppl":
        train, test = test, f"{real.name}-{real.split}"
    n_words = len(reference.vocabulary)
    vocabulary = f"closed-{n_words + spec.n_more}" if convention.closed else "open"
    if convention.vocabulary_lines and metric == "rppl":
        vocabulary += f"+lines-{n_words}"
    parts = (
        metric.upper(),
        "" if convention.name == "default" else f"protocol:{convention.name}",
        f"lm:{spec.lm}",
        f"train:{train}",
        f"stop:{spec.stop}" if spec.stop else "",
        f"test:{test}",
        f"vocab:{vocabulary}",
        f"eos:{'yes' if convention.count_eos else 'no'}",
        "unk:word",
        f"tok:{samples.tokenizer}",
        f"judge-seed:{spec.seed}" if spec.seed is not None else "",
        f"precision:{trained.training.precision}" if trained.training else "",
        *samples.details,
    )
    return "|".join(filter(None, parts))

"""Forward and reverse perplexity of lists of sentences, under the default convention; see `lm_eval.protocol`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lebm_text.errors import InputError

from .base import naming, split_words
from .judges import JudgeSpec, TrainedJudge, judge_specs
from .perplexity import perplexity
from .protocol import signature
from .texts import CONVENTIONS, RealText, Reference, Samples

__all__ = ["TextScore", "fppl", "rppl"]


@dataclass(frozen=True)
class TextScore:
    """The perplexity of a list of sentences.

    Attributes:
        ppl: per token, `</s>` counted.
        ci95: over resampled sentences of the text that is read.
        n_oov: tokens of it whose type the judge's training text lacks.
        outside_vocabulary: words of it that are read as `<unk>`.
        signature: all choices behind the number.
    """

    ppl: float
    ci95: tuple[float, float]
    n_oov: int
    outside_vocabulary: int
    signature: str


def fppl(
    samples: Sequence[str], real_train: Sequence[str], judge: str = "kn5", *, real_valid: Sequence[str] = ()
) -> TextScore:
    """Forward perplexity: a judge trained on `real_train` reads `samples`; low is fluent.

    The vocabulary is closed as everywhere here: words that `real_train` has less than twice are read as `<unk>` (or
    those that it lacks, if it has `<unk>` itself).

    Args:
        samples, real_train: sentences, words separated by blanks.
        judge: kn2 to kn6, Kneser-Ney of that order, or lstm.
        real_valid: what an LSTM judge stops on; n-gram judges need none.

    Raises:
        InputError: no such judge, a text without sentences, or words that no judge may read (with the line number).
    """
    reference, spec = Reference(RealText("real", real_train, "test", (), real_valid)), _spec(judge)
    text, n_outside = reference.read(samples, "samples")
    trained = spec.train(reference.train, reference)
    return _text_score("fppl", samples, spec, trained, reference, text, n_outside)


def rppl(
    samples: Sequence[str],
    real_test: Sequence[str],
    judge: str = "kn5",
    *,
    vocabulary: Iterable[str] | None = None,
    real_valid: Sequence[str] = (),
) -> TextScore:
    """Reverse perplexity: a judge trained on `samples` reads `real_test`; low is close to the real distribution.

    It falls with the number of samples: compare it at equal numbers alone.

    Args:
        samples, real_test: sentences, words separated by blanks.
        judge: kn2 to kn6, Kneser-Ney of that order, or lstm.
        vocabulary: the closed vocabulary; other words are read as `<unk>` in both texts. By default all words of
            `real_test`. With `lm_eval.closed_vocabulary(real_train)` the figure is that of `lebm-text rppl`.
        real_valid: what an LSTM judge stops on; n-gram judges need none.

    Raises:
        InputError: no such judge, a text without sentences, or words that no judge may read (with the line number).
    """
    if vocabulary is None:
        counts = Counter(word for sentence in real_test for word in split_words(sentence))
        vocabulary = [word for word, _ in counts.most_common()]
    reference = Reference(RealText("real", (), "test", real_test, real_valid), vocabulary=vocabulary)
    text, _ = reference.read(samples, "samples")
    spec = _spec(judge)
    with naming("samples"):
        trained = spec.train(text, reference)
    return _text_score("rppl", samples, spec, trained, reference, reference.held_out, reference.n_outside)


def _spec(judge: str) -> JudgeSpec:
    specs = judge_specs(judge, CONVENTIONS["default"])
    if len(specs) > 1:
        raise InputError(f"judge must be kn2 to kn6 or lstm, got {judge!r}")
    return specs[0]


def _text_score(
    metric: str,
    samples: Sequence[str],
    spec: JudgeSpec,
    trained: TrainedJudge,
    reference: Reference,
    text: Sequence[str],
    n_outside: int,
) -> TextScore:
    with naming("samples" if metric == "fppl" else "real text"):
        score = perplexity(trained.model.score(text))
    line = signature(metric, spec, trained, reference, Samples(samples))
    return TextScore(score.ppl, score.ci95, score.n_oov, n_outside, line)

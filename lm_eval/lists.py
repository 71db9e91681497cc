"""Forward and reverse perplexity of plain lists of strings; `protocol` states what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lebm_text.errors import InputError
from lebm_text.text.reading import split_words
from lebm_text.text.tokenisation import tokenisation_of
from lebm_text.text.tokenizers import least_count

from .counts import as_sentences, naming
from .coverage import Coverage, coverage_warnings, expected_coverage
from .judges import JUDGES, judge_specs
from .perplexity import perplexity
from .plugins import is_plugged
from .protocol import diverged, fell_back, signature
from .texts import RealText, Reference, Samples

__all__ = ["TextScore", "fppl", "rppl"]


@dataclass(frozen=True)
class TextScore:
    """The perplexity of a list of sentences.

    Attributes:
        ppl: per token, `</s>` counted.
        ci95: over resampled sentences of the scored text.
        n_oov: tokens of it whose type the judge's training text lacks.
        outside_vocabulary: words of it that are read as `<unk>`.
        signature: all choices behind the number.
        coverage: of the samples by the vocabulary.
        warnings: why the number may mislead, one line each.
    """

    ppl: float
    ci95: tuple[float, float]
    n_oov: int
    outside_vocabulary: int
    signature: str
    coverage: Coverage
    warnings: tuple[str, ...] = ()


def fppl(
    samples: Iterable[str],
    real_train: Iterable[str],
    judge: str = "kn5",
    *,
    real_valid: Iterable[str] = (),
    tokenize: bool = False,
) -> TextScore:
    """Forward perplexity: a judge trained on `real_train` reads `samples`; low is fluent.

    The vocabulary is closed: words that occur fewer than two times in `real_train` are read as `<unk>` (if `<unk>`
    occurs there, only words that it lacks). A warning reports if far more of the samples than of real text is unknown.

    Args:
        samples: sentences, words separated by blanks.
        real_train: sentences of real text, likewise.
        judge: kn2 to kn6, Kneser-Ney of that order, lstm, or a plug-in (`lm_eval.plugins`).
        real_valid: validation text that an LSTM judge stops on; n-gram judges need none.
        tokenize: the samples are raw text, to be split into words as `real_train` is.

    Raises:
        InputError: an unknown judge, something other than a list of strings, a text without sentences, or words that
            no judge may read (with the line number).
    """
    read, train, valid = _read(samples, real_train, real_valid, "real train", tokenize=tokenize)
    reference = Reference(RealText("real", train, "test", (), valid))
    least = least_count(word for line in train for word in split_words(line))
    return _text_score("fppl", read, judge, reference, expected_coverage(train, least=least))


def rppl(
    samples: Iterable[str],
    real_test: Iterable[str],
    judge: str = "kn5",
    *,
    vocabulary: Iterable[str] | None = None,
    real_valid: Iterable[str] = (),
    tokenize: bool = False,
) -> TextScore:
    """Reverse perplexity: a judge trained on `samples` reads `real_test`; low is close to the real distribution.

    It falls with the number of samples: compare it only at equal numbers.

    Args:
        samples: sentences, words separated by blanks.
        real_test: held-out sentences of real text, likewise.
        judge: kn2 to kn6, Kneser-Ney of that order, lstm, or a plug-in (`lm_eval.plugins`).
        vocabulary: the closed vocabulary; other words are read as `<unk>` in both texts. By default all words of
            `real_test`. With `lm_eval.closed_vocabulary(real_train)` the figure is that of `lebm-text rppl`.
        real_valid: validation text that an LSTM judge stops on; n-gram judges need none.
        tokenize: the samples are raw text, to be split into words as `real_test` is.

    Raises:
        InputError: an unknown judge, something other than a list of strings, a text without sentences, or words that
            no judge may read (with the line number).
    """
    read, test, valid = _read(samples, real_test, real_valid, "real test", tokenize=tokenize)
    if own := vocabulary is None:
        counts = Counter(word for sentence in test for word in split_words(sentence))
        vocabulary = [word for word, _ in counts.most_common()]
    reference = Reference(RealText("real", (), "test", test, valid), vocabulary=vocabulary)
    real = expected_coverage(test, least=1) if own else reference.coverage
    return _text_score("rppl", read, judge, reference, real)


def _read(
    samples: object, real: object, valid: object, name: str, *, tokenize: bool
) -> tuple[Samples, list[str], list[str]]:
    """Read the lists, or any other iterables, once."""
    given, text = as_sentences(samples, "samples"), as_sentences(real, name)
    held_out = as_sentences(valid, "real valid")
    if not tokenize:
        return Samples(given), text, held_out
    how = tokenisation_of(text)
    return Samples([how.sentence(line) for line in given], tokenizer=how.name), how.real(text), how.real(held_out)


def _text_score(metric: str, samples: Samples, judge: str, reference: Reference, real: Coverage) -> TextScore:
    if (judge not in JUDGES and not is_plugged(judge)) or judge == "both":
        raise InputError(f"judge must be kn2 to kn6, lstm or package.module:Class, got {judge!r}")
    (spec,) = judge_specs(judge, reference.convention)
    text, n_outside = reference.read(samples.sentences, "samples")
    if metric == "fppl":
        trained = spec.train(reference.train, reference)
    else:
        with naming("samples"):
            trained = spec.train(text, reference)
        text, n_outside = reference.held_out, reference.n_outside
    with naming("samples" if metric == "fppl" else "real text"):
        score = perplexity(trained.model.score(text))
    coverage = reference.coverage_of(samples.sentences)
    warnings = coverage_warnings(coverage, real, samples.tokenizer)
    warnings += diverged(trained.training, len(reference.vocabulary)) if trained.training else []
    warnings += fell_back(trained)
    signed = signature(metric, spec, trained, reference, samples)
    return TextScore(score.ppl, score.ci95, score.n_oov, n_outside, signed, coverage, tuple(warnings))

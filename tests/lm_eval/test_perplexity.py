"""From sentence scores to a perplexity and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lebm_text.errors import InputError
from lm_eval.perplexity import SentenceScores, paired_ratio_ci95, perplexity


def scores(
    nll: list[float], n_tokens: list[int], n_oov: list[int] | None = None, oov: list[float] | None = None
) -> SentenceScores:
    """Scores of which one nat a sentence falls on `</s>`."""
    n = len(nll)
    return SentenceScores(
        nll=np.array(nll),
        n_tokens=np.array(n_tokens),
        n_oov=np.array(n_oov or [0] * n),
        nll_oov=np.array(oov or [0.0] * n),
        nll_eos=np.ones(n),
    )


def test_perplexity_is_one_ratio_of_the_whole_text() -> None:
    score = perplexity(scores([2.0, 12.0], [2, 5]))
    assert score.ppl == pytest.approx(math.exp(14 / 7))
    assert (score.nll, score.n_tokens, score.n_sentences, score.n_oov) == (14.0, 7, 2, 0)
    assert score.ppl_excluding_oov == pytest.approx(score.ppl)


def test_without_unknown_words() -> None:
    score = perplexity(scores([10.0, 3.0], [4, 2], [1, 0], [6.0, 0.0]))
    assert score.ppl_excluding_oov == pytest.approx(math.exp(7 / 5))
    assert perplexity(scores([6.0], [1], [1], [6.0])).ppl_excluding_oov is None


def test_without_sentence_ends() -> None:
    assert perplexity(scores([2.0, 12.0], [2, 5]), count_eos=False).ppl == pytest.approx(math.exp(12 / 5))


@pytest.mark.parametrize("empty", [scores([], []), scores([1.0, 1.0], [1, 1])])
def test_nothing_to_score_is_refused(empty: SentenceScores) -> None:
    with pytest.raises(InputError, match="nothing to score"):
        perplexity(empty, count_eos=False)


def test_impossible_text_has_infinite_perplexity() -> None:
    assert perplexity(scores([math.inf], [2])).ppl == math.inf


def test_equal_sentences_leave_no_uncertainty() -> None:
    score = perplexity(scores([6.0] * 50, [3] * 50))
    assert score.ci95 == pytest.approx((math.exp(2), math.exp(2)))


def test_interval_has_the_width_of_the_standard_error() -> None:
    """Of log ppl: sd of (nll - mean nats · tokens) / (mean tokens · √S); 1000 draws give it within 10 %."""
    rng = np.random.default_rng(3)
    n_tokens = rng.integers(2, 30, 2000)
    nll = n_tokens * rng.gamma(20, 0.25, 2000)
    score = perplexity(scores(nll.tolist(), n_tokens.tolist()))
    mean = nll.sum() / n_tokens.sum()
    error = (nll - mean * n_tokens).std() / (n_tokens.mean() * math.sqrt(2000))
    low, high = np.log(score.ci95)
    assert (high - low) / (2 * 1.96) == pytest.approx(error, rel=0.1)
    assert low < mean < high


def test_the_interval_leaves_out_the_25_least_and_the_25_greatest_of_1000_draws() -> None:
    rng = np.random.default_rng(5)
    n_tokens = rng.integers(2, 9, 40)
    score = perplexity(scores((n_tokens * rng.gamma(4, 1, 40)).tolist(), n_tokens.tolist()))
    ordered = sorted(score.draws.tolist())
    assert len(set(ordered)) == 1000
    assert score.ci95 == pytest.approx((math.exp(ordered[25]), math.exp(ordered[-26])))


def test_draws_are_ratios_of_sums_over_the_same_sentences_for_every_text() -> None:
    """Sentence i is drawn as often whatever it scores, so the draws of a·nll + b·tokens follow from those of nll."""
    n_tokens = [1, 4, 2, 7]
    plain = perplexity(scores([3.0, 9.0, 1.0, 4.0], n_tokens)).draws
    moved = perplexity(
        scores([2 * nll + 5 * n for nll, n in zip([3.0, 9.0, 1.0, 4.0], n_tokens, strict=True)], n_tokens)
    )
    np.testing.assert_allclose(moved.draws, 2 * plain + 5)
    assert np.unique(plain.round(9)).size > 20


def test_a_draw_of_empty_sentences_alone_takes_the_texts_own_value() -> None:
    """Without `</s>` two of three sentences are empty: a draw of these alone, 8 of 27, has no token."""
    score = perplexity(scores([1.0, 1.0, 9.0], [1, 1, 5]), count_eos=False)
    np.testing.assert_allclose(score.draws, 2.0)
    assert score.ci95 == pytest.approx((math.exp(2), math.exp(2)))


def test_seed_decides_the_interval() -> None:
    text = scores([3.0, 9.0, 1.0, 4.0], [1, 4, 2, 2])
    assert perplexity(text, seed=1).ci95 == perplexity(text, seed=1).ci95
    assert perplexity(text, seed=1).draws.tolist() != perplexity(text, seed=2).draws.tolist()


def test_paired_interval_sees_what_both_judges_share() -> None:
    """A second judge that is 5 % worse on every sentence: the ratio is known though either value is not."""
    rng = np.random.default_rng(4)
    n_tokens = rng.integers(2, 30, 500)
    nll = n_tokens * rng.gamma(4, 1, 500)
    better = perplexity(scores(nll.tolist(), n_tokens.tolist()))
    worse = perplexity(scores((nll + n_tokens * math.log(1.05)).tolist(), n_tokens.tolist()))
    assert paired_ratio_ci95(worse, better) == pytest.approx((1.05, 1.05))
    assert better.ci95[1] / better.ci95[0] > 1.1


def test_pairs_need_the_same_sentences() -> None:
    with pytest.raises(ValueError, match="same sentences"):
        paired_ratio_ci95(perplexity(scores([1.0], [1])), perplexity(scores([1.0, 2.0], [1, 2])))

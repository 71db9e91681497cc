"""From sentence scores to a perplexity and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lebm_text.errors import InputError
from lm_eval.perplexity import SentenceScores, _widening, paired_ratio_ci95, perplexity


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
    assert perplexity(scores([1600.0], [2])).ppl == math.inf  # beyond the largest number there is
    assert perplexity(scores([1300.0], [2])).ppl == pytest.approx(math.exp(650))


def test_scores_of_tokens_are_summed_by_sentence() -> None:
    """From log10 probabilities; the last token of a sentence is its end."""
    logs, oov = np.array([-1.0, -2.0, -0.5, -3.0, -0.25]), np.array([True, True, False, True, False])
    found = SentenceScores.of_tokens(logs, oov, np.array([3, 2]))
    ten = math.log(10)
    np.testing.assert_allclose(found.nll, [3.5 * ten, 3.25 * ten])
    np.testing.assert_allclose(found.nll_oov, [3 * ten, 3 * ten])
    np.testing.assert_allclose(found.nll_eos, [0.5 * ten, 0.25 * ten])
    assert (found.n_tokens.tolist(), found.n_oov.tolist(), len(found)) == ([3, 2], [2, 1], 2)


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


def _widened(value: float, low: float, high: float, n: int) -> tuple[float, float]:
    """exp of an interval whose ends are moved away from the value, as Student's distribution has it for n sentences."""
    return math.exp(value + _widening(n) * (low - value)), math.exp(value + _widening(n) * (high - value))


def test_the_interval_leaves_out_the_25_least_and_the_25_greatest_of_1000_draws() -> None:
    rng = np.random.default_rng(5)
    n_tokens = rng.integers(2, 9, 40)
    score = perplexity(scores((n_tokens * rng.gamma(4, 1, 40)).tolist(), n_tokens.tolist()))
    ordered = sorted(score.draws.tolist())
    assert len(set(ordered)) == 1000
    assert score.ci95 == pytest.approx(_widened(math.log(score.ppl), ordered[25], ordered[-26], 40))


def test_draws_are_ratios_of_sums_over_the_same_sentences_for_every_text() -> None:
    """Sentence i is drawn as often whatever it scores, so the draws of a·nll + b·tokens follow from those of nll."""
    n_tokens = [1, 4, 2, 7]
    plain = perplexity(scores([3.0, 9.0, 1.0, 4.0], n_tokens)).draws
    moved = perplexity(
        scores([2 * nll + 5 * n for nll, n in zip([3.0, 9.0, 1.0, 4.0], n_tokens, strict=True)], n_tokens)
    )
    np.testing.assert_allclose(moved.draws, 2 * plain + 5)
    assert np.unique(plain.round(9)).size > 20


@pytest.mark.parametrize("count_eos", [True, False])
def test_draws_are_sentences_with_replacement_written_out(count_eos: bool) -> None:
    """Some draws have one token, and without `</s>` some have none: these take 10 nats for 3 tokens."""
    text = scores([1.0, 3.0, 9.0], [1, 2, 3])
    nll, n_tokens = ([1.0, 3.0, 9.0], [1, 2, 3]) if count_eos else ([0.0, 2.0, 8.0], [0, 1, 2])
    expected = []
    for rows in np.random.default_rng(4).integers(3, size=(1000, 3)).tolist():
        tokens = sum(n_tokens[row] for row in rows)
        expected.append(sum(nll[row] for row in rows) / tokens if tokens else 10 / 3)
    found = perplexity(text, count_eos=count_eos, seed=4)
    np.testing.assert_allclose(found.draws, expected)
    one = perplexity(scores([3.0], [1]))
    np.testing.assert_allclose(one.draws, 3.0)


def test_the_interval_of_a_ratio_is_that_of_the_pairs() -> None:
    rng = np.random.default_rng(6)
    n_tokens = rng.integers(2, 9, 40).tolist()
    first, second = (perplexity(scores((n_tokens * rng.gamma(4, 1, 40)).tolist(), n_tokens)) for _ in range(2))
    ordered = sorted((first.draws - second.draws).tolist())
    value = math.log(first.ppl / second.ppl)
    assert paired_ratio_ci95(first, second) == pytest.approx(_widened(value, ordered[25], ordered[-26], 40))


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


def test_few_sentences_widen_the_interval_as_student_has_it() -> None:
    """97.5 % quantiles of Student's distribution from tables: 9, 29 and 99 degrees of freedom."""
    for n, t in ((10, 2.2622), (30, 2.0452), (100, 1.9842)):
        assert _widening(n) == pytest.approx(t / 1.959964 * math.sqrt(n / (n - 1)), rel=2e-3)
    assert _widening(10**6) == pytest.approx(1, abs=1e-5)
    text = scores([3.0, 8.0, 1.0, 9.0, 4.0, 6.0, 2.0, 7.0], [1, 2, 1, 2, 1, 2, 1, 2])
    score = perplexity(text)
    plain = np.sort(score.draws)[[25, -26]]
    value = math.log(score.ppl)
    assert np.log(score.ci95) == pytest.approx(value + _widening(8) * (plain - value))


def test_intervals_of_thirty_sentences_hold_the_truth_in_nineteen_of_twenty_cases() -> None:
    """Sentences of 10 words and gamma noise, 5 nats a word; of 600 intervals the plain ones held it in about 550."""
    rng, held, plainly = np.random.default_rng(4), 0, 0
    for _ in range(600):
        nll = 38 + rng.gamma(2.0, 6.0, 30)
        score = perplexity(scores(nll.tolist(), [10] * 30))
        low, high = np.log(score.ci95)
        held += low <= 5.0 <= high
        plainly += score.draws[np.argsort(score.draws)[25]] <= 5.0 <= score.draws[np.argsort(score.draws)[-26]]
    assert plainly < held
    assert held / 600 > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 600)

"""FPPL and RPPL: what they tell apart, how vocabularies close, what is warned of, what signatures say."""

from __future__ import annotations

import numpy as np
import pytest

import lm_eval
from lebm_text.errors import InputError
from lebm_text.text.tokenizers import closed_vocabulary
from lm_eval.judges import KneserNeySpec
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import NgramModel
from lm_eval.perplexity import PerplexityScore, paired_ratio_ci95, perplexity
from lm_eval.protocol import Evaluator
from lm_eval.texts import CONVENTIONS, RealText, Reference, Samples, calibration_texts, close_vocabulary

from .grammar import grammar_sentences, texts_of_falling_quality

N = 3000
TRAIN, TEST = grammar_sentences(N, 1), grammar_sentences(800, 2)
REAL = Reference(RealText("grammar", TRAIN, "test", TEST))


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(REAL)


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    return texts_of_falling_quality(TRAIN)


def test_fppl_orders_texts_and_takes_repetition_for_quality(evaluator: Evaluator, texts: dict[str, list[str]]) -> None:
    ppl = {name: evaluator.fppl(Samples(text)).ppl for name, text in texts.items()}
    assert ppl["repeat"] < ppl["real"] < ppl["5-gram"] < ppl["shuffled"] < ppl["uniform"]


def test_rppl_orders_texts_and_sees_repetition(evaluator: Evaluator, texts: dict[str, list[str]]) -> None:
    ppl = {name: evaluator.rppl(Samples(text)).ppl for name, text in texts.items()}
    assert ppl["real"] < ppl["5-gram"] < ppl["shuffled"] < min(ppl["uniform"], ppl["repeat"])


def test_rppl_excluding_unknown_words_would_reward_few_samples(evaluator: Evaluator) -> None:
    """Why the vocabulary is closed: with fewer samples the text gets harder, its known part easier."""
    few, many = (evaluator.rppl(Samples(TRAIN[:n])) for n in (40, 400))
    assert few.ppl > many.ppl
    assert few.n_oov > many.n_oov
    assert few.ppl_excluding_oov is not None
    assert few.ppl_excluding_oov < few.ppl / 1.2


def test_held_out_text_as_samples_is_the_real_row(evaluator: Evaluator) -> None:
    result = evaluator.fppl(Samples(TEST))
    assert result.ppl == result.real_ppl
    assert result.ratio == 1
    assert result.ci95 == result.real_ci95
    assert any("this is the real-data row" in warning for warning in result.warnings)


def test_training_text_as_samples_gives_the_real_row_of_rppl_and_a_warning_of_fppl(
    evaluator: Evaluator,
) -> None:
    reverse, forward = evaluator.rppl(Samples(TRAIN)), evaluator.fppl(Samples(TRAIN))
    assert reverse.ppl == pytest.approx(reverse.real_ppl)
    assert reverse.ratio_ci95 == pytest.approx((1, 1))
    assert not any("below" in warning for warning in reverse.warnings)
    assert forward.ppl < forward.real_ppl
    assert any("lies below the real-data row" in warning for warning in forward.warnings)


def test_few_samples_are_warned_of_and_compared_with_as_many_real_sentences(evaluator: Evaluator) -> None:
    result = evaluator.rppl(Samples(TRAIN[:300]))
    assert any("300 samples stand against" in warning for warning in result.warnings)
    assert result.extra["real_ppl_at_n"] == pytest.approx(result.ppl, rel=0.1)
    assert result.real_ppl < result.ppl


@pytest.mark.parametrize(("n", "few"), [(999, True), (1000, False)])
def test_below_a_thousand_samples_it_is_said_how_steeply_rppl_falls(evaluator: Evaluator, n: int, few: bool) -> None:
    assert (
        any("1,000 real sentences of PTB" in warning for warning in evaluator.rppl(Samples(TRAIN[:n])).warnings) == few
    )
    assert not any("RPPL" in warning for warning in evaluator.fppl(Samples(TRAIN[:n])).warnings)


def test_closed_vocabulary_reads_singletons_as_unk() -> None:
    vocabulary = closed_vocabulary(["a a b", "c c"])
    closed = (["a <unk>", "<unk> a <unk>", "", "<unk>"], 2)
    assert close_vocabulary(["a b", "new  a <unk>", "", "<oov>"], vocabulary) == closed


def test_oov_of_a_text_is_its_unk_and_no_type_of_its_own() -> None:
    train, samples = ["<unk> a b", "b <unk> a"] * 3, ["a b", "<unk>"]
    for text in (train, [line.replace("<unk>", "<oov>") for line in train]):
        assert Reference(RealText("toy", text, "test", ())).vocabulary == ["<unk>", "a", "b"]
        assert lm_eval.fppl(samples, text).ppl == lm_eval.fppl(samples, train).ppl
    given = lm_eval.rppl(samples, train, vocabulary=["a", "<oov>", "b"])
    assert given == lm_eval.rppl(samples, train, vocabulary=["a", "b"])


def test_words_outside_the_vocabulary_are_counted(evaluator: Evaluator) -> None:
    result = evaluator.fppl(Samples(["the noun0.0 verb0.0 a never-seen", "the noun1.0"]))
    assert result.n_outside_vocabulary == 1
    assert result.n_tokens == 9


@pytest.mark.parametrize(("name", "n_ends"), [("default", len(TEST)), ("arae", 0)])
def test_bits_a_byte_are_the_code_length_over_what_is_counted(name: str, n_ends: int) -> None:
    reference = Reference(REAL.real, CONVENTIONS[name])
    result = Evaluator(reference).fppl(Samples(TEST))
    n_bytes = len("".join(reference.held_out)) + n_ends
    assert result.bits_per_byte == pytest.approx(np.log2(result.ppl) * result.n_tokens / n_bytes)
    assert result.bits_per_byte == result.real_bits_per_byte


def test_mass_of_words_that_the_samples_lack_is_proper() -> None:
    """Under the judge of the samples the closed vocabulary has total probability 1, seen and unseen words."""
    vocabulary = ["a", "b", "c", "d", "e", "<unk>"]
    judge = NgramModel.train(["a b a", "b b"], KneserNeySettings(order=3, vocab_pad=len(vocabulary) + 2))
    # <unk> of the text, and one more type for all that no text of this vocabulary holds
    words = [*vocabulary, "type-outside"]
    scores = judge.score(words)
    first = np.exp(-(scores.nll - scores.nll_eos)).sum() + np.exp(-judge.score([""]).nll[0])
    assert first == pytest.approx(1, abs=1e-6)


def test_arae_leaves_sentence_ends_out_and_reads_the_vocabulary() -> None:
    arae = Evaluator(Reference(REAL.real, CONVENTIONS["arae"]))
    forward, reverse = arae.fppl(Samples(TEST)), arae.rppl(Samples(TRAIN[:500]))
    assert forward.n_tokens == sum(len(line.split()) for line in TEST)
    model = NgramModel.train(TRAIN, KneserNeySettings(order=5))
    expected = perplexity(model.score(TEST), count_eos=False).ppl
    assert forward.ppl == pytest.approx(expected, rel=1e-6)
    assert forward.extra["ppl_with_vocabulary_lines"] != pytest.approx(forward.ppl, rel=0.01)
    assert forward.signature.startswith("FPPL|protocol:arae|lm:kn5|")
    assert forward.signature.endswith("|vocab:open|eos:no|unk:word|tok:word")
    vocabulary = closed_vocabulary(TRAIN)
    with_lines = NgramModel.train([*vocabulary, *TRAIN[:500]], KneserNeySettings(order=5))
    expected = perplexity(with_lines.score(TEST), count_eos=False).ppl
    assert reverse.ppl == pytest.approx(expected, rel=1e-6)
    assert f"vocab:open+lines-{len(vocabulary)}|" in reverse.signature


class Text:
    """A text read by a judge: every figure that is said of it, by definition."""

    def __init__(self, judge: NgramModel, sentences: list[str], *, count_eos: bool) -> None:
        found = judge.score(sentences)
        end = 0 if count_eos else 1
        self.nll = found.nll - end * found.nll_eos
        self.tokens = np.array([len(line.split()) + 1 - end for line in sentences])
        self.ppl = np.exp(self.nll.sum() / self.tokens.sum())
        self.n_oov = int(found.n_oov.sum())
        known = self.tokens.sum() - self.n_oov
        self.ppl_excluding_oov = np.exp((self.nll.sum() - found.nll_oov.sum()) / known)
        n_bytes = sum(len(line.encode()) for line in sentences) + (len(sentences) if count_eos else 0)
        self.bits_per_byte = self.nll.sum() / np.log(2) / n_bytes


@pytest.mark.parametrize("name", ["default", "arae"])
def test_every_figure_of_a_result_is_its_definition(name: str) -> None:
    """FPPL reads the samples, RPPL the held-out text; beside each, the judge of real text on held-out text."""
    default = name == "default"
    samples = [line.replace("noun1.0", "unheard") for line in grammar_sentences(400, 9)]
    reference = Reference(REAL.real, CONVENTIONS[name])
    vocabulary = closed_vocabulary(TRAIN)
    known, lines = set(vocabulary), [] if default else vocabulary

    def read(sentences: list[str]) -> list[str]:
        if not default:
            return sentences
        return [" ".join(word if word in known else "<unk>" for word in line.split()) for line in sentences]

    def judge(sentences: list[str]) -> NgramModel:
        return NgramModel.train(sentences, KneserNeySettings(5, vocab_pad=len(vocabulary) + 2 if default else 0))

    of_real, train, held_out = judge(read(TRAIN)), read(TRAIN), read(TEST)
    rows = sorted(np.random.default_rng(1).permutation(N)[:400].tolist())
    real = Text(of_real, held_out, count_eos=default)
    n_outside = {"fppl": sum(word not in known for line in samples for word in line.split())}
    n_outside["rppl"] = sum(word not in known for line in TEST for word in line.split())
    assert min(n_outside.values()) > 0
    texts = {"fppl": Text(of_real, read(samples), count_eos=default)}
    texts["rppl"] = Text(judge([*lines, *read(samples)]), held_out, count_eos=default)
    at_n = Text(judge([*lines, *(train[row] for row in rows)]), held_out, count_eos=default)
    evaluator = Evaluator(reference)
    for metric, text in texts.items():
        found = getattr(evaluator, metric)(Samples(samples))
        assert found.metric == metric
        assert found.ppl == pytest.approx(text.ppl)
        assert found.ppl_excluding_oov == pytest.approx(text.ppl_excluding_oov)
        assert found.real_ppl == pytest.approx(real.ppl)
        assert found.ratio == pytest.approx(text.ppl / real.ppl)
        assert found.bits_per_byte == pytest.approx(text.bits_per_byte)
        assert found.real_bits_per_byte == pytest.approx(real.bits_per_byte)
        counts = (len(text.nll), text.tokens.sum(), text.n_oov, n_outside[metric] if default else 0)
        assert (found.n_sentences, found.n_tokens, found.n_oov, found.n_outside_vocabulary) == counts
    assert evaluator.rppl(Samples(samples)).extra == {"real_ppl_at_n": pytest.approx(at_n.ppl)}
    as_many = evaluator.rppl(Samples(TRAIN))
    assert (
        as_many.extra == {}
    )  # nothing to say: RPPL depends on the number of samples, and this one is that of real text
    for few, result in (
        (True, evaluator.rppl(Samples(samples))),
        (False, as_many),
        (False, evaluator.fppl(Samples(samples))),
    ):
        assert any("stand against" in warning for warning in result.warnings) == few
    assert evaluator.fppl(Samples(samples)).ratio_ci95 is None  # two texts, which nothing pairs
    with_lines = Text(of_real, [*vocabulary, *samples], count_eos=False)
    extra = {} if default else {"ppl_with_vocabulary_lines": pytest.approx(with_lines.ppl)}
    assert evaluator.fppl(Samples(samples)).extra == extra


def test_the_seed_is_that_of_the_intervals_and_of_the_real_sentences_of_equal_number() -> None:
    reference = Reference(RealText("toy", grammar_sentences(80, 1), "test", grammar_sentences(20, 2)))
    samples, held_out = grammar_sentences(30, 3), reference.held_out

    def scored(sentences: list[str]) -> PerplexityScore:
        judge = NgramModel.train(sentences, KneserNeySettings(5, vocab_pad=len(reference.vocabulary) + 2))
        return perplexity(judge.score(held_out), seed=2)

    found = Evaluator(reference, seed=2).rppl(Samples(samples))
    of_samples, of_real = scored(reference.read(samples, "samples")[0]), scored(reference.train)
    rows = sorted(np.random.default_rng(2).permutation(80)[:30].tolist())
    assert found.ci95 == pytest.approx(of_samples.ci95)
    assert found.real_ci95 == pytest.approx(of_real.ci95)
    assert found.ratio_ci95 == pytest.approx(paired_ratio_ci95(of_samples, of_real))
    assert found.extra == {"real_ppl_at_n": pytest.approx(scored([reference.train[row] for row in rows]).ppl)}


def test_signatures_say_what_was_trained_and_read(evaluator: Evaluator) -> None:
    samples = Samples(TRAIN[:1500], "decode=sample,T=1", ("seed:7",), "sentencepiece>word")
    types = len(closed_vocabulary(TRAIN)) + 2
    tail = f"|vocab:closed-{types}|eos:yes|unk:word|tok:sentencepiece>word|seed:7"
    drawn = "samples(n=1500,decode=sample,T=1)"
    assert evaluator.fppl(samples).signature == f"FPPL|lm:kn5|train:grammar-train|test:{drawn}{tail}"
    assert evaluator.rppl(samples).signature == f"RPPL|lm:kn5|train:{drawn}|test:grammar-test{tail}"


def test_collapsed_samples_fall_back_and_the_orders_are_told(evaluator: Evaluator) -> None:
    result = evaluator.rppl(Samples([TRAIN[0]] * N))
    assert result.fallback_orders == [1, 2, 3, 4, 5]
    (warning,) = [warning for warning in result.warnings if "fallback" in warning]
    assert warning in lm_eval.rppl([TRAIN[0]] * N, TEST).warnings
    assert np.isfinite(result.ppl)


@pytest.mark.parametrize("metric", ["fppl", "rppl"])
def test_empty_samples(evaluator: Evaluator, metric: str) -> None:
    """No sentence is an error; empty sentences are sentences."""
    with pytest.raises(InputError):
        getattr(evaluator, metric)(Samples([]))
    assert np.isfinite(getattr(evaluator, metric)(Samples([""] * 10)).ppl)


def test_refused_words_name_the_text(evaluator: Evaluator) -> None:
    with pytest.raises(InputError, match="samples: line 2 contains a reserved word, '<UNK>'"):
        evaluator.fppl(Samples(["fine", "<UNK>"]))
    with pytest.raises(InputError, match="grammar test: line 1"):
        Reference(RealText("grammar", TRAIN, "test", ["</s>"]))


def test_the_judge_of_real_text_is_trained_once(caplog: pytest.LogCaptureFixture) -> None:
    evaluator = Evaluator(REAL)
    with caplog.at_level("DEBUG", logger="lm_eval"):
        evaluator.fppl(Samples(TEST))
        evaluator.fppl(Samples(TEST))
    assert caplog.messages == ["training kn5 on 3,000 sentences of grammar train …"]


@pytest.mark.parametrize("order", [2, 5])
def test_lists_are_judged_as_corpora_are(order: int) -> None:
    samples = [line.replace("noun1.0 ", "unheard ") for line in grammar_sentences(1200, 9)]
    evaluator, judge = Evaluator(REAL, KneserNeySpec(order)), f"kn{order}"
    forward, expected = lm_eval.fppl(samples, TRAIN, judge), evaluator.fppl(Samples(samples))
    assert (forward.ppl, forward.ci95, forward.n_oov) == (expected.ppl, expected.ci95, expected.n_oov)
    assert forward.outside_vocabulary == expected.n_outside_vocabulary > 0
    assert forward.signature == expected.signature.replace("grammar-", "real-")
    expected = evaluator.rppl(Samples(samples))
    vocabulary = lm_eval.closed_vocabulary(TRAIN)
    for words in (vocabulary, vocabulary[1:]):  # <unk> belongs to every vocabulary
        reverse = lm_eval.rppl(samples, TEST, judge, vocabulary=words)
        assert (reverse.ppl, reverse.n_oov) == (expected.ppl, expected.n_oov)
        assert reverse.signature == expected.signature.replace("grammar-", "real-")


def test_without_a_vocabulary_all_words_of_the_real_text_are_known() -> None:
    reverse = lm_eval.rppl(["a b", "b"], ["a b", "c"])
    assert (reverse.outside_vocabulary, reverse.n_oov) == (0, 1)
    assert "|vocab:closed-6|" in reverse.signature


def test_an_lstm_needs_validation_text_beside_the_lists() -> None:
    with pytest.raises(InputError, match="no validation text"):
        lm_eval.fppl(["a"], ["a"], "lstm")


def test_calibration_texts_have_the_length_asked_for_and_the_order_expected(evaluator: Evaluator) -> None:
    texts = dict(calibration_texts(TRAIN, 2000, seed=1))
    assert {len(text) for text in texts.values()} == {2000}
    forward = {name: evaluator.fppl(Samples(text)).ppl for name, text in texts.items()}
    assert forward["training text"] < evaluator.real_score.ppl < forward["5-gram samples"]
    assert forward["3-gram samples"] < forward["2-gram samples"] < forward["training text, words shuffled"]
    assert forward["500 sentences repeated"] < evaluator.real_score.ppl
    assert texts == dict(calibration_texts(TRAIN, 2000, seed=1))
    few = dict(calibration_texts(TRAIN, 5, seed=1))
    assert few["2 sentences repeated"] == [*TRAIN[:2], *TRAIN[:2], TRAIN[0]]

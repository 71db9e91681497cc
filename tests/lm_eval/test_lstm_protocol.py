"""FPPL and RPPL by the LSTM judge: the same order of texts, and what its training adds to a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lm_eval.judges import KneserNeySpec, LSTMRecipe, LSTMSpec
from lm_eval.protocol import Evaluator
from lm_eval.texts import CONVENTIONS, RealText, Reference, Samples

from .grammar import grammar_sentences, texts_of_falling_quality

TRAIN, VALID, TEST = grammar_sentences(600, 1), grammar_sentences(100, 4), grammar_sentences(200, 2)
RECIPE = LSTMRecipe(
    "lstm-24x1",
    24,
    24,
    shortlist=None,
    input_dropout=0.1,
    output_dropout=0.1,
    learning_rate=0.02,
    batch_tokens=512,
    max_epochs=5,
    min_updates=1,
)
BRIEF = replace(RECIPE, name="lstm-brief", max_epochs=1, early_stopping=False)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(RealText("grammar", TRAIN, "test", TEST, VALID))


def test_texts_are_ordered_as_by_an_n_gram_judge(reference: Reference) -> None:
    """But for two: shuffled and uniform words are equal nonsense to a judge that reads whole sentences, and no sentence
    of the training text is known by heart to one that learns with dropout and stops early.
    """
    texts = texts_of_falling_quality(TRAIN)
    lstm, ngram = Evaluator(reference, LSTMSpec(RECIPE)), Evaluator(reference, KneserNeySpec())
    forward = {name: lstm.fppl(Samples(text)).ppl for name, text in texts.items()}
    assert forward["real"] < forward["5-gram"] < min(forward["shuffled"], forward["uniform"])
    reverse = {name: lstm.rppl(Samples(text)).ppl for name, text in texts.items()}
    assert reverse["real"] < reverse["5-gram"] < reverse["shuffled"] < min(reverse["uniform"], reverse["repeat"])
    # A topic holds for a sentence, which five words of context cannot tell.
    assert lstm.fppl(Samples(texts["5-gram"])).ratio > 2 * ngram.fppl(Samples(texts["5-gram"])).ratio


def test_result_says_how_the_judges_were_trained(
    reference: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="lm_eval")
    samples = Samples(TRAIN[:300], "decode=greedy", ("seed:7",))
    evaluator = Evaluator(reference, LSTMSpec(BRIEF, seed=2, cache=tmp_path))
    result = evaluator.rppl(samples)
    assert (result.judge, result.judge_seed) == ("lstm", 2)
    assert result.training is not None
    assert result.real_training is not None
    assert result.training.n_epochs == 1
    assert result.training.valid_ppl != result.real_training.valid_ppl
    assert "real_ppl_at_n" not in result.extra  # another training of minutes
    assert caplog.messages[0].startswith("training lstm (seed 2) on 300 samples")
    assert any("of grammar train" in stage for stage in caplog.messages)
    n_words = len(reference.vocabulary)
    for part in (
        "RPPL|lm:lstm-brief|train:samples(n=300,decode=greedy)|stop:epoch-1|test:grammar-test|",
        f"|vocab:closed-{n_words + 1}|eos:yes|unk:word|tok:word|judge-seed:2|precision:",
    ):
        assert part in result.signature
    assert result.signature.endswith("|seed:7")
    again = Evaluator(reference, LSTMSpec(BRIEF, seed=2, cache=tmp_path)).rppl(samples)
    assert again.ppl == result.ppl
    assert again.training is not None
    assert again.training.cached


def test_tokens_that_the_judges_text_lacks_are_counted_as_by_an_n_gram_judge(reference: Reference) -> None:
    samples = Samples(TRAIN[:100])
    lstm, ngram = (Evaluator(reference, spec).rppl(samples) for spec in (LSTMSpec(BRIEF), KneserNeySpec()))
    assert lstm.n_oov == ngram.n_oov > 0
    assert lstm.n_tokens == ngram.n_tokens
    assert lstm.n_outside_vocabulary == ngram.n_outside_vocabulary
    assert lstm.ppl_excluding_oov is not None
    assert lstm.ppl_excluding_oov < lstm.ppl


def test_a_judge_that_stopped_on_the_text_it_reads_is_warned_of() -> None:
    real = RealText("grammar", TRAIN[:100], "valid", VALID)
    recipe = replace(RECIPE, max_epochs=1)
    for spec, expected in ((LSTMSpec(recipe), True), (LSTMSpec(BRIEF), False)):
        result = Evaluator(Reference(real), spec).fppl(Samples(TEST))
        assert any("stopped on the validation text" in warning for warning in result.warnings) is expected


def test_a_judge_that_diverged_is_warned_of(reference: Reference) -> None:
    """Worse on the validation text than a guess among all types."""
    recipe = replace(BRIEF, learning_rate=10.0)
    evaluator = Evaluator(reference, LSTMSpec(recipe))
    forward, result = evaluator.fppl(Samples(TRAIN[:300])), evaluator.rppl(Samples(TRAIN[:300]))
    assert result.training is not None
    assert result.training.valid_ppl > len(reference.vocabulary) + 1
    of_real = "the training of the judge of real text"
    for found, judges in ((forward, [of_real]), (result, ["the training of the judge", of_real])):
        told = [warning for warning in found.warnings if "diverged" in warning]
        assert [warning.partition(" diverged")[0] for warning in told] == judges
    assert f"exceeds the {len(reference.vocabulary) + 1:,} types" in told[0]
    warnings = Evaluator(reference, LSTMSpec(BRIEF)).rppl(Samples(TRAIN[:300])).warnings
    assert not any("diverged" in warning for warning in warnings)


def test_protocol_is_named_in_the_signature() -> None:
    reference = Reference(RealText("grammar", TRAIN[:100], "test", TEST, VALID), CONVENTIONS["lebm"])
    assert Evaluator(reference, LSTMSpec(BRIEF)).fppl(Samples(TEST)).signature.startswith("FPPL|protocol:lebm|lm:")

"""What the benchmark for a GPU measures as a whole, and the text that stands for the Penn Treebank in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import lifelike, whole
from benchmarks.judge import recipe_of
from benchmarks.sizes import EOS, FULL, SMOKE
from lebm_text.text.batching import BatchPlan
from lebm_text.text.corpora import find_corpus
from lm_eval.judges import LSTMSpec

from ..lebm_text.toy import write_text_corpus

SETTINGS = {
    "model": {"embedding_dim": 8, "hidden_dim": 8, "latent_dim": 4},
    "inference": {"n_steps": 2},
    "prior": {"n_steps": 2},
    "training": {"batch_size": 8, "batch_tokens": 8 * lifelike.LONGEST},
}
CPU = torch.device("cpu")


def test_the_text_has_the_lengths_of_ptb() -> None:
    text = lifelike.lifelike(lifelike.SENTENCES, FULL.vocab_size)
    assert len(text) == lifelike.SENTENCES
    assert len(text.tokens) == pytest.approx(929_589, rel=0.01)
    lengths = text.lengths
    assert (lengths.min(), lengths.max()) == (2, 83)
    assert lengths.std() == pytest.approx(10.1, rel=0.05)
    assert np.percentile(lengths, [5, 50, 95]) == pytest.approx([7, 21, 40], abs=2)
    assert set(text.tokens[text.offsets[1:] - 1]) == {EOS}
    assert text.tokens.max() < FULL.vocab_size


def test_a_corpus_of_it_is_found(tmp_path: Path) -> None:
    corpus = find_corpus(str(lifelike.write_corpus(tmp_path / "lifelike", 100, 50)))
    assert [corpus.splits[name].n_sentences for name in ("train", "valid", "test")] == [100, 8, 9]
    lines = list(corpus.splits["train"].sentences())
    assert [len(line.split()) + 1 for line in lines] == lifelike.lifelike(100, 50).lengths.tolist()


@pytest.mark.parametrize("seconds", [1000.0, 1e-9])
def test_an_epoch_that_is_stopped_says_its_share(seconds: float) -> None:
    text = lifelike.lifelike(30, SMOKE.vocab_size)
    row = whole.epoch("paper", SETTINGS, text, SMOKE.vocab_size, CPU, seconds=seconds)
    if seconds > 1:
        assert row["share"] == 1 and row["seconds"] > 0
        assert row["rate"] == pytest.approx(len(text.tokens) / row["seconds"])
        return
    (first, *_) = BatchPlan(text, 8, 8 * lifelike.LONGEST, 1).epoch(0)
    assert row["share"] == pytest.approx(text.lengths[first].sum() / len(text.tokens) / 2)
    assert row["seconds"] is None
    assert row["rate"] == pytest.approx(len(text.tokens) / row["first_seconds"])


def test_the_judge_says_a_perplexity_of_ptb_alone(tmp_path: Path) -> None:
    write_text_corpus(tmp_path / "ptb")
    spec = LSTMSpec(recipe_of(SMOKE))
    row = whole.judge(whole.reference_of("ptb", tmp_path), spec)
    assert row["corpus"] == "ptb" and row["perplexity"] > 1
    (tmp_path / "ptb").rename(tmp_path / "other")
    reference = whole.reference_of("other", tmp_path)
    assert whole.judge(reference, spec)["perplexity"] is None
    assert whole.rppl(reference, spec, 25)["samples"] == 25


def test_a_judge_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    write_text_corpus(tmp_path / "ptb")
    spec = LSTMSpec(recipe_of(SMOKE), on_progress=whole.within(0))
    with pytest.raises(TimeoutError, match="not done after 0 s: LSTM judge, epoch 1 of at most 1"):
        whole.judge(whole.reference_of("ptb", tmp_path), spec)


def test_a_start_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="failed with exit code"):
        whole.start("paper", SETTINGS, tmp_path / "nowhere", CPU)

"""Validation figures: an oracle, a sum by hand, and noise that is the same each time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lebm_text.build import build_inference
from lebm_text.models.classes import UNKNOWN, ClassPrior
from lebm_text.random import stream
from lebm_text.training.validation import validate

from ..toy import VOCABULARY, toy_config, toy_corpus, toy_model

CORPUS = toy_corpus([5, 2, 3, 1, 7, 4])


def test_a_uniform_generator_has_the_vocabulary_as_its_perplexity() -> None:
    model = toy_model(toy_config())
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.zero_()
    figures = validate(model, toy_config(), CORPUS, epoch=0.0)
    for name in ("posterior", "shuffled", "prior"):
        assert figures[f"valid_ppl_{name}"] == pytest.approx(VOCABULARY, rel=1e-5)
        assert figures[f"valid_nll_{name}"] == pytest.approx(math.log(VOCABULARY), rel=1e-5)


@pytest.mark.parametrize(("lengths", "size"), [([5, 2, 3], 2), ([5, 2, 3], 1)])
def test_a_batch_of_one_sentence_takes_another_batchs_z(lengths: list[int], size: int) -> None:
    """By hand: the longest stands alone; with batches of 1 all do, and the shortest has none before it."""
    config, corpus = toy_config({"training": {"batch_size": size}}), toy_corpus(lengths)
    model, rng = toy_model(config), stream(config.training.seed, "validation")
    chain = build_inference(config.inference, epoch=0.5)
    order = [1, 2, 0]
    z: dict[int, torch.Tensor] = {}
    nll, n_tokens = 0.0, 0
    for index in [order[i : i + size] for i in range(0, len(order), size)]:
        batch = corpus.batch(np.array(index))
        drawn = chain(batch, model.prior, model.generator, rng=rng).z
        model.prior.sample(len(index), rng)
        z |= dict(zip(batch.index.tolist(), drawn, strict=True))
    pairs = {1: [(0, 2), (2, 1)], 2: [(0, 2), (1, 2), (2, 1)]}[size]
    for i, other in pairs:
        batch = corpus.batch(np.array([i]))
        nll -= float(model.generator.log_likelihood(batch, z[other].unsqueeze(0)).sum().detach())
        n_tokens += batch.n_tokens
    figures = validate(model, config, corpus, epoch=0.5)
    assert figures["valid_nll_shuffled"] == pytest.approx(nll / n_tokens, rel=1e-5)
    assert figures["valid_nll_shuffled"] != pytest.approx(figures["valid_nll_posterior"], rel=1e-4)


def test_accuracy_is_the_share_of_sentences_with_a_label_whose_class_is_found() -> None:
    """By hand, in two batches; the third sentence and the fifth have no label."""
    config = toy_config({"model": {"prior": "classes"}, "prior": {"labels": ["x", "y"]}, "training": {"batch_size": 4}})
    model, rng = toy_model(config), stream(config.training.seed, "validation")
    assert isinstance(model.prior, ClassPrior)
    chain = build_inference(config.inference, epoch=0.5)
    guesses = torch.empty(6, dtype=torch.long)
    for index in ([3, 1, 2, 5], [0, 4]):
        batch = CORPUS.batch(np.array(index))
        z = chain(batch, model.prior, model.generator, rng=rng).z
        model.prior.sample(len(index), rng)
        guesses[batch.index] = model.prior.class_log_probs(z).argmax(-1)
    labels = guesses.clone()
    labels[[0, 1]] = 1 - labels[[0, 1]]
    labels[[2, 4]] = UNKNOWN
    found = validate(model, config, CORPUS, epoch=0.5, labels=labels)
    assert found["valid_accuracy"] == 2 / 4
    nobody = validate(model, config, CORPUS, epoch=0.5, labels=torch.full_like(labels, UNKNOWN))
    assert "valid_accuracy" not in nobody
    assert {name: value for name, value in found.items() if name != "valid_accuracy"} == nobody


def test_one_sentence_has_no_other() -> None:
    figures = validate(toy_model(toy_config()), toy_config(), toy_corpus([4]), epoch=0.5)
    assert {"valid_nll_posterior", "valid_nll_prior"} <= set(figures)
    assert not {"valid_nll_shuffled", "valid_ppl_shuffled"} & set(figures)


@pytest.mark.parametrize("changes", [{}, {"inference": {"persistent": True}}])
def test_noise_is_fixed_and_nothing_is_left_behind(changes: dict[str, Any]) -> None:
    config = toy_config({"model": {"dropout": 0.5}} | changes)
    model = toy_model(config)
    before = torch.get_rng_state()
    first = validate(model, config, CORPUS, epoch=1.0)
    torch.manual_seed(77)
    torch.randn(5)
    assert validate(model, config, CORPUS, epoch=1.0) == first
    torch.set_rng_state(before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_chain_is_the_one_of_its_epoch_and_its_seed() -> None:
    config = toy_config()
    model = toy_model(config)
    first = validate(model, config, CORPUS, epoch=0.0)
    assert validate(model, config, CORPUS, epoch=9.0)["valid_nll_posterior"] != first["valid_nll_posterior"]
    assert validate(model, config.override(["training.seed=5"]), CORPUS, epoch=0.0) != first


def test_what_is_annealed_begins_after_the_epochs_as_a_language_model() -> None:
    plain = toy_config({"training": {"n_epochs": 5}})
    later = plain.merge({"training": {"init": "lm", "init_epochs": 2}})
    model = toy_model(plain)
    found = validate(model, later, CORPUS, epoch=3.0)
    assert found == validate(model, plain, CORPUS, epoch=1.0)
    assert found["valid_nll_posterior"] != validate(model, plain, CORPUS, epoch=3.0)["valid_nll_posterior"]


def test_a_hopeless_model_has_a_finite_perplexity() -> None:
    model = toy_model(toy_config())
    with torch.no_grad():
        model.get_parameter("generator.output_bias").zero_()[0] = 5000.0
    assert math.isfinite(validate(model, toy_config(), CORPUS, epoch=0.0)["valid_ppl_prior"])

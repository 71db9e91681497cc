"""Bounds of a text model of two dimensions against a grid integral; order, seeds and batches do not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from lebm_text.cuda_graphs import Replay
from lebm_text.likelihood import sentences
from lebm_text.likelihood.sentences import (
    AISSettings,
    ais_bounds,
    annealing,
    chain_averages,
    importance_values,
    joint,
    sentence_rng,
)
from lebm_text.samplers.ais import anneal, lower_bound
from lebm_text.samplers.importance import fit_proposal, importance_sample

from ..recording import record_on_cpu, trace
from ..toy import gap
from .oracles import LENGTHS, grid_log_a, text_model

ALL = np.arange(len(LENGTHS))
QUICK = AISSettings(n_steps=15, n_chains=8, n_moves=4)


@pytest.mark.parametrize(
    ("start", "n_steps", "n", "error"), [("prior", 60, 600, 0.013), ("proposal", 30, 1800, 0.0025)]
)
def test_ais_against_a_grid(start: Literal["prior", "proposal"], n_steps: int, n: int, error: float) -> None:
    """Within 4 standard errors of `n` chains: 0.01 nat from the proposal."""
    prior, generator, corpus = text_model()
    batch = corpus.batch(ALL)
    like = torch.zeros(n, len(LENGTHS), 2, dtype=torch.float64)
    settings = AISSettings(n_steps=n_steps, start=start)
    rng = sentence_rng(1, batch, 0)
    terms, schedule, draw = annealing(prior, generator.likelihood(batch), like, settings, rng)
    found = lower_bound(anneal(terms, draw(), schedule, rng=rng))
    assert gap(found.value, grid_log_a(prior, generator, corpus)[batch.index]) < 4 * error
    assert float(found.standard_error.max()) < error


def test_bounds_come_in_the_order_asked_for_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, generator, corpus = text_model()
    together = ais_bounds(prior, generator, corpus, ALL, QUICK, seed=1)
    monkeypatch.setattr(sentences, "ROWS", 8)  # one sentence a batch
    alone = ais_bounds(prior, generator, corpus, ALL[::-1].copy(), QUICK, seed=1)
    assert gap(together.log_a.value.flip(0), alone.log_a.value) < 1e-9
    assert gap(together.z.flip(1), alone.z) < 1e-6
    assert gap(together.log_likelihood.flip(0), alone.log_likelihood) < 1e-9
    other = ais_bounds(prior, generator, corpus, ALL, QUICK, seed=2)
    assert gap(together.log_a.value, other.log_a.value) > 1e-3


@pytest.mark.parametrize("start", ["prior", "proposal"])
def test_recorded_bounds_are_the_same(start: Literal["prior", "proposal"], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch has a recording of its own, of all terms at once."""
    prior, generator, corpus = text_model()
    settings = AISSettings(n_steps=6, n_chains=3, start=start, n_leapfrog=2, n_moves=5)
    monkeypatch.setattr(sentences, "ROWS", 6)  # two sentences a batch
    wanted, recordings = ais_bounds(prior, generator, corpus, ALL, settings, seed=3), []

    def record(function: Any, given: tuple[Tensor, ...], pool: object) -> Replay:
        recordings.append(given[0].shape)
        return trace(function, given, pool)

    record_on_cpu(monkeypatch, record)
    found = ais_bounds(prior, generator, corpus, ALL, settings, seed=3)
    assert recordings == [(3, 2, 2)] * (len(LENGTHS) // 2) + [(3, 1, 2)] * (len(LENGTHS) % 2)
    assert gap(found.log_a.value, wanted.log_a.value) < 1e-9
    assert gap(found.z, wanted.z) < 1e-6
    assert gap(found.acceptance, wanted.acceptance) < 1e-9


@pytest.mark.parametrize("start", ["prior", "proposal"])
def test_bounds_are_annealed_and_continued_chains_written_out(start: str) -> None:
    """Of a part of a text whose first sentence is number 7; each figure is a mean over the chains."""
    prior, generator, corpus = text_model()
    settings = AISSettings(n_steps=6, n_chains=3, start=start, n_leapfrog=2, n_moves=5)
    found = ais_bounds(prior, generator, corpus, ALL, settings, seed=3, first=7)
    batch, like = corpus.batch(ALL), torch.zeros(3, len(LENGTHS), 2, dtype=torch.float64)
    rng = sentence_rng(3, batch, 0, first=7)
    terms, schedule, draw = annealing(prior, generator.likelihood(batch), like, settings, rng)
    assert (len(schedule.betas), schedule.n_leapfrog) == (7, 2)
    annealed = anneal(terms, draw(), schedule, rng=rng)
    z, log_likelihood = chain_averages(
        terms, annealed.state, step_size=schedule.step_sizes[-1], n_steps=5, n_leapfrog=2, rng=rng
    )
    for mine, theirs in zip(found.log_a, lower_bound(annealed), strict=True):
        assert gap(mine[batch.index], theirs) < 1e-9
    assert gap(found.acceptance[batch.index], annealed.acceptance) < 1e-9
    assert gap(found.z[:, batch.index], z) < 1e-6
    assert gap(found.log_likelihood[batch.index], log_likelihood.mean(0)) < 1e-9
    assert float(z.std(0).min()) > 1e-3  # chains that differ, so that no single one would do


def test_importance_values_are_samples_from_the_fitted_proposal_written_out() -> None:
    prior, generator, corpus = text_model()
    found = importance_values(prior, generator, corpus, ALL, 24, seed=3)
    batch = corpus.batch(ALL)
    target, rng = joint(prior, generator.likelihood(batch)), sentence_rng(3, batch, 1)
    proposal = fit_proposal(target, torch.zeros(len(LENGTHS), 2, dtype=torch.float64), rng=rng)
    for mine, theirs in zip(found, importance_sample(target, proposal, n_samples=24, rng=rng), strict=True):
        assert gap(mine[batch.index], theirs) < 1e-9


def test_importance_values_are_near_the_grid_and_keep_their_order() -> None:
    """Within 4 standard errors, in float32 as the command runs it."""
    wanted = grid_log_a(*text_model())
    prior, generator, corpus = text_model(dtype=torch.float32)
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    found = importance_values(prior, generator, corpus, ALL[::-1].copy(), n_samples=600, seed=1, on_progress=progress)
    assert bool(((found.value.flip(0) - wanted).abs() < 4 * found.standard_error.flip(0) + 1e-4).all())
    assert told[-1] == ("importance sampling", len(LENGTHS), len(LENGTHS))
    assert float(found.ess.min()) > 100


def test_chains_go_on_at_the_posterior() -> None:
    """E log p(x|z) of the chains is that of the grid's posterior, within the spread of the chains."""
    prior, generator, corpus = text_model()
    settings = AISSettings(n_steps=40, n_chains=200, n_moves=60)
    found = ais_bounds(prior, generator, corpus, ALL, settings, seed=1)
    axis = torch.linspace(-6, 6, 61, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis).unsqueeze(1).expand(-1, len(LENGTHS), -1)
    batch = corpus.batch(ALL)
    with torch.no_grad():
        likelihood = generator.likelihood(batch)(points)
        weights = (prior.logdensity(points) + likelihood).softmax(0)
    wanted = torch.empty(len(LENGTHS), dtype=torch.float64)
    wanted[batch.index] = (weights * likelihood).sum(0)
    means: Tensor = (weights.unsqueeze(-1) * points).sum(0)
    assert gap(found.log_likelihood, wanted) < 0.1
    assert gap(found.z.mean(0)[batch.index], means) < 4 * float(found.z.std(0).max()) / 200**0.5
    assert float(likelihood.std(0).max()) > 0.5


def test_no_two_sentences_and_no_two_uses_share_their_noise() -> None:
    _, _, corpus = text_model()
    batch, shape = corpus.batch(ALL), (len(LENGTHS), 3)
    drawn = [sentence_rng(1, batch, use).normal(shape).tolist() for use in range(4)]
    assert len({tuple(row) for of_use in drawn for row in of_use}) == 4 * len(LENGTHS)
    later = replace(batch, index=batch.index + 7)  # a part of a text goes on numbering
    assert torch.equal(sentence_rng(1, batch, 2, first=7).normal(shape), sentence_rng(1, later, 2).normal(shape))


def test_progress_counts_steps_of_sentences() -> None:
    prior, generator, corpus = text_model()
    said: list[int] = []
    n_steps = len(LENGTHS) * QUICK.n_steps

    def progress(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("AIS", n_steps)
        said.append(done)

    ais_bounds(prior, generator, corpus, ALL, QUICK, seed=1, on_progress=progress)
    assert said == sorted(said)
    assert said[-1] == n_steps


def test_dropout_never_enters() -> None:
    prior, generator, corpus = text_model()
    generator.dropout = 0.5
    with_dropout = ais_bounds(prior, generator, corpus, ALL, QUICK, seed=1)
    generator.dropout = 0.0
    assert gap(with_dropout.log_a.value, ais_bounds(prior, generator, corpus, ALL, QUICK, seed=1).log_a.value) == 0

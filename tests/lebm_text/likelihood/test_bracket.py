"""Simulated sentences: exact posterior samples, and a bracket that holds the grid's value."""

from __future__ import annotations

import torch

from lebm_text.likelihood.bracket import bracket, simulate
from lebm_text.likelihood.sentences import AISSettings
from lebm_text.models.priors import GaussianPrior

from ..toy import BOS, EOS, normal
from .oracles import grid_log_a, text_model


def test_bounds_hold_the_grid_value() -> None:
    """Mean over sentences; each side may miss it by 4 standard errors of its own."""
    _, generator, _ = text_model()
    prior = GaussianPrior(2)
    simulated = simulate(generator, normal(60, 2), eos_id=EOS, pad_id=0, max_length=8, seed=1)
    n = len(simulated.corpus)
    assert 20 < n < 60  # some were cut, and left out
    found = bracket(prior, generator, simulated, AISSettings(n_steps=20, n_chains=4), seed=1)
    truth = grid_log_a(prior, generator, simulated.corpus)
    below, above = truth - found.lower, found.upper - truth
    for margin in (below, above):
        assert float(margin.mean()) > -4 * float(margin.std()) / n**0.5
    assert float((below + above).mean()) < 0.5
    assert 0.3 < found.acceptance < 1


def test_sentences_left_out_leave_with_their_z() -> None:
    _, generator, _ = text_model()
    z = normal(80, 2)
    kept = simulate(generator, z, eos_id=EOS, pad_id=0, max_length=5, seed=1)
    assert len(kept.corpus) == len(kept.z) < 80
    assert int(kept.corpus.lengths.max()) <= 6
    assert not {0, BOS} & set(kept.corpus.tokens.tolist())
    longer = simulate(generator, z, eos_id=EOS, pad_id=0, max_length=30, seed=1)
    rows = {tuple(row) for row in longer.z.tolist()}
    assert all(tuple(row) in rows for row in kept.z.tolist())
    assert len(longer.corpus) > len(kept.corpus)


def test_nothing_is_left() -> None:
    _, generator, _ = text_model()
    with torch.no_grad():
        generator.output_bias[EOS] = -1e4
    assert len(simulate(generator, normal(5, 2), eos_id=EOS, pad_id=0, max_length=5, seed=1).corpus) == 0

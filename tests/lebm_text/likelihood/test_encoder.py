"""KL(q‖p_α) of an encoder against closed forms, and that a language model alone has an exact likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lebm_text.likelihood.encoder import encoder_kl
from lebm_text.likelihood.exact import exact_log_probs
from lebm_text.models.priors import GaussianPrior
from lebm_text.text.batching import EncodedCorpus

from ..tiny import tiny_model

LINES = ["the cat sees a dog", "a dog", "the é sees"]


class Tilted(GaussianPrior):
    """p_α = N(shift, I): f(z) = shift·z, log Z = ½ ‖shift‖²."""

    def __init__(self, shift: torch.Tensor) -> None:
        super().__init__(len(shift))
        self.shift = shift

    def neg_energy(self, z: torch.Tensor) -> torch.Tensor:
        return z @ self.shift


def _kl(shift: torch.Tensor, index: list[int], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """What is found, and ½ Σ (σ² + (μ − shift)² − 1 − log σ²) of the same sentences."""
    model = tiny_model(kind="amortized")
    corpus = EncodedCorpus(*model.tokenizer.encode_many(LINES))
    encoder = model.model.encoder
    assert encoder is not None
    log_z = 0.5 * float(shift.square().sum())
    found = encoder_kl(encoder, Tilted(shift), model.model.generator, corpus, np.array(index), log_z=log_z, seed=seed)
    exact = []
    for i in index:
        moments = encoder(corpus.batch(np.array([i])))
        terms = moments.log_variance.exp() + (moments.mean - shift).square() - 1 - moments.log_variance
        exact.append(0.5 * terms.sum().detach())
    return found, torch.stack(exact).double()


def test_under_the_base_alone_it_is_exact() -> None:
    found, exact = _kl(torch.zeros(4), [0, 1, 2])
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)


def test_under_a_tilt_it_is_a_mean_over_draws() -> None:
    """f is linear, so its mean over 64 draws of q errs by ‖σ ∘ shift‖ / 8: within 4 of them, and not without."""
    shift = torch.tensor([0.5, -1.0, 0.0, 0.3])
    found, exact = _kl(shift, [2, 0])
    assert (found - exact).abs().max() < 4 * float(shift.norm()) * 1.5 / 8
    without, _ = _kl(torch.zeros(4), [2, 0])
    assert (without - exact).abs().max() > 0.3


def test_a_sentences_value_does_not_depend_on_the_others() -> None:
    shift = torch.tensor([0.5, -1.0, 0.0, 0.3])
    torch.testing.assert_close(_kl(shift, [2])[0], _kl(shift, [0, 1, 2])[0][2:], rtol=1e-5, atol=1e-5)


def test_exactness_is_refused_with_a_latent_vector() -> None:
    model = tiny_model()
    corpus = EncodedCorpus(*model.tokenizer.encode_many(LINES))
    with pytest.raises(ValueError, match="latent_dim = 4"):
        exact_log_probs(model.model.generator, corpus, np.arange(3))

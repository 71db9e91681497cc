r"""The two losses of learning by short-run MCMC (Pang et al., NeurIPS 2020, Algorithm 1) or by an encoder.

With an encoder the first is the negative evidence bound, −log p_β(x|z⁺) + β KL(q‖p_α) (`inference.amortized`), and
moves the encoder, too; with D = 0 it is −log p(x).

Both are sums over a batch divided by the corpus-average batch size. With batches cut by tokens, dividing by a
batch's own size would weigh sentences by how many share their batch.
"""

from __future__ import annotations

from torch import Tensor

from lebm_text.models.priors import Prior

__all__ = ["generator_loss", "prior_loss"]


def generator_loss(log_likelihood: Tensor, mean_batch_size: float, penalty: Tensor | float = 0.0) -> Tensor:
    """−Σ_i [log p_β(x_i|z_i⁺) − penalty_i] / mean batch size, from (B,) nats; its gradient moves β up the likelihood.

    The penalty is what inference adds (`Inference.penalty`): an encoder's KL, nothing for a chain.
    """
    return -(log_likelihood - penalty).sum() / mean_batch_size


def prior_loss(prior: Prior, z_positive: Tensor, z_negative: Tensor, mean_batch_size: float) -> Tensor:
    """Σ_i [f(z_i⁻) − f(z_i⁺)] / mean batch size, from (B, D) each; its gradient estimates −∂ log p_α(z⁺)/∂α."""
    return (prior.neg_energy(z_negative) - prior.neg_energy(z_positive)).sum() / mean_batch_size

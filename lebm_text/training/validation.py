"""Figures on held-out sentences, under noise that is the same each time."""

from __future__ import annotations

import math

import numpy as np
import torch

from lebm_text.build import LatentModel, build_inference, sample_prior
from lebm_text.config import Config
from lebm_text.text.batching import EncodedCorpus

__all__ = ["validate"]


def validate(model: LatentModel, config: Config, corpus: EncodedCorpus, *, epoch: float) -> dict[str, float]:
    """Reconstruction of held-out sentences with z from the posterior chain and with z from the prior.

    Perplexities are per token with `</s>`: exp(−Σ log p(x|z) / Σ tokens). Neither is a likelihood of x. The chain
    starts cold, also where training keeps persistent ones.

    Returns:
        valid_nll_posterior, valid_nll_prior (nats a token), valid_ppl_posterior, valid_ppl_prior, and the mean
        negative energies valid_f_posterior and valid_f_prior.
    """
    device = model.generator.embedding.device
    rng = torch.Generator().manual_seed(config.training.seed)
    infer = build_inference(config.inference, epoch=epoch)
    sums = dict.fromkeys(("nll_posterior", "nll_prior", "f_posterior", "f_prior"), 0.0)
    order = np.argsort(corpus.lengths, kind="stable")
    for start in range(0, len(order), config.training.batch_size):
        batch = corpus.batch(order[start : start + config.training.batch_size]).to(device)
        drawn = {
            "posterior": infer(batch, model.prior, model.generator, rng=rng).z,
            "prior": sample_prior(model.prior, config.prior, len(batch.lengths), rng=rng, device=device)[0],
        }
        likelihood = model.generator.likelihood(batch)
        with torch.no_grad():
            for name, z in drawn.items():
                sums[f"nll_{name}"] -= float(likelihood(z).sum())
                sums[f"f_{name}"] += float(model.prior.neg_energy(z).sum())
    figures = {}
    for name in ("posterior", "prior"):
        nll = sums[f"nll_{name}"] / len(corpus.tokens)
        figures[f"valid_nll_{name}"] = nll
        figures[f"valid_ppl_{name}"] = math.exp(min(nll, 700.0))
        figures[f"valid_f_{name}"] = sums[f"f_{name}"] / len(corpus)
    return figures

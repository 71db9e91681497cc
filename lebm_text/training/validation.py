"""Figures on held-out sentences, under noise that is the same each time."""

from __future__ import annotations

import math

import numpy as np
import torch

from lebm_text.build import LatentModel, build_inference, sample_prior
from lebm_text.config import Config
from lebm_text.samplers.noise import stream
from lebm_text.text.batching import EncodedCorpus

__all__ = ["validate"]


def validate(model: LatentModel, config: Config, corpus: EncodedCorpus, *, epoch: float) -> dict[str, float]:
    """Held-out sentences with z from their own posterior, from another sentence's, and from the prior.

    Perplexities are per token with `</s>`: exp(−Σ log p(x|z) / Σ tokens). Neither is a likelihood of x. The chain
    starts cold, also where training keeps persistent ones.

    Returns:
        valid_nll_* (nats a token) and valid_ppl_* for posterior, shuffled and prior, and the mean negative energies
        valid_f_posterior and valid_f_prior.
    """
    device = model.generator.embedding.device
    rng = stream(config.training.seed, "validation")
    infer = build_inference(config.inference, epoch=epoch)
    nll = dict.fromkeys(("posterior", "shuffled", "prior"), 0.0)
    energy = dict.fromkeys(("posterior", "prior"), 0.0)
    order = np.argsort(corpus.lengths, kind="stable")
    for start in range(0, len(order), config.training.batch_size):
        batch = corpus.batch(order[start : start + config.training.batch_size]).to(device)
        z = {
            "posterior": infer(batch, model.prior, model.generator, rng=rng).z,
            "prior": sample_prior(model.prior, config.prior, len(batch.lengths), rng=rng, device=device)[0],
        }
        z["shuffled"] = z["posterior"].roll(1, 0)
        likelihood = model.generator.likelihood(batch)
        with torch.no_grad():
            for name in nll:
                nll[name] -= float(likelihood(z[name]).sum())
            for name in energy:
                energy[name] += float(model.prior.neg_energy(z[name]).sum())
    figures = {f"valid_f_{name}": total / len(corpus) for name, total in energy.items()}
    for name, total in nll.items():
        per_token = total / len(corpus.tokens)
        figures |= {f"valid_nll_{name}": per_token, f"valid_ppl_{name}": math.exp(min(per_token, 700.0))}
    return figures

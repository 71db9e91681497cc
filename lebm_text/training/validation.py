"""Figures on held-out sentences, under noise that is the same each time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from lebm_text.build import LatentModel, build_inference
from lebm_text.config import Config
from lebm_text.processes import ALONE, Processes
from lebm_text.random import stream
from lebm_text.text.batching import Batch, EncodedCorpus

__all__ = ["validate"]


def validate(
    model: LatentModel, config: Config, corpus: EncodedCorpus, *, epoch: float, processes: Processes = ALONE
) -> dict[str, float]:
    """Held-out sentences with z from their own posterior, from another sentence's, and from the prior.

    Perplexities are per token with `</s>`: exp(−Σ log p(x|z) / Σ tokens). Neither is a likelihood of x. A chain
    starts cold, also where training keeps persistent ones. Several processes share each batch.

    Returns:
        valid_nll_* (nats a token) and valid_ppl_* for posterior, shuffled and prior, and the mean negative energies
        valid_f_posterior and valid_f_prior. With an encoder also valid_kl, KL(q‖p0) in nats a sentence, and with it
        and a prior of known log Z valid_ppl_bound, from the evidence bound: an upper bound on the perplexity. For D = 0
        there is no z, and all there is are valid_nll and valid_ppl, those of a language model.
    """
    if config.model.latent_dim == 0:
        return _perplexity("", _language_model_nll(model, config, corpus, processes) / len(corpus.tokens))
    rng = stream(config.training.seed, "validation")
    infer = build_inference(config.inference, epoch=epoch, encoder=model.encoder)
    nll = dict.fromkeys(("posterior", "shuffled", "prior"), 0.0)
    energy = dict.fromkeys(("posterior", "prior"), 0.0)
    kl = 0.0
    for batch in _batches(model, config, corpus):
        share = processes.share(len(batch.lengths))
        own, own_rng = share.of(batch), share.rng(rng)
        with torch.no_grad():
            positive = infer(own, model.prior, model.generator, rng=own_rng)
            z = {
                "posterior": positive.z,
                "prior": model.prior.sample(len(own.lengths), own_rng),
                "shuffled": share.rows(share.gather(positive.z).roll(1, 0)),
            }
            likelihood = model.generator.likelihood(own)
            for name, value in share.sums({name: likelihood(z[name]) for name in nll}).items():
                nll[name] -= value
            for name, value in share.sums({name: model.prior.neg_energy(z[name]) for name in energy}).items():
                energy[name] += value
            if positive.base_kl is not None:
                kl += share.sums({"kl": positive.base_kl})["kl"]
    figures = {f"valid_f_{name}": total / len(corpus) for name, total in energy.items()}
    for name, total in nll.items():
        figures |= _perplexity(f"_{name}", total / len(corpus.tokens))
    if model.encoder is not None:
        figures["valid_kl"] = kl / len(corpus)
        if (log_z := model.prior.log_z()) is not None:
            bound = nll["posterior"] + kl - energy["posterior"] + log_z * len(corpus)
            figures |= _perplexity("_bound", bound / len(corpus.tokens))
    return figures


def _language_model_nll(model: LatentModel, config: Config, corpus: EncodedCorpus, processes: Processes) -> float:
    total = 0.0
    for batch in _batches(model, config, corpus):
        share = processes.share(len(batch.lengths))
        own = share.of(batch)
        empty = next(model.generator.parameters()).new_empty(len(own.lengths), 0)
        with torch.no_grad():
            total -= share.sums({"x": model.generator.likelihood(own)(empty)})["x"]
    return total


def _batches(model: LatentModel, config: Config, corpus: EncodedCorpus) -> Iterator[Batch]:
    """All sentences, the shortest first, on the model's device."""
    order, size = np.argsort(corpus.lengths, kind="stable"), config.training.batch_size
    for start in range(0, len(order), size):
        yield corpus.batch(order[start : start + size]).to(model.generator.device)


def _perplexity(name: str, per_token: float) -> dict[str, float]:
    return {f"valid_nll{name}": per_token, f"valid_ppl{name}": math.exp(min(per_token, 700.0))}

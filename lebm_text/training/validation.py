"""Figures on held-out sentences, under fixed noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lebm_text.build import LatentModel, build_inference
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.models.base import null_latent
from lebm_text.models.classes import UNKNOWN, classes_of
from lebm_text.processes import ALONE, Processes, Share
from lebm_text.random import stream
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.transfer import send

__all__ = ["SELECTING", "best_epochs", "require_figures", "selecting", "validate"]

SELECTING = ("valid_ppl", "valid_ppl_bound")
"""What `training.select = valid` makes small, the first that there is: a language model's perplexity, or a bound on it.

Perplexities with z from the posterior fall and those with z from the prior rise as z carries more: neither says which
epoch models the text best, and of a model that has no others the last weights are published.
"""


def selecting(select: str, figures: Iterable[str]) -> str | None:
    """Return the figure of an epoch that selects the published weights; None: the last ones are published."""
    names = {"valid": SELECTING, "valid_kn5": ("valid_kn5",)}.get(select, ())
    return next((name for name in names if name in figures), None)


def require_figures(model: LatentModel, config: Config, n_sentences: int) -> None:
    """Raise InputError for settings of `config` that need a figure which `model` does not have.

    This includes figures of validation sentences if their number, `n_sentences`, is 0.
    """
    select, patience = config.training.select, config.training.patience
    if not n_sentences and (patience or select == "valid_kn5"):
        needing = "training.patience" if patience else "training.select = valid_kn5"
        raise InputError(
            f"{needing} needs validation sentences that the model can read; there are none: see "
            "training.validation_sentences and text.max_length"
        )
    if not patience:
        return
    infer = build_inference(config.inference, epoch=0.0, encoder=model.encoder)
    bounded = config.model.latent_dim == 0 or (infer.moments is not None and model.prior.log_z() is not None)
    if select == "valid" and not bounded:
        raise InputError(
            "training.patience has nothing to look at: training.select = valid has no figure of this model's "
            "validation sentences; valid_kn5 has one of every model"
        )


def best_epochs(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Return for each perplexity in the records of metrics.jsonl the epoch of its lowest value, and that value."""
    found: dict[str, tuple[float, float]] = {}
    for record in records:
        for name, value in record.items():
            if name.startswith(("valid_ppl", "valid_kn5")) and (name not in found or value < found[name][1]):
                found[name] = record["epoch"], value
    return found


def validate(
    model: LatentModel,
    config: Config,
    corpus: EncodedCorpus,
    *,
    epoch: float,
    processes: Processes = ALONE,
    labels: Tensor | None = None,
) -> dict[str, float]:
    """Return figures of held-out sentences with z from their own posterior, another sentence's, and the prior.

    Perplexities are per token with `</s>`: exp(−Σ log p(x|z) / Σ tokens). Neither is a likelihood of x. Chains
    start from p0 even if training keeps persistent ones. Several processes share each batch.

    Args:
        model: to validate.
        config: of the run.
        corpus: the sentences.
        epoch: epochs done, for annealed settings.
        processes: that share each batch.
        labels: (N,) numbers of the sentences' classes, for a prior with classes; see `models.classes`.

    Returns:
        valid_nll_* (nats per token) and valid_ppl_* for posterior, shuffled and prior, and the mean negative energies
        valid_f_posterior and valid_f_prior. A batch of one sentence takes another's z from the previous batch; if
        there is none, its tokens are left out of shuffled, and a single sentence has no such figure. If
        q(z|x) has a density also valid_kl, KL(q‖p0) in nats per sentence, and, if log Z is known too,
        valid_ppl_bound, from the evidence bound: an upper bound on the perplexity. With z-dropout also those for null,
        exactly those of the language model that is trained along. With labels also valid_accuracy, the share of the
        labelled sentences whose class is the most probable one given z from the posterior. For D = 0, and after epochs
        in which a generator starts as a language model, there is no z, and only valid_nll and valid_ppl, those
        of a language model, are returned.

    Raises:
        FloatingPointError: one of them is not finite.
    """
    rng = stream(config.training.seed, "validation")
    init_epochs = config.training.init_epochs
    has_z = config.model.latent_dim > 0 and not 0 < epoch <= init_epochs
    infer = build_inference(config.inference, epoch=epoch - init_epochs, encoder=model.encoder)
    before: Tensor | None = None  # z of a sentence of the previous batch

    def measure(share: Share) -> dict[str, Tensor]:
        nonlocal before
        own_rng, likelihood = share.rng(rng), model.generator.likelihood(share.batch)
        if not has_z:
            null = null_latent(model.generator)
            return {"x": likelihood(null.expand(len(share.batch.lengths), -1))}
        positive = infer(share.batch, model.prior, model.generator, rng=own_rng)
        z = {"posterior": positive.z, "prior": model.prior.sample(len(positive.z), own_rng)}
        f = {f"f_{name}": model.prior.neg_energy(at) for name, at in z.items()}
        everyones = share.gather(positive.z)
        another, before = everyones.roll(1, 0) if len(everyones) > 1 else before, everyones[:1]
        further = {} if positive.base_kl is None else {"kl": positive.base_kl}
        if labels is not None:
            of_rows = labels[share.batch.index].to(positive.z.device)
            guesses = classes_of(model.prior).class_log_probs(positive.z).argmax(-1)
            further |= {"right": guesses == of_rows, "labelled": of_rows != UNKNOWN}
        if config.model.z_dropout:
            z["null"] = null_latent(model.generator).expand_as(positive.z)
        if another is not None:
            z["shuffled"] = share.rows(another)
            further["shuffled_tokens"] = send(share.batch.lengths, positive.z.device)
        return {name: likelihood(at) for name, at in z.items()} | f | further

    sums = _sums(measure, _batches(model, config, corpus), processes)
    if has_z:
        figures = _figures(sums, len(corpus), len(corpus.tokens), model.prior.log_z() if "kl" in sums else None)
    else:
        figures = _perplexity("", -sums["x"] / len(corpus.tokens))
    if bad := [name for name, value in figures.items() if not math.isfinite(value)]:
        raise FloatingPointError(f"non-finite {' and '.join(bad)} after {epoch:g} epochs")
    return figures


def _figures(sums: Mapping[str, float], n: int, n_tokens: int, log_z: float | None) -> dict[str, float]:
    """Return the figures of n sentences from the sums over them."""
    figures = {f"valid_{name}": sums[name] / n for name in ("f_posterior", "f_prior")}
    counted = {"posterior": n_tokens, "shuffled": sums.get("shuffled_tokens", 0), "prior": n_tokens, "null": n_tokens}
    for name, count in counted.items():
        if count and name in sums:
            figures |= _perplexity(f"_{name}", -sums[name] / count)
    if sums.get("labelled"):
        figures["valid_accuracy"] = sums["right"] / sums["labelled"]
    if "kl" in sums:
        figures["valid_kl"] = sums["kl"] / n
        if log_z is not None:
            bound = -sums["posterior"] + sums["kl"] - sums["f_posterior"] + log_z * n
            figures |= _perplexity("_bound", bound / n_tokens)
    return figures


@torch.no_grad()
def _sums(
    measure: Callable[[Share], dict[str, Tensor]], batches: Iterable[Batch], processes: Processes
) -> dict[str, float]:
    """Return sums over all sentences of what is measured for each, accumulated on the device and read once."""
    totals: dict[str, Tensor] = {}
    for batch in batches:
        share = processes.share(batch)
        for name, values in measure(share).items():
            totals[name] = totals.get(name, 0) + share.sum(values).double()
    table = torch.stack([*totals.values()])
    processes.sum_(table)
    return dict(zip(totals, table.tolist(), strict=True))


def _batches(model: LatentModel, config: Config, corpus: EncodedCorpus) -> Iterator[Batch]:
    """Yield all sentences, the shortest first, on the model's device."""
    order, size = np.argsort(corpus.lengths, kind="stable"), config.training.batch_size
    for start in range(0, len(order), size):
        yield corpus.batch(order[start : start + size]).to(model.generator.device)


def _perplexity(name: str, per_token: float) -> dict[str, float]:
    return {f"valid_nll{name}": per_token, f"valid_ppl{name}": math.exp(min(per_token, 700.0))}

"""All likelihood figures of a model on some sentences, as one JSON object: partition, bounds, latent diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from lebm_text.model import LatentEBM
from lebm_text.processes import ALONE, Processes
from lebm_text.text.batching import EncodedCorpus

from .bracket import bracket, simulate
from .diagnostics import MIN_CHAINS, active_units, chain_gap
from .encoder import encoder_kl
from .estimates import Estimate, LogMean, mean_of
from .exact import exact_log_probs
from .importance import MIN_ESS
from .partition import TOLERANCE, LogPartition, exact_partition, log_partition
from .sentences import AISBounds, AISSettings, ais_bounds, importance_values
from .summary import spread, text_likelihood

__all__ = ["Sentences", "Settings", "exact_report", "likelihood_report", "partition_of"]

DRAWS_A_CHAIN = 256  # p0 draws from which each reverse chain's start is chosen

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Settings:
    """What is computed, and how hard.

    Attributes:
        n_ais, n_importance: the first so many sentences, by either method; 0: not at all.
        n_samples: K of importance sampling.
        n_bracket: sentences that are simulated and bounded from both sides; 0: none.
        partition_steps, partition_chains: of both AIS runs for log Z.
    """

    n_ais: int = 200
    n_importance: int = 200
    ais: AISSettings = field(default_factory=AISSettings)
    n_samples: int = 2000
    n_bracket: int = 0
    partition_steps: int = 200
    partition_chains: int = 4096
    seed: int = 1


@dataclass(frozen=True)
class Sentences:
    """The text: N encoded sentences, in the order in which they are taken.

    words (N,): with `</s>`; n_bytes (N,): UTF-8 bytes with the line end, or None where bits a byte mean nothing.
    """

    corpus: EncodedCorpus
    words: NDArray[np.int64]
    n_bytes: NDArray[np.int64] | None


def likelihood_report(
    model: LatentEBM, text: Sentences, settings: Settings, progress: Progress, processes: Processes = ALONE
) -> dict[str, object]:
    """Everything that `settings` asks for.

    Args:
        progress: (total, what) → a context that yields a function to call with how much is done.
        processes: that share the sentences; log Z and the bracket are computed by each of them.

    Raises:
        InputError: log Z is not known well enough, so that no likelihood can be given.
    """
    prior, generator, seed = model.model.prior, model.model.generator, settings.seed
    partition = partition_of(model, settings, progress)
    partition.check()
    report: dict[str, object] = {
        "settings": asdict(settings),
        "log_z": _partition_record(partition),
        "chain_gap": _chain_gap(model, partition, settings.seed),
    }
    n, m = min(settings.n_ais, len(text.words)), min(settings.n_importance, len(text.words))
    ais = importance = None
    of = (prior, generator, text.corpus)
    if n:
        with progress(n * settings.ais.n_steps // processes.size, "AIS") as say:
            ais = ais_bounds(*of, np.arange(n), settings.ais, seed=seed, on_progress=say, processes=processes)
    if m:
        with progress(m // processes.size, "importance sampling") as say:
            importance = importance_values(
                *of, np.arange(m), n_samples=settings.n_samples, seed=seed, on_progress=say, processes=processes
            )
    report["ais"] = None if ais is None else _ais_record(ais, partition, text, settings)
    report["importance"] = None if importance is None else _importance_record(importance, ais, partition, text)
    report["latent"] = None if ais is None else _latent_record(ais, partition, settings)
    if ais is not None and model.model.encoder is not None and model.config.inference.kind == "amortized":
        kl = encoder_kl(
            model.model.encoder,
            prior,
            generator,
            text.corpus,
            np.arange(n),
            log_z=partition.reverse.value,
            seed=settings.seed,
        )
        report["encoder_kl"] = _estimate(mean_of(kl)) if n > 1 else None
    report["bracket"] = _bracket_record(model, partition, settings, progress) if settings.n_bracket else None
    report["sentences"] = _sentence_records(ais, importance, partition, text)
    return report


def exact_report(model: LatentEBM, text: Sentences, n: int, progress: Progress) -> dict[str, object]:
    """log p(x) of a language model: of the first `n` sentences, which are those of other models' bounds, and of all."""
    with progress(len(text.words), "log p(x)") as say:
        log_p = exact_log_probs(model.model.generator, text.corpus, np.arange(len(text.words)), say)
    no_error = np.full(len(log_p), np.nan)  # nothing was sampled

    def figures(first: int) -> dict[str, object]:
        n_bytes = None if text.n_bytes is None else text.n_bytes[:first]
        return text_likelihood(log_p[:first], no_error[:first], text.words[:first], log_z_error=0.0, n_bytes=n_bytes)

    return {"exact": figures(min(n, len(log_p))) if n else None, "exact_of_all": figures(len(log_p))}


def partition_of(model: LatentEBM, settings: Settings, progress: Progress) -> LogPartition:
    """log Z of the model's prior by all ways, not yet checked for whether they agree."""
    rng = torch.Generator().manual_seed(settings.seed)
    if model.model.prior.log_z() is not None and model.model.prior.chain is None:
        return exact_partition(model.model.prior, settings.partition_chains, rng=rng)
    done = 0
    with progress(2 * settings.partition_steps, "log Z") as say:

        def on_step() -> None:
            nonlocal done
            done += 1
            say(done)

        return log_partition(
            model.model.prior.neg_energy,
            torch.zeros(model.config.model.latent_dim, device=model.device),
            n_steps=settings.partition_steps,
            n_chains=settings.partition_chains,
            n_draws=DRAWS_A_CHAIN * settings.partition_chains,
            rng=rng,
            on_step=on_step,
        )


@torch.no_grad()
def _chain_gap(model: LatentEBM, partition: LogPartition, seed: int) -> dict[str, object]:
    rng = torch.Generator().manual_seed(seed + 1)  # not the noise that the long chains had
    n = len(partition.samples)
    short = model.model.prior.sample(n, rng)
    neg_energy = model.model.prior.neg_energy
    return _estimate(chain_gap(neg_energy(short), neg_energy(partition.samples.to(model.device))))


def _partition_record(partition: LogPartition) -> dict[str, object]:
    return {
        "forward": _estimate(partition.forward),
        "reverse": _estimate(partition.reverse),
        "importance": None if partition.importance is None else _estimate(partition.importance),
        "importance_ess": partition.importance_ess,
        "samples_from": partition.samples_from,
        "acceptance": partition.acceptance,
        "disagreement": partition.disagreement,
        "tolerance": TOLERANCE,
    }


def _ais_record(ais: AISBounds, partition: LogPartition, text: Sentences, settings: Settings) -> dict[str, object]:
    n = len(ais.acceptance)
    return {
        "bound": "stochastic lower bound on log p(x)",
        "settings": asdict(settings.ais),
        **_figures(ais.log_a, np.arange(n), partition, text),
        "acceptance": spread(ais.acceptance.numpy()),
        "ess": spread(ais.log_a.ess.numpy()),
    }


def _importance_record(
    importance: LogMean, ais: AISBounds | None, partition: LogPartition, text: Sentences
) -> dict[str, object]:
    """Figures of the sentences that reach the ess alone; those of AIS on the very same ones beside them."""
    known = np.flatnonzero(importance.ess.numpy() >= MIN_ESS)
    both = known if ais is None else known[known < len(ais.acceptance)]
    figures = _figures(importance, known, partition, text) if len(known) else None
    same = None
    if ais is not None and len(both):
        difference = importance.value[both] - ais.log_a.value[both]
        same = {
            "n_sentences": len(both),
            "importance_minus_ais": float(difference.mean()),
            "largest": float(difference.abs().max()),
        }
    return {
        "n_sentences": len(importance.ess),
        "min_ess": MIN_ESS,
        "n_reliable": len(known),
        "ess": spread(importance.ess.numpy()),
        "of_reliable": figures,
        "same_sentences": same,
    }


def _latent_record(ais: AISBounds, partition: LogPartition, settings: Settings) -> dict[str, object]:
    """`information` is no bound: chains that end in no draw of p(z|x) make its first term too small or too large."""
    log_p = ais.log_a.value - partition.reverse.value
    several = len(log_p) > 1
    units = active_units(ais.z) if several and settings.ais.n_chains >= MIN_CHAINS else None
    return {
        "reconstruction_nll": _estimate(mean_of(-ais.log_likelihood)) if several else None,
        "information": _estimate(mean_of(ais.log_likelihood - log_p)) if several else None,
        "active_units": None if units is None else units.n_active,
        "unit_variances": None if units is None else [float(value) for value in units.variance],
    }


def _bracket_record(
    model: LatentEBM, partition: LogPartition, settings: Settings, progress: Progress
) -> dict[str, object]:
    prior, generator, tokenizer = model.model.prior, model.model.generator, model.tokenizer
    simulated = simulate(
        generator,
        partition.samples[: settings.n_bracket],
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        max_length=model.config.text.max_length,
        seed=settings.seed,
    )
    n = len(simulated.corpus)
    if not n:
        return {"n_sentences": 0}
    with progress(2 * n * settings.ais.n_steps, "bracket") as say:
        found = bracket(prior, generator, simulated, settings.ais, seed=settings.seed, on_progress=say)
    # Forward and reverse log Z as they keep each bound on its side.
    lower, upper = found.lower - partition.reverse.value, found.upper - partition.forward.value
    return {
        "n_sentences": n,
        "lower": float(lower.mean()),
        "upper": float(upper.mean()),
        "gap": _estimate(mean_of(upper - lower)) if n > 1 else None,
        "largest_gap": float((upper - lower).max()),
        "acceptance": found.acceptance,
    }


def _sentence_records(
    ais: AISBounds | None, importance: LogMean | None, partition: LogPartition, text: Sentences
) -> list[dict[str, object]]:
    n = 0 if ais is None else len(ais.acceptance)
    m = 0 if importance is None else len(importance.ess)
    records = []
    for i in range(max(n, m)):
        record: dict[str, object] = {"n_tokens": int(text.corpus.lengths[i])}
        if ais is not None and i < n:
            record |= {
                "log_p_lower": float(ais.log_a.value[i]) - partition.reverse.value,
                "standard_error": float(ais.log_a.standard_error[i]) if len(ais.z) > 1 else None,
            }
        if importance is not None and i < m:
            ess = float(importance.ess[i])
            value = float(importance.value[i]) - partition.reverse.value if ess >= MIN_ESS else None
            record |= {"log_p_importance": value, "ess": ess}
        records.append(record)
    return records


def _figures(log_a: LogMean, rows: NDArray[np.int64], partition: LogPartition, text: Sentences) -> dict[str, object]:
    return text_likelihood(
        log_a.value.numpy()[rows] - partition.reverse.value,
        log_a.standard_error.numpy()[rows],
        text.words[rows],
        log_z_error=partition.reverse.standard_error,
        n_bytes=None if text.n_bytes is None else text.n_bytes[rows],
    )


def _estimate(estimate: Estimate) -> dict[str, object]:
    return {"value": estimate.value, "standard_error": estimate.standard_error}

"""Report on log p(x) of held-out sentences under a model's density: temperature 1, no dropout, no training noise.

For a language model log p(x) is exact. Otherwise AIS gives a stochastic lower bound, and importance sampling gives an
estimate if its effective sample size is large enough; neither is reported unless the estimates of log Z agree. The
report also has the information in z, the difference between the density and the samples of the generating chain, and
bounds from both sides on simulated sentences.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from torch import Tensor

from lebm_text import __version__
from lebm_text.build import build_inference
from lebm_text.checks import one_of, setting, whole
from lebm_text.environment import versions
from lebm_text.errors import InputError
from lebm_text.likelihood.diagnostics import (
    MIN_CHAINS,
    THRESHOLD,
    BracketLikelihood,
    LatentUse,
    bracket,
    chain_gap,
    kl_from_prior,
    simulate,
)
from lebm_text.likelihood.estimates import (
    AISLikelihood,
    Estimate,
    ImportanceLikelihood,
    LogZ,
    SentenceLikelihood,
    Spread,
    Text,
    TextLikelihood,
    mean_of,
)
from lebm_text.likelihood.partition import partition_of
from lebm_text.likelihood.sentences import AISSettings, ais_bounds, exact_log_probs, importance_values
from lebm_text.model import LatentEBM
from lebm_text.processes import ALONE, Processes
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.samplers.importance import MIN_ESS
from lebm_text.sections import MAX_STEPS
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.corpora import Corpus
from lebm_text.text.encoding import pack
from lebm_text.text.reading import split_words
from lebm_text.torch_state import own_state

from .base import Report, Settings, new_table, settled, with_error
from .drawing import legend, panels
from .posterior import shuffled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AISSettings", "Likelihood", "LikelihoodSettings", "TextDescription", "compute"]

logger = logging.getLogger(__name__)

_ORDER_SEED = 0  # seed of the order of sentences, so that all models are evaluated on the same ones
_LEAST = 1e-6  # smallest variance on the logarithmic axis


@dataclass(frozen=True)
class LikelihoodSettings(Settings):
    """What is computed, and how much work is spent on it.

    Attributes:
        n_ais: number of sentences bounded by AIS, the first in the fixed order; 0: none.
        n_importance: number of sentences estimated by importance sampling; None: as many as by AIS.
        ais: settings of AIS.
        n_samples: K, importance samples per sentence.
        n_bracket: number of sentences that are simulated, each from a chain for log Z, and bounded from both sides.
        partition_steps: steps of both AIS runs for log Z.
        partition_chains: chains of both AIS runs for log Z.
        split: the split of the run's corpus: test or valid.
    """

    n_ais: int = setting(200, whole, 0)
    n_importance: int | None = setting(None, whole, 0)
    ais: AISSettings = field(default_factory=AISSettings)
    n_samples: int = setting(2000, whole, 2, 10_000_000)
    n_bracket: int = setting(0, whole, 0)
    partition_steps: int = setting(200, whole, 2, MAX_STEPS)
    partition_chains: int = setting(4096, whole, 2, 1 << 20)
    split: str = setting("test", one_of, ("valid", "test"))


@dataclass(frozen=True)
class TextDescription:
    """The evaluated text; `n_left_out` sentences are longer than the model's maximum length and not counted in it."""

    name: str
    split: str
    sha256: str
    n_sentences: int
    n_left_out: int
    n_tokens: int
    n_unk: int


@dataclass(frozen=True, kw_only=True)
class Likelihood(Report):
    """Results on log p(x). A language model has only `exact` and `exact_of_all`, other models only the other results.

    Attributes:
        exact: log p(x) of the sentences that are bounded by AIS for other models.
        exact_of_all: log p(x) of all sentences.
        chain_gap: mean f of samples of the generating chain minus mean f under the density, in nats.
        encoder_kl: mean KL(q(z|x) ‖ p_α), in nats; None if q has no density.
        sentences: results for each sentence, in the fixed order.
    """

    kind: ClassVar[str] = "likelihood"

    sha256: dict[str, str] = field(default_factory=dict)  # of the text alone, in `corpus`, in reports of version 0.1.0
    signature: str
    corpus: TextDescription
    settings: LikelihoodSettings | None = None
    exact: TextLikelihood | None = None
    exact_of_all: TextLikelihood | None = None
    log_z: LogZ | None = None
    chain_gap: Estimate | None = None
    ais: AISLikelihood | None = None
    importance: ImportanceLikelihood | None = None
    latent: LatentUse | None = None
    encoder_kl: Estimate | None = None
    bracket: BracketLikelihood | None = None
    sentences: list[SentenceLikelihood] = field(default_factory=list)
    seconds: float | None = None

    def table(self) -> Group:
        """Return a table of log p(x) by each method, and a table of diagnostics."""
        title = f"log p(x) of sentences of {self.corpus.name}-{self.corpus.split}"
        texts = new_table(title, "", "sentences", "nll per sentence", "± sampling z", "perplexity", "bits per byte")
        for label, text in (
            ("exact, those that other models are bounded on", self.exact),
            ("exact, all", self.exact_of_all),
            ("from below, by AIS", self.ais),
            ("by importance sampling, reliable ones", self.importance.of_reliable if self.importance else None),
        ):
            if text is not None:
                texts.add_row(
                    label,
                    f"{text.n_sentences:,}",
                    with_error(text.nll, text.nll_standard_error),
                    with_error(text.nll_sampling_error, None),
                    with_error(text.perplexity, text.perplexity_standard_error),
                    with_error(text.bits_per_byte, text.bits_per_byte_standard_error, digits=4),
                )
        behind = new_table("diagnostics, in nats where they have a unit", "", "value")
        for label, value in self._behind():
            if value is not None:
                behind.add_row(label, _shown(value))
        parts: list[Table | str] = [table for table in (texts, behind) if table.row_count]
        if self.corpus.n_left_out:
            parts.append(f"{self.corpus.n_left_out:,} sentences longer than the model's maximum length left out")
        return Group(*parts)

    def _behind(self) -> Iterator[tuple[str, Estimate | Spread | float | str | None]]:
        if (log_z := self.log_z) is not None:
            yield "log Z by forward AIS, from below", log_z.forward
            yield "log Z by reverse AIS, from above", log_z.reverse
            yield "log Z by importance sampling", log_z.importance
            yield "acceptance of the chains for log Z", log_z.acceptance
        yield "f of the chain that generates minus f of the density", self.chain_gap
        if (ais := self.ais) is not None:
            yield "acceptance of AIS, median (smallest)", ais.acceptance
            yield f"effective chains of {ais.settings.n_chains}, median (smallest)", ais.ess
        if (importance := self.importance) is not None:
            reliable = f"{importance.n_reliable:,} of {importance.n_sentences:,}"
            yield f"sentences with at least {importance.min_ess:g} effective samples", reliable
            yield "effective samples, median (smallest)", importance.ess
            if (same := importance.same_sentences) is not None:
                yield "importance sampling minus AIS, same sentences, mean", same.importance_minus_ais
                yield "importance sampling minus AIS, same sentences, largest", same.largest
        if (latent := self.latent) is not None and latent.information is not None:
            yield "reconstruction nll, no likelihood: z has seen x", latent.reconstruction_nll
            yield "information, what z carries about a sentence", latent.information
            units = latent.active_units
            yield "active units of z", f"needs {MIN_CHAINS} chains" if units is None else f"{units}"
        yield "KL of q(z|x) from the prior", self.encoder_kl
        if (both := self.bracket) is not None:
            asked = f" of {self.settings.n_bracket:,}" if self.settings is not None else ""
            yield "simulated sentences kept for the bracket, the others too long", f"{both.n_sentences:,}{asked}"
            yield f"log p(x) of {both.n_sentences:,} simulated sentences, from below", both.lower
            yield f"log p(x) of {both.n_sentences:,} simulated sentences, from above", both.upper
            yield "gap between the two, mean", both.gap
            yield "gap between the two, largest", both.largest_gap

    def figure(self) -> Figure | None:
        """Return a picture of −log p(x) against sentence length, and of the use of each latent dimension.

        None without AIS.
        """
        bounds = [(row.n_tokens, -row.log_p_lower) for row in self.sentences if row.log_p_lower is not None]
        variances = None if self.latent is None else self.latent.unit_variances
        titles = ["sentences"] * bool(bounds) + ["use of each dimension of z"] * (variances is not None)
        if not titles:
            return None
        figure, axes = panels(titles)
        if bounds:
            axes[0].plot(*zip(*bounds, strict=True), ".", alpha=0.6)
            axes[0].set_xlabel("tokens")
            axes[0].set_ylabel("−log p(x), nats, at most")
        if variances is not None:
            heights = [max(value, _LEAST) for value in sorted(variances, reverse=True)]
            axes[-1].plot(range(1, len(heights) + 1), heights, ".-")
            axes[-1].axhline(THRESHOLD, linestyle="--", color="0.5", label="active above")
            axes[-1].set_yscale("log")
            axes[-1].set_xlabel("dimension, most used first")
            axes[-1].set_ylabel("variance of the posterior mean")
            legend(axes[-1])
        return figure


@own_state(grad=True)
def compute(
    run: Run, settings: LikelihoodSettings | None = None, on_progress: Progress = silent, processes: Processes = ALONE
) -> Likelihood:
    """Estimate log p(x) of the sentences of a split, in a fixed order; for a language model compute it exactly.

    Args:
        run: the run of the model, with its corpus.
        settings: None: the defaults.
        on_progress: called with the progress.
        processes: share the sentences, and all get the report; each of them computes log Z and the bracket.

    Raises:
        InputError: the estimates of log Z disagree, a bracket is requested for a language model or for more sentences
            than there are chains for log Z, all sentences are too long, or a density is not finite.
    """
    started, settings = time.monotonic(), settled(settings, LikelihoodSettings, run)
    if settings.n_importance is None:
        settings = replace(settings, n_importance=settings.n_ais)
    exact = run.config.model.latent_dim == 0
    if settings.n_importance and not exact and settings.n_samples < MIN_ESS:
        raise InputError(
            f"importance sampling gives an estimate from {MIN_ESS:g} effective samples of a sentence: n_samples must "
            f"be at least {MIN_ESS:g}, got {settings.n_samples}; n_importance = 0 leaves it out"
        )
    if exact and settings.n_bracket:
        raise InputError(f"{run} is a language model (model.latent_dim = 0): its likelihood is exact, without bracket")
    if settings.n_bracket > settings.partition_chains:
        raise InputError(
            f"the sentences of the bracket are simulated from the {settings.partition_chains:,} chains for log Z, one "
            f"from each: take as many partition chains, or fewer sentences than {settings.n_bracket:,}"
        )
    corpus = run.corpus()
    model = run.model(device=settings.device)
    text, described = _read(corpus, settings.split, model)
    report = Likelihood(
        signature=_signature(described, model.tokenizer.kind, settings, exact=exact),
        corpus=described,
        settings=settings,
        sha256={"weights": run.weights_sha256, settings.split: described.sha256},
        versions=versions(),
    )
    if exact:
        report = _exact(report, model, text, settings.n_ais, on_progress)
    else:
        report = _estimated(report, model, text, settings, on_progress, processes)
    return replace(report, seconds=time.monotonic() - started)


def _read(corpus: Corpus, split: str, model: LatentEBM) -> tuple[Text, TextDescription]:
    """Return the split in the fixed order, without sentences longer than the model's maximum length."""
    tokenizer, longest = model.tokenizer, model.config.text.max_length
    lines = shuffled(list(corpus.splits[split].sentences()), _ORDER_SEED)
    sample = [(line, ids) for line in lines if len(ids := tokenizer.encode(line)) <= longest]
    if not sample:
        raise InputError(f"no {split} sentence of {corpus.name} has at most {longest} tokens")
    encoded = EncodedCorpus(*pack((ids for _, ids in sample), tokenizer.eos_id), pad_id=tokenizer.pad_id)
    words = np.array([len(split_words(line)) + 1 for line, _ in sample])
    n_bytes = np.array([len(line.encode()) + 1 for line, _ in sample]) if tokenizer.kind != "word" else None
    n_unk = int((encoded.tokens == tokenizer.unk_id).sum())
    sha256, n_left_out = corpus.splits[split].sha256, len(lines) - len(sample)
    described = TextDescription(corpus.name, split, sha256, len(sample), n_left_out, len(encoded.tokens), n_unk)
    return Text(encoded, words, n_bytes), described


def _exact(report: Likelihood, model: LatentEBM, text: Text, n: int, on_progress: Progress) -> Likelihood:
    rows = np.arange(len(text.words))
    log_p = exact_log_probs(model.model.generator, text.corpus, rows, on_progress)
    if not np.isfinite(log_p).all():
        raise InputError("log p(x) of a sentence is not finite: the weights are those of a training that diverged")
    no_error = np.full(len(log_p), np.nan)  # an exact value has no sampling error
    first = text.likelihood(log_p, no_error, rows[:n]) if n else None
    return replace(report, exact=first, exact_of_all=text.likelihood(log_p, no_error, rows))


def _estimated(
    report: Likelihood,
    model: LatentEBM,
    text: Text,
    settings: LikelihoodSettings,
    on_progress: Progress,
    processes: Processes,
) -> Likelihood:
    prior, generator, seed = model.model.prior, model.model.generator, settings.seed
    size = (settings.partition_steps, settings.partition_chains)
    log_z, prior_samples = partition_of(prior, *size, seed=seed, device=model.device, on_progress=on_progress)
    log_z.check()
    logger.info(f"log Z {with_error(log_z.reverse.value, log_z.reverse.standard_error)} nats")
    rows = np.arange(len(text.words))
    some, others = rows[: settings.n_ais], rows[: settings.n_importance]
    ais = importance = kl = bounded = None
    of = (prior, generator, text.corpus)
    if len(some):
        ais = ais_bounds(*of, some, settings.ais, seed=seed, on_progress=on_progress, processes=processes)
        bounded = AISLikelihood.of(ais, settings.ais, log_z, text)
        logger.info(f"nll per sentence, from below by AIS: {with_error(bounded.nll, bounded.nll_standard_error)} nats")
    if len(others):
        importance = importance_values(
            *of, others, settings.n_samples, seed=seed, on_progress=on_progress, processes=processes
        )
    moments = build_inference(model.config.inference, encoder=model.model.encoder).moments
    if len(some) > 1 and moments is not None:
        kl = mean_of(kl_from_prior(moments, *of, some, log_z=log_z.reverse.value, seed=seed))
    return replace(
        report,
        log_z=log_z,
        chain_gap=_chain_gap(model, prior_samples, seed),
        ais=bounded,
        importance=None if importance is None else ImportanceLikelihood.of(importance, ais, log_z, text),
        latent=None if ais is None else LatentUse.of(ais, log_z),
        encoder_kl=kl,
        bracket=_bracket(model, log_z, prior_samples, settings, on_progress) if settings.n_bracket else None,
        sentences=SentenceLikelihood.each(ais, importance, log_z, text),
    )


@torch.no_grad()
def _chain_gap(model: LatentEBM, samples: Tensor, seed: int) -> Estimate:
    rng = torch.Generator().manual_seed(seed + 1)  # not the noise of the long chains
    short = model.model.prior.sample(len(samples), rng)
    neg_energy = model.model.prior.neg_energy
    return chain_gap(neg_energy(short), neg_energy(samples.to(model.device)))


def _bracket(
    model: LatentEBM, log_z: LogZ, samples: Tensor, settings: LikelihoodSettings, on_progress: Progress
) -> BracketLikelihood:
    tokenizer, generator, seed = model.tokenizer, model.model.generator, settings.seed
    simulated = simulate(
        generator,
        samples[: settings.n_bracket],
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        max_length=model.config.text.max_length,
        seed=seed,
    )
    if not len(simulated.corpus):
        return BracketLikelihood(0)
    found = bracket(model.model.prior, generator, simulated, settings.ais, seed=seed, on_progress=on_progress)
    return BracketLikelihood.of(found, log_z)


def _signature(text: TextDescription, tokenizer: str, settings: LikelihoodSettings, *, exact: bool) -> str:
    ais, how, seed = settings.ais, "exact", ""
    if not exact:
        kernel = "mala" if ais.n_leapfrog == 1 else f"hmc{ais.n_leapfrog}"
        n_ais, n_importance = (min(n or 0, text.n_sentences) for n in (settings.n_ais, settings.n_importance))
        how = (
            f"lower:ais({ais.n_steps}x{ais.n_chains},{kernel},from={ais.start},n={n_ais})"
            f"|importance(K={settings.n_samples},n={n_importance})"
        )
        seed = f"|seed:{settings.seed}"
    return (
        f"log_p|density:p_theta,T=1,dropout=0|{how}|test:{text.name}-{text.split}|tokens:{tokenizer}|eos:yes"
        f"|unk:counted{seed}|v:{__version__}"
    )


def _shown(value: Estimate | Spread | float | str) -> str:
    if isinstance(value, Estimate):
        return str(value)
    if isinstance(value, Spread):
        return f"{value.median:.2f} ({value.min:.2f})"
    return value if isinstance(value, str) else f"{value:.3f}"

r"""Anomaly scores of sentences under a model.

    score(x) = −(1/M) Σ_m log p(x, z_m),   log p(x, z) = log p(x|z) + f(z) + log p0(z) − log Z

with z_m from the posterior of x: the decision function of Pang et al. (NeurIPS 2020), after Kumar et al. (2019). A high
score means anomalous. The chain targets p(z|x) itself, with noise 1 and likelihood weight 1, even if training used
other values, so that scores depend on the model, not on training settings. If q(z|x) has a density, z_m is drawn from
it, which also gives a lower bound on log p(x): E_q log p(x|z) + E_q f − KL(q‖p0) − log Z. For a language model (D = 0)
log p(x) is exact.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from lebm_text.build import build_inference
from lebm_text.checks import MAX_DRAWS, MAX_SEED, Checked, setting, whole
from lebm_text.errors import InputError
from lebm_text.likelihood.estimates import TOLERANCE
from lebm_text.likelihood.partition import partition_of
from lebm_text.likelihood.sentences import ROWS, AISSettings, ais_bounds, batches, joint, sentence_rng
from lebm_text.model import LatentEBM
from lebm_text.models.base import Chain
from lebm_text.progress import Progress, silent
from lebm_text.random import KeyedRng, draw_normal
from lebm_text.run import Run
from lebm_text.sections import MAX_STEPS
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.text.encoding import pack
from lebm_text.text.reading import listed
from lebm_text.text.unknown import warn_of_unknown
from lebm_text.torch_state import own_state

from .base import settled

__all__ = [
    "CHUNK",
    "ScoreSettings",
    "ScoredLine",
    "Scorer",
    "SentenceScore",
    "chain_bias",
    "format_lines",
    "in_chunks",
    "score_lines",
]

logger = logging.getLogger(__name__)

CHUNK = 256  # maximum number of lines that are scored together
_FIRST = 16  # lines of the first chunk; each chunk has as many as were done before it
_FIGURES = ("score", "log_likelihood", "log_prior", "elbo", "log_p_lower")
FAR = 1.8  # Σ s²/2 of a chain that is long enough: under p0, only e^-1.8 = 1/6 of its start is left
_STREAM = 3  # noise stream of a sentence; the others are used by likelihood estimates


@dataclass(frozen=True)
class ScoreSettings(Checked):
    """How z is drawn, and which scores are computed.

    Attributes:
        n_draws: M, posterior draws per sentence, from independent chains.
        n_steps: steps of each chain; None: as in the configuration of the run. Further steps have the last step size.
        as_trained: use the noise and the likelihood weight that training ended with.
        bound: settings of an AIS lower bound on log p(x); None: no bound.
        seed: of the draws.
    """

    n_draws: int = setting(8, whole, 1, MAX_DRAWS)
    n_steps: int | None = setting(None, whole, 1, MAX_STEPS)
    as_trained: bool = False
    bound: AISSettings | None = None
    seed: int = setting(1, whole, 0, MAX_SEED)


@dataclass(frozen=True)
class SentenceScore:
    """Scores of one sentence in nats, averaged over the draws of z.

    Attributes:
        n_tokens: number of tokens, `</s>` included.
        n_unk: number of `<unk>`.
        log_likelihood: log p(x|z); for a language model log p(x).
        log_prior: f(z) + log p0(z), minus log Z if it is known.
        elbo: evidence lower bound on log p(x) from q(z|x), minus log Z if it is known; None if q has no density.
        log_p_lower: AIS lower bound on log p(x); None if it was not requested.
        log_p_lower_error: its standard error.
    """

    n_tokens: int
    n_unk: int
    log_likelihood: float
    log_prior: float
    elbo: float | None = None
    log_p_lower: float | None = None
    log_p_lower_error: float | None = None

    @property
    def score(self) -> float:
        """−log p(x, z); high means anomalous."""
        return -(self.log_likelihood + self.log_prior)


@dataclass(frozen=True)
class ScoredLine:
    """A line of a text and its score.

    Attributes:
        line: number of the line, from 1.
        score: None if the sentence is too long for the model.
        log_z: log Z of the prior; None: scores do not include it.
    """

    line: int
    sentence: str
    score: SentenceScore | None
    log_z: float | None

    def to_json(self) -> dict[str, float | str | None]:
        """Return a dictionary that always has the same keys; unknown values are None."""
        figures = {name: getattr(self.score, name, None) for name in _FIGURES}
        n_tokens = getattr(self.score, "n_tokens", None)
        per_token = {f"{name}_per_token": value and value / n_tokens for name, value in figures.items()}
        return {
            "line": self.line,
            **figures,
            **per_token,
            "log_p_lower_error": getattr(self.score, "log_p_lower_error", None),
            "n_tokens": n_tokens,
            "n_unk": getattr(self.score, "n_unk", None),
            "log_z": self.log_z,
            "sentence": self.sentence,
        }


def in_chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield chunks of lines: small ones first, so that results appear soon, then up to `CHUNK` lines."""
    remaining, done = iter(lines), 0
    while chunk := list(islice(remaining, min(CHUNK, done + _FIRST))):
        done += len(chunk)
        yield chunk


def score_lines(scorer: Scorer, lines: Iterable[str], on_progress: Progress = silent) -> Iterator[ScoredLine]:
    """Yield the lines of a text with their scores, in order, as soon as they are computed.

    `on_progress` is called with the number of lines done, if `lines` has a length.
    """
    done = n_too_long = 0
    unknown: dict[str, None] = {}
    for chunk in in_chunks(lines):
        scores = scorer(chunk, first=done)
        n_too_long += scores.count(None)
        for line, score in zip(chunk, scores, strict=True):
            done += 1
            yield ScoredLine(done, line, score, scorer.log_z)
            if score is not None and score.n_unk:
                unknown |= dict.fromkeys(scorer.model.tokenizer.unknown(line))
        if isinstance(lines, Sized):
            on_progress("scored", done, len(lines))
    warn_of_unknown(scorer.model.tokenizer, unknown)
    if n_too_long:
        longest = scorer.model.config.text.max_length
        logger.info(f"{n_too_long:,} of {done:,} sentences have no score: more than {longest:,} tokens")


def format_lines(scored: Iterable[ScoredLine], form: str) -> Iterator[str]:
    """Yield scored lines as text, in the format `jsonl` or `tsv`.

    TSV has a header line, and sentences that contain a quotation mark are quoted.
    """
    for each in scored:
        record = each.to_json()
        if form == "jsonl":
            yield json.dumps(record) + "\n"  # ASCII, of which a terminal needs nothing to be spelled out
            continue
        lines = StringIO()
        writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
        if each.line == 1:
            writer.writerow(record)
        writer.writerow(f"{value:.8g}" if isinstance(value, float) else value for value in record.values())
        yield lines.getvalue()


def chain_bias(chain: Chain | None) -> str | None:
    """Return a warning if the chain is too short to forget where it started; None if it is long enough, or None."""
    if chain is None or (distance := round(chain.distance, 9)) >= FAR:  # forty times 0.045 add up to less than 1.8
        return None
    steps = math.ceil(chain.n_steps * FAR / distance)
    return (
        f"chains of {chain.n_steps} steps go only part of the way to p(z|x): scores are too high, by more the longer "
        f"the sentence is; {steps} steps or more cure it, at that price"
    )


class Scorer:
    """Scores sentences under one model.

    The random numbers of sentence i of a text depend only on (seed, i), not on how the text is split into calls.

    Attributes:
        log_z: log Z of the prior in nats; None if scores do not include it, which shifts all of them by a constant.
    """

    def __init__(self, model: LatentEBM, settings: ScoreSettings | None = None, *, log_z: float | None = None) -> None:
        """Make a scorer; `log_z` is that of an energy-based prior, if it is known.

        Raises:
            InputError: settings of a chain for a model without one, or a bound without log Z or for a language model.
        """
        self.model, self.settings = model, settled(settings, ScoreSettings)
        self.log_z = model.model.prior.log_z() if log_z is None else log_z
        if self.settings.bound is not None and self.log_z is None:
            raise InputError("a bound on log p(x) needs log Z of the prior")
        if self.settings.bound is not None and not model.config.model.latent_dim:
            raise InputError("a language model (model.latent_dim = 0) has log p(x) exactly; it needs no bound")
        self._inference = build_inference(model.config.inference, encoder=model.model.encoder)
        self._chain = self._inference.chain
        if self._chain is None and (self.settings.n_steps is not None or self.settings.as_trained):
            raise InputError("this model draws z without a chain: it takes neither steps nor the chain of its training")
        if self._chain is not None:
            noise_scale = None if self.settings.as_trained else 1.0
            self._chain = self._chain.adapted(n_steps=self.settings.n_steps, noise_scale=noise_scale)

    @property
    def bias(self) -> str | None:
        """A warning if chains are too short to forget where they started; None if they are long enough."""
        return chain_bias(self._chain)

    @classmethod
    def of_run(
        cls,
        run: Run,
        settings: ScoreSettings | None = None,
        *,
        log_z: bool = False,
        device: str = "auto",
        precision: str = "fp32",
        on_progress: Progress = silent,
    ) -> Scorer:
        """Return a scorer for the model of a run, which is loaded as by `Run.model`.

        With `log_z`, which a bound on log p(x) implies, log Z of the prior is estimated and included in scores.

        Raises:
            InputError: settings of a chain for a model without one, or a bound if the estimates of log Z disagree.
        """
        settings = settled(settings, ScoreSettings, run)
        model = run.model(device=device, precision=precision)
        scorer = cls(model, replace(settings, bound=None))  # checks settings before log Z is estimated
        bounded = settings.bound is not None
        if log_z or bounded:
            found, _ = partition_of(model.model.prior, seed=settings.seed, device=model.device, on_progress=on_progress)
            if found.disagreement <= TOLERANCE:
                scorer = cls(model, settings, log_z=found.reverse.value)
            else:
                message = f"estimates of log Z differ by {found.disagreement:.3f} nat, more than {TOLERANCE:g}"
                if bounded:
                    raise InputError(f"{message}: there is no bound on log p(x)")
                logger.info(f"{message}: it is left out")
        if scorer.bias is not None:
            logger.info(scorer.bias)
        if scorer.log_z is None and not (log_z or bounded):
            logger.info("log Z of the prior is left out: it shifts all scores alike, and is estimated if asked for")
        return scorer

    @own_state()
    @torch.no_grad()
    def __call__(self, sentences: Iterable[str], *, first: int = 0) -> list[SentenceScore | None]:
        """Return the scores of the sentences `first`, `first` + 1, … of a text.

        The score of a sentence longer than `text.max_length` is None. The empty string is a sentence without words.
        Raises InputError for anything but a list of strings, and if a score is not finite.
        """
        tokenizer, longest = self.model.tokenizer, self.model.config.text.max_length
        encoded = list(map(tokenizer.encode, listed(sentences)))
        kept = np.array([i for i, ids in enumerate(encoded) if len(ids) <= longest], dtype=np.int64)
        scores: list[SentenceScore | None] = [None] * len(encoded)
        if not len(kept):
            return scores
        corpus = EncodedCorpus(*pack(encoded, tokenizer.eos_id), pad_id=tokenizer.pad_id)
        at_once = max(1, ROWS // self.settings.n_draws)
        for rows, batch in batches(corpus, kept, at_once, self.model.model.generator):
            rng = sentence_rng(self.settings.seed, batch, _STREAM, first)
            figures = torch.stack(self._figures(batch, rng), 1).double().tolist()
            for i, (likelihood, prior, *bound) in zip(kept[rows.numpy()], figures, strict=True):
                if not all(map(math.isfinite, (likelihood, prior, *bound))):
                    raise InputError(
                        f"the score of sentence {first + i + 1} is not finite: the training has diverged, or the steps "
                        "of the chain are too large for the model"
                    )
                n_unk = encoded[i].count(tokenizer.unk_id)
                scores[i] = SentenceScore(len(encoded[i]) + 1, n_unk, likelihood, prior, bound[0] if bound else None)
        if self.settings.bound is not None:
            assert self.log_z is not None
            prior, generator, seed = self.model.model.prior, self.model.model.generator, self.settings.seed
            found = ais_bounds(prior, generator, corpus, kept, self.settings.bound, seed=seed, first=first).log_a
            for i, log_a, error in zip(kept, found.value.tolist(), found.standard_error.tolist(), strict=True):
                known = error if math.isfinite(error) else None  # one chain has no standard error
                scores[i] = replace(scores[i], log_p_lower=log_a - self.log_z, log_p_lower_error=known)
        return scores

    def _figures(self, batch: Batch, rng: KeyedRng) -> list[Tensor]:
        """Return log p(x|z), log p(z), and the ELBO if q has a density, each (B,), averaged over draws."""
        prior, generator, log_z = self.model.model.prior, self.model.model.generator, self.log_z or 0.0
        likelihood = generator.likelihood(batch)
        has_density = self._inference.moments is not None
        if not has_density and (self._chain is not None or prior.latent_dim == 0):
            z = self._chain_draws(batch, likelihood, rng)
            return [likelihood(z).mean(0), prior.logdensity(z).mean(0) - log_z]
        draws = [self._inference(batch, prior, generator, rng=rng) for _ in range(self.settings.n_draws)]
        z = torch.stack([draw.z for draw in draws])
        fits = likelihood(z)
        figures = [fits.mean(0), prior.logdensity(z).mean(0) - log_z]
        if has_density:
            kl = torch.stack([draw.base_kl.sum(-1) for draw in draws if draw.base_kl is not None])
            figures.append((fits + prior.neg_energy(z) - kl).mean(0) - log_z)
        return figures

    def _chain_draws(self, batch: Batch, likelihood: Callable[[Tensor], Tensor], rng: KeyedRng) -> Tensor:
        """Return posterior draws (M, B, D) from independent chains; for a language model the empty z (1, B, 0)."""
        prior, device = self.model.model.prior, batch.tokens.device
        if self._chain is None:
            return torch.empty(1, len(batch.lengths), 0, device=device)

        def of_sentences_first(z: Tensor) -> Tensor:
            """Return log p(x|z) of z (B, M, D): noise is drawn with sentences first, likelihoods take draws first."""
            return likelihood(z.transpose(0, 1)).transpose(0, 1)

        target = joint(prior, of_sentences_first)
        if self.settings.as_trained:
            target = self._inference.target(prior, of_sentences_first)
        start = draw_normal(rng, (len(batch.lengths), self.settings.n_draws, prior.latent_dim), device)
        return self._chain.run(target, start, rng=rng).transpose(0, 1)

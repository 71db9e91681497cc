"""The functions behind the tabs of `lebm-text explore`: library calls on a run that is loaded once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.generation.generate import Generated
from lebm_text.generation.latents import PriorLatents
from lebm_text.generation.settings import DecodeSettings
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, silent
from lebm_text.reports import directions, interpolation, neighbours, trajectories, views
from lebm_text.reports.scores import Scorer
from lebm_text.reports.svg import to_svg
from lebm_text.run import Run
from lebm_text.text.corpora import Corpus
from lebm_text.text.reading import parse_sentence

__all__ = ["SHIFTS", "Explorer", "Reading"]

SHIFTS = tuple(step / 2 for step in range(-8, 9))
"""Shifts along a direction, in standard deviations."""

_POINTS = 21  # points of a path between two sentences
_MOST = 200  # maximum number of generated sentences


@dataclass(frozen=True)
class Reading:
    """Posterior, reconstruction and score of a sentence; a language model has an empty z and no reconstruction.

    Attributes:
        sentence: after parsing.
        unknown: words outside the vocabulary, read as `<unk>`.
        n_tokens: number of tokens, `</s>` included.
        z: a draw from the posterior.
        neg_energy: f(z), in nats.
        reconstruction: decoded greedily from z.
        score: −log p(x, z) per token, in nats; see `lebm_text.reports.scores`.
        log_likelihood: log p(x|z) per token, in nats.
        bias: a warning if the score is too high, else None.
    """

    sentence: str
    unknown: list[str]
    n_tokens: int
    z: list[float]
    neg_energy: float
    reconstruction: str
    score: float
    log_likelihood: float
    bias: str | None


class Explorer:
    """The functions behind the tabs. All raise InputError, with a message of one line, for invalid requests.

    Args:
        run: any run that has weights.
        device: auto, cpu, cuda.
    """

    def __init__(self, run: Run, *, device: str = "auto") -> None:
        self.run = _HeldRun(run, device)
        self.model = self.run.model()
        self._direction: directions.Directions | None = None

    @property
    def latent_dim(self) -> int:
        """D; 0 for a language model, which can only generate and score."""
        return self.model.config.model.latent_dim

    @property
    def prior_steps(self) -> int:
        """Steps of the prior's chain; 0 if it has none."""
        chain = self.model.model.prior.chain
        return 0 if chain is None else chain.n_steps

    def examples(self, n: int) -> list[str]:
        """Return n sentences for the text fields: from the validation text or, if it is missing, from the model."""
        try:
            found = self.model.fitting(islice(self.run.corpus().splits["valid"].sentences(), 50 * n))[:n]
        except (InputError, OSError):
            found = []
        return found if len(found) == n else self.model.generate(n, temperature=0.5).sentences

    def generate(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        prior_temperature: float = 1.0,
        prior_steps: int | None = None,
        seed: int = 1,
    ) -> Generated:
        """Generate n sentences; `prior_steps` is the number of steps of the prior's chain, None: its own number."""
        if n > _MOST:
            raise InputError(f"the page shows at most {_MOST} sentences at once; `lebm-text generate` writes more")
        model, usual = self.model, prior_steps == self.prior_steps
        latents = PriorLatents(
            model.model.prior, model.model.generator, prior_temperature, n_steps=None if usual else prior_steps
        )
        return model.stream(n, temperature=temperature, seed=seed, latents=latents).all()

    @torch.no_grad()
    def neg_energy(self, z: Tensor) -> list[float]:
        """Return f of z (n, D), in nats."""
        values: list[float] = self.model.model.prior.neg_energy(z.to(self.model.device)).tolist()
        return values

    def read(self, text: str, *, seed: int = 1) -> Reading:
        """Return z of a sentence, its reconstruction, and its score."""
        sentence, model = self._sentence(text), self.model
        scorer = Scorer(model)
        (score,) = scorer([sentence])
        if score is None:
            raise InputError(f"the sentence is longer than this model takes: {model.config.text.max_length} tokens")
        z = model.quiet().infer([sentence], seed=seed) if self.latent_dim else torch.empty(1, 0)
        return Reading(
            sentence=sentence,
            unknown=model.tokenizer.unknown(sentence),
            n_tokens=score.n_tokens,
            z=z[0].tolist(),
            neg_energy=self.neg_energy(z)[0],
            reconstruction=model.decode(z)[0] if self.latent_dim else "",
            score=score.score / score.n_tokens,
            log_likelihood=score.log_likelihood / score.n_tokens,
            bias=scorer.bias,
        )

    def neighbours(self, text: str, split: str = "valid", on_progress: Progress = silent) -> list[neighbours.Neighbour]:
        """Return the 8 nearest neighbours of a sentence among at most 500 sentences of a split."""
        settings = neighbours.NeighboursSettings(split=split, k=8)
        return neighbours.compute(self.run, [self._sentence(text)], settings, on_progress).queries[0].neighbours

    def between(self, a: str, b: str, path: str = "spherical") -> list[interpolation.Point]:
        """Return the points of a path from one sentence to another."""
        settings = interpolation.InterpolationSettings(_POINTS, (path,))
        ends = self._sentence(a, "the first sentence"), self._sentence(b, "the second sentence")
        return interpolation.compute(self.run, *ends, settings).paths[path]

    def direction(self, on_progress: Progress = silent) -> directions.Directions:
        """Return the direction of the labels: from the run's report of `lebm-text directions`, else learned once."""
        if self._direction is None:
            kept = self.run.report("directions")
            if not isinstance(kept, directions.Directions):
                kept = directions.compute(self.run, on_progress=on_progress)
            self._direction = kept
        return self._direction

    def move(self, text: str, on_progress: Progress = silent) -> list[directions.MovedSentence]:
        """Return the sentences decoded after moving z of a sentence along the direction of the labels by `SHIFTS`."""
        sentence = self._sentence(text)
        return self.direction(on_progress).move(self.model, sentence, SHIFTS)

    def plane(self, n: int, split: str = "valid", on_progress: Progress = silent) -> str:
        """Plot p0, the prior and the posterior on their principal axes, with n points each, or as many as sentences.

        Returns:
            SVG in which the points of prior and posterior have their sentences as titles.
        """
        n_fitting = len(self.model.fitting(self.run.corpus().splits[split].sentences()))
        settings = views.ViewsSettings(n=max(min(n, n_fitting), views.FEWEST), split=split)
        figure = views.compute(self.run, settings, on_progress).figure()
        return to_svg(figure, "plane")[0]

    def chain(self, n_steps: int, *, decode: str = "sample", seed: int = 1) -> list[trajectories.ChainSentence]:
        """Run one chain of the prior and return the sentences decoded from its z after each step."""
        self.run.config.require_latent(self.run)
        return trajectories.walk(self.model, n_steps, DecodeSettings(decode), seed=seed)

    def _sentence(self, text: str, name: str = "the sentence") -> str:
        """Parse typed text like a line of a text. Raises InputError if it is empty."""
        if not (sentence := parse_sentence(text or "", name)):
            raise InputError(f"{name} is empty: type one, its words separated by blanks as in the training text")
        return sentence


class _HeldRun(Run):
    """A run that keeps its model and its corpus in memory."""

    def __init__(self, run: Run, device: str) -> None:
        super().__init__(run.path, data_dir=run.data_dir, trust_plugins=run.trust_plugins)
        self._model = super().model(device=device)

    def model(self, *, device: str = "auto", precision: str = "fp32") -> LatentEBM:
        return self._model

    @cached_property
    def _corpus(self) -> Corpus:
        return super().corpus()

    def corpus(self) -> Corpus:
        return self._corpus

r"""Report on the latent space in two dimensions: draws from p0, samples of the prior, and posterior draws of sentences.

The axes are the first two principal components of all points together. If the prior fits, its samples have the same
distribution of position, norm and f as the aggregate posterior, which is one posterior draw of each of many sentences.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from rich.console import Group
from torch import Tensor

from lebm_text.checks import one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.generation.latents import require_finite
from lebm_text.likelihood.estimates import Estimate, mean_of
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, counter, silent
from lebm_text.random import KeyedRng, draw_normal
from lebm_text.run import Run
from lebm_text.text.registry import SPLITS
from lebm_text.torch_state import own_state

from .base import Report, Settings, new_table, origin, settled, with_error
from .drawing import hover, legend, panels
from .posterior import seed_apart, shuffled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FEWEST", "Cloud", "Views", "ViewsSettings", "compute"]

logger = logging.getLogger(__name__)

_USUAL, FEWEST = 1000, 3  # points of each set


@dataclass(frozen=True)
class ViewsSettings(Settings):
    """Which points are drawn.

    Attributes:
        n: number of points of each distribution; None: 1,000, or one for each sentence of a split with fewer.
        split: the split of the run's corpus with the sentences for the posterior.
    """

    n: int | None = setting(None, whole, FEWEST, 1_000_000)
    split: str = setting("test", one_of, SPLITS)


@dataclass(frozen=True)
class Cloud:
    """A set of n latent vectors.

    Attributes:
        f: mean of f(z) in nats.
        norm: mean of ‖z‖.
        variance: of z, mean over dimensions.
        coordinates: (n, 2), on the principal axes.
        neg_energies: f of each point; None in reports of version 0.1.0.
        norms: ‖z‖ of each point; None in reports of version 0.1.0.
        sentences: for the posterior the sentences that it is conditioned on, for the prior the decoded sentences; None
            for p0 and in reports of version 0.1.0.
    """

    f: Estimate
    norm: Estimate
    variance: float
    coordinates: list[tuple[float, float]]
    neg_energies: list[float] | None = None
    norms: list[float] | None = None
    sentences: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Views(Report):
    """Sets of latent vectors in two dimensions.

    Attributes:
        n: number of points of each set.
        explained: shares of variance of the two axes.
        clouds: `p0`, `prior` (missing if it is p0 itself) and `posterior`.
    """

    kind: ClassVar[str] = "views"

    signature: str
    n: int
    explained: tuple[float, float]
    clouds: dict[str, Cloud]

    def table(self) -> Group:
        """Return a table of the means of f and ‖z‖, and of the variance, of each set."""
        table = new_table("the latent space", "", "mean f", "mean ‖z‖", "variance per dimension")
        for name, cloud in self.clouds.items():
            f, norm = (with_error(each.value, each.standard_error) for each in (cloud.f, cloud.norm))
            table.add_row(name, f, norm, f"{cloud.variance:.3f}")
        first, second = self.explained
        return Group(table, f"the axes have {first:.1%} and {second:.1%} of the variance of all sets together")

    def figure(self) -> Figure:
        """Return a picture of the points of all sets, and of the distributions of f and ‖z‖."""
        figure, axes = panels(["principal axes (prior as posterior is good)", "f(z), nats", "‖z‖"])
        for number, (name, cloud) in enumerate(self.clouds.items()):
            x, y = zip(*cloud.coordinates, strict=True)
            (points,) = axes[0].plot(x, y, ".", color=f"C{number}", markersize=4, alpha=0.6, label=name)
            if cloud.sentences is not None:
                hover(points, cloud.sentences)
            for panel, values in zip(axes[1:], (cloud.neg_energies, cloud.norms), strict=True):
                if values is not None:
                    panel.hist(
                        values, bins=30, density=True, histtype="step", linewidth=1.5, color=f"C{number}", label=name
                    )
        axes[0].set_xlabel(f"first, {self.explained[0]:.1%} of the variance")
        axes[0].set_ylabel(f"second, {self.explained[1]:.1%}")
        axes[0].set_aspect("equal", adjustable="datalim")
        legend(axes[0], markerscale=3)
        for panel in axes[1:]:
            panel.set_ylabel("density")
        return figure


@own_state(grad=True)
def compute(run: Run, settings: ViewsSettings | None = None, on_progress: Progress = silent) -> Views:
    """Draw z from p0, the prior, and the posteriors of sentences, n of each.

    Raises:
        InputError: the run is a language model, z has one dimension, or the split has fewer than n sentences that are
            short enough.
    """
    settings = settled(settings, ViewsSettings, run)
    run.config.require_latent(run)
    corpus = run.corpus()
    split = corpus.splits[settings.split]
    if run.config.model.latent_dim < 2:
        raise InputError(f"{run} has model.latent_dim = 1: a view needs two dimensions")
    model = run.model(device=settings.device)
    lines = model.fitting(split.sentences())
    n = settings.n or min(_USUAL, max(FEWEST, len(lines)))
    if len(lines) < n:
        raise InputError(
            f"{corpus.name} {settings.split} has {len(lines):,} sentences that fit the model; n must be at most that, "
            f"and at least {FEWEST}, got {n:,}"
        )
    sentences = shuffled(lines, settings.seed)[:n]
    clouds, explained = view(model, sentences, seed=settings.seed, on_progress=on_progress)
    what = f"views(n={n})|text:{corpus.name}-{settings.split}"
    sha256 = {settings.split: split.sha256}
    return Views(n=n, explained=explained, clouds=clouds, **origin(model, run, what, settings.seed, sha256))


def view(
    model: LatentEBM, sentences: Sequence[str], *, seed: int, on_progress: Progress = silent
) -> tuple[dict[str, Cloud], tuple[float, float]]:
    """Return the clouds of `Views` and the axes' shares of variance.

    The points of p0 are the starting points of the prior's chains. Raises InputError as `LatentEBM.infer` does, and if
    a draw from the prior is not finite.
    """
    n, prior = len(sentences), model.model.prior
    sets = {"p0": draw_normal(KeyedRng(seed, range(n)), (n, prior.latent_dim))}
    with torch.no_grad():
        drawn = require_finite(prior.sample(n, KeyedRng(seed, range(n)))).cpu()
    if not torch.equal(drawn, sets["p0"]):
        sets["prior"] = drawn
    for name, z in sets.items():  # logged at once, since posterior draws take longer
        means = [mean_of(values) for values in _figures(model, z)]
        logger.info("%s: mean f %s nats, mean ‖z‖ %s", name, *means)
    on_draw = counter(on_progress, "posterior draws", n)
    sets["posterior"] = model.quiet().infer(sentences, seed=seed_apart(seed), on_progress=on_draw)
    axes, centre, explained = _principal_axes(torch.cat(list(sets.values())).double())
    texts = {"posterior": list(sentences)}
    if "prior" in sets:
        texts["prior"] = model.decode(sets["prior"])
    clouds = {}
    for name, z in sets.items():
        f, norm = _figures(model, z)
        clouds[name] = Cloud(
            f=mean_of(f),
            norm=mean_of(norm),
            variance=float(z.var(0).mean()),
            coordinates=[(x, y) for x, y in ((z.double() - centre) @ axes.T).tolist()],
            neg_energies=f.tolist(),
            norms=norm.tolist(),
            sentences=texts.get(name),
        )
    return clouds, explained


@torch.no_grad()
def _figures(model: LatentEBM, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return f and ‖z‖ of z (n, D), each (n,) on the CPU."""
    return model.model.prior.neg_energy(z.to(model.device)).cpu(), z.norm(dim=1)


def _principal_axes(z: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Return the first two principal axes (2, D), the mean (D,), and the shares of variance.

    The entry of an axis with the largest absolute value is positive.
    """
    centre = z.mean(0)
    variances, vectors = torch.linalg.eigh((z - centre).T @ (z - centre) / len(z))
    axes = vectors[:, -2:].T.flip(0)
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    first, second = (variances.flip(0)[:2] / variances.sum()).tolist()
    return axes, centre, (first, second)

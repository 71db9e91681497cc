r"""The latent space in two dimensions: p0, what the prior chain makes of it, and where sentences lie.

The axes are the two principal ones of all sets together. If the prior fits, its samples and one posterior draw of each
of many sentences (the aggregate posterior) look alike, by position, by norm and by f.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lebm_text.build import sample_prior
from lebm_text.likelihood.estimates import Estimate, mean_of
from lebm_text.model import LatentEBM
from lebm_text.models.priors import GaussianPrior
from lebm_text.random import KeyedRng

from .pictures import panels, save_pictures
from .posterior import seed_apart

__all__ = ["Cloud", "View", "plot_view", "view"]


@dataclass(frozen=True)
class Cloud:
    """One set of n latent vectors: (n, 2) coordinates, f and ‖z‖ of each (n,), and their variance a dimension."""

    coordinates: Tensor
    neg_energy: Tensor
    norm: Tensor
    variance: float

    def figures(self) -> dict[str, object]:
        """Ready for JSON: means with standard errors, and the points themselves."""
        means: dict[str, Estimate] = {"f": mean_of(self.neg_energy), "norm": mean_of(self.norm)}
        return {
            **{name: mean._asdict() for name, mean in means.items()},
            "variance": self.variance,
            "coordinates": self.coordinates.tolist(),
        }


@dataclass(frozen=True)
class View:
    """Clouds by name: `p0`, `prior` (absent where it is p0 itself), `posterior`; and the axes' shares of variance."""

    clouds: dict[str, Cloud]
    explained: tuple[float, float]


def view(
    model: LatentEBM, sentences: Sequence[str], *, seed: int, on_progress: Callable[[int], None] | None = None
) -> View:
    """One posterior draw of each of n sentences, n chains of the prior, and where these began.

    Raises InputError as `LatentEBM.infer` does, also for a latent space of one dimension.
    """
    n, prior = len(sentences), model.model.prior
    drawn, start = sample_prior(prior, model.config.prior, n, rng=KeyedRng(seed, range(n)), device=model.device)
    sets = {"p0": start.cpu(), "prior": drawn.cpu()}
    if isinstance(prior, GaussianPrior):
        del sets["prior"]
    sets["posterior"] = model.infer(sentences, seed=seed_apart(seed), on_progress=on_progress)
    axes, centre, explained = _principal_axes(torch.cat(list(sets.values())).double())
    with torch.no_grad():
        clouds = {
            name: Cloud(
                (z.double() - centre) @ axes.T,
                prior.neg_energy(z.to(model.device)).cpu(),
                z.norm(dim=1),
                float(z.var(0).mean()),
            )
            for name, z in sets.items()
        }
    return View(clouds, explained)


def plot_view(clouds: Mapping[str, Cloud], explained: Sequence[float], stem: Path) -> list[Path]:
    """Draw the clouds side by side, and the distributions of f and ‖z‖, as `stem`.png and .svg."""
    figure, axes = panels(1, 3, ["principal axes", "f(z), nats", "‖z‖"])
    for number, (name, cloud) in enumerate(clouds.items()):
        colour = f"C{number}"
        x, y = cloud.coordinates.T.numpy()
        axes[0].plot(x, y, ".", color=colour, markersize=2, alpha=0.4, rasterized=True, label=name)
        for panel, values in zip(axes[1:], (cloud.neg_energy, cloud.norm), strict=True):
            panel.hist(values.numpy(), bins=40, density=True, histtype="step", color=colour, label=name)
    axes[0].set_xlabel(f"first, {explained[0]:.1%} of the variance")
    axes[0].set_ylabel(f"second, {explained[1]:.1%}")
    axes[0].set_aspect("equal", adjustable="datalim")
    axes[0].legend(fontsize="small", markerscale=4)
    axes[1].legend(fontsize="small")
    return save_pictures(figure, stem)


def _principal_axes(z: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """The first two (2, D), the mean (D,), and the shares of variance; signs so that the largest entry is positive."""
    centre = z.mean(0)
    variances, vectors = torch.linalg.eigh((z - centre).T @ (z - centre) / len(z))
    axes = vectors[:, -2:].T.flip(0)
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    first, second = (variances.flip(0)[:2] / variances.sum()).tolist()
    return axes, centre, (first, second)

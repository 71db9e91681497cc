r"""Report on interpolation between the latent vectors a and b of two sentences.

    straight    z(t) = (1 − t) a + t b
    spherical   z(t) = r(t) [sin((1 − t) ω) a/‖a‖ + sin(t ω) b/‖b‖] / sin ω,   r(t) = (1 − t) ‖a‖ + t ‖b‖

(ω is the angle between a and b; Shoemake, 1985, for the direction.) Draws of N(0, I) in D dimensions lie near the
sphere of radius √D; the straight path leaves it: midway between two independent draws, ‖z‖ is √2 times smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from rich.console import Group
from torch import Tensor

from lebm_text.checks import each_of, one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.text.reading import listed
from lebm_text.text.unknown import warn_of_unknown
from lebm_text.torch_state import own_state

from .base import Report, Settings, new_table, origin, settled
from .drawing import hover, legend, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PATHS", "Interpolation", "InterpolationSettings", "Point", "compute", "interpolate", "path"]

PATHS = ("straight", "spherical")


@dataclass(frozen=True)
class InterpolationSettings(Settings):
    """Which points are decoded.

    Attributes:
        n: number of points of each path, including both ends.
        paths: some of `PATHS`.
    """

    n: int = setting(9, whole, 2, 10_000)
    paths: tuple[str, ...] = setting(PATHS, each_of, one_of, PATHS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.paths:
            raise InputError(f"paths must have at least one of {', '.join(PATHS)}")


@dataclass(frozen=True)
class Point:
    """A point of a path.

    Attributes:
        t: position from 0 (A) to 1 (B).
        neg_energy: f(z) in nats.
        norm: ‖z‖.
        log_likelihood_a: log p(A|z) in nats.
        log_likelihood_b: log p(B|z) in nats.
        sentence: decoded greedily from z.
    """

    t: float
    neg_energy: float
    norm: float
    log_likelihood_a: float
    log_likelihood_b: float
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Interpolation(Report):
    """The points of each path from sentence `a` to sentence `b`."""

    kind: ClassVar[str] = "interpolation"

    signature: str
    a: str
    b: str
    paths: dict[str, list[Point]]

    def table(self) -> Group:
        """Return a table for each path."""
        tables = []
        for name, points in self.paths.items():
            table = new_table(None, name, "f", "‖z‖", "log p(A|z)", "log p(B|z)", texts=["sentence"])
            for p in points:
                likelihoods = (f"{value:.1f}" for value in (p.log_likelihood_a, p.log_likelihood_b))
                table.add_row(f"{p.t:.2f}", f"{p.neg_energy:.2f}", f"{p.norm:.2f}", *likelihoods, p.sentence)
            tables.append(table)
        return Group(*tables)

    def figure(self) -> Figure:
        """Return a picture of f and both log likelihoods along each path."""
        figure, axes = panels(["f(z), nats", "log p(A|z), nats", "log p(B|z), nats"])
        for panel, quantity in zip(axes, ("neg_energy", "log_likelihood_a", "log_likelihood_b"), strict=True):
            for name, points in self.paths.items():
                values = [getattr(point, quantity) for point in points]
                (line,) = panel.plot([point.t for point in points], values, "o-", markersize=3, label=name)
                hover(line, [point.sentence for point in points])
            panel.set_xlabel("t, from A to B")
        legend(axes[0])
        return figure


@own_state(grad=True)
def compute(
    run: Run, a: str, b: str, settings: InterpolationSettings | None = None, on_progress: Progress = silent
) -> Interpolation:
    """Decode the points of each path between a posterior draw of sentence `a` and one of sentence `b`, greedily.

    Raises:
        InputError: the run is a language model, or a sentence is too long.
    """
    settings, (a, b) = settled(settings, InterpolationSettings, run), listed((a, b))
    run.config.require_latent(run)
    model = run.model(device=settings.device)
    warn_of_unknown(model.tokenizer, (a, b))
    paths = {}
    for done, kind in enumerate(settings.paths, 1):
        paths[kind] = interpolate(model, (a, b), settings.n, kind, seed=settings.seed)
        on_progress("paths", done, len(settings.paths))
    return Interpolation(a=a, b=b, paths=paths, **origin(model, run, f"interpolate(n={settings.n})", settings.seed))


def interpolate(model: LatentEBM, sentences: tuple[str, str], n: int, kind: str, *, seed: int) -> list[Point]:
    """Decode n points between a posterior draw of each of two sentences, greedily.

    Raises:
        InputError: as raised by `LatentEBM.infer` and `path`.
    """
    model = model.quiet()
    ends = model.infer(sentences, seed=seed)
    z = path(ends[0], ends[1], n, kind)
    prior, on_device = model.model.prior, z.to(model.device)
    with torch.no_grad():
        neg_energy, density = prior.neg_energy(on_device).cpu(), prior.logdensity(on_device).cpu()
    first, second = (model.log_joint([sentence] * len(z), z) - density for sentence in sentences)
    columns = (torch.linspace(0, 1, len(z)), neg_energy, z.norm(dim=1), first, second)
    rows = zip(*(column.tolist() for column in columns), model.decode(z), strict=True)
    return [Point(*row) for row in rows]


def path(a: Tensor, b: Tensor, n: int, kind: str) -> Tensor:
    """Return n points (n, D) from a (D,) to b (D,), including both ends.

    Raises:
        InputError: `kind` is not one of `PATHS`, or n is less than 2.
    """
    one_of("path", kind, PATHS)
    n = whole("n", n, 2)
    t = torch.linspace(0, 1, n, dtype=a.dtype).unsqueeze(1)
    lengths = a.norm(), b.norm()
    angle = torch.arccos((F.normalize(a, dim=0) @ F.normalize(b, dim=0)).clamp(-1, 1))
    # For parallel vectors both paths are the same; for opposite vectors, or if one is 0, no great circle is unique.
    if kind == "straight" or torch.sin(angle) < 1e-6 or min(lengths) == 0:
        return torch.lerp(a, b, t)
    shares = torch.sin((1 - t) * angle) / lengths[0], torch.sin(t * angle) / lengths[1]
    radius = (1 - t) * lengths[0] + t * lengths[1]
    z: Tensor = radius * (shares[0] * a + shares[1] * b) / torch.sin(angle)
    return z

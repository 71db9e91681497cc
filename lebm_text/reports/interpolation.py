r"""Paths between two latent vectors a and b.

    straight    z(t) = (1 − t) a + t b
    spherical   z(t) = r(t) [sin((1 − t) ω) a/‖a‖ + sin(t ω) b/‖b‖] / sin ω,   r(t) = (1 − t) ‖a‖ + t ‖b‖

(ω is the angle between a and b; Shoemake, 1985, for the direction.) Draws of N(0, I) in D dimensions lie near the
sphere of radius √D; the straight path leaves it, by a factor of √2 in the middle between independent draws.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lebm_text.model import LatentEBM

__all__ = ["PATHS", "Point", "interpolate", "path"]

PATHS = ("straight", "spherical")


class Point(NamedTuple):
    """One place of a path: f in nats, ‖z‖, log p(x|z) of both ends in nats, and the sentence decoded there."""

    t: float
    neg_energy: float
    norm: float
    log_likelihood_a: float
    log_likelihood_b: float
    sentence: str


def path(a: Tensor, b: Tensor, n: int, kind: str) -> Tensor:
    """n points from a to b, (n, D), the ends included."""
    t = torch.linspace(0, 1, n, dtype=a.dtype).unsqueeze(1)
    lengths = a.norm(), b.norm()
    angle = torch.arccos((F.normalize(a, dim=0) @ F.normalize(b, dim=0)).clamp(-1, 1))
    # Between parallel vectors both are the same; between opposite ones, and from 0, no great circle is distinguished.
    if kind == "straight" or torch.sin(angle) < 1e-6 or min(lengths) == 0:
        return torch.lerp(a, b, t)
    shares = torch.sin((1 - t) * angle) / lengths[0], torch.sin(t * angle) / lengths[1]
    radius = (1 - t) * lengths[0] + t * lengths[1]
    z: Tensor = radius * (shares[0] * a + shares[1] * b) / torch.sin(angle)
    return z


def interpolate(model: LatentEBM, sentences: tuple[str, str], n: int, kind: str, *, seed: int) -> list[Point]:
    """n points between one posterior draw of each sentence, decoded greedily.

    Raises InputError as `LatentEBM.infer` does.
    """
    ends = model.infer(sentences, seed=seed)
    z = path(ends[0], ends[1], n, kind)
    prior, on_device = model.model.prior, z.to(model.device)
    with torch.no_grad():
        neg_energy, density = prior.neg_energy(on_device).cpu(), prior.logdensity(on_device).cpu()
    first, second = (model.log_joint([sentence] * n, z) - density for sentence in sentences)
    columns = (torch.linspace(0, 1, n), neg_energy, z.norm(dim=1), first, second)
    rows = zip(*(column.tolist() for column in columns), model.decode(z), strict=True)
    return [Point(*row) for row in rows]

r"""The sampler alone, on a density unrelated to text: a ring in the plane.

    log p(z) = −(‖z‖ − 2)² / (2 · 0.3²) + const

A chain with `noise_scale` n samples p^(1/n²): a thinner ring for n < 1, a point of highest density for n = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lebm_text.samplers.langevin import langevin

RADIUS, WIDTH = 2.0, 0.3


def ring(z: Tensor) -> Tensor:
    """Return log p(z) up to a constant, (..., 2) → (...)."""
    distance: Tensor = z.norm(dim=-1) - RADIUS
    return -0.5 * (distance / WIDTH) ** 2


def main() -> None:
    rng = torch.Generator().manual_seed(1)
    start = torch.randn(5000, 2, generator=rng)
    print("noise_scale  mean ‖z‖  std ‖z‖  after 300 steps of 0.1 from N(0, I)")
    for noise_scale in (1.0, 0.5, 0.0):
        z = langevin(ring, start, step_size=0.1, n_steps=300, noise_scale=noise_scale, rng=rng)
        radius = z.norm(dim=1)
        print(f"{noise_scale:11.1f}  {float(radius.mean()):8.3f}  {float(radius.std()):7.3f}")


if __name__ == "__main__":
    main()

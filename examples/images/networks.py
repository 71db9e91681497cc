r"""A convolutional generator with Gaussian pixels, an encoder and a classifier.

    p(x|z) = N(x; g(z), σ² I),   log p(x|z) = −‖x − g(z)‖² / 2σ² − n/2 log 2πσ²

g enlarges 4 × 4 features by sub-pixel convolutions (Shi et al., CVPR 2016): channels of a convolution at low
resolution become pixels at high resolution, in a third of the time of transposed convolutions on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from dataset import ImageBatch
from torch import Tensor, nn

from lebm_text.inference.base import Moments

__all__ = ["Classifier", "ConvEncoder", "ConvGenerator"]

SMALLEST = 4  # initial height and width in g


def initialise(module: nn.Module, rng: torch.Generator) -> None:
    """Draw weights uniformly with variance 1 / inputs, and set biases to 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            bound = math.sqrt(3 / parameter[0].numel()) if parameter.dim() > 1 else 0.0
            parameter.uniform_(-bound, bound, generator=rng)


def levels(size: int, width: int) -> list[int]:
    """Return the channels at 4, 8, … pixels, up to half of `size`: twice as many at each lower level."""
    return [width << i for i in reversed(range(int(math.log2(size // SMALLEST))))]


class ConvGenerator(nn.Module):
    """p(x|z); a `Generator` without `start` and `step`, since it generates no tokens.

    Args:
        latent_dim: D.
        shape: (C, H, W) of the images, H = W = 4 · 2^k with k ≥ 1.
        width: channels at half resolution.
        sigma: σ.
        dtype: of the products, bfloat16 or float32; everything else is in float32.
        rng: draws the initial parameters.
    """

    def __init__(
        self,
        latent_dim: int,
        shape: tuple[int, int, int],
        *,
        width: int,
        sigma: float,
        dtype: torch.dtype = torch.float32,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.latent_dim, self.sigma, self.dtype = latent_dim, sigma, dtype
        widths = levels(shape[1], width)
        parts: list[nn.Module] = [nn.Linear(latent_dim, widths[0] * SMALLEST**2), nn.GELU()]
        parts += [nn.Unflatten(1, (widths[0], SMALLEST, SMALLEST))]
        for inputs, outputs in zip(widths, [*widths[1:], shape[0]], strict=True):
            parts += [nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2), nn.GELU()]
        self.layers = nn.Sequential(*parts[:-1], nn.Tanh())
        self.initialise(rng)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.parameters()).device
        return device

    def initialise(self, rng: torch.Generator) -> None:
        initialise(self, rng)

    def forward(self, z: Tensor) -> Tensor:
        """Return g(z), (B, D) → (B, C, H, W) in [−1, 1]."""
        # A cache of weights would outlive the step recorded in a CUDA graph.
        with torch.autocast(z.device.type, self.dtype, enabled=self.dtype != torch.float32, cache_enabled=False):
            images: Tensor = self.layers(z)
        return images.float()

    def log_likelihood(self, batch: ImageBatch, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Return log p(x|z) in nats, z (B, D) → (B,); `rng` is unused, since there is no dropout."""
        squares = (batch.pixels - self(z)).square().flatten(1)
        constant = squares.shape[1] / 2 * math.log(2 * math.pi * self.sigma**2)
        found: Tensor = -squares.sum(1) / (2 * self.sigma**2) - constant
        return found

    def likelihood(self, batch: ImageBatch) -> Callable[[Tensor], Tensor]:
        """Return log p(x|z) of one batch as a function of z, (B, D) → (B,)."""
        return lambda z: self.log_likelihood(batch, z)


def _reading(shape: tuple[int, int, int], width: int, n_outputs: int) -> nn.Sequential:
    """Return strided convolutions down to 4 × 4, followed by a linear layer."""
    widths = [shape[0], *reversed(levels(shape[1], width))]
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        parts += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.GELU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(widths[-1] * SMALLEST**2, n_outputs))


class ConvEncoder(nn.Module):
    """q(z|x) = N(μ(x), diag σ²(x)) of a variational autoencoder."""

    def __init__(self, latent_dim: int, shape: tuple[int, int, int], *, width: int, rng: torch.Generator) -> None:
        super().__init__()
        self.layers = _reading(shape, width, 2 * latent_dim)
        initialise(self, rng)

    def forward(self, batch: ImageBatch) -> Moments:
        """Return mean and log variance, (B, D) each."""
        return Moments(*self.layers(batch.pixels).chunk(2, dim=1))


class Classifier(nn.Module):
    """A classifier of images, and the features before its output layer, which represent images for comparison."""

    def __init__(
        self, shape: tuple[int, int, int], *, width: int, n_features: int, n_classes: int, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.layers = _reading(shape, width, n_features)
        self.output = nn.Linear(n_features, n_classes)
        initialise(self, rng)

    def features(self, pixels: Tensor) -> Tensor:
        """Return features, (B, C, H, W) → (B, F)."""
        found: Tensor = torch.tanh(self.layers(pixels))
        return found

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits, (B, C, H, W) → (B, n_classes)."""
        logits: Tensor = self.output(self.features(pixels))
        return logits

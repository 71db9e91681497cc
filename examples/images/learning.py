"""Three models with one generator, trained by the toolkit's own trainer: with an energy-based prior, with a
Gaussian prior, and a variational autoencoder (VAE)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from dataset import Images
from networks import ConvEncoder, ConvGenerator
from torch import Tensor

from lebm_text.build import LatentModel, build_inference, prior_chain
from lebm_text.config import Config
from lebm_text.inference.base import Inference
from lebm_text.inference.short_run import ShortRun
from lebm_text.models.base import Generator
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.random import stream
from lebm_text.training.trainer import Trainer

__all__ = ["MODELS", "SETTINGS", "Learned", "Settings", "learn"]

CHUNK = 500  # images decoded at once
MODELS = ("LEBM", "Gaussian twin", "VAE")


@dataclass(frozen=True)
class Settings:
    """Sizes and steps.

    Attributes:
        n_updates: of each model.
        batch_size: images per update.
        width: channels at half resolution.
        sigma: σ of a pixel.
        n_inference_steps: of the posterior chain after training.
        config: sections of the toolkit's own configuration.
    """

    n_updates: int = 300
    batch_size: int = 100
    width: int = 32
    sigma: float = 0.3
    n_inference_steps: int = 50
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "model": {"latent_dim": 16, "prior_hidden_dim": 64},
            # Persistent chains need few steps per visit.
            "inference": {"n_steps": 5, "step_size": 0.2, "persistent": True},
            "prior": {"n_steps": 20, "step_size": 0.4},
            "training": {"learning_rate": 3e-3, "prior_learning_rate": 1e-3, "clip_norm": 1e4},
        }
    )

    def of(self, model: str, seed: int) -> Config:
        """Return the configuration of one of the models."""
        changes = {section: dict(values) for section, values in self.config.items()}
        changes["training"]["seed"] = seed
        if model != "LEBM":
            changes["model"] = {"latent_dim": changes["model"]["latent_dim"], "prior": "gaussian"}
            changes["training"].pop("prior_learning_rate")
            del changes["prior"]
        if model == "VAE":
            changes["inference"] = {"kind": "amortized"}
        return Config().merge(changes)


# Steps, rates and σ are those of the paper; the number of updates is an untested guess.
LARGE = Settings(
    n_updates=20_000,
    width=64,
    n_inference_steps=40,
    config={
        "model": {"latent_dim": 100, "prior_hidden_dim": 200},
        "inference": {"n_steps": 40, "step_size": 0.1},
        "prior": {"n_steps": 60, "step_size": 0.4},
        "training": {"learning_rate": 1e-4, "prior_learning_rate": 2e-5, "clip_norm": 1e4},
    },
)
SETTINGS = {"digits": Settings(), "mnist": LARGE, "svhn": LARGE, "cifar10": LARGE, "celeba": LARGE}


@dataclass(frozen=True)
class Learned:
    """A model, its inference, and the seconds of an update."""

    model: LatentModel
    inference: Inference
    seconds: float

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return g(z), the images without pixel noise: (N, D) → (N, C, H, W)."""
        return torch.cat([self.model.generator(part) for part in torch.split(z, CHUNK)])  # type: ignore[operator]


def learn(
    name: str,
    images: Images,
    settings: Settings,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Learned:
    """Train one of `MODELS`."""
    config, rng = settings.of(name, seed), stream(seed, "weights")
    shape, latent_dim = images.shape, config.model.latent_dim
    generator = ConvGenerator(latent_dim, shape, width=settings.width, sigma=settings.sigma, dtype=dtype, rng=rng)
    encoder = ConvEncoder(latent_dim, shape, width=settings.width, rng=rng) if name == "VAE" else None
    prior = (
        EBMPrior(latent_dim, hidden_dim=config.model.prior_hidden_dim, chain=prior_chain(config.prior), rng=rng)
        if name == "LEBM"
        else GaussianPrior(latent_dim)
    )
    # It generates no tokens, so it lacks the members for decoding; the trainer does not use them.
    model = LatentModel(prior, cast(Generator, generator), encoder).to(device)
    batch_size = min(settings.batch_size, len(images))
    trainer = Trainer(model, config, n_sentences=len(images), mean_batch_size=batch_size)
    batches = images.batches(batch_size, stream(seed, "batches"), device)
    started = time.perf_counter()
    for step in range(1, settings.n_updates + 1):
        trainer.update(next(batches), epoch=step * batch_size / len(images), step=step)
    trainer.monitor.flush()
    seconds = (time.perf_counter() - started) / settings.n_updates
    inference = build_inference(config.inference, epoch=1e9, encoder=encoder)
    if isinstance(inference, ShortRun):
        inference = inference.adapted(n_steps=settings.n_inference_steps)
    return Learned(model, inference, seconds)

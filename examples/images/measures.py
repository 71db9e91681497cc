r"""Distance of samples to real images, reconstruction errors, and anomaly scores.

The Fréchet distance compares the means and covariances of two clouds of features (Heusel et al., NeurIPS 2017). With
features of Inception it is called FID; here they are those of a small classifier of the training images, so that its
figures are comparable only within one table.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from dataset import ImageBatch, Images
from learning import Learned
from networks import Classifier
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.inference.base import InferenceResult
from lebm_text.random import stream
from lebm_text.training.trainer import Adam
from lm_eval.embedding import frechet_distance

__all__ = [
    "Features",
    "anomaly_scores",
    "average_precision",
    "draw",
    "fid",
    "fid_metric",
    "reconstruct",
    "squared_error",
]

CHUNK = 500  # images at once
CLASSIFIER_UPDATES = 400


@dataclass(frozen=True)
class Features:
    """Features of real images from a classifier.

    Attributes:
        classifier: trained on the training images.
        real: (N, F) features of test images.
        accuracy: share of test images classified correctly.
    """

    classifier: Classifier
    real: Tensor
    accuracy: float

    @classmethod
    def learn(cls, train: Images, test: Images, *, n_features: int = 32) -> Features:
        """Train the classifier, and compute the features of the test images."""
        rng = stream(0, "classifier")
        n_classes = int(train.labels.max()) + 1
        classifier = Classifier(train.shape, width=32, n_features=n_features, n_classes=n_classes, rng=rng)
        optimizer = Adam(classifier.parameters(), lr=3e-3)
        batches = train.batches(100, rng)
        for _ in range(CLASSIFIER_UPDATES):
            batch = next(batches)
            loss = F.cross_entropy(classifier(batch.pixels), train.labels[batch.index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            logits = torch.cat([classifier(test.batch(rows).pixels) for rows in _chunks(test)])
        accuracy = float((logits.argmax(1) == test.labels).float().mean())
        return cls(classifier, _features(classifier, test.batch().pixels), accuracy)

    def distance(self, pixels: Tensor) -> float:
        """Return the Fréchet distance of images (N, C, H, W) to the test images."""
        return frechet_distance(self.real.numpy(), _features(self.classifier, pixels.cpu()).numpy())


def _chunks(images: Images) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(len(images)), CHUNK)


@torch.no_grad()
def _features(classifier: Classifier, pixels: Tensor) -> Tensor:
    return torch.cat([classifier.features(part) for part in torch.split(pixels, CHUNK)])


def fid_metric() -> Any:
    """Return the metric of torchmetrics. Raises InputError if it or its weights are missing."""
    try:
        return importlib.import_module("torchmetrics.image.fid").FrechetInceptionDistance(normalize=True)
    except Exception as error:  # from an import, a download or a file
        raise InputError(f"FID needs torchmetrics[image] and its Inception weights: {error}") from None


def fid(real: Tensor, samples: Tensor) -> float:
    """Return the FID of images in [−1, 1]. Raises InputError as `fid_metric` does."""
    metric = fid_metric()
    for pixels, is_real in ((real, True), (samples, False)):
        for part in torch.split(pixels.cpu(), CHUNK):
            metric.update(((part + 1) / 2).expand(-1, 3, -1, -1), real=is_real)
    return float(metric.compute())


@torch.no_grad()
def draw(learned: Learned, n: int, *, seed: int) -> Tensor:
    """Draw n samples (n, C, H, W), with z from the prior."""
    return learned.decode(learned.model.prior.sample(n, stream(seed, "samples")))


def _infer(learned: Learned, batch: ImageBatch, seed: int) -> InferenceResult:
    with torch.no_grad():
        return learned.inference(batch, learned.model.prior, learned.model.generator, rng=stream(seed, "posterior"))


@torch.no_grad()
def reconstruct(learned: Learned, pixels: Tensor, *, seed: int) -> Tensor:
    """Return g(z⁺), with one draw of z⁺ for each image."""
    return learned.decode(_infer(learned, ImageBatch(pixels, torch.arange(len(pixels))), seed).z)


def squared_error(learned: Learned, images: Images, *, seed: int) -> float:
    """Return the mean squared error per value of reconstructions, in the scale of [−1, 1]."""
    device, total = learned.model.generator.device, 0.0
    for rows in _chunks(images):
        pixels = images.batch(rows, device).pixels
        total += float((reconstruct(learned, pixels, seed=seed) - pixels).square().sum())
    return total / images.values.numel()


@torch.no_grad()
def anomaly_scores(learned: Learned, images: Images, *, seed: int, n_draws: int = 5) -> Tensor:
    """Return (N,) nats, high for anomalies: −log p(x, z⁺) up to log Z, or −ELBO with an encoder; means over draws."""
    prior, generator = learned.model.prior, learned.model.generator
    scores = []
    for rows in _chunks(images):
        batch, total = images.batch(rows, generator.device), torch.zeros(len(rows))
        for i in range(n_draws):
            found = _infer(learned, batch, seed + i)
            log_likelihood = generator.log_likelihood(batch, found.z)
            of_z = prior.logdensity(found.z) if found.base_kl is None else -found.base_kl.sum(1)
            total -= (log_likelihood + of_z).cpu() / n_draws
        scores.append(total)
    return torch.cat(scores)


def average_precision(scores: Tensor, is_anomaly: Tensor) -> float:
    """Return the area under the precision-recall curve (AUPRC)."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(is_anomaly.numpy(), scores.numpy()))

"""Images in memory and batches of them: scikit-learn's digits, or data sets read by `datasets`.

A batch has the members that the trainer needs (`lebm_text.models.base.Batch`); only generator and encoder use the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lebm_text.errors import InputError

__all__ = ["SOURCES", "ImageBatch", "Images", "load"]


class Source(NamedTuple):
    """Location of images in the Hugging Face Hub, and their size after conversion."""

    path: str
    name: str | None
    image: str
    label: str
    test: str
    size: int
    channels: int


SOURCES = {
    "mnist": Source("ylecun/mnist", None, "image", "label", "test", 32, 1),
    "svhn": Source("ufldl-stanford/svhn", "cropped_digits", "image", "label", "test", 32, 3),
    "cifar10": Source("uoft-cs/cifar10", None, "img", "label", "test", 32, 3),
    "celeba": Source("flwrlabs/celeba", None, "image", "Smiling", "test", 64, 3),
}
N_TEST = 500  # number of digits in the test set


@dataclass(frozen=True)
class ImageBatch:
    """B images.

    Attributes:
        pixels: (B, C, H, W) in [−1, 1].
        index: (B,) on the CPU, positions in the training set.
    """

    pixels: Tensor
    index: Tensor

    @property
    def lengths(self) -> Tensor:
        """(B,) numbers per image."""
        return torch.full((len(self.pixels),), self.pixels[0].numel())

    @property
    def n_tokens(self) -> int:
        """Total number of values."""
        return self.pixels.numel()

    def select(self, rows: Tensor) -> ImageBatch:
        """Return the images at `rows`."""
        return ImageBatch(self.pixels[rows.to(self.pixels.device)], self.index[rows])


@dataclass(frozen=True)
class Images:
    """N images.

    Attributes:
        values: (N, C, H, W) in 0 … 255.
        labels: (N,) from 0.
    """

    values: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.values.shape
        return channels, height, width

    def where(self, rows: Tensor) -> Images:
        """Return the images at `rows`, indices or a mask."""
        return Images(self.values[rows], self.labels[rows])

    def batch(self, index: Tensor | slice = slice(None), device: torch.device | str = "cpu") -> ImageBatch:
        """Return the images at `index` as a batch, by default all."""
        return ImageBatch(self.values[index].to(device) / 127.5 - 1, torch.arange(len(self))[index])

    def batches(self, size: int, rng: torch.Generator, device: torch.device | str = "cpu") -> Iterator[ImageBatch]:
        """Yield batches without end: each epoch has every image once, in random order."""
        while True:
            for index in torch.split(torch.randperm(len(self), generator=rng), size):
                yield self.batch(index, device)


def load(name: str) -> tuple[Images, Images]:
    """Return training and test images. Raises InputError if they are not available."""
    if name == "digits":
        return _digits()
    from datasets import load_dataset  # type: ignore[import-untyped]

    source = SOURCES[name]
    try:
        found = load_dataset(source.path, source.name)
    except Exception as error:  # of a dozen classes, from network, files or Hub
        raise InputError(f"{name} cannot be read from {source.path}: {' '.join(str(error).split())[:200]}") from None
    return _converted(found["train"], source), _converted(found[source.test], source)


def _digits() -> tuple[Images, Images]:
    """Return 1,297 and 500 images of 8 × 8 (Alpaydin and Kaynak, 1998), in a fixed random split."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("the digits need scikit-learn: pip install 'lebm-text[analysis,viz]'") from None
    digits = load_digits()
    values = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    images = Images(values, torch.from_numpy(digits.target.astype(np.int64)))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.where(order[N_TEST:]), images.where(order[:N_TEST])


def _converted(rows: Any, source: Source) -> Images:
    """Return the central square of each image, at the source's size."""
    values = torch.empty(len(rows), source.channels, source.size, source.size, dtype=torch.uint8)
    for i, row in enumerate(rows):
        image = row[source.image].convert("L" if source.channels == 1 else "RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((source.size, source.size), box=(left, top, left + side, top + side), resample=2)
        values[i] = torch.from_numpy(np.array(image)).view(source.size, source.size, -1).permute(2, 0, 1)
    return Images(values, torch.tensor([int(label) for label in rows[source.label]]))

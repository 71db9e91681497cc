"""Sizes of the measured work: those of the Penn Treebank by default, tiny ones for testing a script."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch

from lebm_text.config import Config
from lebm_text.inference.short_run import LangevinChain
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.lstm import compute_dtype
from lebm_text.models.priors import EBMPrior
from lebm_text.text.batching import Batch, EncodedCorpus

__all__ = ["BATCHES", "FULL", "PRECISIONS", "SMOKE", "Sizes"]

BATCHES = (32, 128)
PRECISIONS = {"float32": "fp32", "bf16": "bf16"}  # name in a report → name in a configuration
BOS, EOS, N_SPECIAL = 2, 3, 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of the timed work.

    Attributes:
        vocab_size, width, latent_dim: V, E = H, D.
        length: tokens of every sentence whose chain is timed, `</s>` included; equal, so that there is no padding.
        long_length: the same for sentences whose update's memory is measured.
        n_steps, prior_steps: K1 and K0.
        matmul: side of the square matrices whose product gives the machine's rate.
        updates: training updates of the generator for error measurements.
        sentences: number of real sentences for error measurements.
        max_length: maximum words of the sentences which that generator is trained on.
    """

    vocab_size: int
    width: int
    latent_dim: int
    length: int
    long_length: int
    n_steps: int
    prior_steps: int
    matmul: int
    updates: int
    sentences: int
    max_length: int

    def config(self, precision: str = "fp32") -> Config:
        """Return the configuration of a training with these sizes."""
        return Config().merge(
            {
                "text": {"vocab_size": self.vocab_size, "max_length": self.max_length},
                "model": {"embedding_dim": self.width, "hidden_dim": self.width, "latent_dim": self.latent_dim},
                "inference": {"n_steps": self.n_steps},
                "prior": {"n_steps": self.prior_steps},
                "training": {"precision": precision},
            }
        )

    def generator(self, precision: str, kind: type[LSTMGenerator] = LSTMGenerator) -> LSTMGenerator:
        """Return a newly initialised generator, the same for all precisions, without dropout outside the update."""
        return kind(
            self.vocab_size,
            latent_dim=self.latent_dim,
            embedding_dim=self.width,
            hidden_dim=self.width,
            bos_id=BOS,
            dropout=self.config().model.dropout,
            compute_dtype=compute_dtype(precision),
            rng=torch.Generator().manual_seed(0),
        )

    def prior(self) -> EBMPrior:
        """Return a newly initialised prior."""
        chain = LangevinChain(**asdict(self.config().prior))
        return EBMPrior(self.latent_dim, chain=chain, rng=torch.Generator().manual_seed(1))

    def batch(self, n: int, length: int) -> Batch:
        """Return n sentences of random words, each of `length` tokens."""
        tokens = np.random.Generator(np.random.PCG64(0)).integers(N_SPECIAL, self.vocab_size, (n, length))
        tokens[:, -1] = EOS
        corpus = EncodedCorpus(tokens.astype(np.int32).ravel(), np.arange(n + 1, dtype=np.int64) * length)
        return corpus.batch(np.arange(n))

    def posterior_work(self) -> float:
        """Return operations per token of a gradient in z: head and recurrence, forward and backward."""
        return 4 * self.vocab_size * self.width + 16 * self.width**2

    def update_work(self) -> float:
        """Return operations of an update's products per token: K1 gradients in z, then one in every weight."""
        weights = self.vocab_size * self.width + 4 * self.width * (2 * self.width)
        return self.n_steps * self.posterior_work() + 6 * weights


FULL = Sizes(
    vocab_size=10_002,
    width=256,
    latent_dim=32,
    length=21,
    long_length=82,
    n_steps=20,
    prior_steps=40,
    matmul=2048,
    updates=500,
    sentences=256,
    max_length=40,
)
SMOKE = Sizes(
    vocab_size=20,
    width=8,
    latent_dim=4,
    length=5,
    long_length=7,
    n_steps=2,
    prior_steps=2,
    matmul=32,
    updates=3,
    sentences=8,
    max_length=10,
)

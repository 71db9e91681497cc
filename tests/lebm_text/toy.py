"""Small modules, batches and corpora of random ids, for tests of what computes; float64 unless asked otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lebm_text.build import LatentModel, build_model, try_plugins
from lebm_text.config import Config
from lebm_text.inference.short_run import LangevinChain
from lebm_text.metrics import read_metrics
from lebm_text.models.base import Generator
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, base_log_prob
from lebm_text.models.transformer import TransformerGenerator
from lebm_text.random import Rng, draw_normal, draw_uniform
from lebm_text.run import Run
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.training.trainer import Trainer

VOCABULARY = 12
LATENT = 3
BOS, EOS = 2, 3
TIMES = ("tokens_per_second", "eta_seconds")
WORDS = ("the", "a", "cat", "dog", "sees", "likes", "red", "big")


def seeded(seed: int = 0) -> torch.Generator:
    """A stream of its own."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """N(0, 1) draws in float64."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def gap(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference."""
    return float((found.detach().double() - wanted.detach().double()).abs().max())


def toy_generator(*, seed: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> LSTMGenerator:
    """V = 12, D = 3, E = 5, H = 6, with weights so large that every term counts."""
    sizes = {"latent_dim": LATENT, "embedding_dim": 5, "hidden_dim": 6, "init_range": 0.8} | options
    return LSTMGenerator(VOCABULARY, bos_id=BOS, rng=seeded(seed), **sizes).to(dtype)


def toy_transformer(*, seed: int = 1, dtype: torch.dtype = torch.float64, **options: Any) -> TransformerGenerator:
    """V = 12, D = 3, H = 8, two layers of two heads."""
    sizes = {"latent_dim": LATENT, "embedding_dim": 8, "hidden_dim": 8, "n_layers": 2, "n_heads": 2, "init_range": 0.5}
    return TransformerGenerator(VOCABULARY, bos_id=BOS, rng=seeded(seed), **{**sizes, **options}).to(dtype)


def by_steps(generator: Generator, batch: Batch, z: Tensor, vocab_size: int = VOCABULARY) -> Tensor:
    """log p(x|z) (B,), one word after the other as decoding goes, without a gradient."""
    lengths = batch.lengths
    state, token = generator.start(z), torch.full((len(lengths),), BOS)
    total = torch.zeros(len(lengths), dtype=torch.float64)
    for t in range(int(lengths[0])):
        logits, state = generator.step(token, state)
        assert logits.shape == (len(lengths), vocab_size)
        assert not logits.requires_grad
        token = batch.tokens[:, t]
        total += torch.where(t < lengths, logits.log_softmax(-1).gather(1, token[:, None])[:, 0], 0.0)
    return total


def toy_prior(*, seed: int = 1, dtype: torch.dtype = torch.float64, **options: Any) -> EBMPrior:
    """D = 3 and 7 hidden units."""
    settings: dict[str, Any] = {"hidden_dim": 7, "init_range": 0.8, "chain": LangevinChain(40, 0.5)} | options
    return EBMPrior(LATENT, rng=seeded(seed), **settings).to(dtype)


class Mixture(nn.Module):
    """Even parts of N(mean_k, I): a prior that the package does not know, normalised and sampled exactly."""

    chain = None

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.means = nn.Parameter(torch.eye(latent_dim))

    def logdensity(self, z: Tensor) -> Tensor:
        return base_log_prob(z.unsqueeze(-2) - self.means).logsumexp(-1) - math.log(len(self.means))

    def neg_energy(self, z: Tensor) -> Tensor:
        return self.logdensity(z) - base_log_prob(z)

    def sample(self, n: int, rng: Rng) -> Tensor:
        part = (draw_uniform(rng, (n,)) * len(self.means)).long()
        return self.means[part] + draw_normal(rng, (n, self.latent_dim))

    def log_z(self) -> float:
        return 0.0


def toy_corpus(lengths: Sequence[int], *, seed: int = 0, vocab_size: int = VOCABULARY) -> EncodedCorpus:
    """Sentences of random words, `</s>` included in their lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.random.default_rng(seed).integers(4, vocab_size, int(offsets[-1])).astype(np.int32)
    tokens[offsets[1:] - 1] = EOS
    return EncodedCorpus(tokens, offsets)


def toy_batch(lengths: Sequence[int], *, seed: int = 0) -> Batch:
    """All sentences of such a corpus, longest first."""
    return toy_corpus(lengths, seed=seed).batch(np.arange(len(lengths)))


def toy_config(changes: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """A training of seconds in which no mechanism is idle."""
    base: dict[str, dict[str, Any]] = {
        "text": {"max_length": 10},
        "model": {
            "latent_dim": LATENT,
            "embedding_dim": 6,
            "hidden_dim": 6,
            "prior_hidden_dim": 5,
            "init_range": 0.5,
        },
        "inference": {"n_steps": 2, "step_size": 0.4, "likelihood_weight_start": 4.0, "anneal_epochs": 1.5},
        "prior": {"n_steps": 3},
        "training": {
            "n_epochs": 2,
            "batch_size": 8,
            "batch_tokens": 64,
            "learning_rate": 0.01,
            "prior_learning_rate": 0.01,
            "precision": "fp32",
            "n_threads": 1,
            "report_every": 2,
            "checkpoint_every": 3,
            "validation_sentences": 6,
        },
    }
    return Config().merge(base).merge(changes or {})


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of its state."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def differing(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> set[str]:
    """The names of what is not the same in both."""
    return {name for name in one if not torch.equal(one[name], two[name])}


def updated(trainer: Trainer, batch: Batch, **options: Any) -> dict[str, float]:
    """One update, and what it saw."""
    trainer.update(batch, **options)
    return trainer.monitor.flush()


def metrics_of(run: Path | Run) -> list[dict[str, Any]]:
    """The lines of its metrics.jsonl without the times, which no run has again."""
    return [{key: line[key] for key in line if key not in TIMES} for line in read_metrics(Path(run) / "metrics.jsonl")]


def toy_model(config: Config, *, seed: int = 2) -> LatentModel:
    """A new model of a training."""
    return build_model(config, vocab_size=VOCABULARY, bos_id=BOS, rng=seeded(seed))


def plugged_model(config: Config, *, tried: bool = True) -> LatentModel:
    """A new model of a training that trusts its plug-ins, which are tried out."""
    config = config.with_plugins(trust_plugins=True)
    model = toy_model(config)
    if tried:
        try_plugins(config, model, vocab_size=VOCABULARY)
    return model


def toy_trainer(config: Config, *, mean_batch_size: float = 4.0) -> Trainer:
    """It learns on twelve sentences."""
    return Trainer(toy_model(config), config, n_sentences=12, mean_batch_size=mean_batch_size)


def write_text_corpus(directory: Path, *, n_train: int = 40) -> Path:
    """Train, valid and test files of random sentences of 1 to 7 words."""
    directory.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split, n in (("train", n_train), ("valid", 10), ("test", 5)):
        lines = [" ".join(draw.choice(WORDS, draw.integers(1, 8))) + "\n" for _ in range(n)]
        (directory / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return directory


def text_corpus(directory: Path, **options: Any) -> Corpus:
    """That corpus as `train` takes it."""
    return find_corpus(str(write_text_corpus(directory, **options)))

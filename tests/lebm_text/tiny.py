"""A tiny untrained model of six words, for tests of what uses a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lebm_text.build import build_model
from lebm_text.config import Config
from lebm_text.model import LatentEBM
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.tokenizers import WordTokenizer

from .toy import by_steps

WORDS = ("the", "a", "cat", "dog", "sees", "é")


def tiny_model(*, kind: str = "short_run", labels: Sequence[str] = (), **model: Any) -> LatentEBM:
    """Random weights, large enough that sentences differ and z matters; `kind` of inference, `labels` of classes."""
    sizes = {"latent_dim": 4, "embedding_dim": 5, "hidden_dim": 6, "prior_hidden_dim": 7, "init_range": 1.0}
    config = Config().merge(
        {
            "text": {"max_length": 8},
            "model": sizes,
            "inference": {"n_steps": 3},
            "prior": {"n_steps": 4},
            "training": {"precision": "fp32"},
        }
    )
    if kind != "short_run":
        config = config.merge({"inference": {"kind": kind}})
    config = config.merge({"model": model}).with_plugins(trust_plugins=True)
    if labels:
        config = config.merge({"model": {"prior": "classes"}, "prior": {"labels": labels}})
    tokenizer = WordTokenizer(WORDS)
    rng = torch.Generator().manual_seed(3)
    network = build_model(config, vocab_size=len(tokenizer), bos_id=tokenizer.bos_id, rng=rng)
    return LatentEBM(config, tokenizer, network)


def log_likelihoods(model: LatentEBM, sentences: Sequence[str], z: Tensor) -> Tensor:
    """log p(x|z) of each, one word after the other as decoding goes."""
    batch = EncodedCorpus(*model.tokenizer.encode_many(sentences)).batch(np.arange(len(sentences)))
    found = by_steps(model.model.generator, batch, z[batch.index], len(model.tokenizer))
    return found[batch.index.argsort()]

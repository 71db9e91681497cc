"""The encoder: PyTorch's LSTM with the same weights, one sentence at a time, and nothing from padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lebm_text.models.encoder import LSTMEncoder
from lebm_text.text.batching import Batch

from ..toy import LATENT, VOCABULARY, gap, seeded, toy_batch

LENGTHS = (6, 4, 4, 1)


def toy_encoder(*, dtype: torch.dtype = torch.float64, **options: Any) -> LSTMEncoder:
    """E = 5 and H = 6, with weights so large that every term counts."""
    sizes = {"latent_dim": LATENT, "embedding_dim": 5, "hidden_dim": 6, "init_range": 0.8} | options
    return LSTMEncoder(VOCABULARY, rng=seeded(), **sizes).to(dtype)


def _plain(encoder: LSTMEncoder, tokens: Tensor) -> Tensor:
    """[μ; log σ²] of one sentence (T,). PyTorch has the gates in the order i, f, g, o."""
    lstm = nn.LSTM(5, 6, batch_first=True).double()
    order = [0, 1, 3, 2]

    def blocks(weight: Tensor) -> Tensor:
        return torch.cat([weight.chunk(4)[i] for i in order])

    values = {
        "weight_ih_l0": blocks(encoder.token_weight.detach()),
        "weight_hh_l0": blocks(encoder.recurrent_weight.detach()),
        "bias_ih_l0": blocks(encoder.gate_bias.detach()),
        "bias_hh_l0": torch.zeros(24, dtype=torch.float64),
    }
    lstm.load_state_dict(values)
    hidden, _ = lstm(encoder.embedding.detach()[tokens][None])
    moments: Tensor = encoder.moments_weight.detach() @ hidden[0].mean(0) + encoder.moments_bias.detach()
    return moments


def test_it_is_pytorchs_lstm_averaged_over_words() -> None:
    encoder, batch = toy_encoder(), toy_batch(LENGTHS)
    found = torch.cat(encoder(batch), dim=1)
    for row, length in enumerate(batch.lengths.tolist()):
        assert gap(found[row], _plain(encoder, batch.tokens[row, :length])) < 1e-12


def test_padding_says_nothing() -> None:
    encoder, batch = toy_encoder(), toy_batch(LENGTHS)
    tokens = batch.tokens.clone()
    tokens[3, 1:] = 7
    other = Batch(tokens, batch.lengths, batch.index)
    assert torch.equal(encoder(other).mean, encoder(batch).mean)


def test_gradients_reach_every_parameter() -> None:
    encoder, batch = toy_encoder(), toy_batch(LENGTHS)
    mean, log_variance = encoder(batch)
    (mean.sum() + 2 * log_variance.sum()).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_products_only(dtype: torch.dtype) -> None:
    exact, rounded = toy_encoder(), toy_encoder(dtype=torch.float32, compute_dtype=dtype)
    mean, log_variance = rounded(toy_batch(LENGTHS))
    assert mean.dtype == log_variance.dtype == torch.float32
    assert gap(mean, exact(toy_batch(LENGTHS)).mean) < (1e-5 if dtype == torch.float32 else 0.03)

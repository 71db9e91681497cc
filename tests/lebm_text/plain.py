"""The model's densities once more, from their definitions: `nn.LSTM`, `log_softmax` and padded rows, nothing packed."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.inference.encoder import LSTMEncoder
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.lstm import LSTM
from lebm_text.models.priors import EBMPrior
from lebm_text.text.batching import Batch

__all__ = ["base_log_density", "in_double", "log_likelihood", "moments", "neg_energy"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def in_double(module: ModuleT) -> ModuleT:
    """A copy in float64."""
    return copy.deepcopy(module).double()


def neg_energy(prior: EBMPrior, z: Tensor) -> Tensor:
    """f(z): two hidden layers of x Φ(x), the GELU, and one output."""
    first, first_bias, second, second_bias, last, last_bias = prior.parameters()
    for weight, bias in ((first, first_bias), (second, second_bias)):
        z = z @ weight.T + bias
        z = z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return (z @ last.T + last_bias)[..., 0]


def base_log_density(z: Tensor) -> Tensor:
    """log N(z; 0, I)."""
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)  # type: ignore[no-untyped-call, no-any-return]


def log_likelihood(generator: LSTMGenerator, batch: Batch, z: Tensor) -> Tensor:
    """log p(x|z), (B,), without dropout."""
    length = batch.tokens.shape[1]
    inputs = F.embedding(F.pad(batch.tokens[:, :-1], (1, 0), value=generator.bos_id), generator.embedding)
    inputs = torch.cat([inputs, z[:, None].expand(-1, length, -1)], -1)
    of_input = torch.cat([generator.token_weight, generator.latent_weight], 1)
    hidden = _lstm(generator, of_input, inputs, (generator.initial_h(z)[None], generator.initial_c(z)[None]))
    output = generator.embedding if generator.output_weight is None else generator.output_weight
    log_probs = (hidden @ output.T + generator.output_bias).log_softmax(-1)
    chosen: Tensor = log_probs.gather(-1, batch.tokens[..., None])[..., 0]
    return (chosen * (torch.arange(length) < batch.lengths[:, None])).sum(1)


def moments(encoder: LSTMEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean and log variance of q(z|x), (B, D) each."""
    nothing = torch.zeros(1, len(batch.tokens), encoder.hidden_dim, dtype=encoder.embedding.dtype)
    inputs = F.embedding(batch.tokens, encoder.embedding)
    hidden = _lstm(encoder, encoder.token_weight, inputs, (nothing, nothing))
    inside = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
    mean = (hidden * inside[..., None]).sum(1) / batch.lengths[:, None]
    both = mean @ encoder.moments_weight.T + encoder.moments_bias
    half = both.shape[1] // 2
    return both[:, :half], both[:, half:]


def _lstm(module: LSTM, of_input: Tensor, inputs: Tensor, start: tuple[Tensor, Tensor]) -> Tensor:
    """Hidden states (B, T, H) by nn.LSTM, whose gates stand in the order i, f, g, o."""

    def reorder(weight: Tensor) -> Tensor:
        i, f, o, g = weight.chunk(4)
        return torch.cat([i, f, g, o])

    weights = {
        "weight_ih_l0": reorder(of_input),
        "weight_hh_l0": reorder(module.recurrent_weight),
        "bias_ih_l0": reorder(module.gate_bias),
        "bias_hh_l0": torch.zeros_like(module.gate_bias),
    }
    lstm = nn.LSTM(inputs.shape[-1], module.hidden_dim, batch_first=True, dtype=inputs.dtype)
    hidden: Tensor = torch.func.functional_call(lstm, weights, (inputs, start))[0]
    return hidden

r"""The method's possible speed on a GPU, in a prototype written only for speed: a whole update is one CUDA graph.

Both chains, the gradients of the weights, their clipping and both optimisers are recorded once per batch
shape; noise and dropout come from the device's own stream. The LSTM is cuDNN's, on padded rows. A step of the posterior
chain forms all logits of the batch at once and no log-probability, only the gradient that Langevin needs:

    ∂ log p(x|z)/∂h_t = W[x_t] − softmax(W h_t + b) W

Operands of the LSTM and of the softmax are rounded to one type, everything else is in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baseline import PlainGenerator
from lebm_text.config import Config
from lebm_text.cuda_graphs import Recordings
from lebm_text.models.priors import EBMPrior
from lebm_text.samplers.langevin import gradient, langevin_step, step_sizes
from lebm_text.sections import PriorConfig, ShortRunConfig
from lebm_text.text.batching import Batch
from lebm_text.training.trainer import Adam
from lebm_text.transfer import send

__all__ = ["PrototypeTrainer"]


class PrototypeTrainer:
    """Updates like those of `PlainTrainer`, recorded on CUDA and called directly elsewhere.

    Args:
        generator, prior: on their device.
        config: as for `PlainTrainer`.
        dtype: of the rounded operands.
    """

    def __init__(self, generator: PlainGenerator, prior: EBMPrior, config: Config, *, dtype: torch.dtype) -> None:
        self.generator, self.prior, self.config, self.dtype = generator.train(), prior, config, dtype
        self.recordings = Recordings()
        settings, self.device = config.training, generator.output.weight.device
        adam = partial(Adam, capturable=self.device.type == "cuda")
        self.optimizers: tuple[Adam, ...] = (
            adam(generator.parameters(), lr=settings.learning_rate),
            adam(prior.parameters(), lr=settings.prior_learning_rate, weight_decay=settings.prior_weight_decay),
        )

    def update(self, batch: Batch) -> Tensor:
        """Run both chains, then one step of both optimisers; return −log p(x|z) in nats, summed, under dropout.

        On CUDA the first update of a shape is recorded, which moves the parameters once more.
        """
        return self.recordings("update", self._update, batch.tokens, send(batch.lengths, self.device))

    def slope(self, tokens: Tensor, lengths: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ∇_z [log p_α(z) + γ log p(x|z)] as a function (B, D) → (B, D), without dropout.

        What does not depend on z is computed once, here: tokens (B, T) ids, lengths (B,) on the same device.
        """
        generator, prior = self.generator, self.prior
        with torch.no_grad():
            embedded, weights = generator.embedding(self._inputs(tokens)).to(self.dtype), self._lstm_weights()
            output, bias = (each.to(self.dtype) for each in (generator.output.weight, generator.output.bias))
            weight = self._inside(tokens, lengths).unsqueeze(2) * self._inference.likelihood_weight
            chosen = F.embedding(tokens, output)

        def at(z: Tensor) -> Tensor:
            with torch.enable_grad():
                z = z.detach().requires_grad_()
                hidden, density = self._hidden(embedded, z, weights), prior.logdensity(z).sum()
            with torch.no_grad():
                probabilities = torch.softmax(F.linear(hidden.flatten(0, 1), output, bias), dim=1)
                pull = (chosen - torch.mm(probabilities, output).view_as(hidden)) * weight.to(self.dtype)
            (grad,) = torch.autograd.grad((hidden, density), z, (pull, torch.ones_like(density)))
            return grad

        return at

    def log_likelihood(self, tokens: Tensor, lengths: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) in nats, (B,), differentiable in everything; with dropout in training mode."""
        generator = self.generator
        embedded = generator.dropout(generator.embedding(self._inputs(tokens))).to(self.dtype)
        hidden = generator.dropout(self._hidden(embedded, z, self._lstm_weights())).flatten(0, 1)
        weight, bias = generator.output.weight, generator.output.bias
        logits = F.linear(hidden, weight.to(self.dtype), bias.to(self.dtype)).to(bias.dtype)
        nll = F.cross_entropy(logits, tokens.flatten(), reduction="none").view(tokens.shape)
        return -(nll * self._inside(tokens, lengths)).sum(1)

    def _update(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        generator, prior, settings = self.generator, self.prior, self.config.training
        z_positive = self._chain(self.slope(tokens, lengths), len(tokens), self._inference)
        z_negative = self._chain(partial(gradient, prior.logdensity), len(tokens), self.config.prior)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        nll = -self.log_likelihood(tokens, lengths, z_positive).sum()
        (nll / len(tokens)).backward()  # type: ignore[no-untyped-call]
        (prior.neg_energy(z_negative) - prior.neg_energy(z_positive)).mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(generator.parameters(), settings.clip_norm)
        nn.utils.clip_grad_norm_(prior.parameters(), settings.prior_clip_norm)
        with warnings.catch_warnings():
            # It is run once before it is recorded, and warns about using a graph optimiser outside a graph.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            for optimizer in self.optimizers:
                optimizer.step()
        return nll.detach()

    def _chain(self, slope: Callable[[Tensor], Tensor], n: int, settings: ShortRunConfig | PriorConfig) -> Tensor:
        """Return the final states of n Langevin chains from N(0, I), (n, D)."""
        z = torch.randn(n, self.prior.latent_dim, device=self.device)
        for size in step_sizes(settings.step_size, settings.n_steps):
            noise = torch.randn_like(z)
            z = langevin_step(z, slope(z), noise, step_size=size, noise_scale=settings.noise_scale)
        return z

    @property
    def _inference(self) -> ShortRunConfig:
        assert isinstance(self.config.inference, ShortRunConfig)
        return self.config.inference

    def _inputs(self, tokens: Tensor) -> Tensor:
        return F.pad(tokens[:, :-1], (1, 0), value=self.generator.bos_id)

    def _inside(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return a mask (B, T) of the tokens that belong to sentences."""
        return torch.arange(tokens.shape[1], device=self.device) < lengths.unsqueeze(1)

    def _lstm_weights(self) -> list[Tensor]:
        """Return the rounded weights, contiguous in memory: cuDNN would copy them together at each call."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = [self.generator.lstm.get_parameter(name) for name in names]
        together = torch.cat([weight.flatten() for weight in weights]).to(self.dtype)
        parts = torch.split(together, [weight.numel() for weight in weights])
        return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]

    def _hidden(self, embedded: Tensor, z: Tensor, weights: list[Tensor]) -> Tensor:
        """Return states (B, T, H) after embedded inputs (B, T, E), in the operands' type."""
        every_step = z.to(self.dtype).unsqueeze(1).expand(-1, embedded.shape[1], -1)
        start = [state.to(self.dtype) for state in self.generator.start(z)]
        inputs = torch.cat([embedded, every_step], dim=2)
        # Bias, one layer, no dropout, training (cuDNN keeps what a gradient needs), one direction, batch first.
        hidden: Tensor = torch.lstm(inputs, start, weights, True, 1, 0.0, True, False, True)[0]
        return hidden

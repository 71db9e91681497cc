r"""The same generator and training, written plainly, as in the field's public code.

    nn.LSTM over [embedding(x_{t-1}); z] on padded batches, full log-softmax, float32 throughout

The posterior chain differentiates either with respect to everything (`.backward()`, as that code does) or to z alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.config import Config
from lebm_text.models.base import Generator, LogDensity
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior
from lebm_text.random import stream
from lebm_text.sections import InferenceConfig, PriorConfig, ShortRunConfig
from lebm_text.text.batching import Batch

__all__ = ["PlainGenerator", "PlainTrainer", "posterior_chain", "prior_chain", "sample_ids"]


class PlainGenerator(nn.Module):
    """p(x|z) with torch's modules; sizes as those of `LSTMGenerator`."""

    def __init__(
        self,
        vocab_size: int,
        *,
        latent_dim: int,
        embedding_dim: int,
        hidden_dim: int,
        bos_id: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.bos_id = bos_id
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.initial_h = nn.Linear(latent_dim, hidden_dim)
        self.initial_c = nn.Linear(latent_dim, hidden_dim)
        self.lstm = nn.LSTM(embedding_dim + latent_dim, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, vocab_size)
        self.dropout = nn.Dropout(dropout)

    @classmethod
    @torch.no_grad()
    def like(cls, generator: Generator) -> PlainGenerator:
        """Return a copy of an `LSTMGenerator`, with its values and their type."""
        assert isinstance(generator, LSTMGenerator)
        embedding = generator.embedding
        plain = cls(
            embedding.shape[0],
            latent_dim=generator.latent_dim,
            embedding_dim=embedding.shape[1],
            hidden_dim=generator.hidden_dim,
            bos_id=generator.bos_id,
            dropout=generator.dropout,
        ).to(embedding)
        output = generator.output_weight
        if output is None:
            plain.output.weight = plain.embedding.weight
            output = embedding
        weights = {
            "embedding.weight": embedding,
            "initial_h.weight": generator.initial_h.weight,
            "initial_h.bias": generator.initial_h.bias,
            "initial_c.weight": generator.initial_c.weight,
            "initial_c.bias": generator.initial_c.bias,
            "lstm.weight_ih_l0": _torch_order(torch.cat([generator.token_weight, generator.latent_weight], dim=1)),
            "lstm.weight_hh_l0": _torch_order(generator.recurrent_weight),
            "lstm.bias_ih_l0": _torch_order(generator.gate_bias),
            "lstm.bias_hh_l0": torch.zeros_like(generator.gate_bias),
            "output.weight": output,
            "output.bias": generator.output_bias,
        }
        plain.load_state_dict(weights)
        return plain.eval()

    def start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state of `nn.LSTM` before the first token, (1, B, H) each."""
        return self.initial_h(z).unsqueeze(0), self.initial_c(z).unsqueeze(0)

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """Return log p(x|z) in nats, (B,), for z (B, D); with dropout in training mode."""
        length = batch.tokens.shape[1]
        embedded = self.dropout(self.embedding(F.pad(batch.tokens[:, :-1], (1, 0), value=self.bos_id)))
        every_step = z.unsqueeze(1).expand(-1, length, -1)
        hidden, _ = self.lstm(torch.cat([embedded, every_step], dim=2), self.start(z))
        log_probs = F.log_softmax(self.output(self.dropout(hidden)), dim=2)
        chosen = log_probs.gather(2, batch.tokens.unsqueeze(2)).squeeze(2)
        inside = torch.arange(length) < batch.lengths.unsqueeze(1)
        return (chosen * inside.to(chosen)).sum(1)


def posterior_chain(
    generator: PlainGenerator,
    prior: EBMPrior,
    batch: Batch,
    config: InferenceConfig,
    *,
    through_everything: bool,
    rng: torch.Generator,
) -> Tensor:
    """Run K1 Langevin steps from N(0, I) on log p_α(z) + γ log p(x|z), (B, D), with one step size.

    `through_everything`: use `.backward()`, which computes the gradients of all parameters too.
    """
    assert isinstance(config, ShortRunConfig)
    weight = config.likelihood_weight
    return _chain(
        lambda z: prior.logdensity(z) + weight * generator.log_likelihood(batch, z),
        len(batch.lengths), prior, config, rng, through_everything=through_everything,
    )  # fmt: skip


def prior_chain(prior: EBMPrior, n: int, config: PriorConfig, *, rng: torch.Generator) -> Tensor:
    """Run K0 Langevin steps from N(0, I) on log p_α(z), (n, D), with one step size."""
    return _chain(prior.logdensity, n, prior, config, rng)


def _chain(
    logdensity: LogDensity,
    n: int,
    prior: EBMPrior,
    config: ShortRunConfig | PriorConfig,
    rng: torch.Generator,
    *,
    through_everything: bool = False,
) -> Tensor:
    step_size = config.step_size
    if isinstance(step_size, tuple):
        raise ValueError(f"the plain chain takes one step size, got {step_size}")
    z = torch.randn(n, prior.latent_dim, generator=rng).to(next(prior.parameters()).device)
    for _ in range(config.n_steps):
        z = z.detach().requires_grad_()
        density = logdensity(z).sum()
        if through_everything:
            density.backward()  # type: ignore[no-untyped-call]
            assert z.grad is not None
            grad = z.grad
        else:
            (grad,) = torch.autograd.grad(density, z)
        noise = torch.randn(z.shape, generator=rng).to(z.device)
        z = z.detach() + 0.5 * step_size**2 * grad + step_size * config.noise_scale * noise
    return z.detach()


class PlainTrainer:
    """Algorithm 1 of Pang et al. (NeurIPS 2020) with the plain parts, one batch at a time."""

    def __init__(
        self, generator: PlainGenerator, prior: EBMPrior, config: Config, *, through_everything: bool = True
    ) -> None:
        self.generator, self.prior, self.config = generator, prior, config
        self.through_everything = through_everything
        self.rng = stream(config.training.seed, "chains")
        settings = config.training
        self.optimizers = (
            torch.optim.Adam(generator.parameters(), lr=settings.learning_rate),
            torch.optim.Adam(
                prior.parameters(), lr=settings.prior_learning_rate, weight_decay=settings.prior_weight_decay
            ),
        )

    def update(self, batch: Batch) -> float:
        """Run both chains, then one step of both optimisers; return −log p(x|z) in nats per token, under dropout."""
        generator, prior, n = self.generator.eval(), self.prior, len(batch.lengths)
        generator.lstm.train()  # no dropout of its own, but cuDNN needs this mode for gradients
        z_positive = posterior_chain(
            generator, prior, batch, self.config.inference, through_everything=self.through_everything, rng=self.rng
        )
        z_negative = prior_chain(prior, n, self.config.prior, rng=self.rng)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        nll = -generator.train().log_likelihood(batch, z_positive).sum()
        (nll / n).backward()  # type: ignore[no-untyped-call]
        (prior.neg_energy(z_negative) - prior.neg_energy(z_positive)).mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(generator.parameters(), self.config.training.clip_norm)
        nn.utils.clip_grad_norm_(prior.parameters(), self.config.training.prior_clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        return float(nll.detach()) / batch.n_tokens


@torch.no_grad()
def sample_ids(generator: PlainGenerator, z: Tensor, *, eos_id: int, max_length: int, rng: torch.Generator) -> Tensor:
    """Return ancestral samples of x given z (B, D), (B, T): the batch continues until its last sentence has ended."""
    tokens = torch.full((len(z),), generator.bos_id)
    state, ended, steps = generator.start(z), torch.zeros(len(z), dtype=torch.bool), []
    for _ in range(max_length + 1):
        inputs = torch.cat([generator.embedding(tokens), z], dim=1).unsqueeze(1)
        hidden, state = generator.lstm(inputs, state)
        probabilities = F.softmax(generator.output(hidden.squeeze(1)), dim=1)
        tokens = torch.multinomial(probabilities, 1, generator=rng).squeeze(1)
        steps.append(tokens)
        ended |= tokens == eos_id
        if ended.all():
            break
    return torch.stack(steps, dim=1)


def _torch_order(rows: Tensor) -> Tensor:
    """Reorder gates from i, f, o, g to the order of `nn.LSTM`: i, f, g, o."""
    i, f, o, g = rows.chunk(4)
    return torch.cat([i, f, g, o])

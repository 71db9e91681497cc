r"""A plug-in generator in one file: train, generate, load and judge.

    h_0 = W z + b,  h_t = GRU([embedding(x_{t-1}); z], h_{t-1}),  log p(x|z) = Σ_t log softmax(V h_t + c)[x_t]

A generator has the members of `lebm_text.models.base.Generator`; its constructor takes any of vocab_size,
bos_id, unk_id, latent_dim, embedding_dim, hidden_dim, n_layers, n_heads, dropout, word_dropout, tied, init_range,
compute_dtype, rng, longest (text.max_length) and source (model.generator without hf:).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tiny_text import write
from torch import Tensor, nn

from lebm_text import LatentEBM, train
from lebm_text.text.batching import Batch
from lm_eval import fppl, rppl


class State(NamedTuple):
    """Partial sentences, one row each."""

    h: Tensor
    z: Tensor

    def select(self, rows: Tensor) -> State:
        return State(self.h[rows], self.z[rows])

    def join(self, other: State) -> State:
        return State(torch.cat([self.h, other.h]), torch.cat([self.z, other.z]))


class GRUGenerator(nn.Module):
    def __init__(
        self, vocab_size: int, bos_id: int, latent_dim: int, embedding_dim: int, hidden_dim: int, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.bos_id, self.latent_dim = bos_id, latent_dim
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.initial = nn.Linear(latent_dim, hidden_dim)
        self.gru = nn.GRU(embedding_dim + latent_dim, hidden_dim, batch_first=True)
        self.output = nn.Linear(hidden_dim, vocab_size)
        self.initialise(rng)

    @property
    def device(self) -> torch.device:
        return self.output.bias.device

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        for parameter in self.parameters():
            parameter.uniform_(-0.1, 0.1, generator=rng)

    def _read(self, tokens: Tensor, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([self.embedding(tokens), z.unsqueeze(1).expand(-1, tokens.shape[1], -1)], dim=2)
        hidden, last = self.gru(inputs, h.unsqueeze(0))
        return self.output(hidden), last[0]

    def log_likelihood(self, batch: Batch, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        read = F.pad(batch.tokens[:, :-1], (1, 0), value=self.bos_id)
        logits, _ = self._read(read, z, self.initial(z))
        log_probs = logits.log_softmax(2).gather(2, batch.tokens.unsqueeze(2)).squeeze(2)
        inside = torch.arange(batch.tokens.shape[1], device=z.device) < batch.lengths.to(z.device).unsqueeze(1)
        return (log_probs * inside).sum(1)

    def likelihood(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        def of(z: Tensor) -> Tensor:
            copies = z.reshape(-1, *z.shape[-2:])
            return torch.stack([self.log_likelihood(batch, copy) for copy in copies]).reshape(z.shape[:-1])

        return of

    def start(self, z: Tensor) -> State:
        return State(self.initial(z), z)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        logits, h = self._read(tokens.unsqueeze(1), state.z, state.h)
        return logits[:, 0], State(h, state.z)


SETTINGS = {
    "model": {"generator": "new_generator:GRUGenerator", "latent_dim": 8, "embedding_dim": 32, "hidden_dim": 32},
    "inference": {"n_steps": 5},
    "prior": {"n_steps": 5},
    "training": {"n_epochs": 4, "batch_size": 32, "learning_rate": 0.01, "n_threads": 1},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        run = train(write(Path(name) / "text"), out=Path(name) / "run", overrides=SETTINGS, device="cpu")
        # The reader of a run decides whether its code may be imported.
        model = LatentEBM.from_pretrained(run.path, device="cpu", trust_plugins=True)
        samples = model.generate(300).sentences
        real = {split: list(text.sentences()) for split, text in run.corpus().splits.items()}
        print(model)
        print(*samples[:5], sep="\n")
        print(f"FPPL {fppl(samples, real['train']).ppl:.2f}, RPPL {rppl(samples, real['test']).ppl:.2f}")


if __name__ == "__main__":
    main()

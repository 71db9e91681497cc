"""How an LSTM judge is trained: every choice that changes its perplexity, under a name for signatures."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RECIPES", "LSTMRecipe"]


@dataclass(frozen=True)
class LSTMRecipe:
    """Sizes, regularisation and schedule of one layer; see `lstm` and `lstm_training`.

    Attributes:
        name: for signatures, `lm:<name>`.
        embedding_dim, hidden_dim: E, H.
        tied: the output weights are the embeddings (E = H).
        shortlist: the softmax has two levels, this many words first and the rest below; None: one level.
        input_dropout, output_dropout: rates on the embeddings and on the LSTM's outputs.
        learning_rate: of Adam (default betas).
        clip_norm: bound of the gradient's norm.
        batch_tokens, batch_size: a batch holds sentences of similar lengths, at most so many tokens and rows.
        max_epochs: epochs at most.
        early_stopping: the learning rate is multiplied by `decay` whenever an epoch lowers the best validation
            perplexity by less than the share `min_gain`; after an epoch that does not lower it at all, training goes
            on from the best one. The epoch that asks for one more than `n_decays` is the last, and the judge is
            that of the best epoch. Without: `max_epochs` epochs at one learning rate, and the judge is the last.
        min_updates: an epoch passes over a short text as often as makes this many updates.
    """

    name: str
    embedding_dim: int
    hidden_dim: int
    tied: bool = True
    shortlist: int | None = 2000
    input_dropout: float = 0.4
    output_dropout: float = 0.5
    learning_rate: float = 2e-3
    clip_norm: float = 1.0
    batch_tokens: int = 1024
    batch_size: int = 256
    max_epochs: int = 40
    early_stopping: bool = True
    decay: float = 0.3
    n_decays: int = 2
    min_gain: float = 0.02
    min_updates: int = 25


RECIPES: dict[str, LSTMRecipe] = {
    "default": LSTMRecipe("lstm-320x1", 320, 320),
    # The reverse language model in what the authors of the latent-space EBM left in public code.
    "lebm": LSTMRecipe(
        "lstm-512x1-lebm",
        512,
        512,
        tied=False,
        shortlist=None,
        input_dropout=0.5,
        output_dropout=0.5,
        learning_rate=1e-4,
        clip_norm=5.0,
        batch_tokens=1 << 20,
        batch_size=32,
        max_epochs=8,
        early_stopping=False,
        min_updates=1,
    ),
}

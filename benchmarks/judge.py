"""Training of the LSTM judge: tokens per second of whole updates, against a plain loop over `nn.LSTM`.

python benchmarks/judge.py [--json] [--corpus NAME] [--data-dir DIR] [--smoke]; see docs/performance.md.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.command import Setting, main
from benchmarks.lifelike import zipf
from benchmarks.report import Report
from benchmarks.rows import compare
from benchmarks.sizes import BATCHES, PRECISIONS, SMOKE, Sizes
from lebm_text.models.lstm import compute_dtype
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.text.corpora import Corpus
from lebm_text.text.tokenizers import closed_vocabulary
from lm_eval.judges import RECIPES, LSTMRecipe
from lm_eval.lstm import END, LSTMNetwork, OutputVocabulary, score_text
from lm_eval.lstm_training import adam, train_lstm, update


class PlainJudge(nn.Module):
    """The judge of a recipe with torch's modules: padded batches, one softmax over all types, float32."""

    def __init__(self, n_types: int, recipe: LSTMRecipe) -> None:
        super().__init__()
        self.input_dropout, self.output_dropout = nn.Dropout(recipe.input_dropout), nn.Dropout(recipe.output_dropout)
        self.embedding = nn.Embedding(n_types, recipe.embedding_dim)
        self.lstm = nn.LSTM(recipe.embedding_dim, recipe.hidden_dim, batch_first=True)
        self.output = nn.Linear(recipe.hidden_dim, n_types)
        if recipe.tied:
            self.output.weight = self.embedding.weight

    def nll(self, batch: Batch) -> Tensor:
        """Return -log p of all sentences together, in nats."""
        inputs = self.embedding(F.pad(batch.tokens[:, :-1], (1, 0), value=END))
        hidden, _ = self.lstm(self.input_dropout(inputs))
        logits = self.output(self.output_dropout(hidden))
        inside = torch.arange(batch.tokens.shape[1]) < batch.lengths.unsqueeze(1)
        targets = batch.tokens.masked_fill(~inside.to(batch.tokens.device), -100)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")


def recipe_of(sizes: Sizes) -> LSTMRecipe:
    """Return the default recipe, or a similar one of tiny sizes."""
    if sizes != SMOKE:
        return RECIPES["default"]
    small = replace(RECIPES["default"], embedding_dim=sizes.width, hidden_dim=sizes.width, shortlist=5)
    return replace(small, max_epochs=1, min_updates=2)


def zipf_batch(n_types: int, n: int, length: int) -> Batch:
    """Return n sentences of `length` tokens by Zipf's law, 1 / (rank + 2.7), on which the two-level softmax relies."""
    tokens = zipf(np.random.default_rng(0), n_types - 1, (n, length))
    tokens[:, -1] = END
    corpus = EncodedCorpus(tokens.astype(np.int32).ravel(), np.arange(n + 1, dtype=np.int64) * length)
    return corpus.batch(np.arange(n))


def contestant(sizes: Sizes, n: int, name: str) -> Callable[[], object]:
    """Return updates on one batch of n sentences, optimiser included."""
    recipe, batch = recipe_of(sizes), zipf_batch(sizes.vocab_size, n, sizes.length)
    rng = torch.Generator().manual_seed(0)
    if name in PRECISIONS:
        network = LSTMNetwork(sizes.vocab_size, recipe, PRECISIONS[name], rng=rng)
        optimizer = adam(network, recipe.learning_rate)
        return lambda: update(network, optimizer, batch, batch.n_tokens, rng=rng)
    return plain_update(PlainJudge(sizes.vocab_size, recipe), recipe, batch)


def plain_update(plain: PlainJudge, recipe: LSTMRecipe, batch: Batch) -> Callable[[], None]:
    """Return updates of a plain judge on one batch."""
    optimizer = torch.optim.Adam(plain.parameters(), lr=recipe.learning_rate)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        (plain.nll(batch) / batch.n_tokens).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(plain.parameters(), recipe.clip_norm)
        optimizer.step()

    return run


def update_work(sizes: Sizes, n: int) -> float:
    """Return operations of an update's matrix products per token: two-level head and gates, forward and backward."""
    recipe, batch = recipe_of(sizes), zipf_batch(sizes.vocab_size, n, sizes.length)
    first = min(recipe.shortlist or sizes.vocab_size, sizes.vocab_size)
    rare = float((batch.tokens >= first).double().mean()) * (sizes.vocab_size - first)
    gates = 4 * recipe.hidden_dim * (recipe.embedding_dim + recipe.hidden_dim)
    return 6 * ((first + rare) * recipe.hidden_dim + gates)


def scoring_errors(corpus: Corpus, sizes: Sizes) -> dict[str, dict[str, float | None]]:
    """Return errors of -log p of real sentences against float64 on the same weights, in nats per sentence.

    By precision: `nll_bias`, mean error, and `nll_error`, its largest absolute value, after `sizes.updates` updates.
    """
    recipe, train = recipe_of(sizes), corpus.splits["train"].sentences()
    text = list(islice(train, sizes.updates * recipe.batch_tokens // sizes.length))
    held_out = list(islice(corpus.splits["valid"].sentences(), sizes.sentences))
    words = closed_vocabulary(text)
    short = replace(recipe, max_epochs=1, early_stopping=False)
    network = train_lstm(text, held_out, words, recipe=short, seed=0).network
    encoded = OutputVocabulary(words).encode(held_out)
    errors: dict[str, dict[str, float | None]] = {}
    for name, precision in PRECISIONS.items():
        ours, exact = copy.deepcopy(network), copy.deepcopy(network).double()
        ours.compute_dtype, exact.compute_dtype = compute_dtype(precision), torch.float32
        difference = score_text(ours, encoded).nll - score_text(exact, encoded).nll
        errors[name] = {
            "grad_error": None,
            "grad_cosine": None,
            "nll_bias": float(difference.mean()),
            "nll_error": float(np.abs(difference).max()),
        }
    return errors


def measure(setting: Setting) -> Report:
    """Measure whole updates of the default recipe at the vocabulary of the sizes."""
    sizes, results = setting.sizes, []
    errors = scoring_errors(setting.corpus, sizes)
    for n in BATCHES:
        prepare = partial(contestant, sizes, n)
        results += compare(
            prepare,
            batch=n,
            units=n * sizes.length,
            work=update_work(sizes, n),
            matmul_size=sizes.matmul,
            repetitions=setting.repetitions,
            memory_of=prepare,
            errors=errors,
            autograd=False,
        )
    return {"results": results, "unit": "tokens/s; memory in MB", "recipe": recipe_of(sizes).name}


if __name__ == "__main__":
    main("Speed, memory and exactness of the LSTM judge's training.", measure)

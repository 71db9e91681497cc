"""Training of the LSTM judge: Adam, dropout, and a learning rate that decays when validation stops improving.

The judge of samples stops on real validation text: held-out samples repeat those of the training text when a
generator collapses, and would never stop it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lebm_text import cuda_graphs
from lebm_text.cuda_graphs import places, recordings_of
from lebm_text.errors import InputError
from lebm_text.models.lstm import resolve_precision
from lebm_text.models.packing import Packing
from lebm_text.progress import Progress, adder, keeping, silent
from lebm_text.text.batching import Batch, BatchPlan, EncodedCorpus, PaddedBatch
from lebm_text.torch_state import own_state
from lebm_text.transfer import send

from .counts import naming
from .judges import LSTMRecipe, TrainingReport
from .lstm import LSTMJudge, LSTMNetwork, OutputVocabulary, in_pieces, score_text
from .lstm_cache import Entry, JudgeCache, training_key
from .perplexity import ppl_of

__all__ = ["adam", "train_lstm", "update"]

logger = logging.getLogger(__name__)

_INITIAL_WEIGHTS, _DROPOUT = 0, 1  # streams of a seed


@own_state(grad=True)
def train_lstm(
    train: Sequence[str],
    valid: Sequence[str],
    vocabulary: Sequence[str],
    *,
    recipe: LSTMRecipe,
    seed: int,
    precision: str = "auto",
    cache: Path | None = None,
    device: str = "cpu",
    on_progress: Progress = silent,
) -> LSTMJudge:
    """Train a judge on `train`; on a CPU the result depends only on the number of threads. Epochs are logged.

    Args:
        train, valid: sentences; words outside `vocabulary` are read as `<unk>`.
        vocabulary: the closed vocabulary, frequent words first.
        recipe: sizes, regularisation and schedule.
        seed: of the initial weights and of dropout.
        precision: "fp32", "bf16", or "auto" for the best that the machine supports.
        cache: directory for finished judges, found again by text, recipe, seed and precision, and for the state
            after each epoch, from which an interrupted training continues. If several processes need the same judge,
            one trains it and the others wait.
        device: torch's name of it.
        on_progress: reports the updates of each epoch.

    Raises:
        InputError: no sentence in either text, or words that no judge may read (with the line number).
    """
    types = OutputVocabulary(vocabulary)
    text = types.encode(train)
    with naming("validation text"):
        held_out = types.encode(valid)
    for name, encoded in (("text to train on", text), ("validation text", held_out)):
        if not len(encoded):
            raise InputError(f"the {name} is empty; give at least one line")
    precision = resolve_precision(precision, torch.device(device))
    stored = JudgeCache(cache, training_key(text, held_out, types, recipe, seed, precision))
    counts = np.bincount(text.tokens, minlength=len(types))
    network = LSTMNetwork(len(types), recipe, precision, rng=_generator(seed, _INITIAL_WEIGHTS))
    seen = torch.from_numpy(counts > 0)
    found, cached = stored.read(stored.finished), True
    if found is None:
        with stored.alone():
            found = stored.read(stored.finished)  # another process may have trained it meanwhile
            if found is None:
                network.start_from(counts)
                training = _Training(network.to(device), in_pieces(text)[0], held_out, seed, on_progress)
                cached = False
                found = _carry_out(training, stored, precision)
    network.load_state_dict(found.tensors)
    return LSTMJudge(network.to(device), types, seen, TrainingReport(**{**found.notes, "cached": cached}))


def _carry_out(training: _Training, stored: JudgeCache, precision: str) -> Entry:
    """Run the training to its end, from where it was interrupted; return the best weights and the report."""
    if interrupted := stored.read(stored.unfinished):
        training.load(interrupted)
        logger.info(f"going on after epoch {training.progress.n_epochs}")
    done = training.progress

    def finished_epochs() -> str:
        nothing = stored.unfinished is None or not done.n_epochs
        return "" if nothing else f"the LSTM judge is kept as it was after epoch {done.n_epochs}"

    with keeping(finished_epochs):
        while not training.ended:
            message = training.epoch()
            stored.write(stored.unfinished, training.state())
            logger.info(message)
    report = TrainingReport(done.n_epochs, done.best_epoch, done.seconds, ppl_of(done.best_nll), precision)
    entry = Entry(training.best, asdict(report))
    stored.finish(entry)
    return entry


def adam(network: LSTMNetwork, learning_rate: float) -> torch.optim.Adam:
    """Return a new optimiser of all weights."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)


def update(
    network: LSTMNetwork, optimizer: torch.optim.Optimizer, batch: Batch, mean_tokens: float, *, rng: torch.Generator
) -> Tensor:
    """Take one step on the NLL of a batch under dropout, and return its sum in nats.

    The loss is divided by the tokens of the mean batch, not of this one: a token has the same weight in all batches.
    """
    if cuda_graphs.applies(network.device):
        nll = _recorded_gradient(network, batch.padded(), mean_tokens, rng)
    else:
        optimizer.zero_grad(set_to_none=True)
        nll = -network.log_probs(batch, Packing.of(batch.lengths, network.device), rng=rng).sum()
        _set_gradient(network, nll / mean_tokens)
    optimizer.step()
    return nll.detach()


def _set_gradient(network: LSTMNetwork, loss: Tensor) -> None:
    """Write the clipped gradient of a loss to `grad` of all parameters, in place if it is there."""
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad.copy_(gradient)
    torch.nn.utils.clip_grad_norm_(parameters, network.recipe.clip_norm)


def _recorded_gradient(network: LSTMNetwork, batch: PaddedBatch, mean_tokens: float, rng: torch.Generator) -> Tensor:
    """Set the gradient of a padded batch by what was recorded for its shape, and return the NLL."""
    kept: list[Tensor] = list(network.parameters())
    for parameter in network.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        kept.append(parameter.grad)

    def compute(tokens: Tensor, lengths: Tensor, *masks: Tensor) -> Tensor:
        nll = network.padded_nll(PaddedBatch(tokens, lengths), masks)
        _set_gradient(network, nll / mean_tokens)
        return nll.detach()

    key = (mean_tokens, places(kept))
    given = (send(each, network.device) for each in (batch.tokens, batch.lengths))
    masks = network.dropout_masks(batch.tokens.numel(), rng)
    return recordings_of(network)(key, compute, *given, *masks)


@dataclass
class _Progress:
    """Counters of a training; `best_nll` is the lowest validation NLL per token."""

    learning_rate: float
    best_nll: float = math.inf
    best_epoch: int = 0
    n_epochs: int = 0
    n_decays: int = 0
    seconds: float = 0.0


class _Training:
    """A training between two epochs."""

    def __init__(
        self,
        network: LSTMNetwork,
        train: EncodedCorpus,
        valid: EncodedCorpus,
        seed: int,
        on_progress: Progress = silent,
    ) -> None:
        recipe, self._on_progress = network.recipe, on_progress
        self._network, self._recipe, self._train, self._valid, self._seed = network, recipe, train, valid, seed
        self._plan = BatchPlan(train, recipe.batch_size, recipe.batch_tokens, seed)
        self._passes = -(-recipe.min_updates // self._plan.n_batches)
        self._mean_tokens = len(train.tokens) / self._plan.n_batches
        self.progress = _Progress(recipe.learning_rate, best_nll=self._valid_nll())
        self._optimizer = adam(network, recipe.learning_rate)
        self.best = self._parameters()

    @property
    def ended(self) -> bool:
        """Whether the recipe asks for no further epoch."""
        progress = self.progress
        return progress.n_epochs >= self._recipe.max_epochs or progress.n_decays > self._recipe.n_decays

    def epoch(self) -> str:
        """Train one more epoch and return a line about it."""
        start, progress = time.perf_counter(), self.progress
        rate = progress.learning_rate
        train_nll = self._pass_over_text()
        valid_nll = self._valid_nll()
        progress.n_epochs += 1
        self._judge_epoch(valid_nll)
        seconds = time.perf_counter() - start
        progress.seconds += seconds
        return (
            f"epoch {progress.n_epochs}: perplexity {ppl_of(train_nll):.2f} in training, {ppl_of(valid_nll):.2f} on "
            f"validation text, learning rate {rate:.2g}, {seconds:.0f} s"
        )

    def state(self) -> Entry:
        """Return everything that the remaining epochs depend on."""
        tensors = {f"last.{name}": tensor for name, tensor in self._parameters().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor.cpu() for name, tensor in moments.items()}
        return Entry(tensors, asdict(self.progress))

    def load(self, entry: Entry) -> None:
        """Restore what `state` returned."""

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): value for key, value in entry.tensors.items() if key.startswith(name)}

        self.progress = _Progress(**entry.notes)
        self._network.load_state_dict(part("last."))
        self.best = part("best.")
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in part("optimizer.").items():
            number, name = key.split(".")
            moments.setdefault(int(number), {})[name] = tensor
        self._optimizer = adam(self._network, self.progress.learning_rate)
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})

    def _pass_over_text(self) -> float:
        """Run the updates of one epoch and return their mean NLL per token, under dropout."""
        network, n_epochs = self._network, self.progress.n_epochs
        device = network.device
        dropout = _generator(self._seed, _DROPOUT, n_epochs, device=device)
        total = torch.zeros((), dtype=torch.float64, device=device)
        stage = f"LSTM judge, epoch {n_epochs + 1} of at most {self._recipe.max_epochs}"
        add = adder(self._on_progress, stage, self._passes * self._plan.n_batches)
        for one_pass in range(n_epochs * self._passes, (n_epochs + 1) * self._passes):
            for index in self._plan.epoch(one_pass):
                batch = self._train.batch(index)
                total += update(network, self._optimizer, batch, self._mean_tokens, rng=dropout)
                add(1)
        return float(total) / (self._passes * len(self._train.tokens))

    def _judge_epoch(self, valid_nll: float) -> None:
        """Keep the best epoch, and lower the learning rate, as the recipe specifies."""
        progress, recipe = self.progress, self._recipe
        better = valid_nll < progress.best_nll
        enough = valid_nll <= progress.best_nll + math.log1p(-recipe.min_gain)
        if better or not recipe.early_stopping:
            progress.best_nll, progress.best_epoch = valid_nll, progress.n_epochs
            self.best = self._parameters()
        if recipe.early_stopping and not (better and enough):
            progress.n_decays += 1
            progress.learning_rate *= recipe.decay
            if not better:
                self._network.load_state_dict(self.best)
                self._optimizer = adam(self._network, self.progress.learning_rate)
            for group in self._optimizer.param_groups:
                group["lr"] = progress.learning_rate

    def _valid_nll(self) -> float:
        scores = score_text(self._network, self._valid)
        return float(scores.nll.sum() / scores.n_tokens.sum())

    def _parameters(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self._network.state_dict().items()}


def _generator(*stream: int, device: Any = "cpu") -> torch.Generator:
    """Return a generator seeded by a tuple of numbers."""
    (seed,) = np.random.SeedSequence(stream).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(seed >> np.uint64(1)))

"""One call of training: the modules of a run, and the files that they leave in its directory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lebm_text.build import LatentModel, build_model
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.generation.generate import generate
from lebm_text.model import WEIGHTS_FILE, weights_metadata
from lebm_text.processes import ALONE, Processes
from lebm_text.random import stream
from lebm_text.store import atomic_write_text
from lebm_text.text.batching import BatchPlan
from lebm_text.text.corpora import Corpus
from lebm_text.text.tokenizers import closed_vocabulary
from lebm_text.training.checkpoint import Checkpoint, load_weights, save_weights
from lebm_text.training.data import PreparedText
from lebm_text.training.events import Event, Listener
from lebm_text.training.lock import sole_writer
from lebm_text.training.loop import Limits, Progress, TrainingLoop
from lebm_text.training.trainer import Trainer
from lebm_text.training.validation import validate

__all__ = ["SampleScore", "Session", "Summary"]

# (samples, real sentences, vocabulary) → a score to be made small, for training.select = valid_kn5.
SampleScore = Callable[[Sequence[str], Sequence[str], Sequence[str]], float]

SHOWN_SAMPLES = 20  # sentences written to samples/ after each epoch
SCORED_SAMPLES = 10_000  # sentences that a SampleScore judges, or as many as were trained on


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a call ended: `finished`, `max_steps`, `max_minutes` or `stopped`, after which update."""

    reason: str
    step: int
    path: Path


class Session:
    """What a new run and a resumed one share; the configuration is resolved."""

    def __init__(
        self,
        out: Path,
        config: Config,
        corpus: Corpus,
        text: PreparedText,
        device: torch.device,
        on_event: Listener,
        sample_score: SampleScore | None,
        processes: Processes = ALONE,
    ) -> None:
        self.out, self.config, self.corpus, self.text = out, config, corpus, text
        self.device, self.on_event, self.sample_score = device, on_event, sample_score
        self.processes = processes

    def run(self, checkpoint: Checkpoint | None, notices: Sequence[str], limits: Limits) -> Summary:
        """Train to the end or a limit. Raises InputError if another process trains here, or if numbers diverge."""
        with sole_writer(self.out) if self.processes.first else nullcontext():
            return self._run(checkpoint, notices, limits)

    def _run(self, checkpoint: Checkpoint | None, notices: Sequence[str], limits: Limits) -> Summary:
        settings = self.config.training
        started = time.monotonic()
        for message in notices:
            self.on_event(Event("notice", {"message": message}))
        with _threads(settings.n_threads):
            self.model = self._model()
            plan = BatchPlan(self.text.train, settings.batch_size, settings.batch_tokens, settings.seed)
            trainer = Trainer(
                self.model,
                self.config,
                n_sentences=len(self.text.train),
                mean_batch_size=plan.mean_batch_size,
                processes=self.processes,
            )
            loop = TrainingLoop(trainer, plan, self.out, on_event=self.on_event, end_of_epoch=self._end_of_epoch)
            if checkpoint is None:
                loop.begin_again()
            else:
                loop.restore(checkpoint)
            self._announce(loop)
            try:
                reason = loop.run(limits)
            except FloatingPointError as error:
                self._publish(loop.progress)  # the weights are those of before the update
                raise InputError(
                    f"training diverged: {error}; the weights in {self.out} are from before. Start anew with a "
                    "smaller inference.step_size, training.learning_rate or training.prior_learning_rate"
                ) from None
            self._publish(loop.progress)
            if reason == "finished":
                loop.finish()
        step = loop.progress.step
        seconds = time.monotonic() - started
        end = {"reason": reason, "step": step, "seconds": seconds, "path": str(self.out)}
        self.on_event(Event("end", end))
        return Summary(reason, step, self.out)

    def _model(self) -> LatentModel:
        rng = stream(self.config.training.seed, "weights")
        tokenizer = self.text.tokenizer
        model = build_model(self.config, vocab_size=len(tokenizer), bos_id=tokenizer.bos_id, rng=rng)
        return model.to(self.device)

    def _announce(self, loop: TrainingLoop) -> None:
        settings = self.config.training
        start = {
            "run": str(self.out),
            "corpus": self.corpus.name,
            "n_sentences": len(self.text.train),
            "n_tokens": len(self.text.train.tokens),
            "vocab_size": len(self.text.tokenizer),
            "n_parameters": sum(p.numel() for p in self.model.parameters()),
            "steps_per_epoch": loop.steps_per_epoch,
            "n_steps": loop.n_steps,
            "step": loop.progress.step,
            "device": str(self.device),
            "precision": settings.precision,
            "threads": settings.n_threads,
            "processes": self.processes.size,
        }
        self.on_event(Event("start", start))

    def _end_of_epoch(self, progress: Progress) -> dict[str, float]:
        figures: dict[str, float] = {}
        if len(self.text.valid):
            figures |= validate(
                self.model, self.config, self.text.valid, epoch=progress.epoch, processes=self.processes
            )
        samples = "".join(f"{sentence}\n" for sentence in self._sample(SHOWN_SAMPLES))
        if self.processes.first:
            atomic_write_text(_made(self.out / "samples") / f"epoch-{progress.epoch:04d}.txt", samples)
        if self.config.training.select == "valid_kn5":
            figures |= self._select(progress)
        return figures

    def _select(self, progress: Progress) -> dict[str, float]:
        """Judge samples of the present weights, and keep the weights if there were none better."""
        assert self.sample_score is not None
        samples = self._sample(min(SCORED_SAMPLES, len(self.text.train)))
        if not self.processes.first:
            return {}
        score = self.sample_score(samples, self.text.valid_sentences, self._vocabulary)
        if progress.best is None or score < progress.best:
            progress.best = score
            self._save(_made(self.out / "checkpoints" / "best") / WEIGHTS_FILE, self.model.state_dict())
        return {"valid_kn5": score}

    def _sample(self, n: int) -> list[str]:
        seed, tokenizer = self.config.training.seed, self.text.tokenizer
        return generate(self.model, tokenizer, self.config, n, seed=seed, processes=self.processes).sentences

    @cached_property
    def _vocabulary(self) -> list[str]:
        """The closed vocabulary by which judges read."""
        return closed_vocabulary(self.corpus.splits["train"].sentences())

    def _publish(self, progress: Progress) -> None:
        """Write model.safetensors: the best weights if they are selected and exist, else the present ones."""
        if not self.processes.first:
            return
        best = self.out / "checkpoints" / "best" / WEIGHTS_FILE
        selected = self.config.training.select == "valid_kn5" and progress.best is not None
        # The model keeps its own: a checkpoint may follow.
        self._save(self.out / WEIGHTS_FILE, load_weights(best)[0] if selected else self.model.state_dict())

    def _save(self, path: Path, weights: dict[str, Tensor]) -> None:
        save_weights(path, weights, weights_metadata(self.text.tokenizer))


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """`n` CPU threads inside; results can depend on their number, so a run keeps it."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory

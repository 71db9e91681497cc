"""The loop over epochs and batches: when to update, report, validate, save and stop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lebm_text.text.batching import Batch, BatchPlan, prefetch
from lebm_text.training.checkpoint import Checkpoint, save_checkpoint
from lebm_text.training.events import Event, Listener
from lebm_text.training.metrics import MetricsLog
from lebm_text.training.monitor import Averages, Watchdog
from lebm_text.training.trainer import Trainer

__all__ = ["Limits", "Progress", "TrainingLoop"]

_STOPPED, _MAX_STEPS, _MAX_MINUTES = "stopped", "max_steps", "max_minutes"


@dataclass(frozen=True)
class Limits:
    """Reasons to stop early: an update number, a moment of time.monotonic(), a flag that someone may set."""

    max_steps: int | None = None
    deadline: float | None = None
    should_stop: Callable[[], bool] = lambda: False

    def reached(self, step: int) -> str | None:
        """Why to stop before the update after `step`, if at all."""
        if self.should_stop():
            return _STOPPED
        if self.max_steps is not None and step >= self.max_steps:
            return _MAX_STEPS
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return _MAX_MINUTES
        return None


@dataclass
class Progress:
    """Where a run stands; saved with each checkpoint."""

    step: int = 0  # updates done
    epoch: int = 0  # epochs done
    batch: int = 0  # batches done in the running epoch
    seconds: float = 0.0  # spent on updates
    tokens: int = 0  # since the last report
    interval_seconds: float = 0.0
    sums: dict[str, Any] = field(default_factory=dict)  # of the figures since the last report
    warnings: list[str] = field(default_factory=list)  # that are in force
    best: float | None = None  # lowest selection score so far
    finished: bool = False


class TrainingLoop:
    """Drives a `Trainer` through the epochs of a `BatchPlan`.

    Args:
        trainer: makes the updates; of several processes, the first alone writes, and all stop together.
        plan: the batches.
        out: run directory, for checkpoints and metrics.
        on_event: hears of all that happens.
        end_of_epoch: called with the progress after each epoch; returns what to log (validation figures).
    """

    def __init__(
        self,
        trainer: Trainer,
        plan: BatchPlan,
        out: Path,
        *,
        on_event: Listener,
        end_of_epoch: Callable[[Progress], dict[str, float]],
    ) -> None:
        self.trainer, self.plan, self.on_event, self.end_of_epoch = trainer, plan, on_event, end_of_epoch
        self.checkpoints = out / "checkpoints"
        self.processes = trainer.processes
        self.metrics = MetricsLog(out / "metrics.jsonl" if self.processes.first else Path(os.devnull))
        self.progress = Progress()
        self.averages = Averages()
        self.watchdog = Watchdog(trainer.config.model.latent_dim)
        self.steps_per_epoch = plan.n_batches
        self.n_steps = trainer.config.training.n_epochs * self.steps_per_epoch

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where `checkpoint` was written, metrics included."""
        known = {f.name for f in fields(Progress)}
        self.progress = Progress(**{k: v for k, v in checkpoint.state["progress"].items() if k in known})
        self.trainer.load_state(checkpoint.tensors, checkpoint.state["trainer"])
        self.averages = Averages(self.progress.sums)
        self.watchdog = Watchdog(self.watchdog.latent_dim, self.progress.warnings)
        self.metrics.truncate_after(self.progress.step)

    def begin_again(self) -> None:
        """Stand before the first update, without the metrics of a run that was killed before its first checkpoint."""
        self.metrics.truncate_after(0)

    def run(self, limits: Limits) -> str:
        """Train until the last epoch or a limit; returns `finished` or the limit's name. Ends with a checkpoint."""
        with self.metrics:
            progress, settings = self.progress, self.trainer.config.training
            while progress.epoch < settings.n_epochs:
                indices = self.plan.epoch(progress.epoch)
                with closing(prefetch(self.plan.corpus.batch, indices[progress.batch :])) as batches:
                    while progress.batch < len(indices):
                        wish = limits.reached(progress.step)
                        if reason := self.processes.agreed(wish, (_STOPPED, _MAX_STEPS, _MAX_MINUTES)):
                            self._save()
                            return reason
                        self._update(batches)
                        # After an epoch's last batch the checkpoint waits for the validation that belongs to it.
                        if progress.step % settings.checkpoint_every == 0 and progress.batch < len(indices):
                            self._save()
                self._finish_epoch()
            return "finished"

    def finish(self) -> None:
        """Mark the run as finished, once all that it leaves is written: a finished run is never touched again."""
        self.progress.finished = True
        self._save()

    def _update(self, batches: Iterator[Batch]) -> None:
        progress, started = self.progress, time.monotonic()
        batch = next(batches).to(self.trainer.device)
        epoch = progress.epoch + progress.batch / self.steps_per_epoch
        step = progress.step + 1
        probe = step % self.trainer.config.training.report_every == 0
        self.averages.add(self.trainer.update(batch, epoch=epoch, step=step, probe=probe))
        progress.step, progress.batch = step, progress.batch + 1
        seconds = time.monotonic() - started
        progress.seconds += seconds
        progress.interval_seconds += seconds
        progress.tokens += batch.n_tokens
        fraction = progress.epoch + progress.batch / self.steps_per_epoch
        self.on_event(Event("progress", {"step": step, "n_steps": self.n_steps, "epoch": fraction}))
        if probe:
            self._report(fraction)

    def _report(self, epoch: float) -> None:
        progress, means = self.progress, self.averages.flush()
        report: dict[str, Any] = {"step": progress.step, "epoch": round(epoch, 4), **means}
        if "std_positive" in means:
            report["std_ratio"] = means["std_positive"] / max(means["std_negative"], 1e-30)
        if curvatures := [value for name, value in means.items() if name.startswith("curvature_")]:
            report["curvature"] = max(curvatures)
        speed = progress.tokens / max(progress.interval_seconds, 1e-9)
        left = (self.n_steps - progress.step) * progress.seconds / progress.step
        report |= {"tokens_per_second": speed, "eta_seconds": left}
        progress.tokens, progress.interval_seconds = 0, 0.0
        self.metrics.append(report)
        self.on_event(Event("report", report))
        for message in self.watchdog.check(report):
            self.on_event(Event("warning", {"message": f"step {progress.step}: {message}"}))

    def _finish_epoch(self) -> None:
        progress = self.progress
        self.trainer.end_epoch()
        progress.epoch, progress.batch = progress.epoch + 1, 0
        record = {"step": progress.step, "epoch": progress.epoch, **self.end_of_epoch(progress)}
        self.metrics.append(record)
        self.on_event(Event("validation", record))
        self._save()

    def _save(self) -> None:
        self.progress.sums = {name: list(pair) for name, pair in self.averages.sums.items()}
        self.progress.warnings = sorted(self.watchdog.active)
        if not self.processes.first:
            return
        tensors, skeleton = self.trainer.state()
        save_checkpoint(self.checkpoints, tensors, {"progress": asdict(self.progress), "trainer": skeleton})
        path = str(self.checkpoints / "last")
        self.on_event(Event("checkpoint", {"path": path, "step": self.progress.step}))

"""The loop over epochs and batches: when to update, report, validate, save and stop."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lebm_text import cuda_graphs
from lebm_text.errors import InputError, one_line
from lebm_text.metrics import MetricsLog
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.text.batching import Batch, BatchPlan, prefetch
from lebm_text.training.checkpoint import Checkpoint, save_checkpoint
from lebm_text.training.events import Event, Listener
from lebm_text.training.monitor import Averages, Watchdog
from lebm_text.training.trainer import Trainer

__all__ = ["Limits", "Position", "TrainingLoop"]

logger = logging.getLogger(__name__)

_STOPPED, _MAX_STEPS, _MAX_MINUTES = "stopped", "max_steps", "max_minutes"
_PATIENCE = "patience"


@dataclass(frozen=True)
class Limits:
    """Reasons to stop early: an update number, a time of time.monotonic(), or a flag that a callback may set."""

    max_steps: int | None = None
    deadline: float | None = None
    should_stop: Callable[[], bool] = lambda: False

    def reached(self, step: int) -> str | None:
        """Return the reason to stop before the update after `step`, or None."""
        if self.should_stop():
            return _STOPPED
        if self.max_steps is not None and step >= self.max_steps:
            return _MAX_STEPS
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return _MAX_MINUTES
        return None


@dataclass
class Position:
    """Position of a run; saved with each checkpoint."""

    step: int = 0  # updates done
    epoch: int = 0  # epochs done
    batch: int = 0  # batches done in the current epoch
    seconds: float = 0.0  # spent on updates
    tokens: int = 0  # since the last report
    interval_seconds: float = 0.0
    sums: dict[str, Any] = field(default_factory=dict)  # of the figures since the last report
    warnings: list[str] = field(default_factory=list)  # currently active
    best: float | None = None  # lowest selection score so far
    since_best: int = 0  # epochs since then
    finished: bool = False


class TrainingLoop:
    """Drives a `Trainer` through the epochs of a `BatchPlan`.

    Args:
        trainer: makes the updates; of several processes only the first writes, and all stop together.
        plan: the batches.
        run: the run directory, with the files of checkpoints and metrics.
        on_progress: called after every update.
        on_event: called with all other events.
        end_of_epoch: called with the position after each epoch; returns what to log (validation figures).
    """

    def __init__(
        self,
        trainer: Trainer,
        plan: BatchPlan,
        run: Run,
        *,
        on_progress: Progress = silent,
        on_event: Listener,
        end_of_epoch: Callable[[Position], dict[str, float]],
    ) -> None:
        self.trainer, self.plan, self.directory = trainer, plan, run
        self.on_progress, self.on_event, self.end_of_epoch = on_progress, on_event, end_of_epoch
        self.processes = trainer.processes
        self.metrics = MetricsLog(run.metrics_file if self.processes.first else Path(os.devnull))
        self.position = Position()
        self.watchdog = Watchdog(trainer.config.model.latent_dim)
        self.steps_per_epoch = plan.n_batches
        self.n_steps = trainer.config.training.n_epochs * self.steps_per_epoch

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Return to the position of `checkpoint`, metrics included; without one, to before the first update.

        Without one there may still be metrics, if the run was killed before its first checkpoint.
        """
        if checkpoint is None:
            self.metrics.truncate_after(0)
            return
        try:
            known = {f.name for f in fields(Position)}
            self.position = Position(**{k: v for k, v in checkpoint.state["progress"].items() if k in known})
            self.trainer.load_state(checkpoint.tensors, checkpoint.state["trainer"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            self.metrics.close()
            raise InputError(f"{checkpoint.path} does not fit this run: {one_line(error, 200)}") from None
        self.metrics.truncate_after(self.position.step)
        self.trainer.monitor.averages = Averages(self.position.sums)
        self.watchdog = Watchdog(self.watchdog.latent_dim, self.position.warnings)

    def run(self, limits: Limits) -> str:
        """Train until the last epoch, until patience runs out, or to a limit, and save a checkpoint.

        Returns:
            `finished`, `patience`, or the limit's name.
        """
        self._began = self._beginning()
        with closing(self.metrics):
            if cuda_graphs.applies(self.trainer.device):
                self.trainer.record(self.plan.corpus.batch(self.plan.largest()).to(self.trainer.device))
            position, settings = self.position, self.trainer.config.training
            while position.epoch < settings.n_epochs:
                tired = settings.patience is not None and position.since_best >= settings.patience
                if self.processes.agreed(_PATIENCE if tired else None, (_PATIENCE,)):
                    return _PATIENCE
                indices = self.plan.epoch(position.epoch)
                with closing(prefetch(self.plan.corpus.batch, indices[position.batch :])) as batches:
                    while position.batch < len(indices):
                        wish = limits.reached(position.step)
                        if reason := self.processes.agreed(wish, (_STOPPED, _MAX_STEPS, _MAX_MINUTES)):
                            self._save()
                            return reason
                        self._update(batches)
                        # After an epoch's last batch the checkpoint is written with the validation figures.
                        if position.step % settings.checkpoint_every == 0 and position.batch < len(indices):
                            self._save()
                self._finish_epoch()
            return "finished"

    def finish(self) -> None:
        """Mark the run as finished, after everything else is written: a finished run never changes again."""
        self.position.finished = True
        self._save()

    def _update(self, batches: Iterator[Batch]) -> None:
        position, started = self.position, time.monotonic()
        batch = next(batches).to(self.trainer.device)
        epoch = position.epoch + position.batch / self.steps_per_epoch
        step = position.step + 1
        report = step % self.trainer.config.training.report_every == 0
        self.trainer.update(batch, epoch=epoch, step=step, report=report)
        means = self.trainer.monitor.flush() if report else {}
        position.step, position.batch = step, position.batch + 1
        seconds = time.monotonic() - started
        position.seconds += seconds
        position.interval_seconds += seconds
        position.tokens += batch.n_tokens
        self.on_progress("training", step, self.n_steps)
        if report:
            self._report(means, position.epoch + position.batch / self.steps_per_epoch)

    def _report(self, means: dict[str, float], epoch: float) -> None:
        position = self.position
        report: dict[str, Any] = {"step": position.step, "epoch": round(epoch, 4), **means}
        if "std_positive" in means:
            report["std_ratio"] = means["std_positive"] / max(means["std_negative"], 1e-30)
        if curvatures := [value for name, value in means.items() if name.startswith("curvature_")]:
            report["curvature"] = max(curvatures)
        if self.trainer.halvings:
            report["prior_n_steps"] = self.trainer.config.prior.finer(self.trainer.halvings).n_steps
        if self.trainer.config.training.schedule != "constant":
            report["learning_rate"] = self.trainer.learning_rate(epoch)
        speed = position.tokens / max(position.interval_seconds, 1e-9)
        left = (self.n_steps - position.step) * position.seconds / position.step
        report |= {"tokens_per_second": speed, "eta_seconds": left}
        position.tokens, position.interval_seconds = 0, 0.0
        self.metrics.append(report)
        self.on_event(Event("report", report))
        self._watch(report)

    def _finish_epoch(self) -> None:
        self._require_place()
        position = self.position
        self.trainer.monitor.collect()  # a model that has diverged is neither validated nor sampled
        before = position.epoch, position.batch
        position.epoch, position.batch = position.epoch + 1, 0
        try:
            record = {"step": position.step, "epoch": position.epoch, **self.end_of_epoch(position)}
        except Exception:  # such as that of a judge: the epoch's updates are kept, and a resumed run ends it again
            position.epoch, position.batch = before
            self._save()
            raise
        self.trainer.end_epoch()
        self.metrics.append(record)
        self.on_event(Event("validation", record))
        self._watch(record)
        self._save()

    def _watch(self, record: dict[str, Any]) -> None:
        for message in self.watchdog.check(record).values():
            if self.processes.first:
                logger.warning("step %d: %s", self.position.step, message)

    def _save(self) -> None:
        self.trainer.monitor.collect()
        self.position.sums = {name: list(pair) for name, pair in self.trainer.monitor.averages.sums.items()}
        self.position.warnings = sorted(self.watchdog.active)
        if not self.processes.first:
            return
        self._require_place()
        tensors, skeleton = self.trainer.state()
        progress, config = asdict(self.position), self.trainer.config.to_dict()
        checkpoints = self.directory.checkpoints
        save_checkpoint(checkpoints, tensors, {"progress": progress, "trainer": skeleton, "config": config})
        self.on_event(Event("checkpoint", {"path": str(checkpoints / "last"), "step": self.position.step}))

    def _require_place(self) -> None:
        """Raise InputError if the directory is no longer that of this run: what is there now may be another's."""
        if self.processes.first and self._beginning() != self._began:
            raise InputError(
                f"{self.directory} was moved, deleted or replaced during the training; nothing more is written there. "
                "Where the run is now, it goes on from its last checkpoint: lebm-text train --resume --out DIR"
            )

    def _beginning(self) -> bytes | None:
        """Return env.json, which has the time when the run began; None without it."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return self.directory.environment_file.read_bytes()
        return None

"""Tracking of a training in external services: TensorBoard, Weights & Biases, or MLflow.

| event | what is logged |
|---|---|
| start | the configuration |
| report, validation | every number, and after an epoch its samples |
| end | pictures of curves and latent space (with matplotlib), latent vectors of held-out and of generated sentences |
"""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lebm_text.errors import InputError, one_line
from lebm_text.metrics import figures_of
from lebm_text.run import Run
from lebm_text.store import sha256_file
from lebm_text.training.events import Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

__all__ = ["TRACKERS", "Latents", "Tracker", "Tracking"]

N_LATENTS = 500  # maximum number of held-out sentences, and of generated ones
_PROJECT = "lebm-text"

logger = logging.getLogger(__name__)


class Latents(NamedTuple):
    """Vectors z (n, D), the sentences they were inferred from or decoded to, and which of the two: read, generated."""

    z: Tensor
    sentences: list[str]
    origins: list[str]


class Tracker(Protocol):
    """A service that logs a run; an exception it raises ends the logging, not the training."""

    def begin(self, run: Run, step: int) -> None:
        """Start or resume logging of a run; anything logged after the update `step` is superseded."""

    def numbers(self, values: Mapping[str, float], step: int) -> None: ...

    def samples(self, sentences: Sequence[str], step: int) -> None: ...

    def picture(self, name: str, figure: Figure, step: int) -> None: ...

    def latents(self, latents: Latents, step: int) -> None: ...

    def end(self) -> None: ...


class TensorBoard:
    """Event files in the run's directory tensorboard/; the latent vectors are in the tab Projector."""

    def begin(self, run: Run, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.tensorboard), purge_step=step + 1)
        self._writer.add_text("config", f"```json\n{json.dumps(run.config.to_dict(), indent=1)}\n```", step)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def samples(self, sentences: Sequence[str], step: int) -> None:
        self._writer.add_text("samples", "".join(f"    {sentence}\n" for sentence in sentences), step)

    def picture(self, name: str, figure: Figure, step: int) -> None:
        self._writer.add_figure(name, figure, step)

    def latents(self, latents: Latents, step: int) -> None:
        rows = [[" ".join(text.split()), of] for text, of in zip(latents.sentences, latents.origins, strict=True)]
        self._writer.add_embedding(latents.z, rows, global_step=step, tag="z", metadata_header=["sentence", "origin"])

    def end(self) -> None:
        self._writer.close()


class WandB:
    """Weights & Biases: the run's directory wandb/, and the service unless WANDB_MODE=offline."""

    def begin(self, run: Run, step: int) -> None:
        import wandb

        self._wandb = wandb
        quiet = wandb.Settings(console="off", silent=True)
        self._run = wandb.init(
            project=_PROJECT, name=run.name, id=_identity(run), resume="allow", dir=str(run.path),
            config=run.config.to_dict(), settings=quiet,
        )  # fmt: skip

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def samples(self, sentences: Sequence[str], step: int) -> None:
        table = self._wandb.Table(columns=["sentence"], data=[[sentence] for sentence in sentences])
        self._run.log({"samples": table}, step=step)

    def picture(self, name: str, figure: Figure, step: int) -> None:
        from PIL import Image  # which matplotlib brings

        figure.savefig(drawn := BytesIO(), format="png")
        self._run.log({name: self._wandb.Image(Image.open(drawn))}, step=step)

    def latents(self, latents: Latents, step: int) -> None:
        rows = [list(row) for row in zip(latents.sentences, latents.origins, latents.z.tolist(), strict=True)]
        self._run.log({"z": self._wandb.Table(columns=["sentence", "origin", "z"], data=rows)}, step=step)

    def end(self) -> None:
        self._run.finish()


class MLflow:
    """MLflow, at MLFLOW_TRACKING_URI."""

    def begin(self, run: Run, step: int) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        known = self._client.get_experiment_by_name(_PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(_PROJECT)
        mark = _identity(run)
        found = self._client.search_runs([experiment], f"tags.lebm_text = '{mark}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(experiment, run_name=run.name, tags={"lebm_text": mark}).info.run_id
        for section, settings in run.config.to_dict().items():
            for key, value in settings.items():
                self._client.log_param(self._id, f"{section}.{key}", value)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in values.items()])

    def samples(self, sentences: Sequence[str], step: int) -> None:
        self._client.log_text(self._id, "".join(f"{each}\n" for each in sentences), f"samples/step-{step:08d}.txt")

    def picture(self, name: str, figure: Figure, step: int) -> None:
        self._client.log_figure(self._id, figure, f"{name}.png")

    def latents(self, latents: Latents, step: int) -> None:
        columns = {"sentence": latents.sentences, "origin": latents.origins, "z": latents.z.tolist()}
        self._client.log_dict(self._id, columns, "z.json")

    def end(self) -> None:
        self._client.set_terminated(self._id)


# name of option and extra → (required package, class)
TRACKERS: dict[str, tuple[str, type[Tracker]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WandB),
    "mlflow": ("mlflow", MLflow),
}


class Tracking:
    """The listener that passes the events of a training in the directory of `run` to the named trackers."""

    def __init__(self, run: Run, names: Sequence[str]) -> None:
        """Check the trackers before any work is done. Raises InputError if one is not installed."""
        for name in names:
            if importlib.util.find_spec(TRACKERS[name][0]) is None:
                raise InputError(f"--{name} needs another package: pip install 'lebm-text[{name}]'")
        self._path, self._names = run.path, names
        self._trackers: dict[str, Tracker] = {}

    def __call__(self, event: Event) -> None:
        """Log one event. An exception of a tracker becomes a warning, and the tracker is dropped."""
        if event.kind == "start":
            self._run = Run(self._path, trust_plugins=True)  # as trained here and now
            self._trackers = {name: TRACKERS[name][1]() for name in self._names}
        if not self._trackers:
            return
        for log in self._log_calls(event):
            for name, tracker in [*self._trackers.items()]:
                try:
                    log(tracker)
                # Network services, each with exceptions of its own.
                except Exception as error:
                    del self._trackers[name]
                    logger.warning("%s: %s; it is told nothing more, the training goes on", name, one_line(error))

    def _log_calls(self, event: Event) -> Iterator[Callable[[Tracker], None]]:
        """Yield the calls that log an event to a tracker."""
        step = event.data.get("step", 0)
        if event.kind == "start":
            yield lambda tracker: tracker.begin(self._run, step)
        elif event.kind in ("report", "validation"):
            numbers = {f"{event.kind}/{key}": value for key, value in figures_of(event.data).items() if key != "step"}
            yield lambda tracker: tracker.numbers(numbers, step)
            texts = self._run.samples() if event.kind == "validation" else []
            if of_epochs := [each.path for each in texts if each.path.name.startswith("epoch-")]:
                sentences = of_epochs[-1].read_text(encoding="utf-8").split("\n")[:-1]
                yield lambda tracker: tracker.samples(sentences, step)
        elif event.kind == "end":
            try:
                yield from self._pictures_and_latents(step)
            except InputError as error:  # such as a text that is gone
                logger.warning("not told of pictures and latent vectors: %s", error)
            yield lambda tracker: tracker.end()

    def _pictures_and_latents(self, step: int) -> Iterator[Callable[[Tracker], None]]:
        import torch

        from lebm_text.reports import curves, views
        from lebm_text.reports.drawing import picture_formats

        draws, latent_dim = bool(picture_formats() and self._run.metrics()), self._run.config.model.latent_dim
        if draws and (drawn := curves.compute([self._run]).figure()) is not None:
            yield lambda tracker: tracker.picture("curves", drawn, step)
        if not latent_dim:
            return
        model = self._run.model().quiet()
        sentences = model.fitting(self._run.corpus().splits["valid"].sentences())[:N_LATENTS]
        n = len(sentences)
        if draws and latent_dim > 1 and n > 2:
            seen = views.compute(self._run, views.ViewsSettings(n=n, split="valid")).figure()
            yield lambda tracker: tracker.picture("latent-space", seen, step)
        if n:
            made = model.generate(n)
            z = torch.cat([model.infer(sentences), made.z])
            latents = Latents(z, [*sentences, *made.sentences], ["read"] * n + ["generated"] * n)
            yield lambda tracker: tracker.latents(latents, step)


def _identity(run: Run) -> str:
    """Return an id that stays the same when a run is resumed and changes when it is replaced."""
    return sha256_file(run.environment_file)[:16]

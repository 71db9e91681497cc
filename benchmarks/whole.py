"""Whole tasks on a GPU: an epoch of training in all its shapes, a judge trained to the end, and a start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.sizes import BOS
from lebm_text.build import build_model
from lebm_text.cuda_graphs import recordings_of
from lebm_text.models.lstm import resolve_precision
from lebm_text.presets import preset
from lebm_text.progress import Progress
from lebm_text.reports.texts import real_text
from lebm_text.run import Run
from lebm_text.text.batching import BatchPlan, EncodedCorpus
from lebm_text.text.corpora import find_corpus
from lebm_text.training.events import Event
from lebm_text.training.loop import Limits, Position, TrainingLoop
from lebm_text.training.trainer import Trainer
from lm_eval.judges import LSTMSpec
from lm_eval.perplexity import perplexity
from lm_eval.texts import Reference

__all__ = ["epoch", "judge", "reference_of", "rppl", "start", "within"]

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 90.0  # after which a process that has not ended its first update is ended

Settings = Mapping[str, Mapping[str, Any]]  # by section


def epoch(
    name: str, settings: Settings, text: EncodedCorpus, vocab_size: int, device: torch.device, *, seconds: float
) -> dict[str, Any]:
    """Train two epochs of the preset as `train` does, or until `seconds` are over.

    Returns:
        `first_seconds` of the first epoch, recordings included, and `seconds` of the second; `rate`, tokens per second
        in the latter (in the former, if time ran out within it); `share` of the two that was done: seconds of an
        unfinished epoch are extrapolated from the share of its tokens. `recordings`: chains kept. `used_gb`: memory of
        the device in use at the end, with what the driver has for them.
    """
    changed = {"precision": resolve_precision("auto", device), "n_epochs": 2}
    config = preset(name).merge(settings).merge({"training": changed})
    rng, training = torch.Generator().manual_seed(0), config.training
    model = build_model(config, vocab_size=vocab_size, bos_id=BOS, rng=rng).to(device)
    plan = BatchPlan(text, training.batch_size, training.batch_tokens, training.seed)
    trainer = Trainer(model, config, n_sentences=len(text), mean_batch_size=plan.mean_batch_size)
    clock = _Clock(device, seconds)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(scratch)
        loop = TrainingLoop(trainer, plan, run, on_event=clock.on_event, end_of_epoch=clock.end_of_epoch)
        clock.begin()
        loop.run(Limits(should_stop=clock.should_stop))
    shares = [1.0] * loop.position.epoch
    if done := plan.epoch(loop.position.epoch)[: loop.position.batch]:
        shares.append(int(text.lengths[np.concatenate(done)].sum()) / len(text.tokens))
    whole = [spent / share for spent, share in zip(clock.spent, shares, strict=False)]
    return {
        "rate": len(text.tokens) / whole[-1],
        "first_seconds": whole[0],
        "seconds": whole[1] if len(whole) > 1 else None,
        "share": sum(shares) / training.n_epochs,
        "recordings": sum(len(recordings_of(part).kept) for part in model.children()),
        "used_gb": _used_gb(device),
    }


def _used_gb(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / 1e9


class _Clock:
    """Seconds of epochs, without the checkpoints between them; the device is synchronised at each end.

    `spent`: seconds of each epoch, the last of which may be incomplete.
    """

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device, self.seconds = device, seconds
        self.spent: list[float] = []
        self._asked = False

    def begin(self) -> None:
        """Start the first epoch."""
        self._begun = time.perf_counter()
        self._deadline = self._begun + self.seconds

    def should_stop(self) -> bool:
        """Return whether the time is over, called before each update; the first one is always made."""
        first, self._asked = not self._asked, True
        if first or time.perf_counter() < self._deadline:
            return False
        self._stop()
        return True

    def end_of_epoch(self, position: Position) -> dict[str, float]:
        """Record the end of an epoch's updates; there is no validation."""
        self._stop()
        return {}

    def on_event(self, event: Event) -> None:
        """Start the next epoch after the checkpoint that ends one."""
        if event.kind == "checkpoint":
            self._begun = time.perf_counter()

    def _stop(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.spent.append(time.perf_counter() - self._begun)


def reference_of(name: str, data_dir: Path | None) -> Reference:
    """Return a local corpus as judges read it, with its test text held out."""
    return Reference(real_text(find_corpus(name, data_dir=data_dir, offline=True), "test", lowercase=False))


def within(seconds: float) -> Progress:
    """Return a progress callback that raises TimeoutError once `seconds` have passed since its first call."""
    begun: float | None = None

    def on_progress(stage: str, done: int, total: int) -> None:
        nonlocal begun
        begun = begun or time.perf_counter()
        if time.perf_counter() - begun > seconds:
            raise TimeoutError(f"not done after {seconds:g} s: {stage}")

    return on_progress


def judge(reference: Reference, spec: LSTMSpec) -> dict[str, Any]:
    """Return the seconds until a judge of the training text is fully trained, and its score of the test text.

    `perplexity` is None for synthetic text, for which it is meaningless. `rate` is tokens per
    second over all epochs and the validation between them.
    """
    begun = time.perf_counter()
    trained = spec.train(reference.train, reference)
    seconds, report = time.perf_counter() - begun, trained.training
    assert report is not None
    found = perplexity(trained.model.score(reference.held_out)).ppl
    n_tokens = sum(len(sentence.split()) + 1 for sentence in reference.train)
    return {
        "corpus": reference.real.name,
        "rate": report.n_epochs * n_tokens / seconds,
        "seconds": seconds,
        "epochs": report.n_epochs,
        "perplexity": found if reference.real.name == "ptb" else None,
    }


def rppl(reference: Reference, spec: LSTMSpec, n_samples: int) -> dict[str, Any]:
    """Return the seconds of a reverse perplexity of `n_samples` sentences; training text serves as samples."""
    samples = reference.real.train[:n_samples]
    begun = time.perf_counter()
    trained = spec.train(reference.read(samples, "samples")[0], reference)
    perplexity(trained.model.score(reference.held_out))
    seconds = time.perf_counter() - begun
    assert trained.training is not None
    epochs = trained.training.n_epochs
    return {"corpus": reference.real.name, "samples": len(samples), "seconds": seconds, "epochs": epochs}


def start(name: str, settings: Settings, corpus: Path, device: torch.device) -> dict[str, Any]:
    """Start a training in a new process, imports, CUDA and recordings included, without a cache.

    Returns:
        `ready_seconds` until text and model are ready, `seconds` until the first update is done and its checkpoint,
        which follows at once, is written. The memory reserved by the process is unknown.
    """
    overrides = [
        f"--set={section}.{key}={value}" for section, values in settings.items() for key, value in values.items()
    ]
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "lebm_text", "train", str(corpus), "--preset", name, *overrides, "--json"]
        command += ["--max-steps", "1", "--device", device.type, "--out", str(Path(scratch) / "run")]
        environment = {**os.environ, "LEBM_TEXT_CACHE": str(Path(scratch) / "cache")}
        at: dict[str, float] = {}  # first time of each event; a checkpoint is reported twice
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
            assert process.stdout is not None
            limit = threading.Timer(START_SECONDS, process.kill)
            limit.daemon = True  # it keeps no interrupted benchmark from ending
            limit.start()
            for line in process.stdout:
                at.setdefault(json.loads(line)["event"], time.perf_counter() - begun)
            limit.cancel()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}")
    return {"ready_seconds": at["start"], "seconds": at["checkpoint"], "reserved_gb": None}

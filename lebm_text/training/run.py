"""A run directory: begun from a configuration and a corpus, or continued from its last checkpoint."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lebm_text.config import Config
from lebm_text.devices import resolve_device
from lebm_text.environment import describe_environment
from lebm_text.errors import InputError
from lebm_text.models.lstm import resolve_precision
from lebm_text.processes import ALONE, Processes
from lebm_text.store import atomic_write_json, read_json
from lebm_text.text.corpora import Corpus, find_again
from lebm_text.text.tokenizers import load_tokenizer
from lebm_text.training.checkpoint import Checkpoint, load_checkpoint
from lebm_text.training.data import PreparedText, prepare_text, train_tokenizer
from lebm_text.training.events import Event, Listener
from lebm_text.training.loop import Limits
from lebm_text.training.session import SampleScore, Session, Summary

__all__ = ["SampleScore", "Summary", "resume", "train"]


def train(
    config: Config,
    corpus: Corpus,
    out: Path,
    *,
    device: str = "auto",
    max_steps: int | None = None,
    max_minutes: float | None = None,
    on_event: Listener,
    should_stop: Callable[[], bool] = lambda: False,
    sample_score: SampleScore | None = None,
    processes: Processes = ALONE,
) -> Summary:
    """Begin a run in the new or empty directory `out`.

    Args:
        config: precision and threads may be open (`auto`, 0); they are resolved and written to config.json.
        device: auto, cpu or cuda.
        max_steps: stop after this update.
        max_minutes: stop after so many minutes of this call.
        on_event: hears of all that happens.
        should_stop: asked before each update.
        sample_score: needed for training.select = valid_kn5.
        processes: that train together (`processes.joined`), all of them called alike; the first writes to `out`.

    Raises:
        InputError: an unavailable device, unusable text, or numbers that stopped being finite.
        LostProcessError: another of the processes is gone.
    """
    deadline = _deadline(max_minutes)
    _check_judge(config, sample_score)
    where = resolve_device(device)
    config = _resolve(config, where)

    def prepare() -> PreparedText:
        tokenizer = train_tokenizer(corpus, config.text)
        return prepare_text(corpus, config.text, tokenizer, config.training.validation_sentences)

    text = processes.first_then_others(prepare)
    _require_alike(processes, config, text)
    if processes.first:
        _begin_directory(out, config, corpus, text, where, processes.size)
    notices = (*corpus.notices, *text.tokenizer.notices, *text.notices)
    session = Session(out, config, corpus, text, where, on_event, sample_score, processes)
    return session.run(None, notices, Limits(max_steps, deadline, should_stop))


def _begin_directory(
    out: Path, config: Config, corpus: Corpus, text: PreparedText, device: torch.device, n_processes: int
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text.tokenizer.save(out)
    environment = describe_environment(
        device=device,
        n_threads=config.training.n_threads,
        n_processes=n_processes,
        precision=config.training.precision,
        corpus=corpus.describe(),
    )
    atomic_write_json(out / "env.json", environment)
    # Last: a directory with a config.json is a run that can be resumed.
    atomic_write_json(out / "config.json", config.to_dict())


def resume(
    out: Path,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    max_steps: int | None = None,
    max_minutes: float | None = None,
    on_event: Listener,
    should_stop: Callable[[], bool] = lambda: False,
    sample_score: SampleScore | None = None,
    processes: Processes = ALONE,
) -> Summary:
    """Continue the run in `out`; on a CPU it goes on as if it had never stopped. A finished run is left as it is.

    `data_dir` is where to look for the corpus if it is no longer where it was. The other arguments are those of
    `train`.

    Raises:
        InputError: no usable run in `out`, or its corpus is gone or changed.
    """
    deadline = _deadline(max_minutes)
    config = Config.from_dict(read_json(out / "config.json"))
    checkpoint = _last_checkpoint(out)
    if checkpoint is not None and checkpoint.state["progress"]["finished"]:
        step = checkpoint.state["progress"]["step"]
        on_event(Event("notice", {"message": f"{out} is finished ({step} updates); nothing to do"}))
        return Summary("finished", step, out)
    _check_judge(config, sample_score)
    corpus = find_again(read_json(out / "env.json")["corpus"], data_dir=data_dir)
    n_validation = config.training.validation_sentences
    text = processes.first_then_others(lambda: prepare_text(corpus, config.text, load_tokenizer(out), n_validation))
    _require_alike(processes, config, text, None if checkpoint is None else checkpoint.state)
    session = Session(out, config, corpus, text, resolve_device(device), on_event, sample_score, processes)
    if checkpoint is None:
        notices: tuple[str, ...] = (f"{out} has no checkpoint yet; starting from the first update",)
    else:
        notices = (checkpoint.notice,) if checkpoint.notice else ()
    return session.run(checkpoint, notices, Limits(max_steps, deadline, should_stop))


def _require_alike(processes: Processes, config: Config, text: PreparedText, state: object = None) -> None:
    """Processes that differ in what they begin with would drift apart without a word."""
    tokenizer, n_tokens = text.tokenizer.fingerprint(), len(text.train.tokens)
    alike = json.dumps([config.to_dict(), tokenizer, len(text.train), n_tokens, state], sort_keys=True)
    processes.require_same("configuration, text and checkpoint", alike)


def _resolve(config: Config, device: torch.device) -> Config:
    settings = config.training
    precision = resolve_precision(settings.precision, device)
    n_threads = settings.n_threads or torch.get_num_threads()
    resolved = dataclasses.replace(settings, precision=precision, n_threads=n_threads)
    return dataclasses.replace(config, training=resolved)


def _check_judge(config: Config, sample_score: SampleScore | None) -> None:
    if config.training.select == "valid_kn5" and sample_score is None:
        raise InputError("training.select = valid_kn5 needs a judge; pass sample_score, or select = last")


def _deadline(max_minutes: float | None) -> float | None:
    return None if max_minutes is None else time.monotonic() + 60.0 * max_minutes


def _last_checkpoint(out: Path) -> Checkpoint | None:
    """The newest usable checkpoint; none if the run was stopped before its first."""
    root = out / "checkpoints"
    if not (root / "last").exists() and not (root / "previous").exists():
        return None
    return load_checkpoint(root)

"""`train`: a run directory begun from a corpus and a configuration, or continued from its last checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lebm_text.build import build_model, plugin_names, try_plugins
from lebm_text.checks import MAX_COUNT, from_plain, in_range, whole
from lebm_text.config import Config
from lebm_text.environment import resolve_device
from lebm_text.errors import InputError
from lebm_text.generation.generate import Generation
from lebm_text.presets import DEFAULT_PRESET
from lebm_text.processes import Processes, joined
from lebm_text.progress import Progress, silent
from lebm_text.random import stream
from lebm_text.run import Run, read_config, starting_config
from lebm_text.run_files import check_free, replacing
from lebm_text.store import atomic_write_text
from lebm_text.text.batching import BatchPlan
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.text.parts import name_of_source
from lebm_text.text.tokenizers import closed_vocabulary
from lebm_text.threads import cpu_threads
from lebm_text.torch_state import own_state
from lebm_text.training.events import Event, Listener, ignore
from lebm_text.training.loop import Limits, Position, TrainingLoop
from lebm_text.training.start import (
    Start,
    annealing_warnings,
    begin_directory,
    last_checkpoint,
    located,
    start_new,
    start_resumed,
)
from lebm_text.training.trainer import Trainer
from lebm_text.training.validation import best_epochs, require_figures, selecting, validate
from lebm_text.weights import load_weights, save_weights, weights_metadata

__all__ = ["Overrides", "SampleScore", "train"]

logger = logging.getLogger(__name__)

# {"section.key": value}, {"section": {"key": value}}, or strings section.key=value.
Overrides = Mapping[str, Any] | Iterable[str]
# (samples, real sentences, vocabulary) → a score, lower is better, for training.select = valid_kn5.
SampleScore = Callable[[Sequence[str], Sequence[str], Sequence[str]], float]

SHOWN_SAMPLES = 20  # sentences written to samples/ after each epoch
SCORED_SAMPLES = 10_000  # maximum sentences for a SampleScore, and no more than were trained on


@own_state(grad=True)
def train(
    corpus: str | Path | Corpus | None = None,
    *,
    out: str | Path,
    preset: str | Path | None = None,
    config: Config | None = None,
    overrides: Overrides | None = None,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_plugins: bool = False,
    device: str = "auto",
    data_dir: str | Path | None = None,
    on_progress: Progress = silent,
    on_event: Listener = ignore,
    should_stop: Callable[[], bool] = lambda: False,
    sample_score: SampleScore | None = None,
) -> Run:
    """Train a model and store everything about it in a run directory.

    Processes started by `torchrun`, which must all make the same call, share each batch; the first writes to `out`.

    Args:
        corpus: a name (see `lebm-text data list`), a directory with train.txt, valid.txt and test.txt, another text,
            which is imported (see `import_text`), or a `Corpus`; required unless `resume`.
        out: the run directory, which must be new or empty except with `resume` or `overwrite`.
        preset: configuration to start from (see `lebm_text.presets`), or a run directory or its config.json, to start
            from the settings of that run; None: quick.
        config: configuration to start from, instead of a preset.
        overrides: changes to it, such as {"model.hidden_dim": 128} or {"model": {"hidden_dim": 128}}.
        max_steps: stop after this update, counted from the run's first.
        max_minutes: stop after this many minutes of this call.
        resume: continue the run in `out` from its last checkpoint; on a CPU the result is as if it had never stopped,
            and a finished run is left as it is. Any corpus and configuration given must equal the original ones.
        overwrite: replace the run in `out`, once the new one has begun.
        trust_plugins: with `resume` or a run as `preset`, import the classes that the run's config.json names as
            package.module:Class; those that `config` or `overrides` name are always imported.
        device: auto (a CUDA device if there is one), cpu or cuda.
        data_dir: where to look for the corpus first.
        on_progress: called after every update.
        on_event: called with all other events; see `lebm_text.training.events`.
        should_stop: called before each update; if it returns true, a checkpoint and weights are written and the call
            returns. An exception, such as that of Ctrl-C, leaves the last checkpoint to resume from.
        sample_score: judge for training.select = valid_kn5; None: reverse perplexity under a 5-gram model. If it fails,
            or returns no finite number, a checkpoint of the epoch's updates is left to resume from.

    Returns:
        The run; its `progress()` reports how far it has come.

    Raises:
        InputError: bad configuration, device or text; no usable run to continue; a directory that is taken; non-finite
            values in training.
        LostProcessError: another of the processes has died.
    """
    if resume and overwrite:
        raise InputError("resume continues a run, overwrite replaces it: give one of them")
    if max_steps is not None:
        max_steps = whole("max_steps", max_steps, 0)
    if max_minutes is not None:
        in_range("max_minutes", from_plain(float, max_minutes, "max_minutes", strict=True), 0, MAX_COUNT)
    deadline = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes
    both = config is not None and preset is not None
    if both or not isinstance(config, Config | None) or not isinstance(preset, str | Path | None):
        given, name = (preset, "preset") if config is None else (config, "config")
        got = "both" if both else f"a {type(given).__name__} as {name}"
        raise InputError(f"give a preset's name, a run's path or a Config, and changes to it as overrides; got {got}")
    run = Run(out, data_dir=data_dir, trust_plugins=trust_plugins or not resume)
    base = config
    if preset is not None:
        base = starting_config(preset).with_plugins(trust_plugins=trust_plugins, asked=False)
    if not resume:
        base = base or starting_config(DEFAULT_PRESET)
        settings = located(base.override(overrides or ())).with_plugins(trust_plugins=True)
        check_free(run.path, overwrite=overwrite)
    with ExitStack() as stack:
        processes = stack.enter_context(joined(device))  # before any change to `out`
        processes.first_then_others(lambda: stack.enter_context(run.locked()) if processes.first else None)
        # From here on no other process can take `out`, or continue the run in it.
        if resume:
            settings = read_config(run.path, plugged=True, trust_plugins=trust_plugins)
            _check_unchanged(run, settings, corpus, base or settings, overrides)
        else:
            check_free(run.path, overwrite=overwrite)
        if settings.training.select == "valid_kn5":
            sample_score = sample_score or _reverse_perplexity()
        checkpoint = last_checkpoint(run) if resume else None
        progress = {} if checkpoint is None else checkpoint.state["progress"]
        if progress.get("finished") and run.weights_file.is_file():  # if these are gone, they are written again
            logger.info("%s is finished (%s updates); nothing to do", run, progress["step"])
            return run
        place = resolve_device(device)
        if resume:
            start = start_resumed(run, settings, checkpoint, processes)
        else:
            start = start_new(settings, place, processes, lambda: _find(corpus, run.data_dir, on_progress))
        start.require_alike(processes)
        begun = None
        if processes.first:
            if not resume:
                begun = stack.enter_context(replacing(run.path))
                begin_directory(run, start, place, processes)
            _tell(run, start, resume=resume)
        else:
            on_progress, on_event = silent, ignore
        session = _Session(run, start, place, processes, on_progress, on_event, sample_score)
        session.train(Limits(max_steps, deadline, should_stop), begun)
    return run


def _check_unchanged(
    run: Run, stored: Config, corpus: str | Path | Corpus | None, base: Config, overrides: Overrides | None
) -> None:
    """Raise InputError if a run is to be continued with other settings than it began with, those `stored`."""
    if corpus is not None:
        name = str(corpus.name if isinstance(corpus, Corpus) else corpus)
        if run.corpus_name not in (name, Path(name).name, name_of_source(name)):
            raise InputError(f"the run in {run} was trained on {run.corpus_name}, not on {name}")
    # A preset leaves the selection open: runs older than the setting publish the last weights.
    base = dataclasses.replace(base, training=dataclasses.replace(base.training, select=stored.training.select))
    asked = located(base.override(overrides or ())).with_plugins(trust_plugins=True)
    for path, wanted in asked.conflicts(stored).items():
        raise InputError(
            f"a run that goes on keeps its configuration: in {run}, {path} is {stored.differences(asked)[path]}, "
            f"not {wanted}; for another one start a new run"
        )


def _reverse_perplexity() -> SampleScore:
    """Return the RPPL under KN5 of samples on real held-out sentences: the only judge used in training, on request."""
    from lebm_text.judges import check_judges

    check_judges()
    from lm_eval import rppl

    return lambda samples, real, vocabulary: rppl(samples, real, vocabulary=vocabulary).ppl


def _find(corpus: str | Path | Corpus | None, data_dir: Path | None, on_progress: Progress) -> Corpus:
    if corpus is None:
        raise InputError("training needs a corpus: a name (see `lebm-text data list`), a directory or a file of text")
    if isinstance(corpus, Corpus):
        return corpus
    if not isinstance(corpus, (str, Path)):
        raise InputError(
            f"a corpus is a name, a path or a Corpus, got {type(corpus).__name__}; of a list of sentences "
            "`lebm_text.text.importing.import_text(sentences, DIRECTORY)` makes one"
        )
    return find_corpus(str(corpus), data_dir=data_dir, on_progress=on_progress)


def _tell(run: Run, start: Start, *, resume: bool) -> None:
    """Log notices and warnings about the start."""
    text, checkpoint = start.text, start.checkpoint
    if not resume:
        for notice in (*text.corpus.notices, *text.tokenizer.notices, *text.notices):
            logger.info(notice)
        for warning in (*text.warnings, *annealing_warnings(start.config)):
            logger.warning(warning)
    elif checkpoint is None:
        logger.info("%s has no checkpoint yet; starting from the first update", run)
    elif checkpoint.notice:
        logger.info(checkpoint.notice)


@dataclasses.dataclass
class _Session:
    """One call of training: the modules of a run, and the files written to its directory."""

    run: Run
    start: Start
    device: torch.device
    processes: Processes
    on_progress: Progress
    on_event: Listener
    sample_score: SampleScore | None

    def __post_init__(self) -> None:
        self.config, self.text = self.start.config, self.start.text

    def train(self, limits: Limits, begun: Callable[[], None] | None) -> None:
        """Train to the end or a limit; `begun` is called before the first update. Raises InputError on divergence."""
        settings = self.config.training
        started = time.monotonic()
        with cpu_threads(settings.n_threads):  # results can depend on the number, so a run keeps it
            rng, tokenizer = stream(settings.seed, "weights"), self.text.tokenizer
            model = build_model(self.config, vocab_size=len(tokenizer), bos_id=tokenizer.bos_id, rng=rng)
            if self.start.checkpoint is None:
                try_plugins(self.config, model, vocab_size=len(tokenizer))
            if self.start.first is not None:
                self.start.first.give(model.generator)
            self.model = model.to(self.device)
            require_figures(self.model, self.config, len(self.text.valid))
            plan = BatchPlan(self.text.train, settings.batch_size, settings.batch_tokens, settings.seed)
            self.trainer = Trainer(
                self.model,
                self.config,
                n_sentences=len(self.text.train),
                mean_batch_size=plan.mean_batch_size,
                processes=self.processes,
                labels=self.text.labels.train,
            )
            loop = TrainingLoop(
                self.trainer,
                plan,
                self.run,
                on_progress=self.on_progress,
                on_event=self.on_event,
                end_of_epoch=self._end_of_epoch,
            )
            loop.restore(self.start.checkpoint)
            if begun is not None:
                begun()
            self._announce(loop)
            try:
                reason = loop.run(limits)
                by = self._publish(loop.position, within_epoch=loop.position.batch > 0)
            except FloatingPointError as error:
                self._publish(loop.position)  # the weights are those before the update
                own = "".join(f"; {name} may be at fault, too" for name in plugin_names(self.config).values())
                raise InputError(
                    f"training diverged: {error}; the weights in {self.run} are from before. Start anew with a smaller "
                    f"step_size of inference or prior, training.learning_rate or training.prior_learning_rate{own}"
                ) from None
            if reason in ("finished", "patience"):
                loop.finish()
        seconds, step = time.monotonic() - started, loop.position.step
        end = {"reason": reason, "step": step, "seconds": seconds, "path": str(self.run)}
        best = {name: {"epoch": at, "value": value} for name, (at, value) in self._best_epochs().items()}
        if by in best and best[by]["value"] != loop.position.best:
            del best[by]  # metrics.jsonl was started anew and lacks that epoch
        self.on_event(Event("end", {**end, "best": best, "published_by": by}))

    def _announce(self, loop: TrainingLoop) -> None:
        settings = self.config.training
        start = {
            "run": str(self.run),
            "corpus": self.text.corpus.name,
            "n_sentences": len(self.text.train),
            "n_tokens": len(self.text.train.tokens),
            "vocab_size": len(self.text.tokenizer),
            "n_parameters": sum(p.numel() for p in self.model.parameters()),
            "steps_per_epoch": loop.steps_per_epoch,
            "n_steps": loop.n_steps,
            "batch_size": settings.batch_size,
            "step": loop.position.step,
            "device": str(self.device),
            "precision": settings.precision,
            "threads": settings.n_threads,
            "processes": self.processes.size,
            "init": None if self.start.first is None else str(self.start.first.run),
        }
        self.on_event(Event("start", start))

    def _end_of_epoch(self, position: Position) -> dict[str, float]:
        figures = self._validate(position)
        if position.epoch <= self.config.training.init_epochs:  # still a language model, without z to sample or select
            return figures
        samples = "".join(f"{sentence}\n" for sentence in self._sample(SHOWN_SAMPLES))
        if self.processes.first:
            atomic_write_text(self.run.sample_file(f"epoch-{position.epoch:04d}.txt"), samples)
        if self.config.training.select == "valid_kn5":
            figures |= self._judged()
        name = selecting(self.config.training.select, figures)
        if name is None:
            return figures
        position.since_best += 1
        if position.best is None or figures[name] < position.best:
            position.best, position.since_best = figures[name], 0
            if self.processes.first:
                self._save(self.run.best_weights_file)
        return figures

    def _validate(self, position: Position) -> dict[str, float]:
        if not len(self.text.valid):
            return {}
        text, epoch, processes = self.text, position.epoch, self.processes
        labels = text.labels.valid
        figures = validate(self.model, self.config, text.valid, epoch=epoch, processes=processes, labels=labels)
        return figures | {"uniform_ppl": float(len(self.text.tokenizer))}

    def _judged(self) -> dict[str, float]:
        """Return the judge's score of samples of the current weights."""
        assert self.sample_score is not None
        samples = self._sample(min(SCORED_SAMPLES, len(self.text.train)))
        if not self.processes.first:
            return {}
        score = self.sample_score(samples, self.text.valid_sentences, self._vocabulary)
        return {"valid_kn5": from_plain(float, score, "what sample_score returns", strict=True)}

    def _sample(self, n: int) -> list[str]:
        seed, tokenizer = self.config.training.seed, self.text.tokenizer
        return Generation(self.model, tokenizer, self.config, n, seed=seed, processes=self.processes).all().sentences

    @cached_property
    def _vocabulary(self) -> list[str]:
        """The closed vocabulary for judges."""
        return closed_vocabulary(self.text.corpus.splits["train"].sentences())

    def _publish(self, position: Position, *, within_epoch: bool = False) -> str | None:
        """Write model.safetensors: the best weights if they are selected and exist, else the current ones.

        `within_epoch`: the current ones have not been validated yet; they are now, and may be better.

        Returns:
            The figure by which the best ones were selected; None if the current ones were written.
        """
        name, best = selecting(self.config.training.select, self._best_epochs()), position.best
        if within_epoch and best is not None and self.config.training.select == "valid":
            figures = self._validate(position)
            name = selecting("valid", figures) or ""
            best = best if best <= figures[name] else None
        if self.processes.first and best is None:
            self._save(self.run.weights_file)
        elif self.processes.first:
            # The model's own parameters are unchanged: a checkpoint may follow.
            save_weights(self.run.weights_file, *load_weights(self.run.best_weights_file))
        return None if best is None else name or self.config.training.select

    def _best_epochs(self) -> dict[str, tuple[float, float]]:
        """`best_epochs` without the epochs as a language model, which the model no longer is."""
        first = self.config.training.init_epochs
        return best_epochs(record for record in self.run.metrics() if record.get("epoch", 0) > first)

    def _save(self, path: Path) -> None:
        save_weights(path, self.model.state_dict(), weights_metadata(self.text.tokenizer, self.trainer.halvings))

"""A run directory: begun from a configuration and a corpus, or continued from its last checkpoint."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lebm_text.build import LatentModel, build_model
from lebm_text.config import Config
from lebm_text.environment import describe_environment
from lebm_text.errors import InputError
from lebm_text.files import atomic_write_text
from lebm_text.generate import generate
from lebm_text.nn.precision import resolve_precision
from lebm_text.text.batching import BatchPlan
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.text.tokenizers import closed_vocabulary, load_tokenizer
from lebm_text.training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_weights
from lebm_text.training.data import PreparedText, prepare_text, train_tokenizer
from lebm_text.training.events import Event, Listener
from lebm_text.training.loop import Limits, Progress, TrainingLoop
from lebm_text.training.trainer import Trainer
from lebm_text.training.validation import validate

__all__ = ["SampleScore", "Summary", "resume", "train"]

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

    Raises:
        InputError: an unavailable device, unusable text, or numbers that stopped being finite.
    """
    deadline = _deadline(max_minutes)
    _check_judge(config, sample_score)
    where = _device(device)
    config = _resolve(config, where)
    tokenizer = train_tokenizer(corpus, config.text)
    text = prepare_text(corpus, config.text, tokenizer, config.training.validation_sentences)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out)
    environment = describe_environment(
        device=where,
        n_threads=config.training.n_threads,
        precision=config.training.precision,
        corpus=corpus.describe(),
    )
    _write_json(out / "env.json", environment)
    # Last: a directory with a config.json is a run that can be resumed.
    _write_json(out / "config.json", config.to_dict())
    notices = (*corpus.notices, *tokenizer.notices, *text.notices)
    run = _Run(out, config, corpus, text, where, on_event, sample_score)
    return run.go(None, notices, Limits(max_steps, deadline, should_stop))


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
) -> Summary:
    """Continue the run in `out`; on a CPU it goes on as if it had never stopped. A finished run is left as it is.

    `data_dir` is where to look for the corpus if it is no longer where it was. The other arguments are those of
    `train`.

    Raises:
        InputError: no usable run in `out`, or its corpus is gone or changed.
    """
    deadline = _deadline(max_minutes)
    config = Config.from_dict(_read_json(out / "config.json"))
    checkpoint = _last_checkpoint(out)
    if checkpoint is not None and checkpoint.state["progress"]["finished"]:
        step = checkpoint.state["progress"]["step"]
        on_event(Event("notice", {"message": f"{out} is finished ({step} updates); nothing to do"}))
        return Summary("finished", step, out)
    _check_judge(config, sample_score)
    corpus = _same_corpus(_read_json(out / "env.json")["corpus"], data_dir)
    text = prepare_text(corpus, config.text, load_tokenizer(out), config.training.validation_sentences)
    run = _Run(out, config, corpus, text, _device(device), on_event, sample_score)
    if checkpoint is None:
        notices: tuple[str, ...] = (f"{out} has no checkpoint yet; starting from the first update",)
    else:
        notices = (checkpoint.notice,) if checkpoint.notice else ()
    return run.go(checkpoint, notices, Limits(max_steps, deadline, should_stop))


class _Run:
    """What `train` and `resume` share: the modules of one run and the files they leave."""

    def __init__(
        self,
        out: Path,
        config: Config,
        corpus: Corpus,
        text: PreparedText,
        device: torch.device,
        on_event: Listener,
        sample_score: SampleScore | None,
    ) -> None:
        self.out, self.config, self.corpus, self.text = out, config, corpus, text
        self.device, self.on_event, self.sample_score = device, on_event, sample_score

    def go(self, checkpoint: Checkpoint | None, notices: Sequence[str], limits: Limits) -> Summary:
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
                raise InputError(
                    f"training diverged: {error}; checkpoints in {self.out} are from before. Start anew with a "
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
        rng = torch.Generator().manual_seed(self.config.training.seed)
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
        }
        self.on_event(Event("start", start))

    def _end_of_epoch(self, progress: Progress) -> dict[str, float]:
        figures: dict[str, float] = {}
        if len(self.text.valid):
            figures |= validate(self.model, self.config, self.text.valid, epoch=progress.epoch)
        samples = self._sample(SHOWN_SAMPLES)
        atomic_write_text(_made(self.out / "samples") / f"epoch-{progress.epoch:04d}.txt", "".join(samples))
        if self.config.training.select == "valid_kn5":
            figures["valid_kn5"] = self._select(progress)
        return figures

    def _select(self, progress: Progress) -> float:
        """Judge samples of the present weights, and keep the weights if there were none better."""
        assert self.sample_score is not None
        samples = self._sample(min(SCORED_SAMPLES, len(self.text.train)))
        vocabulary = closed_vocabulary(self.corpus.splits["train"].sentences())
        score = self.sample_score([line.rstrip("\n") for line in samples], self.text.valid_sentences, vocabulary)
        if progress.best is None or score < progress.best:
            progress.best = score
            self._save(_made(self.out / "checkpoints" / "best") / "model.safetensors", self.model.state_dict())
        return score

    def _sample(self, n: int) -> list[str]:
        drawn = generate(self.model, self.text.tokenizer, self.config, n, seed=self.config.training.seed)
        return [sentence + "\n" for sentence in drawn.sentences]

    def _publish(self, progress: Progress) -> None:
        """Write model.safetensors: the best weights if they are selected and exist, else the present ones."""
        best = self.out / "checkpoints" / "best" / "model.safetensors"
        selected = self.config.training.select == "valid_kn5" and progress.best is not None
        # The model keeps its own: a checkpoint may follow.
        self._save(self.out / "model.safetensors", load_weights(best)[0] if selected else self.model.state_dict())

    def _save(self, path: Path, weights: dict[str, Tensor]) -> None:
        save_weights(path, weights, {"format": "lebm-text", "corpus": self.corpus.name})


def _resolve(config: Config, device: torch.device) -> Config:
    settings = config.training
    precision = resolve_precision(settings.precision, device)
    n_threads = settings.n_threads or torch.get_num_threads()
    resolved = dataclasses.replace(settings, precision=precision, n_threads=n_threads)
    return dataclasses.replace(config, training=resolved)


def _check_judge(config: Config, sample_score: SampleScore | None) -> None:
    if config.training.select == "valid_kn5" and sample_score is None:
        raise InputError("training.select = valid_kn5 needs a judge; pass sample_score, or select = last")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda is not available: this torch sees no GPU; use --device cpu")
    return torch.device(name)


def _deadline(max_minutes: float | None) -> float | None:
    return None if max_minutes is None else time.monotonic() + 60.0 * max_minutes


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """`n` CPU threads inside; results can depend on their number, so a run keeps it."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _last_checkpoint(out: Path) -> Checkpoint | None:
    """The newest usable checkpoint; none if the run was stopped before its first."""
    root = out / "checkpoints"
    if not (root / "last").exists() and not (root / "previous").exists():
        return None
    return load_checkpoint(root)


def _same_corpus(described: dict[str, Any], data_dir: Path | None) -> Corpus:
    """The corpus that env.json describes, found again and unchanged."""
    name = described["name"]
    if described["origin"] == "directory":
        name = str(Path(described["splits"]["train"]["path"]).parent)
    elif described["origin"] == "data-dir" and data_dir is None:
        data_dir = Path(described["splits"]["train"]["path"]).parents[1]
    corpus = find_corpus(name, data_dir=data_dir)
    for split, before in described["splits"].items():
        found = corpus.splits[split]
        if found.sha256 != before["sha256"]:
            raise InputError(
                f"{found.path} is not the text that the run began with (sha256 {found.sha256[:12]}…, "
                f"expected {before['sha256'][:12]}…); give the directory of that text with --data-dir"
            )
    return corpus


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _write_json(path: Path, value: Any) -> None:
    atomic_write_text(path, json.dumps(value, indent=2) + "\n")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path.parent} is no run: {path} does not exist") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None

"""Where a run starts: resolved settings, another run's weights (`training.init`), and the files that record both.

Parameters of another run's generator with the same name and shape are copied. In a matrix that reads z and another
input, z's columns are the last ones, [W_x W_z]: if latent_dim differs, for instance from 0, the other columns are
copied, and z's keep their random values. So do parameters that read only z.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lebm_text.checks import from_plain
from lebm_text.config import Config
from lebm_text.environment import describe_environment
from lebm_text.errors import InputError
from lebm_text.models.base import Generator
from lebm_text.models.lstm import resolve_precision
from lebm_text.processes import Processes
from lebm_text.run import Run
from lebm_text.sections import PRETRAINED, SAME_AT_START, PretrainedConfig, ShortRunConfig, VariationalConfig
from lebm_text.store import atomic_write_json
from lebm_text.text.corpora import Corpus
from lebm_text.text.pretrained import decoder_directory, decoder_sha256
from lebm_text.text.tokenizers import Tokenizer
from lebm_text.training.checkpoint import Checkpoint, load_checkpoint
from lebm_text.training.data import PreparedText, labelled, prepare_text, train_tokenizer
from lebm_text.weights import load_weights

__all__ = [
    "Begun",
    "FirstWeights",
    "Start",
    "annealing_warnings",
    "begin_directory",
    "last_checkpoint",
    "located",
    "start_new",
    "start_resumed",
]

_PREFIX = "generator."


@dataclass(frozen=True)
class Begun:
    """The record in env.json of what a run began with: the directory of another run, and the sha256 of its weights."""

    run: str
    weights_sha256: str

    @classmethod
    def of(cls, run: Run) -> Begun | None:
        """Return the record, or None if there is none. Raises InputError if env.json is damaged."""
        plain = run.environment.get("init")
        try:
            return None if plain is None else from_plain(cls, plain, "init")
        except InputError as error:
            raise InputError(f"{run.environment_file} is damaged: {error}") from None


@dataclass(frozen=True)
class FirstWeights:
    """Weights of another run's generator, by name.

    Attributes:
        tensors: the weights.
        latent_dim: D of that run.
        run: its directory.
        sha256: of its file of weights.
    """

    tensors: Mapping[str, Tensor]
    latent_dim: int
    run: Path
    sha256: str

    @torch.no_grad()
    def give(self, generator: Generator) -> None:
        """Copy them into a generator. Raises InputError if it has a parameter that they do not fit."""
        for name, own in generator.named_parameters():
            given = self.tensors.get(name)
            shape = None if given is None else given.shape
            if given is not None and shape == own.shape:
                own.copy_(given)
            elif name != "null_latent":
                others = shape[-1] - self.latent_dim if shape else -1  # columns
                if given is None or others < 0 or own.shape != (*given.shape[:-1], others + generator.latent_dim):
                    shapes = f"{tuple(own.shape)} here and {'none' if shape is None else tuple(shape)} in {self.run}"
                    raise InputError(f"training.init: {_PREFIX}{name} has shape {shapes}")
                own[..., :others] = given[..., :others]


@dataclass(frozen=True)
class Start:
    """The starting point of a training.

    Attributes:
        config: of the run, resolved.
        text: encoded, with its labels.
        first: weights of another run's generator, if `training.init` names one and there is no checkpoint.
        checkpoint: to resume from; None: start at the first update.
    """

    config: Config
    text: PreparedText
    first: FirstWeights | None
    checkpoint: Checkpoint | None = None

    def require_alike(self, processes: Processes) -> None:
        """Raise InputError if processes start differently: they would silently diverge."""
        text, state = self.text, None if self.checkpoint is None else self.checkpoint.state
        tokenizer, n_tokens = text.tokenizer.fingerprint(), len(text.train.tokens)
        weights = [state, None if self.first is None else self.first.sha256]
        alike = json.dumps([self.config.to_dict(), tokenizer, len(text.train), n_tokens, weights], sort_keys=True)
        processes.require_same("configuration, text and checkpoint", alike)


def start_new(config: Config, device: torch.device, processes: Processes, find: Callable[[], Corpus]) -> Start:
    """Return the start of a new run, prepared by one process after the other.

    Args:
        config: of the run.
        device: for training.
        processes: that train it.
        find: returns the corpus.

    Raises:
        InputError: the text cannot be found or encoded, or lacks the labels or weights that `config` asks for.
    """
    settings = config.training
    first = settings.init_epochs + settings.prior_start_epoch
    if config.model.prior != "gaussian" and first >= settings.n_epochs:
        raise InputError(
            f"training.prior_start_epoch = {settings.prior_start_epoch:g} after training.init_epochs = "
            f"{settings.init_epochs} is not before training.n_epochs = {settings.n_epochs}: the prior would never learn"
        )
    config = _resolved(config, device)
    text = processes.first_then_others(lambda: _prepare(find(), config))
    config, text = labelled(config, text)
    return Start(config, text, first_weights(config, text.tokenizer))


def start_resumed(run: Run, config: Config, checkpoint: Checkpoint | None, processes: Processes) -> Start:
    """Return the start of a run with the text, tokenizer, labels and first weights that it began with.

    Args:
        run: its directory.
        config: as it was stored.
        checkpoint: to resume from; None: start at the first update.
        processes: that train it.

    Raises:
        InputError: one of them is missing or has changed.
    """
    text = processes.first_then_others(lambda: _prepare(run.corpus(), config, run.tokenizer))
    config, text = labelled(config, text, run.environment.get("labels_sha256"))
    first = first_weights(config, text.tokenizer, Begun.of(run)) if checkpoint is None else None
    return Start(config, text, first, checkpoint)


def _prepare(corpus: Corpus, config: Config, tokenizer: Tokenizer | None = None) -> PreparedText:
    pretrained = config.model.generator.removeprefix(PRETRAINED) if config.is_pretrained else None
    tokenizer = tokenizer or train_tokenizer(corpus, config.text, pretrained)
    return prepare_text(corpus, config.text, tokenizer, config.training.validation_sentences)


def first_weights(config: Config, tokenizer: Tokenizer, begun: Begun | None = None) -> FirstWeights | None:
    """Return the weights of the run that `config.training.init` names, if any.

    Args:
        config: of the new run.
        tokenizer: of the new run.
        begun: record in env.json if the run is started again; the weights must be the same as then.

    Raises:
        InputError: no such run, other sizes or token ids of its generator, or other weights than recorded.
    """
    init = config.training.init
    if init is None or init == "lm":
        return None
    run = Run(Path(init if begun is None else begun.run).resolve())
    for name in SAME_AT_START:
        ours, theirs = getattr(config.model, name), getattr(run.config.model, name)
        if ours != theirs:
            raise InputError(f"training.init: model.{name} is {theirs} in {run} and {ours} here; it must be the same")
    sha256 = run.weights_sha256
    if begun is not None and begun.weights_sha256 != sha256:
        raise InputError(f"training.init: the weights in {run} are not those that this run began with")
    tensors, notes = load_weights(run.weights_file)
    if notes.get("tokenizer", run.tokenizer.fingerprint()) != tokenizer.fingerprint():
        raise InputError(
            f"training.init: words have other ids in {run} than here; both runs need the same text and settings of it"
        )
    own = {name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)}
    return FirstWeights(own, run.config.model.latent_dim, run.path, sha256)


def _resolved(config: Config, device: torch.device) -> Config:
    """Return `config` with open settings resolved: precision, threads, hash of a pretrained decoder's files."""
    settings = config.training
    precision = resolve_precision(settings.precision, device)
    n_threads = settings.n_threads or torch.get_num_threads()
    resolved = dataclasses.replace(settings, precision=precision, n_threads=n_threads)
    generator = config.generator
    if isinstance(generator, PretrainedConfig) and generator.sha256 is None:
        source = config.model.generator.removeprefix(PRETRAINED)
        generator = dataclasses.replace(generator, sha256=decoder_sha256(decoder_directory(source), source))
    return dataclasses.replace(config, training=resolved, generator=generator)


def located(config: Config) -> Config:
    """Return `config` with the absolute path of a pretrained decoder, since a run is also used from elsewhere."""
    directory = Path(config.model.generator.removeprefix(PRETRAINED))
    if not (config.is_pretrained and directory.is_dir()):
        return config
    return config.merge({"model": {"generator": f"{PRETRAINED}{directory.resolve()}"}})


def annealing_warnings(config: Config) -> tuple[str, ...]:
    """Return a warning for annealing that cannot have been meant.

    It ends after the training's last epoch, although signatures name the final value, and inference after training uses
    it; or its epochs are set, and there is no value to begin with.
    """
    inference, n_epochs = config.inference, config.training.n_epochs
    if not isinstance(inference, ShortRunConfig | VariationalConfig):
        return ()
    values, default = inference.to_dict(), type(inference)().to_dict()
    starts = {name: values[f"{name}_start"] for name in values if f"{name}_start" in values}
    if not any(start is not None for start in starts.values()):
        idle = [
            f"inference.{name}" for name in ("anneal_epochs", "anneal_start_epoch") if values[name] != default[name]
        ]
        begin = " or ".join(f"inference.{name}_start" for name in starts)
        return (f"no effect without a value to begin with: {', '.join(idle)}; set {begin}",) if idle else ()
    first = config.training.init_epochs + inference.pretrain_epochs
    end = first + inference.anneal_start_epoch + inference.anneal_epochs
    return tuple(
        f"inference.{name} would reach {values[name]:g} after {end:g} epochs, and the training has {n_epochs}: its "
        "signatures name a value that it never had; set inference.anneal_epochs"
        for name, start in starts.items()
        if end > n_epochs and start not in (None, values[name])
    )


def begin_directory(run: Run, start: Start, device: torch.device, processes: Processes) -> None:
    """Write the files needed to repeat a run; config.json last: a directory that contains one can be resumed.

    Args:
        run: the run directory.
        start: of the training.
        device: for training.
        processes: that train it.
    """
    config, text = start.config, start.text
    text.tokenizer.save(run.path)
    environment = describe_environment(
        device=device,
        n_threads=config.training.n_threads,
        n_processes=processes.size,
        precision=config.training.precision,
        corpus=text.corpus.describe(),
    )
    if config.plugged:
        environment["plugins"] = config.describe_plugins()
    if text.labels.sha256 is not None:
        environment["labels_sha256"] = text.labels.sha256
    if start.first is not None:
        environment["init"] = asdict(Begun(str(start.first.run), start.first.sha256))
    atomic_write_json(run.environment_file, environment)
    atomic_write_json(run.config_file, config.to_dict())


def last_checkpoint(run: Run) -> Checkpoint | None:
    """Return the newest usable checkpoint; None if the run was stopped before its first.

    Raises InputError if there is none although the run has weights, and if config.json is another than it was.
    """
    if not any((run.checkpoints / name).exists() for name in ("last", "previous")):
        if run.weights_file.is_file():
            raise InputError(
                f"{run} has weights, but no checkpoint to go on from; use it as it is, or begin another training with "
                f"its generator: --set training.init={run} --out DIR"
            )
        return None
    found = load_checkpoint(run.checkpoints)
    progress, begun = found.state.get("progress"), found.state.get("config")
    if not isinstance(progress, dict) or not isinstance(progress.get("step"), int):
        raise InputError(f"{found.path} is no checkpoint of a training: it does not say how far it came")
    if isinstance(begun, dict):  # not in checkpoints of version 0.1.0
        before = Config.from_dict(begun)
        now, then = run.config.differences(before), before.differences(run.config)
        for path in now | then:  # each may lack a setting of a plug-in class that the other has
            raise InputError(
                f"{run.config_file} was changed: {path} is {now.get(path, 'missing')}, and the training began with "
                f"{then.get(path, 'none')}; change it back, or start a new run"
            )
    return found

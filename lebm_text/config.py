"""Configuration: frozen dataclasses that validate themselves and round-trip through JSON.

One section a concern; `Config.override` applies `section.key=value` strings from the command line.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lebm_text.errors import InputError

__all__ = ["Config", "InferenceConfig", "ModelConfig", "PriorConfig", "TextConfig", "TrainingConfig"]

MAX_THREADS = 1024
MAX_SIZE = 1 << 16  # of a layer: far above what fits a machine, far below what overflows
MAX_STEPS = 1_000_000
MAX_RATE = 10.0


@dataclass(frozen=True)
class TextConfig:
    """How text becomes ids."""

    tokenizer: str = "word"  # word | sentencepiece
    vocab_size: int | None = None  # ids, the 4 special ones included; none: the closed vocabulary, or 8000 pieces
    lowercase: bool = False
    max_length: int = 200  # tokens without </s>; longer sentences are left out and counted

    def __post_init__(self) -> None:
        _one_of("text.tokenizer", self.tokenizer, ("word", "sentencepiece"))
        if self.vocab_size is not None:
            _at_least("text.vocab_size", self.vocab_size, 5)
        _at_least("text.max_length", self.max_length, 1)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of p(x|z) and of the prior on z."""

    prior: str = "ebm"  # ebm | gaussian
    latent_dim: int = 32  # D
    embedding_dim: int = 256  # E
    hidden_dim: int = 256  # H
    dropout: float = 0.2  # on embeddings and on LSTM outputs, in the generator's update only
    tied: bool = False  # output weights = embeddings; needs embedding_dim = hidden_dim
    prior_hidden_dim: int = 200  # width of the two hidden layers of f(z)
    energy_bound: float = 0.0  # b > 0: f = b tanh(g / b), so |f| < b; 0: unbounded
    init_range: float = 0.1  # every parameter starts uniform in ±init_range

    def __post_init__(self) -> None:
        _one_of("model.prior", self.prior, ("ebm", "gaussian"))
        for name in ("latent_dim", "embedding_dim", "hidden_dim", "prior_hidden_dim"):
            _in_range(f"model.{name}", getattr(self, name), 1, MAX_SIZE)
        _in_range("model.dropout", self.dropout, 0.0, 1.0, open_end=True)
        _at_least("model.energy_bound", self.energy_bound, 0.0)
        _positive("model.init_range", self.init_range)
        if self.tied and self.embedding_dim != self.hidden_dim:
            raise InputError(
                "model.tied needs model.embedding_dim = model.hidden_dim, "
                f"got {self.embedding_dim} and {self.hidden_dim}"
            )


@dataclass(frozen=True)
class InferenceConfig:
    """The posterior chain, x → z⁺. `*_start` values move to their final ones over `anneal_epochs` epochs."""

    kind: str = "short_run"
    n_steps: int = 20  # K1
    step_size: float | tuple[float, ...] = 0.3  # s, or one a step
    noise_scale: float = 1.0  # n, a standard deviation; 1 samples the target, less is tempered
    noise_scale_start: float | None = None  # none: no annealing; linear otherwise
    likelihood_weight: float = 1.0  # γ of p_α(z) p_β(x|z)^γ; 1 is maximum likelihood
    likelihood_weight_start: float | None = None  # none: no annealing; geometric otherwise
    anneal_epochs: float = 6.0
    persistent: bool = False  # chains continue from their last visit instead of from p0

    def __post_init__(self) -> None:
        _one_of("inference.kind", self.kind, ("short_run",))
        _in_range("inference.n_steps", self.n_steps, 1, MAX_STEPS)
        _step_size("inference.step_size", self.step_size, self.n_steps)
        for name in ("noise_scale", "noise_scale_start"):
            if (value := getattr(self, name)) is not None:
                _at_least(f"inference.{name}", value, 0.0)
        for name in ("likelihood_weight", "likelihood_weight_start"):
            if (value := getattr(self, name)) is not None:
                _positive(f"inference.{name}", value)
        _positive("inference.anneal_epochs", self.anneal_epochs)


@dataclass(frozen=True)
class PriorConfig:
    """The prior chain, p0 → z⁻ (unused by a Gaussian prior, which is sampled exactly)."""

    n_steps: int = 40  # K0
    step_size: float | tuple[float, ...] = 0.5
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        _in_range("prior.n_steps", self.n_steps, 1, MAX_STEPS)
        _step_size("prior.step_size", self.step_size, self.n_steps)
        _at_least("prior.noise_scale", self.noise_scale, 0.0)


@dataclass(frozen=True)
class TrainingConfig:
    """Updates, their order and what is written when."""

    n_epochs: int = 20
    batch_size: int = 64  # at most so many sentences a batch
    batch_tokens: int = 2048  # at most so many tokens a batch, padding included
    learning_rate: float = 1e-3  # Adam, generator
    learning_rate_decay: float = 1.0  # both rates are multiplied by this after each epoch
    prior_learning_rate: float = 1e-4  # Adam, prior
    prior_weight_decay: float = 1e-3
    prior_start_epoch: float = 0.0  # the prior stays as it is before this epoch
    clip_norm: float = 5.0  # largest norm of the generator's gradient
    prior_clip_norm: float = 1.0
    seed: int = 1
    precision: str = "auto"  # fp32 | bf16 | auto; resolved when a run starts
    n_threads: int = 0  # 0: torch's own choice; resolved when a run starts
    report_every: int = 100  # updates between two lines of metrics
    checkpoint_every: int = 500  # updates between two checkpoints
    validation_sentences: int = 500
    select: str = "last"  # last | valid_kn5: which weights are published

    def __post_init__(self) -> None:
        for name in ("n_epochs", "batch_size", "batch_tokens", "report_every", "checkpoint_every"):
            _at_least(f"training.{name}", getattr(self, name), 1)
        for name in ("validation_sentences", "seed"):
            _at_least(f"training.{name}", getattr(self, name), 0)
        _in_range("training.n_threads", self.n_threads, 0, MAX_THREADS)
        for name in ("clip_norm", "prior_clip_norm"):
            _positive(f"training.{name}", getattr(self, name))
        _in_range("training.learning_rate", self.learning_rate, 0.0, MAX_RATE, open_start=True)
        _in_range("training.prior_learning_rate", self.prior_learning_rate, 0.0, MAX_RATE)
        for name in ("prior_weight_decay", "prior_start_epoch"):
            _at_least(f"training.{name}", getattr(self, name), 0.0)
        _in_range("training.learning_rate_decay", self.learning_rate_decay, 0.0, 1.0, open_start=True)
        if self.seed >= 2**63:
            raise InputError(f"training.seed must be below 2**63, got {self.seed}")
        _one_of("training.precision", self.precision, ("fp32", "bf16", "auto"))
        _one_of("training.select", self.select, ("last", "valid_kn5"))


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes."""

    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionaries, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`; missing keys take their defaults, unknown ones raise InputError."""
        return cls().merge(values)

    def merge(self, values: Mapping[str, Any]) -> Config:
        """A copy with some values replaced, given as {section: {key: value}}.

        Raises:
            InputError: unknown section or key, wrong type, or a value out of range.
        """
        sections: dict[str, Any] = {}
        for section, changes in values.items():
            names = [f.name for f in dataclasses.fields(self)]
            if section not in names:
                raise InputError(f"unknown configuration section {section!r}{_hint(section, names)}")
            if not isinstance(changes, Mapping):
                raise InputError(f"configuration section {section!r} must hold keys, got {changes!r}")
            current = getattr(self, section)
            fields = {f.name: str(f.type) for f in dataclasses.fields(current)}
            for key in changes:
                if key not in fields:
                    raise InputError(f"unknown key {section}.{key}{_hint(key, list(fields), section)}")
            checked = {k: _typed(f"{section}.{k}", v, fields[k]) for k, v in changes.items()}
            sections[section] = dataclasses.replace(current, **checked)
        return dataclasses.replace(self, **sections)

    def override(self, assignments: Iterable[str]) -> Config:
        """A copy with `section.key=value` strings applied together; values are JSON, or bare words.

        Raises:
            InputError: not of that form, or what `merge` raises.
        """
        changes: dict[str, dict[str, Any]] = {}
        for assignment in assignments:
            path, separator, text = assignment.partition("=")
            section, dot, key = path.strip().partition(".")
            if not (separator and dot and section and key):
                raise InputError(f"expected section.key=value, got {assignment!r}")
            changes.setdefault(section, {})[key] = _value(text.strip())
        return self.merge(changes)


def _value(text: str) -> Any:
    if text == "none":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also for thousands of digits or of brackets
        return text


def _typed(name: str, value: Any, annotation: str) -> Any:
    """`value` as the annotated type, or InputError. Integers pass as floats, nothing else is converted."""
    if value is None and "None" in annotation:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation.startswith("float"):
        if "tuple" in annotation and isinstance(value, (list, tuple)):
            return tuple(_typed(name, v, "float") for v in value)
        if number and abs(value) <= sys.float_info.max:
            return float(value)
        wanted = "a finite number" + (" or a list of numbers" if "tuple" in annotation else "")
        wanted += " or none" if "None" in annotation else ""
    elif annotation.startswith("int"):
        if number and value % 1 == 0:  # neither nan nor inf
            return int(value)
        wanted = "a whole number" + (" or none" if "None" in annotation else "")
    elif annotation == "bool":
        if isinstance(value, bool):
            return value
        wanted = "true or false"
    else:
        if isinstance(value, str):
            return value
        wanted = "a word"
    raise InputError(f"{name} must be {wanted}, got {value!r}")


def _hint(name: str, known: list[str], section: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1)
    prefix = f"{section}." if section else ""
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; known: {', '.join(prefix + k for k in known)}"


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} must be {' or '.join(allowed)}, got {value!r}")


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InputError(f"{name} must be at least {least:g}, got {value}")


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name} must be > 0, got {value}")


def _in_range(
    name: str, value: float, low: float, high: float, *, open_start: bool = False, open_end: bool = False
) -> None:
    inside = (low < value if open_start else low <= value) and (value < high if open_end else value <= high)
    if not inside:
        left, right = "(" if open_start else "[", ")" if open_end else "]"
        raise InputError(f"{name} must lie in {left}{low:g}, {high:,g}{right}, got {value}")


def _step_size(name: str, value: float | tuple[float, ...], n_steps: int) -> None:
    sizes = value if isinstance(value, tuple) else (value,)
    for size in sizes:
        _positive(name, size)
    if isinstance(value, tuple) and len(value) != n_steps:
        raise InputError(f"{name} has {len(value)} values for {n_steps} steps; give one a step, or one number")

"""Configuration: frozen dataclasses that validate themselves and round-trip through JSON.

One section a concern; `Config.override` applies `section.key=value` strings from the command line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lebm_text.checks import at_least, check_step_size, hint, in_range, one_of, parse_value, positive, typed
from lebm_text.errors import InputError

__all__ = [
    "RESOLVED_AT_START",
    "Config",
    "InferenceConfig",
    "ModelConfig",
    "PriorConfig",
    "TextConfig",
    "TrainingConfig",
]

RESOLVED_AT_START: dict[str, object] = {"training.precision": "auto", "training.n_threads": 0}
"""Values that leave a setting open until a run starts; its config.json has what was decided."""

MAX_THREADS = 1024
MAX_SIZE = 1 << 16  # of a layer: far above what fits a machine, far below what overflows
MAX_STEPS = 1_000_000
MAX_RATE = 10.0

# inference.kind → the settings of its section that it reads; those of a prior that is learned.
_ANNEALS = ("anneal_epochs", "anneal_start_epoch")
_STEPS = ("n_steps", "step_size")
_CHAIN = (*_STEPS, "noise_scale", "noise_scale_start", "likelihood_weight", "likelihood_weight_start", "persistent")
_ENCODER = ("kl_weight", "kl_weight_start", "free_bits", "free_bits_kind", "pretrain_epochs")
_READ_BY: dict[str, tuple[str, ...]] = {
    "short_run": (*_CHAIN, *_ANNEALS),
    "amortized": (*_ENCODER, *_ANNEALS),
    "semi_amortized": (*_STEPS, *_ENCODER, *_ANNEALS),
    "no_latent": (),
}
_OF_A_LEARNED_PRIOR: dict[str, tuple[str, ...]] = {
    "model": ("prior_hidden_dim", "energy_bound"),
    "prior": ("n_steps", "step_size", "noise_scale"),
    "training": ("prior_learning_rate", "prior_weight_decay", "prior_start_epoch", "prior_clip_norm"),
}


@dataclass(frozen=True)
class TextConfig:
    """How text becomes ids."""

    tokenizer: str = "word"  # word | sentencepiece
    vocab_size: int | None = None  # ids, the 4 special ones included; none: the closed vocabulary, or 8000 pieces
    lowercase: bool = False
    max_length: int = 200  # tokens without </s>; longer sentences are left out and counted

    def __post_init__(self) -> None:
        one_of("text.tokenizer", self.tokenizer, ("word", "sentencepiece"))
        if self.vocab_size is not None:
            at_least("text.vocab_size", self.vocab_size, 5)
        at_least("text.max_length", self.max_length, 1)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of p(x|z) and of the prior on z."""

    prior: str = "ebm"  # ebm | gaussian
    latent_dim: int = 32  # D; 0: no z, a language model
    embedding_dim: int = 256  # E
    hidden_dim: int = 256  # H
    dropout: float = 0.2  # on embeddings and on LSTM outputs, in the generator's update only
    tied: bool = False  # output weights = embeddings; needs embedding_dim = hidden_dim
    prior_hidden_dim: int = 200  # width of the two hidden layers of f(z)
    energy_bound: float = 0.0  # b > 0: f = b tanh(g / b), so |f| < b; 0: unbounded
    init_range: float = 0.1  # every parameter starts uniform in ±init_range

    def __post_init__(self) -> None:
        one_of("model.prior", self.prior, ("ebm", "gaussian"))
        in_range("model.latent_dim", self.latent_dim, 0, MAX_SIZE)
        for name in ("embedding_dim", "hidden_dim", "prior_hidden_dim"):
            in_range(f"model.{name}", getattr(self, name), 1, MAX_SIZE)
        in_range("model.dropout", self.dropout, 0.0, 1.0, open_end=True)
        at_least("model.energy_bound", self.energy_bound, 0.0)
        positive("model.init_range", self.init_range)
        if self.tied and self.embedding_dim != self.hidden_dim:
            raise InputError(
                "model.tied needs model.embedding_dim = model.hidden_dim, "
                f"got {self.embedding_dim} and {self.hidden_dim}"
            )


@dataclass(frozen=True)
class InferenceConfig:
    """The way from x to z⁺. `*_start` values move to their final ones over `anneal_epochs` epochs.

    The posterior chain of short_run has the settings down to `persistent`; the encoder of amortized those from
    `kl_weight` on, and the anneals; semi_amortized, which refines what the encoder says, n_steps and step_size besides.
    """

    kind: str = "short_run"  # short_run | amortized | semi_amortized | no_latent (if D = 0)
    n_steps: int = 20  # K1
    step_size: float | tuple[float, ...] = 0.3  # s, or one a step
    noise_scale: float = 1.0  # n, a standard deviation; 1 samples the target, less is tempered
    noise_scale_start: float | None = None  # none: no annealing; linear otherwise
    likelihood_weight: float = 1.0  # γ of p_α(z) p_β(x|z)^γ; 1 is maximum likelihood
    likelihood_weight_start: float | None = None  # none: no annealing; geometric otherwise
    anneal_epochs: float = 6.0
    anneal_start_epoch: float = 0.0  # until then the start values hold; counted from the end of pretraining
    persistent: bool = False  # chains continue from their last visit instead of from p0
    kl_weight: float = 1.0  # β of the evidence bound; 1 is the bound, 0 an autoencoder
    kl_weight_start: float | None = None  # none: no warm-up; linear otherwise
    free_bits: float = 0.0  # nats of KL(q‖p0) a sentence that cost nothing
    free_bits_kind: str = "dimension"  # dimension: each of D has its share free | total: their sum
    pretrain_epochs: int = 0  # of n_epochs, as an autoencoder (β = 0); then the generator begins anew

    def __post_init__(self) -> None:
        one_of("inference.kind", self.kind, tuple(_READ_BY))
        in_range("inference.n_steps", self.n_steps, 1, MAX_STEPS)
        check_step_size("inference.step_size", self.step_size, self.n_steps)
        for name in ("noise_scale", "noise_scale_start", "kl_weight", "kl_weight_start"):
            if (value := getattr(self, name)) is not None:
                at_least(f"inference.{name}", value, 0.0)
        for name in ("likelihood_weight", "likelihood_weight_start"):
            if (value := getattr(self, name)) is not None:
                positive(f"inference.{name}", value)
        positive("inference.anneal_epochs", self.anneal_epochs)
        for name in ("anneal_start_epoch", "free_bits", "pretrain_epochs"):
            at_least(f"inference.{name}", getattr(self, name), 0)
        one_of("inference.free_bits_kind", self.free_bits_kind, ("dimension", "total"))


@dataclass(frozen=True)
class PriorConfig:
    """The prior chain, p0 → z⁻ (unused by a Gaussian prior, which is sampled exactly)."""

    n_steps: int = 40  # K0
    step_size: float | tuple[float, ...] = 0.5
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        in_range("prior.n_steps", self.n_steps, 1, MAX_STEPS)
        check_step_size("prior.step_size", self.step_size, self.n_steps)
        at_least("prior.noise_scale", self.noise_scale, 0.0)


@dataclass(frozen=True)
class TrainingConfig:
    """Updates, their order and what is written when."""

    n_epochs: int = 20
    batch_size: int = 64  # at most so many sentences a batch
    batch_tokens: int = 2048  # at most so many tokens a batch, padding included
    learning_rate: float = 1e-3  # Adam, generator and encoder
    learning_rate_decay: float = 1.0  # both rates are multiplied by this after each epoch
    prior_learning_rate: float = 1e-4  # Adam, prior
    prior_weight_decay: float = 1e-3
    prior_start_epoch: float = 0.0  # the prior stays as it is before this epoch
    clip_norm: float = 5.0  # largest norm of the generator's gradient, and of the encoder's
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
            at_least(f"training.{name}", getattr(self, name), 1)
        for name in ("validation_sentences", "seed"):
            at_least(f"training.{name}", getattr(self, name), 0)
        in_range("training.n_threads", self.n_threads, 0, MAX_THREADS)
        for name in ("clip_norm", "prior_clip_norm"):
            positive(f"training.{name}", getattr(self, name))
        in_range("training.learning_rate", self.learning_rate, 0.0, MAX_RATE, open_start=True)
        in_range("training.prior_learning_rate", self.prior_learning_rate, 0.0, MAX_RATE)
        for name in ("prior_weight_decay", "prior_start_epoch"):
            at_least(f"training.{name}", getattr(self, name), 0.0)
        in_range("training.learning_rate_decay", self.learning_rate_decay, 0.0, 1.0, open_start=True)
        if self.seed >= 2**63:
            raise InputError(f"training.seed must be below 2**63, got {self.seed}")
        one_of("training.precision", self.precision, ("fp32", "bf16", "auto"))
        one_of("training.select", self.select, ("last", "valid_kn5"))


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes."""

    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        prior, kind, latent_dim = self.model.prior, self.inference.kind, self.model.latent_dim
        if (latent_dim == 0) != (kind == "no_latent"):
            raise InputError(f"inference.kind = no_latent belongs to model.latent_dim = 0, got {kind} and {latent_dim}")
        if latent_dim == 0 and prior != "gaussian":
            raise InputError(f"model.latent_dim = 0 leaves no z to learn a prior of: no model.prior = {prior}")
        if self.training.n_epochs <= self.inference.pretrain_epochs:
            raise InputError(
                f"inference.pretrain_epochs must be below training.n_epochs = {self.training.n_epochs}, "
                f"got {self.inference.pretrain_epochs}"
            )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionaries, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    def differences(self, base: Config) -> dict[str, Any]:
        """`section.key` → value of what is here otherwise than in `base`, in the order of the sections."""
        theirs = base.to_dict()
        return {
            f"{section}.{key}": value
            for section, values in self.to_dict().items()
            for key, value in values.items()
            if value != theirs[section][key]
        }

    def assignments(self, base: Config) -> list[str]:
        """The strings with which `base.override` gives this configuration, where it can be had so."""
        return [
            f"{path}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
            for path, value in self.differences(base).items()
        ]

    def conflicts(self, stored: Config) -> dict[str, Any]:
        """`differences` from what a run has stored, without what was open here and was decided when it started."""
        found = self.differences(stored)
        return {path: value for path, value in found.items() if value != RESOLVED_AT_START.get(path, stored)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`; missing keys take their defaults, unknown ones raise InputError."""
        return cls()._replace(values, asked=False)

    def merge(self, values: Mapping[str, Any]) -> Config:
        """A copy with some values replaced, given as {section: {key: value}}.

        What the resulting kinds of prior and of inference do not read returns to its default, so that a
        configuration says nothing that is not so. `model.latent_dim = 0` brings the kinds that belong to it.

        Raises:
            InputError: unknown section or key, wrong type, a value out of range, or one that has no effect.
        """
        return self._replace(values, asked=True)

    def _replace(self, values: Mapping[str, Any], *, asked: bool) -> Config:
        """`merge`; a value without effect is refused if a person `asked` for it, not if a file holds it."""
        sections: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for section, changes in values.items():
            if section not in sections:
                raise InputError(f"unknown configuration section {section!r}{hint(section, list(sections))}")
            if not isinstance(changes, Mapping):
                raise InputError(f"configuration section {section!r} must hold keys, got {changes!r}")
            current = sections[section]
            fields = {f.name: str(f.type) for f in dataclasses.fields(current)}
            for key in changes:
                if key not in fields:
                    raise InputError(f"unknown key {section}.{key}{hint(key, list(fields), section)}")
            checked = {k: typed(f"{section}.{k}", v, fields[k]) for k, v in changes.items()}
            sections[section] = dataclasses.replace(current, **checked)
        if sections["model"].latent_dim == 0:
            for section, key, wanted in (("model", "prior", "gaussian"), ("inference", "kind", "no_latent")):
                if key not in values.get(section, {}):
                    sections[section] = dataclasses.replace(sections[section], **{key: wanted})
        for section, keys, reason in _unread(sections["model"], sections["inference"]):
            if asked and (idle := [key for key in values.get(section, {}) if key in keys]):
                raise InputError(f"{section}.{idle[0]} has no effect with {reason}")
            defaults = {key: getattr(type(sections[section]), key) for key in keys}
            sections[section] = dataclasses.replace(sections[section], **defaults)
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
            changes.setdefault(section, {})[key] = parse_value(text.strip())
        return self.merge(changes)


def _unread(model: ModelConfig, inference: InferenceConfig) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(section, keys, why) of the settings that these kinds of prior and of inference never read."""
    if model.prior == "gaussian":
        for section, keys in _OF_A_LEARNED_PRIOR.items():
            yield section, keys, "model.prior = gaussian"
    read = _READ_BY[inference.kind]
    others = dict.fromkeys(key for keys in _READ_BY.values() for key in keys if key not in read)
    yield "inference", tuple(others), f"inference.kind = {inference.kind}"

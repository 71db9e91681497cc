"""Configuration: frozen dataclasses that validate themselves and round-trip through JSON.

One section a concern; `Config.override` applies `section.key=value` strings from the command line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_type_hints

from lebm_text.checks import (
    MAX_COUNT,
    Section,
    Steps,
    class_or,
    from_plain,
    hint,
    in_range,
    one_of,
    parse_value,
    setting,
)
from lebm_text.errors import InputError

__all__ = [
    "INFERENCE",
    "RESOLVED_AT_START",
    "AmortizedConfig",
    "Config",
    "InferenceConfig",
    "LocalConfig",
    "ModelConfig",
    "NoLatentConfig",
    "PriorConfig",
    "SemiAmortizedConfig",
    "ShortRunConfig",
    "TextConfig",
    "TrainingConfig",
    "VariationalConfig",
]

RESOLVED_AT_START: dict[str, object] = {"training.precision": "auto", "training.n_threads": 0}
"""Values that leave a setting open until a run starts; its config.json has what was decided."""

MAX_THREADS = 1024
MAX_SIZE = 1 << 16  # of a layer: far above what fits a machine, far below what overflows
MAX_LAYERS = 1024
MAX_STEPS = 1_000_000
MAX_RATE = 10.0
MAX_VOCABULARY = 1 << 24
_NOISE = 0.0, 100.0
_PENALTY = 0.0, 1e6
_WEIGHTS = 1e-12, 1e6  # of what is divided by, or annealed in its logarithm
_LENGTH = 1, MAX_STEPS
_START = 1e-12, MAX_RATE
MOST_HALVINGS = 4  # of the prior chain's step while a run learns

# What a prior without parameters does not read.
_OF_A_LEARNED_PRIOR: dict[str, tuple[str, ...]] = {
    "model": ("prior_hidden_dim", "energy_bound"),
    "prior": ("n_steps", "step_size", "noise_scale"),
    "training": ("prior_learning_rate", "prior_weight_decay", "prior_start_epoch", "prior_clip_norm"),
}
_OF_A_TRANSFORMER = "n_layers", "n_heads"


@dataclass(frozen=True)
class TextConfig(Section):
    """How text becomes ids."""

    section: ClassVar[str] = "text"
    tokenizer: str = setting("word", one_of, ("word", "sentencepiece"))
    # ids, the 4 special ones included; none: the closed vocabulary, or 8000 pieces
    vocab_size: int | None = setting(None, in_range, 5, MAX_VOCABULARY)
    lowercase: bool = False
    max_length: int = setting(200, in_range, *_LENGTH)  # tokens without </s>; longer sentences are left out, counted


@dataclass(frozen=True)
class ModelConfig(Section):
    """Sizes of p(x|z) and of the prior on z. Both may be classes of yours, given as package.module:Class."""

    section: ClassVar[str] = "model"
    prior: str = setting("ebm", class_or, ("ebm", "gaussian"))
    generator: str = setting("lstm", class_or, ("lstm", "transformer"))
    latent_dim: int = setting(32, in_range, 0, MAX_SIZE)  # D; 0: no z, a language model
    embedding_dim: int = setting(256, in_range, 1, MAX_SIZE)  # E
    hidden_dim: int = setting(256, in_range, 1, MAX_SIZE)  # H
    n_layers: int = setting(2, in_range, 1, MAX_LAYERS)  # of a transformer, which needs E = H
    n_heads: int = setting(4, in_range, 1, MAX_SIZE)
    # on embeddings and on what layers put out, in the generator's update only
    dropout: float = setting(0.2, in_range, 0.0, 1.0, open_end=True)
    tied: bool = False  # output weights = embeddings; needs embedding_dim = hidden_dim
    prior_hidden_dim: int = setting(200, in_range, 1, MAX_SIZE)  # width of the two hidden layers of f(z)
    energy_bound: float = setting(0.0, in_range, *_PENALTY)  # b > 0: f = b tanh(g / b), so |f| < b; 0: unbounded
    init_range: float = setting(0.1, in_range, *_START)  # every parameter starts uniform in ±init_range

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tied and self.embedding_dim != self.hidden_dim:
            raise InputError(
                "model.tied needs model.embedding_dim = model.hidden_dim, "
                f"got {self.embedding_dim} and {self.hidden_dim}"
            )


@dataclass(frozen=True)
class InferenceConfig(Section):
    """The way from x to z⁺: one class for each kind, with the settings that it has."""

    section: ClassVar[str] = "inference"
    kind: str = field(init=False)

    @property
    def pretrain_epochs(self) -> int:
        """Epochs as an autoencoder: an encoder's alone."""
        return 0

    @property
    def persistent(self) -> bool:
        """Whether chains go on from their last visit."""
        return False

    def of_kind(self, kind: str) -> InferenceConfig:
        """This one as another kind, the settings that both have kept."""
        kept = {f.name for f in dataclasses.fields(self)}
        new = INFERENCE[kind]
        return new(**{f.name: getattr(self, f.name) for f in dataclasses.fields(new) if f.init and f.name in kept})


@dataclass(frozen=True)
class NoLatentConfig(InferenceConfig):
    """That of a language model, D = 0."""

    kind: str = field(default="no_latent", init=False)


@dataclass(frozen=True)
class _Annealed(InferenceConfig):
    """`*_start` values move to their final ones over `anneal_epochs` epochs."""

    anneal_epochs: float = setting(6.0, in_range, 0.0, MAX_STEPS, open_start=True)
    # until then the start values hold; counted from the end of pretraining, or of training.init_epochs
    anneal_start_epoch: float = setting(0.0, in_range, 0.0, MAX_STEPS)


@dataclass(frozen=True)
class ShortRunConfig(Steps, _Annealed):
    """The posterior chain, z_0 → z⁺."""

    kind: str = field(default="short_run", init=False)
    n_steps: int = setting(20, in_range, 1, MAX_STEPS)  # K1
    step_size: float | tuple[float, ...] = 0.3  # s, or one per step
    noise_scale: float = setting(1.0, in_range, *_NOISE)  # n, a standard deviation; 1: the target, less: tempered
    noise_scale_start: float | None = setting(None, in_range, *_NOISE)  # none: no annealing; linear otherwise
    likelihood_weight: float = setting(1.0, in_range, *_WEIGHTS)  # γ of p_α(z) p_β(x|z)^γ; 1 is maximum likelihood
    likelihood_weight_start: float | None = setting(None, in_range, *_WEIGHTS)  # none: no annealing; else geometric
    persistent: bool = False  # chains continue from their last visit instead of from p0


@dataclass(frozen=True)
class VariationalConfig(_Annealed):
    """What draws z⁺ from a normal q(z|x) has."""

    kl_weight: float = setting(1.0, in_range, *_PENALTY)  # β of the evidence bound; 1 is the bound, 0 an autoencoder
    kl_weight_start: float | None = setting(None, in_range, *_PENALTY)  # none: no warm-up; linear otherwise


@dataclass(frozen=True)
class AmortizedConfig(VariationalConfig):
    """An encoder."""

    kind: str = field(default="amortized", init=False)
    free_bits: float = setting(0.0, in_range, *_PENALTY)  # nats of KL(q‖p0) per sentence that cost nothing
    # dimension: each of D has its share free | total: their sum
    free_bits_kind: str = setting("dimension", one_of, ("dimension", "total"))
    # of n_epochs, as an autoencoder (β = 0); then the generator begins anew
    pretrain_epochs: int = setting(0, in_range, 0, MAX_STEPS)


@dataclass(frozen=True)
class SemiAmortizedConfig(Steps, AmortizedConfig):
    """An encoder, and gradient steps from what it says."""

    kind: str = field(default="semi_amortized", init=False)
    n_steps: int = setting(20, in_range, 1, MAX_STEPS)
    step_size: float | tuple[float, ...] = 0.3


@dataclass(frozen=True)
class LocalConfig(VariationalConfig):
    """q(z|x) fitted to each sentence by itself."""

    kind: str = field(default="local", init=False)
    n_steps: int = setting(16, in_range, 1, MAX_STEPS)
    learning_rate: float = setting(0.3, in_range, 0.0, MAX_RATE, open_start=True)  # Adam


INFERENCE: dict[str, type[InferenceConfig]] = {
    each.kind: each for each in (ShortRunConfig, AmortizedConfig, SemiAmortizedConfig, LocalConfig, NoLatentConfig)
}


@dataclass(frozen=True)
class PriorConfig(Steps, Section):
    """The prior chain, p0 → z⁻ (unused by a Gaussian prior, which is sampled exactly)."""

    section: ClassVar[str] = "prior"
    n_steps: int = setting(40, in_range, 1, MAX_STEPS)  # K0
    step_size: float | tuple[float, ...] = 0.5  # halved where it gets too long for f, with twice as many steps
    noise_scale: float = setting(1.0, in_range, *_NOISE)

    def finer(self, times: int) -> PriorConfig:
        """Steps halved so many times, and twice as many of them each time.

        Raises:
            InputError: more often than a run does.
        """
        in_range("halvings of prior.step_size", times, 0, MOST_HALVINGS)
        parts, sizes = 2**times, self.step_size
        if isinstance(sizes, tuple):
            sizes = tuple(size / parts for size in sizes for _ in range(parts))
        else:
            sizes /= parts
        return dataclasses.replace(self, n_steps=parts * self.n_steps, step_size=sizes)


@dataclass(frozen=True)
class TrainingConfig(Section):
    """Updates, their order and what is written when."""

    section: ClassVar[str] = "training"
    n_epochs: int = setting(20, in_range, 1, MAX_STEPS)
    batch_size: int = setting(64, in_range, 1, MAX_COUNT)  # at most so many sentences per batch
    batch_tokens: int = setting(2048, in_range, 1, MAX_COUNT)  # at most so many tokens per batch, padding included
    learning_rate: float = setting(1e-3, in_range, 0.0, MAX_RATE, open_start=True)  # Adam, generator and encoder
    # both rates are multiplied by this after each epoch
    learning_rate_decay: float = setting(1.0, in_range, 0.0, 1.0, open_start=True)
    prior_learning_rate: float = setting(1e-4, in_range, 0.0, MAX_RATE)  # Adam, prior
    prior_weight_decay: float = setting(1e-3, in_range, 0.0, MAX_RATE)
    # the prior stays as it is before this epoch, counted from the end of `init_epochs`
    prior_start_epoch: float = setting(0.0, in_range, 0.0, MAX_STEPS)
    # lm: the generator starts as a language model, for `init_epochs` of n_epochs | a run: with its generator's weights
    init: str | None = None
    init_epochs: int = setting(0, in_range, 0, MAX_STEPS)
    clip_norm: float = setting(
        5.0, in_range, *_WEIGHTS
    )  # largest norm of the generator's gradient, and of the encoder's
    prior_clip_norm: float = setting(1.0, in_range, *_WEIGHTS)
    seed: int = setting(1, in_range, 0, 2**63, open_end=True)
    precision: str = setting("auto", one_of, ("fp32", "bf16", "auto"))  # resolved when a run starts
    n_threads: int = setting(0, in_range, 0, MAX_THREADS)  # 0: torch's own choice; resolved when a run starts
    report_every: int = setting(100, in_range, 1, MAX_COUNT)  # updates between two lines of metrics
    checkpoint_every: int = setting(500, in_range, 1, MAX_COUNT)  # updates between two checkpoints
    validation_sentences: int = setting(500, in_range, 0, MAX_COUNT)
    # which weights are published: the last; those of the epoch with the lowest perplexity of validation sentences, of
    # models that have one or a bound on it (`training.validation.SELECTING`); or with the lowest KN5 reverse perplexity
    select: str = setting("valid", one_of, ("last", "valid", "valid_kn5"))


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes."""

    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    inference: InferenceConfig = field(default_factory=ShortRunConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        prior, kind, latent_dim = self.model.prior, self.inference.kind, self.model.latent_dim
        if (latent_dim == 0) != (kind == "no_latent"):
            raise InputError(f"inference.kind = no_latent belongs to model.latent_dim = 0, got {kind} and {latent_dim}")
        if latent_dim == 0 and prior != "gaussian":
            raise InputError(f"model.latent_dim = 0 leaves no z to learn a prior of: no model.prior = {prior}")
        for name, epochs in (
            ("inference.pretrain_epochs", self.inference.pretrain_epochs),
            ("training.init_epochs", self.training.init_epochs),
        ):
            if self.training.n_epochs <= epochs:
                raise InputError(f"{name} must be below training.n_epochs = {self.training.n_epochs}, got {epochs}")
        init, init_epochs = self.training.init, self.training.init_epochs
        if (init == "lm") != (init_epochs > 0):
            raise InputError(
                f"training.init_epochs > 0 and training.init = lm belong together, got {init_epochs} and {init}"
            )
        if init == "lm" and latent_dim == 0:
            raise InputError("training.init = lm has no effect with model.latent_dim = 0, which is a language model")
        if init is not None and self.inference.pretrain_epochs:
            raise InputError(
                "inference.pretrain_epochs ends with a new generator, which training.init gives its first weights: "
                "one or the other"
            )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionaries, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    def differences(self, base: Config) -> dict[str, Any]:
        """`section.key` → value of what is here otherwise than in `base`, or else than its default."""
        theirs = base.to_dict()
        return {
            f"{section}.{key}": value
            for section, values in self.to_dict().items()
            for key, value in values.items()
            if value != theirs[section].get(key, getattr(type(getattr(self, section)), key))
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

        Another kind of inference keeps the settings that both kinds have; what a prior without parameters does not
        read returns to its default. `model.latent_dim = 0` brings the kinds that belong to it.

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
        wanted: dict[str, dict[str, Any]] = {section: dict(values.get(section, {})) for section in sections}
        if wanted["model"].get("latent_dim", self.model.latent_dim) == 0:
            wanted["model"].setdefault("prior", "gaussian")
            wanted["inference"].setdefault("kind", "no_latent")
        kind = from_plain(str, wanted["inference"].pop("kind", self.inference.kind), "inference.kind")
        one_of("inference.kind", kind, tuple(INFERENCE))
        sections["inference"] = self.inference.of_kind(kind)
        others = {f.name for each in INFERENCE.values() for f in dataclasses.fields(each)}
        others -= {f.name for f in dataclasses.fields(sections["inference"])}
        idle = {section: dict[str, str]() for section in sections}  # key → why it has no effect
        idle["inference"] |= dict.fromkeys(others, f"inference.kind = {kind}")
        if wanted["model"].get("generator", self.model.generator) == "lstm":
            idle["model"] |= dict.fromkeys(_OF_A_TRANSFORMER, "model.generator = lstm")
        if wanted["model"].get("prior", self.model.prior) == "gaussian":
            for section, keys in _OF_A_LEARNED_PRIOR.items():
                idle[section] |= dict.fromkeys(keys, "model.prior = gaussian")
        for section, changes in wanted.items():
            fields = {f.name: f for f in dataclasses.fields(sections[section])}
            unread = idle[section]
            for key in changes:
                if key not in fields and key not in unread:
                    raise InputError(f"unknown key {section}.{key}{hint(key, list(fields), section)}")
                if key in unread and asked:
                    raise InputError(f"{section}.{key} has no effect with {unread[key]}")
            read = {key: value for key, value in changes.items() if key not in unread}
            types = get_type_hints(type(sections[section]))
            checked = {k: from_plain(types[k], v, f"{section}.{k}", strict=True) for k, v in read.items()}
            defaults = {key: fields[key].default for key in unread if key in fields}
            sections[section] = dataclasses.replace(sections[section], **checked, **defaults)
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

"""The sections of a configuration: a frozen dataclass for each concern, whose settings check themselves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

from lebm_text.checks import MAX_COUNT, Section, Steps, in_range, one_of, setting
from lebm_text.errors import InputError
from lebm_text.plugins import class_or
from lebm_text.threads import MAX_THREADS

__all__ = [
    "GENERATORS",
    "INFERENCE",
    "MAX_STEPS",
    "MOST_HALVINGS",
    "PRETRAINED",
    "PRIORS",
    "SAME_AT_START",
    "AmortizedConfig",
    "ClassesConfig",
    "GeneratorConfig",
    "InferenceConfig",
    "LocalConfig",
    "ModelConfig",
    "NoLatentConfig",
    "PretrainedConfig",
    "PriorConfig",
    "SemiAmortizedConfig",
    "ShortRunConfig",
    "TextConfig",
    "TrainingConfig",
    "VariationalConfig",
]

PRIORS = "ebm", "classes", "gaussian"
GENERATORS = "lstm", "transformer"
PRETRAINED = "hf:"  # a directory, or a model of the Hugging Face Hub
# Settings of the model that a run and the one whose weights it begins with must have in common.
SAME_AT_START = "generator", "embedding_dim", "hidden_dim", "n_layers", "n_heads", "tied"
MAX_SIZE = 1 << 16  # of a layer: far above what fits a machine, far below what overflows
MAX_LAYERS = 1024
MOST_CLASSES = 1000
MAX_STEPS = 1_000_000
MAX_RATE = 10.0
MAX_VOCABULARY = 1 << 24
_NOISE = 0.0, 100.0
_PENALTY = 0.0, 1e6
_WEIGHTS = 1e-12, 1e6  # of what is divided by, or annealed in its logarithm
MOST_HALVINGS = 4  # of the prior chain's step while a run learns


@dataclass(frozen=True)
class TextConfig(Section):
    """How text becomes ids."""

    section: ClassVar[str] = "text"
    # word: separated by blanks; sentencepiece: learned pieces; hf: the pieces of a pretrained decoder
    tokenizer: str = setting("word", one_of, ("word", "sentencepiece", "hf"))
    # number of ids, the 4 special ones included; none: all words that occur twice or more, or 8000 pieces
    vocab_size: int | None = setting(None, in_range, 5, MAX_VOCABULARY)
    lowercase: bool = False  # before the text is split into words
    max_length: int = setting(200, in_range, 1, MAX_STEPS)  # tokens without </s>; longer sentences are left out


@dataclass(frozen=True)
class ModelConfig(Section):
    """Sizes of p(x|z) and of the prior on z. Both may be classes of yours, given as package.module:Class."""

    section: ClassVar[str] = "model"
    prior: str = setting("ebm", class_or, PRIORS)  # exp(f) p0, with an f for each label, or p0 itself
    generator: str = setting("lstm", class_or, GENERATORS, PRETRAINED)  # p(x|z); hf:NAME is a pretrained decoder
    latent_dim: int = setting(32, in_range, 0, MAX_SIZE)  # D; 0: no z, a language model
    embedding_dim: int = setting(256, in_range, 1, MAX_SIZE)  # E
    hidden_dim: int = setting(256, in_range, 1, MAX_SIZE)  # H
    n_layers: int = setting(2, in_range, 1, MAX_LAYERS)  # of a transformer, which needs E = H
    n_heads: int = setting(4, in_range, 1, MAX_SIZE)  # of a transformer, which needs H to be a multiple of 2 n_heads
    # share of the embeddings and layer outputs that are set to 0 in the generator's update
    dropout: float = setting(0.2, in_range, 0.0, 1.0, open_end=True)
    # share of sentences for which that update replaces z by a learned null vector
    z_dropout: float = setting(0.0, in_range, 0.0, 0.5)
    # share of input words that are replaced by <unk> in that update
    word_dropout: float = setting(0.0, in_range, 0.0, 1.0, open_end=True)
    tied: bool = False  # output weights = embeddings; needs embedding_dim = hidden_dim
    prior_hidden_dim: int = setting(200, in_range, 1, MAX_SIZE)  # width of the two hidden layers of f(z)
    energy_bound: float = setting(0.0, in_range, *_PENALTY)  # b > 0: f = b tanh(g / b), so |f| < b; 0: unbounded
    init_range: float = setting(0.1, in_range, 1e-12, MAX_RATE)  # every parameter starts uniform in ±init_range

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tied and self.embedding_dim != self.hidden_dim:
            raise InputError(
                "model.tied needs model.embedding_dim = model.hidden_dim, "
                f"got {self.embedding_dim} and {self.hidden_dim}"
            )
        if self.z_dropout and not self.latent_dim:
            raise InputError("model.z_dropout has no effect with model.latent_dim = 0, which has no z")


@dataclass(frozen=True)
class InferenceConfig(Section):
    """The way from x to z⁺: one class for each kind, with the settings that it has."""

    section: ClassVar[str] = "inference"
    kind: str = field(init=False)

    @property
    def pretrain_epochs(self) -> int:
        """Epochs as an autoencoder, only with an encoder."""
        return 0

    @property
    def persistent(self) -> bool:
        """Whether chains continue from their last visit."""
        return False


@dataclass(frozen=True)
class NoLatentConfig(InferenceConfig):
    """No inference, for a language model, D = 0."""

    kind: str = field(default="no_latent", init=False)


@dataclass(frozen=True)
class _Annealed(InferenceConfig):
    """`*_start` values move to their final ones over `anneal_epochs` epochs."""

    anneal_epochs: float = setting(6.0, in_range, 0.0, MAX_STEPS, open_start=True)  # how long annealing takes
    # epoch at which annealing begins, counted from the end of pretraining, or of training.init_epochs
    anneal_start_epoch: float = setting(0.0, in_range, 0.0, MAX_STEPS)


@dataclass(frozen=True)
class ShortRunConfig(Steps, _Annealed):
    """The posterior chain, z_0 → z⁺."""

    kind: str = field(default="short_run", init=False)
    n_steps: int = setting(20, in_range, 1, MAX_STEPS)  # K1
    step_size: float | tuple[float, ...] = 0.3  # s, or one per step
    noise_scale: float = setting(1.0, in_range, *_NOISE)  # n, a standard deviation; 1: the target, less: tempered
    # noise_scale at the start, from which it changes linearly; none: no annealing
    noise_scale_start: float | None = setting(None, in_range, *_NOISE)
    likelihood_weight: float = setting(1.0, in_range, *_WEIGHTS)  # γ of p_α(z) p_β(x|z)^γ; 1 is maximum likelihood
    # likelihood_weight at the start, from which it changes geometrically; none: no annealing
    likelihood_weight_start: float | None = setting(None, in_range, *_WEIGHTS)
    persistent: bool = False  # chains continue from their last visit instead of from p0


@dataclass(frozen=True)
class VariationalConfig(_Annealed):
    """What draws z⁺ from a normal q(z|x) has."""

    kl_weight: float = setting(1.0, in_range, *_PENALTY)  # β of the evidence bound; 1 is the bound, 0 an autoencoder
    # kl_weight at the start, from which it changes linearly; none: no warm-up
    kl_weight_start: float | None = setting(None, in_range, *_PENALTY)


@dataclass(frozen=True)
class AmortizedConfig(VariationalConfig):
    """An encoder."""

    kind: str = field(default="amortized", init=False)
    free_bits: float = setting(0.0, in_range, *_PENALTY)  # nats of KL(q‖p0) per sentence that are not penalised
    # dimension: each dimension of z has 1/D of them | total: they apply to the sum
    free_bits_kind: str = setting("dimension", one_of, ("dimension", "total"))
    # the first of n_epochs, as an autoencoder (β = 0); then the generator starts again from random weights
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
    learning_rate: float = setting(0.3, in_range, 0.0, MAX_RATE, open_start=True)  # of Adam


INFERENCE: dict[str, type[InferenceConfig]] = {
    each.kind: each for each in (ShortRunConfig, AmortizedConfig, SemiAmortizedConfig, LocalConfig, NoLatentConfig)
}


@dataclass(frozen=True)
class PriorConfig(Steps, Section):
    """The prior chain, p0 → z⁻ (unused by a Gaussian prior, which is sampled exactly)."""

    section: ClassVar[str] = "prior"
    n_steps: int = setting(40, in_range, 1, MAX_STEPS)  # K0
    # s, or one per step; training halves it, and doubles n_steps, where f becomes too steep for it
    step_size: float | tuple[float, ...] = 0.5
    noise_scale: float = setting(1.0, in_range, *_NOISE)  # n, a standard deviation; 1: exp(f) p0

    def finer(self, times: int) -> PriorConfig:
        """Return the chain with steps halved `times` times, and twice as many of them each time.

        Raises:
            InputError: more halvings than a run makes.
        """
        in_range("halvings of prior.step_size", times, 0, MOST_HALVINGS)
        parts, sizes = 2**times, self.step_size
        if isinstance(sizes, tuple):
            sizes = tuple(size / parts for size in sizes for _ in range(parts))
        else:
            sizes /= parts
        return dataclasses.replace(self, n_steps=parts * self.n_steps, step_size=sizes)


@dataclass(frozen=True)
class ClassesConfig(PriorConfig):
    """The prior chain, p0 → z⁻ (unused by a Gaussian prior, which is sampled exactly), and what classes have."""

    # for model.prior = classes: the names of the labels; none: those of the training text, found when a run starts
    labels: tuple[str, ...] | None = None
    # for model.prior = classes: share of the labels that are used; with 0 and `labels` no label is read
    label_share: float = setting(1.0, in_range, 0.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is not None:
            in_range("number of prior.labels", len(self.labels), 2, MOST_CLASSES)
            if len(set(self.labels)) < len(self.labels) or "" in self.labels:
                raise InputError(f"prior.labels must be different names, got {', '.join(map(repr, self.labels[:20]))}")


@dataclass(frozen=True)
class GeneratorConfig(Section):
    """What a generator has beside the sizes of the section model: the package's own have nothing."""

    section: ClassVar[str] = "generator"


@dataclass(frozen=True)
class PretrainedConfig(GeneratorConfig):
    """How a pretrained decoder, model.generator = hf:NAME, takes part."""

    # what is trained besides the map from z: frozen: nothing; lora: low-rank terms of the matrices; full: everything
    adapt: str = setting("frozen", one_of, ("frozen", "lora", "full"))
    n_prefix: int = setting(4, in_range, 1, 1024)  # J, number of vectors made from z that precede the sentence
    lora_rank: int = setting(8, in_range, 1, MAX_SIZE)  # r, for adapt = lora
    sha256: str | None = None  # of the decoder's files; recorded when a run starts, then checked


@dataclass(frozen=True)
class TrainingConfig(Section):
    """Updates, their order and what is written when."""

    section: ClassVar[str] = "training"
    n_epochs: int = setting(20, in_range, 1, MAX_STEPS)  # passes over the training text
    batch_size: int = setting(64, in_range, 1, MAX_COUNT)  # most sentences of a batch
    batch_tokens: int = setting(2048, in_range, 1, MAX_COUNT)  # most tokens of a batch, padding included
    learning_rate: float = setting(1e-3, in_range, 0.0, MAX_RATE, open_start=True)  # of Adam, for generator and encoder
    # all rates are multiplied by this after each epoch
    learning_rate_decay: float = setting(1.0, in_range, 0.0, 1.0, open_start=True)
    # how the learning rates fall to 0, from schedule_start on
    schedule: str = setting("constant", one_of, ("constant", "linear", "cosine"))
    schedule_start: float = setting(0.5, in_range, 0.0, 1.0, open_end=True)  # share of all epochs before the rates fall
    prior_learning_rate: float = setting(1e-4, in_range, 0.0, MAX_RATE)  # of Adam, for the prior
    prior_weight_decay: float = setting(1e-3, in_range, 0.0, MAX_RATE)  # of Adam, for the prior: an L2 penalty
    # epoch from which on the prior is trained, counted from the end of `init_epochs`
    prior_start_epoch: float = setting(0.0, in_range, 0.0, MAX_STEPS)
    # lm: the first `init_epochs` train the generator as a language model | a run: the generator takes its weights
    init: str | None = None
    init_epochs: int = setting(0, in_range, 0, MAX_STEPS)  # the first of n_epochs, for `init` = lm
    # largest norm of the gradient, for generator and encoder; a larger one is scaled down
    clip_norm: float = setting(5.0, in_range, *_WEIGHTS)
    prior_clip_norm: float = setting(1.0, in_range, *_WEIGHTS)  # the same for the prior
    seed: int = setting(1, in_range, 0, 2**63, open_end=True)  # of all random numbers
    precision: str = setting("auto", one_of, ("fp32", "bf16", "auto"))  # resolved when a run starts
    n_threads: int = setting(0, in_range, 0, MAX_THREADS)  # 0: torch's own choice; resolved when a run starts
    report_every: int = setting(100, in_range, 1, MAX_COUNT)  # updates between two lines of metrics.jsonl
    checkpoint_every: int = setting(500, in_range, 1, MAX_COUNT)  # updates between two checkpoints
    validation_sentences: int = setting(500, in_range, 0, MAX_COUNT)  # scored after each epoch
    # which weights are published: last; valid: those of the epoch with the lowest validation perplexity, or bound on
    # it, if the model has one; valid_kn5: those of the epoch with the lowest KN5 reverse perplexity
    select: str = setting("valid", one_of, ("last", "valid", "valid_kn5"))
    # stop after this many epochs in a row without improvement in what `select` compares; none: after n_epochs
    patience: int | None = setting(None, in_range, 1, MAX_STEPS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select == "last" and self.patience is not None:
            raise InputError("training.patience has nothing to look at with training.select = last")

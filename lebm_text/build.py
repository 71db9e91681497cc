"""Configuration → modules: the only place where modules are built from a configuration."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.inference.base import Inference, NoLatent
from lebm_text.inference.encoder import Amortized, LSTMEncoder, SemiAmortized
from lebm_text.inference.local import Local
from lebm_text.inference.short_run import LangevinChain, ShortRun
from lebm_text.inference.variational import FreeBits
from lebm_text.models.base import Generator, Prior, trainable
from lebm_text.models.classes import ClassPrior
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.lstm import compute_dtype
from lebm_text.models.pretrained import PretrainedGenerator
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.models.transformer import TransformerGenerator
from lebm_text.plugin_sections import PARTS, own_settings
from lebm_text.plugin_trial import try_out
from lebm_text.plugins import made
from lebm_text.presets import PRESETS, preset
from lebm_text.sections import (
    PRETRAINED,
    AmortizedConfig,
    InferenceConfig,
    LocalConfig,
    ModelConfig,
    PriorConfig,
    SemiAmortizedConfig,
    ShortRunConfig,
    VariationalConfig,
)
from lebm_text.text.tokenizers import Tokenizer

__all__ = [
    "LatentModel",
    "build_inference",
    "build_model",
    "falling",
    "geometric",
    "linear",
    "plugin_names",
    "prior_chain",
    "try_plugins",
]

PROTOCOLS: dict[str, type] = {"prior": Prior, "generator": Generator}
PRIORS: dict[str, type] = {"ebm": EBMPrior, "classes": ClassPrior, "gaussian": GaussianPrior}
GENERATORS: dict[str, type] = {"lstm": LSTMGenerator, "transformer": TransformerGenerator}

# Unused by a class, or an encoder, whose constructor does not take them.
_READ_BY = {
    "generator": ("dropout", "tied", "n_layers", "n_heads", "embedding_dim", "hidden_dim"),
    "prior": ("energy_bound",),
}


class LatentModel(nn.Module):
    """The trained parts of p(x, z) = p_α(z) p_β(x|z), and of q(z|x) if inference is amortized."""

    def __init__(self, prior: Prior, generator: Generator, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.prior = prior
        self.generator = generator
        self.encoder = encoder


def build_model(config: Config, *, vocab_size: int, bos_id: int, rng: torch.Generator) -> LatentModel:
    """Return newly initialised modules on the CPU; `config.training.precision` must be resolved.

    PyTorch's global stream is restored afterwards. Inside, it is seeded with the training's seed, since a class may
    leave its parameters as PyTorch's layers initialise them.

    Args:
        config: of the model.
        vocab_size: V.
        bos_id: id of `<s>`.
        rng: draws the initial parameters.

    Raises:
        InputError: a class may not be imported, is missing, or is not a prior, generator or inference.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.training.seed)
        return _build(config.with_plugins(), vocab_size, bos_id, rng)


def _build(config: Config, vocab_size: int, bos_id: int, rng: torch.Generator) -> LatentModel:
    sizes = config.model
    shared = {
        "latent_dim": sizes.latent_dim,
        "init_range": sizes.init_range,
        "compute_dtype": compute_dtype(config.training.precision),
        "rng": rng,
    }
    of_text = {"vocab_size": vocab_size, "embedding_dim": sizes.embedding_dim, "hidden_dim": sizes.hidden_dim}
    of_generator = {
        "bos_id": bos_id,
        "dropout": sizes.dropout,
        "tied": sizes.tied,
        "n_layers": sizes.n_layers,
        "n_heads": sizes.n_heads,
        "word_dropout": sizes.word_dropout,
        "unk_id": Tokenizer.unk_id,
        "source": sizes.generator.removeprefix(PRETRAINED),
        "longest": config.text.max_length,
    }
    of_prior = {
        "hidden_dim": sizes.prior_hidden_dim,
        "energy_bound": sizes.energy_bound,
        "chain": prior_chain(config.prior),
    }
    classes = (
        config.prior.implementation or PRIORS[sizes.prior],
        config.generator.implementation or GENERATORS.get(sizes.generator, PretrainedGenerator),
    )
    if sizes.word_dropout and "word_dropout" not in _arguments(classes[1]):
        raise InputError(f"model.word_dropout has no effect with {sizes.generator}, which takes no such argument")
    prior = _make(config, "prior", classes[0], shared | of_prior)
    generator = _make(config, "generator", classes[1], shared | of_text | of_generator)
    null = nn.Parameter(torch.zeros(sizes.latent_dim)) if sizes.z_dropout else None
    generator.register_parameter("null_latent", null)  # for any class; None adds nothing to state_dict
    encoder_class = LSTMEncoder if isinstance(config.inference, AmortizedConfig) else _encoder_class(config.inference)
    encoder = None if encoder_class is None else _make(config, "encoder", encoder_class, shared | of_text)
    return LatentModel(prior, generator, encoder)


def try_plugins(config: Config, model: LatentModel, *, vocab_size: int) -> None:
    """Before a run begins: try out the plug-in classes of a model that `build_model` made, on the CPU.

    Raises:
        InputError: a class makes a mistake (see `plugin_trial.try_out`), or does not take a setting that was changed.
    """
    if not (named := plugin_names(config)):
        return
    for part in filter(named.__contains__, _READ_BY):
        _require_read(config, part, getattr(model, part), model.encoder)
    epochs = 0.0, float(config.training.n_epochs), math.inf  # the last after the training
    infers = [build_inference(config.inference, epoch=epoch, encoder=model.encoder) for epoch in epochs]
    buffers = [(each, each.clone()) for each in model.buffers()]
    try:
        try_out(
            named, model.prior, model.generator, infers,
            vocab_size=vocab_size, eos_id=Tokenizer.eos_id, longest=config.text.max_length, encoder=model.encoder,
        )  # fmt: skip
    finally:
        for each, before in buffers:
            each.copy_(before)


def _require_read(config: Config, part: str, *modules: object) -> None:
    """Raise InputError for a setting that none of the modules takes, and whose value no preset gives it."""
    taken = set().union(*(_arguments(type(module)) for module in modules))
    usual = [ModelConfig(), *(preset(name).model for name in PRESETS)]
    for setting in _READ_BY[part]:
        value = getattr(config.model, setting)
        if setting not in taken and value not in {getattr(each, setting) for each in usual}:
            named = getattr(config.model, part)
            raise InputError(f"model.{setting} has no effect with {named}, which does not take it")


def prior_chain(config: PriorConfig) -> LangevinChain:
    """Return the chain that samples a learned prior."""
    return LangevinChain(config.n_steps, config.step_size, config.noise_scale)


def build_inference(
    config: InferenceConfig, *, epoch: float = math.inf, memory: Tensor | None = None, encoder: nn.Module | None = None
) -> Inference:
    """Return the inference method after `epoch` epochs (a fraction counts), with annealing applied.

    Args:
        config: the section inference.
        epoch: epochs of this inference. Default: after the training.
        memory: (N, D) persistent chains.
        encoder: of an amortized posterior.
    """
    if isinstance(config, ShortRunConfig):
        progress = (epoch - config.anneal_start_epoch) / config.anneal_epochs
        return ShortRun(
            n_steps=config.n_steps,
            step_size=config.step_size,
            noise_scale=linear(config.noise_scale_start, config.noise_scale, progress),
            likelihood_weight=geometric(config.likelihood_weight_start, config.likelihood_weight, progress),
            memory=memory,
        )
    if isinstance(config, VariationalConfig):
        progress = (epoch - config.pretrain_epochs - config.anneal_start_epoch) / config.anneal_epochs
        kl_weight = linear(config.kl_weight_start, config.kl_weight, progress)
        if epoch < config.pretrain_epochs:
            kl_weight = 0.0
        if isinstance(config, LocalConfig):
            return Local(config.n_steps, config.learning_rate, kl_weight)
        assert isinstance(config, AmortizedConfig)
        assert encoder is not None
        free_bits = FreeBits(config.free_bits, config.free_bits_kind)
        if isinstance(config, SemiAmortizedConfig):
            return SemiAmortized(encoder, kl_weight, free_bits, n_steps=config.n_steps, step_size=config.step_size)
        return Amortized(encoder, kl_weight, free_bits)
    if config.implementation is not None:
        return _plugged_inference(config, epoch, encoder)
    return NoLatent()


def linear(start: float | None, end: float, progress: float) -> float:
    """Interpolate from `start` to `end` as progress goes from 0 to 1, constant outside; `end` if `start` is None."""
    return end if start is None else start + (end - start) * min(max(progress, 0.0), 1.0)


def geometric(start: float | None, end: float, progress: float) -> float:
    """Interpolate as `linear`, with equal ratios for equal progress; both ends must be > 0."""
    return end if start is None else float(start * (end / start) ** min(max(progress, 0.0), 1.0))


def falling(schedule: str, start: float, progress: float) -> float:
    """Return 1 until `progress` is `start`, then decreasing values to 0 at 1; always 1 if the schedule is constant.

    `linear`: in a straight line; `cosine`: along half a period of a cosine (Loshchilov and Hutter, ICLR 2017, there
    from the beginning and with restarts).
    """
    if schedule == "constant" or progress <= start:
        return 1.0
    left = max(1 - progress, 0.0) / (1 - start)
    return left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def _plugged_inference(config: InferenceConfig, epoch: float, encoder: nn.Module | None) -> Inference:
    own = {name: getattr(config, name) for name in own_settings(type(config))}
    of_encoder = _arguments(encoder_class) if (encoder_class := _encoder_class(config)) else set()
    needed = [name for name in own if name not in of_encoder]
    named, offered = f"inference.kind = {config.kind}", {"epoch": epoch, "encoder": encoder, **own}
    named += ": epoch = inf, after the training" if epoch == math.inf else ""
    infer: Inference = _call(named, config.implementation, offered, needed, Inference)
    return infer


def plugin_names(config: Config) -> dict[str, str]:
    """Return part → its name in messages, such as `model.prior = package.module:Class`, of each plug-in."""
    return {part: f"{PARTS[part].setting} = {name}" for part, name in config.plugged.items()}


def _encoder_class(config: InferenceConfig) -> type | None:
    """Return the class that a plug-in inference trains along with the generator, if any."""
    return getattr(config.implementation, "Encoder", None)


def _make(config: Config, part: str, cls: type, offered: Mapping[str, object]) -> Any:
    """Return an instance of `cls`, called with those settings that it takes, and with its own."""
    section = config.inference if part == "encoder" else getattr(config, part)
    named = plugin_names(config).get("inference" if part == "encoder" else part)
    if named and not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise InputError(f"{named}{', its Encoder,' if part == 'encoder' else ''} is no class of torch.nn.Module")
    own = {name: getattr(section, name) for name in own_settings(type(section))} if named or part != "encoder" else {}
    needed = own if named and part != "encoder" else ()
    made = _call(named, cls, {**offered, **own}, needed, PROTOCOLS.get(part, nn.Module))
    if named and part in PROTOCOLS and made.latent_dim != offered["latent_dim"]:
        wanted = f"model.latent_dim = {offered['latent_dim']}"
        raise InputError(f"{named}: its latent_dim must be that of the configuration, {wanted}, got {made.latent_dim}")
    if part == "encoder" and not trainable(made):
        raise InputError(f"{named}: its Encoder has no parameters that learn")
    return made


def _call(named: str | None, cls: type, offered: Mapping[str, object], needed: Collection[str], protocol: type) -> Any:
    """Call `cls`, of the package or a plug-in `named`, with those of the offered arguments that it takes.

    Raises:
        InputError: it requires others, does not take a needed one, or lacks a member of the protocol.
    """
    taken = _arguments(cls)
    if untaken := [name for name in needed if name not in taken]:
        raise InputError(f"{named} has the setting {untaken[0]}, which its constructor does not take")
    arguments = {name: value for name, value in offered.items() if name in taken}
    if named is None:
        return cls(**arguments)
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        raise InputError(f"{named}: {error}; there are {', '.join(offered)}") from None
    return made(named, lambda: cls(**arguments), protocol)


def _arguments(cls: type) -> set[str]:
    """Return the parameter names of its constructor: with `**options` also those of its base class."""
    names: set[str] = set()
    for each in cls.__mro__:
        if "__init__" in vars(each):
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            names |= {parameter.name for parameter in parameters}
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                break
    return names - {"self"}

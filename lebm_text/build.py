"""Configuration → modules. The only place that reads configuration to make them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
from collections.abc import Mapping
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
from lebm_text.models.base import Generator, Prior
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.lstm import compute_dtype
from lebm_text.models.priors import EBMPrior, GaussianPrior
from lebm_text.models.transformer import TransformerGenerator
from lebm_text.sections import (
    AmortizedConfig,
    InferenceConfig,
    LocalConfig,
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
    "is_of_package",
    "linear",
    "prior_chain",
]

REGISTRY: dict[str, dict[str, type]] = {
    "prior": {"ebm": EBMPrior, "gaussian": GaussianPrior},
    "generator": {"lstm": LSTMGenerator, "transformer": TransformerGenerator},
}
TRUST = "LEBM_TEXT_TRUST_PLUGINS"  # an environment variable, for the command line


class LatentModel(nn.Module):
    """The learned parts of p(x, z) = p_α(z) p_β(x|z), and of q(z|x) where inference is amortized."""

    def __init__(self, prior: Prior, generator: Generator, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.prior = prior
        self.generator = generator
        self.encoder = encoder


def build_model(
    config: Config, *, vocab_size: int, bos_id: int, rng: torch.Generator, trust_plugins: bool = False
) -> LatentModel:
    """Freshly initialised modules on the CPU; `config.training.precision` must be resolved.

    Args:
        trust_plugins: import the classes that `model.prior` and `model.generator` name, if they name any.

    Raises:
        InputError: a class that is not to be imported, or is not there, or is no prior or generator.
    """
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
    }
    of_prior = {
        "hidden_dim": sizes.prior_hidden_dim,
        "energy_bound": sizes.energy_bound,
        "chain": prior_chain(config.prior),
    }
    classes = (_class("prior", sizes.prior, trust_plugins), _class("generator", sizes.generator, trust_plugins))
    prior = _make(Prior, classes[0], shared | of_prior)
    if sizes.word_dropout and "word_dropout" not in inspect.signature(classes[1]).parameters:
        raise InputError(f"model.word_dropout has no effect with {sizes.generator}, which takes no such argument")
    generator = _make(Generator, classes[1], shared | of_text | of_generator)
    null = nn.Parameter(torch.zeros(sizes.latent_dim)) if sizes.z_dropout else None
    generator.register_parameter("null_latent", null)  # of any class; None is in no state_dict
    if isinstance(config.inference, AmortizedConfig):
        return LatentModel(prior, generator, _make(LSTMEncoder, LSTMEncoder, shared | of_text))
    return LatentModel(prior, generator)


def is_of_package(config: Config) -> bool:
    """Whether `build_model` makes classes of the package alone, of which it is known what they do."""
    return config.model.prior in REGISTRY["prior"] and config.model.generator in REGISTRY["generator"]


def prior_chain(config: PriorConfig) -> LangevinChain:
    """The chain that draws z from a learned prior."""
    return LangevinChain(**dataclasses.asdict(config))


def build_inference(
    config: InferenceConfig, *, epoch: float, memory: Tensor | None = None, encoder: nn.Module | None = None
) -> Inference:
    """The way to z⁺ as it is after `epoch` epochs (a fraction counts), its anneals applied.

    `memory` (N, D) holds persistent chains; `encoder` is that of an amortized posterior.
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
    return NoLatent()


def linear(start: float | None, end: float, progress: float) -> float:
    """From `start` to `end` as progress goes from 0 to 1, constant outside; always `end` without a start."""
    return end if start is None else start + (end - start) * min(max(progress, 0.0), 1.0)


def geometric(start: float | None, end: float, progress: float) -> float:
    """As `linear`, with equal ratios for equal progress; both ends must be > 0."""
    return end if start is None else float(start * (end / start) ** min(max(progress, 0.0), 1.0))


def falling(schedule: str, start: float, progress: float) -> float:
    """1 until `progress` is at `start`, then down to 0 where it is 1; always 1 if the schedule is constant.

    `linear`: in a straight line; `cosine`: along half a period of a cosine (Loshchilov and Hutter, ICLR 2017, there
    from the beginning and with restarts).
    """
    if schedule == "constant" or progress <= start:
        return 1.0
    left = max(1 - progress, 0.0) / (1 - start)
    return left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def _class(part: str, name: str, trust_plugins: bool) -> type:
    """The class of the package that has that name, or the one that `package.module:Class` names."""
    if name in REGISTRY[part]:
        return REGISTRY[part][name]
    module, _, attribute = name.partition(":")
    if not trust_plugins:
        raise InputError(
            f"model.{part} = {name} would import the module {module} and so run its code; if you trust it, pass "
            f"trust_plugins=True or set {TRUST}=1"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"model.{part} = {name} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"model.{part} = {name} is no class of torch.nn.Module")
    return found


def _make(kind: type, cls: type, settings: Mapping[str, object]) -> Any:
    """An object of `cls`, called with those of the settings that it has arguments for."""
    signature = inspect.signature(cls)
    arguments = {name: value for name, value in settings.items() if name in signature.parameters}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InputError(f"{cls.__name__}: {error}; there are {', '.join(settings)}") from None
    made = cls(**arguments)
    if not isinstance(made, kind):
        lacking = sorted(name for name in vars(kind) if not name.startswith("_") and not hasattr(made, name))
        raise InputError(f"{cls.__name__} is no {kind.__name__}: it lacks {', '.join(lacking)}")
    return made

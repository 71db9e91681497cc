"""Named configurations: a base, and the changes of each preset to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lebm_text.checks import hint
from lebm_text.config import Config
from lebm_text.errors import InputError

__all__ = ["DEFAULT_PRESET", "PRESETS", "preset"]

DEFAULT_PRESET = "quick"

# The posterior chain weights the likelihood: see docs/training-trials.md for the trials.
_WEIGHTED = {"step_size": 0.3, "likelihood_weight": 3.0}

# The posterior chain of Pang et al. (EACL 2021) on PTB. Its noise is 0.05 for a quarter of the run (there 60 epochs),
# then rises to 0.2 over a twentieth of it.
_ANNEALED_STEPS = [0.8, 0.7, 0.6, 0.5, 0.2, 0.2, 0.1, 0.1, *[0.05] * 12]
_ANNEALED_NOISE = {"noise_scale_start": 0.05, "noise_scale": 0.2, "anneal_start_epoch": 5.0, "anneal_epochs": 1.0}


def _small(inference: Mapping[str, Any], **model: Any) -> dict[str, Mapping[str, Any]]:
    """Return what the whole family shares with `quick`, so that only the method differs (docs/models.md)."""
    sizes = {"embedding_dim": 128, "hidden_dim": 128, **model}
    return {"model": sizes, "inference": inference, "training": {"batch_size": 128, "batch_tokens": 4096}}


_WARM_UP = {"kind": "amortized", "kl_weight_start": 0.0}

# name → (purpose, difference from the defaults of `config`)
PRESETS: dict[str, tuple[str, Mapping[str, Mapping[str, Any]]]] = {
    "quick": ("for 2 CPU cores", _small({"n_steps": 10, **_WEIGHTED})),
    "paper": (
        "sizes and chain lengths of the paper's text model; not its objective (likelihood weight 3, not 1)",
        {
            "model": {"embedding_dim": 512, "hidden_dim": 512},
            "inference": {"n_steps": 20, **_WEIGHTED},
            "prior": {"n_steps": 40, "step_size": 0.5},
            "training": {"n_epochs": 50, "batch_size": 32},
        },
    ),
    "demo": (
        "short verses in minutes",
        {
            "text": {"max_length": 20, "vocab_size": 4000},
            "inference": {"n_steps": 5, **_WEIGHTED},
            "training": {"n_epochs": 6, "learning_rate": 3e-3, "learning_rate_decay": 0.85},
        },
    ),
    "transformer": (
        "quick with a transformer for its LSTM",
        _small({"n_steps": 10, **_WEIGHTED}, generator="transformer"),
    ),
    "gaussian": ("quick with a Gaussian prior", _small({"n_steps": 10, **_WEIGHTED}, prior="gaussian")),
    "lm": (
        "an LSTM language model, no latent vector",
        _small({"kind": "no_latent"}, latent_dim=0, prior="gaussian"),
    ),
    "vae": ("an encoder, Gaussian prior, KL warm-up", _small(_WARM_UP, prior="gaussian")),
    "fbvae": (
        "the same after pretraining as an autoencoder, with free bits",
        _small({**_WARM_UP, "pretrain_epochs": 4, "free_bits": 8.0}, prior="gaussian"),
    ),
    "savae": (
        "an encoder refined by gradient steps, Gaussian prior, KL warm-up",
        _small({"kind": "semi_amortized", "n_steps": 10, "kl_weight_start": 0.0}, prior="gaussian"),
    ),
    "sri": (
        "annealed short-run inference, Gaussian prior",
        _small({"n_steps": 20, "step_size": _ANNEALED_STEPS, **_ANNEALED_NOISE}, prior="gaussian"),
    ),
    "local": (
        "a posterior fitted to each sentence by itself, energy-based prior",
        _small({"kind": "local", "n_steps": 16}),
    ),
    "avae": ("an encoder with the energy-based prior", _small(_WARM_UP)),
}


def preset(name: str) -> Config:
    """Return the configuration of a preset.

    Raises:
        InputError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}{hint(name, list(PRESETS))}")
    return Config().merge(PRESETS[name][1])

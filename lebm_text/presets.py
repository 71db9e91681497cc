"""Named configurations: a base, and what each preset changes of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from lebm_text.config import Config
from lebm_text.errors import InputError

__all__ = ["DEFAULT_PRESET", "PRESETS", "preset"]

DEFAULT_PRESET = "quick"

# The posterior chain weighs the likelihood: see docs/training.md for what was tried.
_WEIGHTED = {"step_size": 0.3, "likelihood_weight": 3.0}

# name → (what it is for, its difference from the defaults of `config`)
PRESETS: dict[str, tuple[str, Mapping[str, Mapping[str, Any]]]] = {
    "quick": (
        "for 2 CPU cores",
        {
            "model": {"embedding_dim": 128, "hidden_dim": 128},
            "inference": {"n_steps": 10, **_WEIGHTED},
            "training": {"batch_size": 128, "batch_tokens": 4096},
        },
    ),
    "paper": (
        "sizes and chain lengths of the paper's text model",
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
}


def preset(name: str) -> Config:
    """The configuration of a preset.

    Raises:
        InputError: no preset of that name.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(PRESETS)}"
        raise InputError(f"unknown preset {name!r}; {hint}")
    return Config().merge(PRESETS[name][1])

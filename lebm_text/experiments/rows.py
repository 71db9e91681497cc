"""A row of an experiment: one kind of model, or samples judged in addition to the models."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lebm_text.config import Config, by_key
from lebm_text.errors import InputError
from lebm_text.presets import DEFAULT_PRESET
from lebm_text.sections import GENERATORS, SAME_AT_START

__all__ = ["ConfigChanges", "Row", "RowDecoding", "check_start"]

ConfigChanges = dict[str, Any]  # "section.key" → value
# What a row and the one that it starts from have in common.
_SAME_AT_START = {"text": ("tokenizer", "vocab_size", "lowercase"), "model": SAME_AT_START}


@dataclass(frozen=True)
class RowDecoding:
    """How a row `of` another decodes the runs of that row; see `FrontierSettings`.

    Attributes:
        prior_temperature: temperature of the prior.
        guidance: strength of guidance.
        latents: posterior or long, instead of samples of the prior.
    """

    prior_temperature: float = 1.0
    guidance: float = 1.0
    latents: str | None = None

    def check(self, config: Config) -> None:
        """Raise InputError for settings that models of this configuration do not support; the report checks ranges."""
        model = config.model
        if self != RowDecoding() and model.latent_dim == 0:
            raise InputError("decoding is for a model with a latent vector, not for a language model")
        if self.latents == "long" and model.prior == "gaussian":
            raise InputError("decoding.latents = long is for a prior with a chain, not for the Gaussian")
        if self.guidance != 1 and model.generator in GENERATORS and model.z_dropout == 0:
            raise InputError("decoding.guidance needs a model that was trained with model.z_dropout, such as 0.1")


@dataclass(frozen=True)
class Row:
    """One kind of model, or samples of another system.

    Attributes:
        name: unique name, used in file names.
        label: name in the table.
        preset: the configuration to start from.
        settings: changes to it.
        trials: further changes of each trial.
        like: the row whose chosen configuration this one takes and changes.
        start: the row whose run from the same seed provides the initial weights of the generator; trials take the run
            from the experiment's first seed.
        of: the row whose runs are judged again with `decoding`; nothing is trained.
        decoding: how the runs of the row `of` are decoded.
        samples: a file of another system's sentences, one per line; the path is relative to the experiment's file.
            Nothing is trained.
    """

    name: str
    label: str
    preset: str = DEFAULT_PRESET
    settings: ConfigChanges = field(default_factory=dict)
    trials: tuple[ConfigChanges, ...] = ()
    like: str | None = None
    start: str | None = None
    of: str | None = None
    decoding: RowDecoding = field(default_factory=RowDecoding)
    samples: str | None = None

    @property
    def trains(self) -> bool:
        """Whether models are trained for this row."""
        return self.of is None and self.samples is None

    @property
    def trial_numbers(self) -> range:
        """The numbers of its trials, from 1."""
        return range(1, len(self.trials) + 1)

    @property
    def suffix(self) -> str:
        """The suffix of its report names, needed if they are in the same directory as those of another row."""
        return "" if self.trains else f"-{self.name}"

    def changed(self, settings: ConfigChanges) -> Row:
        """Return the row with changed settings; if it is `like` another, only settings of its own are changed."""
        own = by_key(self.settings)
        changes = {key: value for key, value in settings.items() if self.like is None or key in own}
        return replace(self, settings=own | changes)

    @property
    def needs(self) -> list[str]:
        """The names of the rows that this row depends on."""
        return [name for name in (self.like, self.start, self.of) if name is not None]


def check_start(config: Config, first: Config, name: str) -> None:
    """Raise InputError unless a run of `config` can begin with the generator of a run of `first`, of the row `name`."""
    config.merge({"training": {"init": f"a run of {name}"}})
    for section, keys in _SAME_AT_START.items():
        for key in keys:
            here, there = (getattr(getattr(each, section), key) for each in (config, first))
            if here != there:
                raise InputError(f"it starts from {name}, and {section}.{key} is {there} there and {here} here")

"""Configuration: consistent sections (`lebm_text.sections`), from and to JSON.

`Config.override` applies `section.key=value` strings from the command line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lebm_text.checks import Section, from_plain, hint, parse_value
from lebm_text.errors import InputError
from lebm_text.plugin_sections import PARTS, section_of, settings_of
from lebm_text.plugins import class_or, find
from lebm_text.sections import (
    INFERENCE,
    PRETRAINED,
    AmortizedConfig,
    ClassesConfig,
    GeneratorConfig,
    InferenceConfig,
    ModelConfig,
    PretrainedConfig,
    PriorConfig,
    ShortRunConfig,
    TextConfig,
    TrainingConfig,
)

__all__ = ["Config", "by_key", "by_section", "read_assignments"]

RESOLVED_AT_START: dict[str, object] = {
    "training.precision": "auto",
    "training.n_threads": 0,
    "generator.sha256": None,
    "prior.labels": None,
}
"""Values that leave a setting open until a run starts; its config.json has what was decided."""

# Settings that a prior without parameters does not use.
_OF_A_LEARNED_PRIOR: dict[str, tuple[str, ...]] = {
    "model": ("prior_hidden_dim", "energy_bound"),
    "prior": ("n_steps", "step_size", "noise_scale"),
    "training": ("prior_learning_rate", "prior_weight_decay", "prior_start_epoch", "prior_clip_norm"),
}
_OF_A_TRANSFORMER = "n_layers", "n_heads"


@dataclass(frozen=True)
class Config:
    """Everything that determines what a run computes."""

    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    inference: InferenceConfig = field(default_factory=ShortRunConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            if not isinstance(value := getattr(self, each.name), Section) or value.section != each.name:
                what = f"{each.name} must be {each.type}(…), got {type(value).__name__}"
                raise InputError(f"{what}; of dictionaries Config.from_dict({{section: {{key: value}}}}) makes one")
        for part, of_part in PARTS.items():
            fits, has = of_part.kind(self.named(part)), type(getattr(self, part))
            if fits is not None and has is not fits:
                raise InputError(
                    f"{of_part.setting} = {self.named(part)} needs {part} = {fits.__name__}(…), got {has.__name__}; "
                    f"config.merge({{{of_part.section!r}: {{{of_part.key!r}: {self.named(part)!r}}}}}) changes both"
                )
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
        if (self.text.tokenizer == "hf") != self.is_pretrained:
            raise InputError(
                f"text.tokenizer = hf belongs to model.generator = hf:NAME, got {self.text.tokenizer} and "
                f"{self.model.generator}"
            )
        if self.is_pretrained and init not in (None, "lm"):
            raise InputError(
                f"training.init = {init} has no effect with {self.model.generator}, which is trained already"
            )
        if (
            isinstance(self.generator, PretrainedConfig)
            and self.generator.adapt == "full"
            and self.inference.pretrain_epochs
        ):
            raise InputError(
                "inference.pretrain_epochs ends with a new generator, and generator.adapt = full has but the one that "
                "has learned: take frozen or lora"
            )
        if prior != "gaussian" and self.training.prior_start_epoch >= self.training.n_epochs:
            raise InputError(
                f"training.prior_start_epoch must be below training.n_epochs = {self.training.n_epochs}, got "
                f"{self.training.prior_start_epoch:g}: the prior would never learn"
            )
        if init is not None and self.inference.pretrain_epochs:
            raise InputError(
                "inference.pretrain_epochs ends with a new generator, which training.init gives its first weights: "
                "one or the other"
            )

    def require_latent(self, name: object = "the model") -> None:
        """Raise InputError for a language model, which has no z; `name` is for the message."""
        if self.model.latent_dim == 0:
            raise InputError(f"{name} is a language model (model.latent_dim = 0): it has no latent space")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return nested dictionaries, ready for JSON."""
        return {each.name: getattr(self, each.name).to_dict() for each in dataclasses.fields(self)}

    def differences(self, base: Config) -> dict[str, Any]:
        """Return `section.key` → value of the settings that differ from `base`, or from its defaults."""
        theirs, found = base.to_dict(), dict[str, Any]()
        for section, values in self.to_dict().items():
            known = type(getattr(self, section))().to_dict() | theirs[section]
            found |= {f"{section}.{key}": value for key, value in values.items() if value != known[key]}
        return found

    def assignments(self, base: Config) -> list[str]:
        """Return the strings with which `base.override` gives this configuration, if that is possible."""

        def written(value: object) -> str:
            is_word = isinstance(value, str) and parse_value(value) == value
            return str(value) if is_word else json.dumps(value, separators=(",", ":"))

        return [f"{path}={written(value)}" for path, value in self.differences(base).items()]

    def conflicts(self, stored: Config) -> dict[str, Any]:
        """Return `differences` from a run's stored configuration, except settings resolved when it started."""
        found = self.differences(stored)
        return {path: value for path, value in found.items() if value != RESOLVED_AT_START.get(path, stored)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Restore what `to_dict` returned; missing keys take their defaults, unknown ones raise InputError."""
        return cls()._replace(values, asked=False)

    def merge(self, values: Mapping[str, Any]) -> Config:
        """Return a copy with some values replaced, given as {section: {key: value}}.

        Another kind of inference keeps the settings that both kinds have; those that a prior without parameters does
        not use return to their defaults. `model.latent_dim = 0` selects the kinds that belong to it.

        Raises:
            InputError: unknown section or key, wrong type, a value out of range, or one that has no effect.
        """
        return self._replace(values, asked=True)

    def _replace(self, values: Mapping[str, Any], *, asked: bool) -> Config:
        """`merge`; a value without effect is refused if a user `asked` for it, not if it comes from a file."""
        sections: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if not isinstance(values, Mapping):
            raise InputError(f"a configuration is {{section: {{key: value}}}}, got {type(values).__name__}")
        for section, changes in values.items():
            if section not in sections:
                raise InputError(f"unknown configuration section {section!r}{hint(section, list(sections))}")
            if not isinstance(changes, Mapping):
                raise InputError(f"configuration section {section!r} must hold keys, got {changes!r}")
        wanted: dict[str, dict[str, Any]] = {section: dict(values.get(section, {})) for section in sections}
        if wanted["model"].get("latent_dim", self.model.latent_dim) == 0:
            wanted["model"].setdefault("prior", "gaussian")
            wanted["inference"].setdefault("kind", "no_latent")
        names = {"inference": wanted["inference"].pop("kind", self.inference.kind)}
        names |= {part: wanted["model"].get(part, self.named(part)) for part in ("prior", "generator")}
        names = {part: from_plain(str, name, PARTS[part].setting) for part, name in names.items()}
        class_or("inference.kind", names["inference"], tuple(INFERENCE))
        pretrained = names["generator"].startswith(PRETRAINED)
        if pretrained != self.is_pretrained:  # the tokenizer changes with it
            wanted["text"].setdefault("tokenizer", "hf" if pretrained else "word")
        for part in PARTS:
            sections[part] = section_of(part, names[part], sections[part], self.named(part), wanted[part])
        idle = _without_effect(names, sections, wanted)
        for section, changes in wanted.items():
            fields = {f.name: f for f in dataclasses.fields(sections[section])}
            unread = idle[section]
            for key in changes:
                if key not in fields and key not in unread:
                    raise InputError(f"unknown key {section}.{key}{hint(key, list(fields), section)}")
                if key in unread and asked:
                    raise InputError(f"{section}.{key} has no effect with {unread[key]}")
            read = {key: value for key, value in changes.items() if key not in unread}
            defaults = {key: fields[key].default for key in unread if key in fields}
            sections[section] = dataclasses.replace(sections[section], **read, **defaults)
        return dataclasses.replace(self, **sections)

    def named(self, part: str) -> str:
        """Return the name of the class of a part of `PARTS` in this configuration."""
        return str(getattr(getattr(self, PARTS[part].section), PARTS[part].key))

    @property
    def is_pretrained(self) -> bool:
        """Whether the generator is a pretrained decoder, stored elsewhere."""
        return self.model.generator.startswith(PRETRAINED)

    @property
    def plugged(self) -> dict[str, str]:
        """Part → name of its class, for parts that are plug-in classes."""
        return {part: self.named(part) for part in PARTS if PARTS[part].kind(self.named(part)) is None}

    def with_plugins(self, *, trust_plugins: bool = False, asked: bool = True) -> Config:
        """Return the configuration with plug-in classes imported and their settings checked.

        Args:
            trust_plugins: import those named as package.module:Class.
            asked: a user asked for the settings; False: they come from a file, and any without effect are dropped.

        Raises:
            InputError: one may not be imported, is missing, or has other settings.
        """
        unread = {part: name for part, name in self.plugged.items() if not getattr(self, part).implementation}
        if not unread:
            return self
        values = self.to_dict()
        own: dict[str, Section] = {
            part: settings_of(part, name, trust_plugins=trust_plugins)() for part, name in unread.items()
        }
        return dataclasses.replace(self, **own)._replace({part: values[part] for part in unread}, asked=asked)  # type: ignore[arg-type]

    def describe_plugins(self) -> dict[str, dict[str, str | None]]:
        """Return, for env.json, by setting the plug-in class, its package and the package's version."""
        found = {PARTS[part].setting: name for part, name in self.plugged.items()}
        return {setting: find(setting, name, trust_plugins=True).describe() for setting, name in found.items()}

    def reopened(self) -> Config:
        """Return a copy for another run, which resolves anew what `RESOLVED_AT_START` names."""
        resolved = {path: value for path, value in RESOLVED_AT_START.items() if path.split(".")[0] not in self.plugged}
        if isinstance(self.prior, ClassesConfig) and not self.prior.label_share:
            del resolved["prior.labels"]  # without labels of a text they alone name the classes
        return self._replace(by_section(resolved), asked=False)

    def override(self, changes: Mapping[str, Any] | Iterable[str]) -> Config:
        """Return a copy with changes applied together: strings as `read_assignments` takes, or a mapping as `by_key`.

        Raises:
            InputError: a change of another form, and as `merge` does.
        """
        return self.merge(by_section(changes if isinstance(changes, Mapping) else read_assignments(changes)))


def _without_effect(
    names: Mapping[str, str], sections: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Return, by section, the keys that nothing uses, each with the setting responsible for that.

    Args:
        names: of the parts of `PARTS`.
        sections: current ones, of the kinds given by `names`.
        wanted: requested changes.
    """
    idle = {section: dict[str, str]() for section in sections}
    kind, generator = names["inference"], names["generator"]
    for part, of_part in PARTS.items():
        others = {f.name for each in of_part.kinds.values() for f in dataclasses.fields(each)}
        others -= {f.name for f in dataclasses.fields(sections[part])}
        idle[part] |= dict.fromkeys(others, f"{of_part.setting} = {names[part]}")
    if generator == "lstm":
        idle["model"] |= dict.fromkeys(_OF_A_TRANSFORMER, "model.generator = lstm")
    if generator.startswith(PRETRAINED):
        by_decoder = f"model.generator = {generator}"
        idle["model"] |= dict.fromkeys((*_OF_A_TRANSFORMER, "tied"), by_decoder)
        idle["text"]["vocab_size"] = by_decoder
        if wanted["generator"].get("adapt", getattr(sections["generator"], "adapt", None)) != "lora":
            idle["generator"]["lora_rank"] = "generator.adapt = frozen or full"
        if kind in INFERENCE and not issubclass(INFERENCE[kind], AmortizedConfig):
            idle["model"] |= dict.fromkeys(("embedding_dim", "hidden_dim"), by_decoder)
    if wanted["training"].get("schedule", sections["training"].schedule) == "constant":
        idle["training"]["schedule_start"] = "training.schedule = constant"
    if names["prior"] == "gaussian":
        for section, keys in _OF_A_LEARNED_PRIOR.items():
            idle[section] |= dict.fromkeys(keys, "model.prior = gaussian")
    return idle


def read_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Return `section.key` → value for `section.key=value` strings whose values are JSON, or bare words.

    Raises:
        InputError: a string of another form.
    """
    if isinstance(assignments, str) or not isinstance(assignments, Iterable):
        got = f"one string: {assignments!r}" if isinstance(assignments, str) else type(assignments).__name__
        raise InputError(f"overrides are a list of section.key=value or a mapping, got {got}")
    found = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=") if isinstance(assignment, str) else ("", "", "")
        section, dot, key = path.strip().partition(".")
        if not (separator and dot and section and key):
            raise InputError(f"expected section.key=value, got {assignment!r:.60}")
        found[path.strip()] = parse_value(text.strip())
    return found


def by_key(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"section.key": value} for values in that form, {section: {key: value}}, or both; the last value wins."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise InputError(f"expected section.key as the name of a setting, got {name!r:.60}")
        nested = isinstance(value, Mapping) and "." not in name
        flat |= {f"{name}.{key}": each for key, each in value.items()} if nested else {name: value}
    return flat


def by_section(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return {section: {key: value}} for values that `by_key` takes; anything else is unchanged."""
    sections: dict[str, Any] = {}
    for name, value in by_key(values).items():
        section, dot, key = name.partition(".")
        if not dot:
            sections[section] = value
        elif isinstance(sections.setdefault(section, {}), dict):
            sections[section][key] = value
    return sections

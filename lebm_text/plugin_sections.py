"""Configuration sections of parts that may be plug-in classes with settings of their own.

    @dataclass(frozen=True)
    class MixtureSettings(PriorConfig):
        n_parts: int = setting(5, in_range, 1, 1000)

    class MixturePrior(nn.Module):
        Settings = MixtureSettings

Then `prior.n_parts` is a setting like all others, and the constructor receives it under that name. Until the class is
imported, which a file alone must not cause, its settings are kept as they are in the file.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, NamedTuple

from lebm_text.checks import Section
from lebm_text.errors import InputError
from lebm_text.plugins import called, find
from lebm_text.sections import (
    GENERATORS,
    INFERENCE,
    PRETRAINED,
    PRIORS,
    ClassesConfig,
    GeneratorConfig,
    InferenceConfig,
    PretrainedConfig,
    PriorConfig,
)

__all__ = ["PARTS", "Part", "own_settings", "section_of", "settings_of"]


class Part(NamedTuple):
    """A part of a model that has a section.

    Attributes:
        section, key: of the setting that names its class.
        kinds: the section's class for each of the package's own names, or for the prefix of several.
        base: base of the sections of plug-in classes.
    """

    section: str
    key: str
    kinds: Mapping[str, type[Section]]
    base: type[Section]

    @property
    def setting(self) -> str:
        return f"{self.section}.{self.key}"

    def kind(self, name: str) -> type[Section] | None:
        """Return the section's class for one of the package's own names; None for others."""
        return self.kinds.get(PRETRAINED if name.startswith(PRETRAINED) else name)


PARTS = {
    "prior": Part("model", "prior", dict.fromkeys(PRIORS, PriorConfig) | {"classes": ClassesConfig}, PriorConfig),
    "generator": Part(
        "model",
        "generator",
        {**dict.fromkeys(GENERATORS, GeneratorConfig), PRETRAINED: PretrainedConfig},
        GeneratorConfig,
    ),
    "inference": Part("inference", "kind", INFERENCE, InferenceConfig),
}


def section_of(part: str, name: str, current: Section, before: str, keys: Collection[str]) -> Section:
    """Return the section of a part of that name, keeping the settings of `current`, named `before`, that it has too.

    Args:
        part: of `PARTS`.
        name: of the class.
        current: the present section.
        before: name of the class of `current`.
        keys: about to be set; for a class that has not been imported, any.

    Raises:
        InputError: one of them cannot be a setting.
    """
    kind, base = PARTS[part].kind(name), PARTS[part].base
    if name == before and not (current.is_open and keys):
        return current
    if kind is not None:
        return _carried(kind, current)
    known = {each.name for each in dataclasses.fields(base)}
    own = {each.name for each in dataclasses.fields(current)} if name == before else set()
    return _carried(_open(part, name, tuple(sorted({*own, *keys} - known))), current)


def settings_of(part: str, name: str, *, trust_plugins: bool) -> type[Section]:
    """Return the section's class for a plug-in class, which is imported.

    Args:
        part: of `PARTS`.
        name: of the class, in a configuration.
        trust_plugins: import it even if no installed package registers it.

    Raises:
        InputError: it is missing, may not be imported, or has invalid settings.
    """
    found = find(PARTS[part].setting, name, trust_plugins=trust_plugins)
    cls, base, named = found.load(), PARTS[part].base, f"{PARTS[part].setting} = {name}"
    if not isinstance(cls, type):
        raise InputError(f"{named} is no class")
    settings = getattr(cls, "Settings", base)
    if not (isinstance(settings, type) and issubclass(settings, base)):
        raise InputError(f"{named}: its Settings must be a dataclass that inherits {base.__name__}")
    if settings is not base and "__dataclass_params__" not in vars(settings):
        raise InputError(f"{named}: its Settings must be a dataclass: write @dataclass(frozen=True) above them")
    for each in _own_fields(settings) if settings is not base else ():
        _require_free(part, each)
    filled = _filled(settings, part, name, cls)  # type: ignore[arg-type]  # a class can be hashed
    # Every setting has a default within its range, and can be stored.
    called(f"{named}, its Settings", lambda: filled().to_dict())
    return filled


def own_settings(settings: type[Section]) -> list[str]:
    """Return the names of the settings added by a plug-in class."""
    base = {
        each.name
        for kind in PARTS.values()
        if issubclass(settings, kind.base)
        for each in dataclasses.fields(kind.base)
    }
    return [each.name for each in dataclasses.fields(settings) if each.name not in base]


def _own_fields(settings: type) -> list[str]:
    """Return the fields that a dataclass declares, again or anew; its annotations need not exist, as in Python 3.14."""
    inherited = [vars(each).get("__dataclass_fields__", {}) for each in settings.__mro__[1:]]
    own: dict[str, object] = vars(settings)["__dataclass_fields__"]
    return [name for name, each in own.items() if all(fields.get(name) is not each for fields in inherited)]


def _require_free(part: str, key: str) -> None:
    if not key.isidentifier() or keyword.iskeyword(key) or hasattr(PARTS[part].base, key):
        raise InputError(f"{part}.{key} is no name that a setting of your own can have")


@cache
def _open(part: str, name: str, own: tuple[str, ...]) -> type[Section]:
    """Return a section with unknown settings."""
    for key in own:
        _require_free(part, key)
    new = dataclasses.make_dataclass(
        f"Open{PARTS[part].base.__name__}",
        [*_kind(part, name), *((key, Any, dataclasses.field(default=None)) for key in own)],
        bases=(PARTS[part].base,),
        namespace={"is_open": True, "__doc__": "Settings of a class that has not been imported."},
        frozen=True,
    )
    new.__module__ = __name__
    return new


@cache
def _filled(settings: type[Section], part: str, name: str, implementation: type) -> type[Section]:
    new = dataclasses.make_dataclass(
        settings.__name__,
        _kind(part, name),
        bases=(settings,),
        namespace={"implementation": implementation},
        frozen=True,
    )
    new.__module__ = settings.__module__
    return new


def _kind(part: str, name: str) -> list[Any]:
    return [("kind", "str", dataclasses.field(default=name, init=False))] if part == "inference" else []


def _carried(new: type[Section], current: Section) -> Section:
    """Return `new` with the values of `current` for the settings that both have."""
    given = {each.name for each in dataclasses.fields(current) if each.init}
    names = [each.name for each in dataclasses.fields(new) if each.init and each.name in given]
    return new(**{name: getattr(current, name) for name in names})

"""Plug-in classes: named as an installed package registers them, or as package.module:Class.

    [project.entry-points."lebm_text.priors"]
    mixture = "lebm_mixture:MixturePrior"

Importing a module runs its code. What an installed package registers is imported wherever it is named, since its
installation implies consent. Any other class is imported only for a caller that trusts whoever named it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from typing import Any, get_args

from lebm_text.checks import from_plain, hint, hints_of, parse_value
from lebm_text.errors import InputError, one_line
from lebm_text.store import read_json

__all__ = ["CLASS", "MissingPlugin", "Plugin", "called", "class_or", "find", "is_named", "made", "made_with"]
__all__ += ["as_recorded", "trusted", "trusting"]

logger = logging.getLogger(__name__)

GROUPS = {
    "model.prior": "lebm_text.priors",
    "model.generator": "lebm_text.generators",
    "inference.kind": "lebm_text.inference",
    "judge": "lebm_text.judges",
    "corpus": "lebm_text.corpora",
}
"""What can be named so → the group of entry points."""

TRUST = "LEBM_TEXT_TRUST_PLUGINS"  # an environment variable; --trust-plugins sets it for a command
CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""package.module:Class"""


class MissingPlugin(InputError):
    """A class that is missing on this machine or in its module; `what` is its kind, of `GROUPS`."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(what, message)
        self.what, self.message = what, message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Plugin:
    """A named class, possibly not imported yet.

    Attributes:
        what: its kind, of `GROUPS`.
        entry: its name and package.module:Class, with the distribution that registers it, if any.
    """

    what: str
    entry: EntryPoint

    def load(self) -> Any:
        """Import the class. Raises MissingPlugin if it is missing, InputError if its module cannot be run."""
        here = f"{self.what} = {self.entry.name} cannot be imported"
        try:
            return self.entry.load()
        except (ImportError, AttributeError) as error:
            file = Path(*self.entry.module.split(".")).with_suffix(".py")
            found = isinstance(error, ModuleNotFoundError) and error.name == self.entry.module and file.is_file()
            more = f"; {file} is in this directory: set PYTHONPATH=." if found else ""
            raise MissingPlugin(self.what, f"{here}: {error}{more}") from error
        except Exception as error:
            raise InputError(f"{here}: {type(error).__name__}: {one_line(error)}") from error

    @cached_property
    def origin(self) -> tuple[str | None, str | None]:
        """The distribution that contains the class, and its version; None if there is none.

        For a class that is not registered, the search takes half a second.
        """
        if self.entry.dist is not None:
            return self.entry.dist.name, self.entry.dist.version
        if packages := packages_distributions().get(self.entry.module.partition(".")[0]):
            return packages[0], version(packages[0])
        own = getattr(sys.modules.get(self.entry.module), "__version__", None)
        return None, None if own is None else str(own)

    def describe(self) -> dict[str, str | None]:
        """Return the class's entry in env.json."""
        package, version = self.origin
        return {"name": self.entry.name, "class": self.entry.value, "package": package, "version": version}


def class_or(name: str, value: str, allowed: tuple[str, ...], prefix: str | None = None) -> None:
    """Raise InputError unless `value` is one of `allowed`, registered, or of the form package.module:Class.

    `prefix` + anything is allowed as well.
    """
    own = value in allowed or (prefix is not None and value.startswith(prefix) and value != prefix)
    if not own and not is_named(name, value):
        known = [*allowed, *([f"{prefix}NAME"] if prefix else []), *_names(name), "package.module:Class"]
        raise MissingPlugin(
            name,
            f"{name} must be {' or '.join(known)}, got {value!r}; no installed package registers that name as "
            f"{GROUPS[name]}",
        )


def is_named(what: str, name: str) -> bool:
    """Return whether `name`, without settings, has the form of a class or is registered."""
    return bool(CLASS.fullmatch(name)) or _registered(what, name) is not None


def find(what: str, name: str, *, trust_plugins: bool) -> Plugin:
    """Return the class that a `name` for which `is_named` holds stands for, without importing it.

    Raises InputError if importing its module is not allowed.
    """
    if (entry := _registered(what, name)) is not None:
        return Plugin(what, entry)
    entry = EntryPoint(name, name, GROUPS[what])
    if not trusted(trust_plugins):
        raise InputError(
            f"{what} = {name} would import the module {entry.module} and so run its code; if you trust it, give "
            f"--trust-plugins, pass trust_plugins=True or set {TRUST}=1"
        )
    return Plugin(what, entry)


@contextmanager
def as_recorded(environment: Path) -> Iterator[None]:
    """Add the recorded package to errors about missing classes inside, and log when another version is in use.

    `environment` is env.json of the run, which may be missing or damaged: then the packages are unknown.
    """
    recorded: object = None
    with suppress(InputError):
        recorded = read_json(environment).get("plugins")
    packages = {
        what: entry
        for what, entry in (recorded.items() if isinstance(recorded, dict) else ())
        if isinstance(entry, dict) and isinstance(entry.get("package"), str) and entry["package"]
    }
    try:
        yield
    except MissingPlugin as error:
        if (entry := packages.get(error.what)) is None:
            raise
        was = f"{entry['package']} {entry.get('version')}"
        raise MissingPlugin(error.what, f"{error}; the run was trained with {was}: install that package") from error
    for what, entry in packages.items():
        with suppress(PackageNotFoundError):
            if (now := version(entry["package"])) != entry.get("version"):
                was = f"{entry['package']} {entry.get('version')}"
                logger.warning("the run was trained with %s of %s; here is %s", what, was, now)


def trusted(trust_plugins: bool = False) -> bool:
    """Return whether classes named in a file may be imported: by the argument, or by the environment."""
    return trust_plugins or os.environ.get(TRUST) == "1"


@contextmanager
def trusting() -> Iterator[None]:
    """Allow it inside, and in processes started inside."""
    before = os.environ.get(TRUST)
    os.environ[TRUST] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TRUST]
        else:
            os.environ[TRUST] = before


def made_with(what: str, text: str, protocol: type, *, trust_plugins: bool) -> tuple[Any, Plugin]:
    """Return an object from `NAME` or `NAME,key=value,key=value`, and its class, a dataclass with settings as fields.

    Args:
        what: its kind, of `GROUPS`.
        text: name and settings.
        protocol: that it must fulfil.
        trust_plugins: import a class that no installed package registers.

    Raises:
        InputError: the class is missing or lacks a member; a setting is unknown, of a wrong type or out of range.
    """
    name, *assignments = text.split(",")
    plugin = find(what, name, trust_plugins=trust_plugins)
    cls = plugin.load()
    if not (isinstance(cls, type) and hasattr(cls, "__dataclass_fields__")):
        raise InputError(f"{what} = {name} is no dataclass")
    known, values = [each.name for each in fields(cls) if each.init], {}
    hints = called(f"{what} = {name}, its fields", lambda: hints_of(cls))
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator:
            raise InputError(f"{what} = {text}: expected key=value after the comma, got {assignment!r}")
        if key not in known:
            raise InputError(f"{what} = {name} has no setting {key!r}{hint(key, known)}")
        values[key] = _read(hints[key], value, f"{name},{key}")
    return made(f"{what} = {name}", lambda: cls(**values), protocol), plugin


def _read(kind: Any, text: str, name: str) -> Any:
    """Return the value of a setting. Raises InputError if it is of another kind."""
    value = parse_value(text)
    try:
        return from_plain(kind, value, name, strict=True)
    except InputError as error:
        if str not in (kind, *get_args(kind)) or isinstance(value, str):
            raise
        raise InputError(
            f"{error}; as a text it stands in quotes, in a shell {name.rpartition(',')[2]}='\"{text}\"'"
        ) from None


def made(named: str, call: Callable[[], Any], protocol: type) -> Any:
    """Return the result of `call`. Raises InputError with its name if that fails or the result lacks a member."""
    found = called(named, call)
    lacking = sorted(name for name in vars(protocol) if not name.startswith("_") and not hasattr(found, name))
    if getattr(protocol, "_is_protocol", False) and lacking:
        raise InputError(f"{named} is no {protocol.__name__}: it lacks {', '.join(lacking)}")
    return found


def called(named: str, call: Callable[[], Any]) -> Any:
    """Call plug-in code; any exception becomes one line with its name."""
    try:
        return call()
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{named}: {type(error).__name__}: {one_line(error)}") from error


def _registered(what: str, name: str) -> EntryPoint | None:
    return None if ":" in name else next(iter(entry_points(group=GROUPS[what], name=name)), None)


def _names(what: str) -> list[str]:
    return sorted(entry_points(group=GROUPS[what]).names)

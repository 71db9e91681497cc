"""What a value of the configuration may be: types, ranges, and what to say of others."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import field, fields
from typing import Any, ClassVar

from lebm_text.errors import InputError

__all__ = [
    "Section",
    "Steps",
    "at_least",
    "class_or",
    "hint",
    "in_range",
    "one_of",
    "parse_value",
    "positive",
    "setting",
    "typed",
]


def parse_value(text: str) -> Any:
    """The value that `text` writes: JSON, `none`, or a bare word."""
    if text == "none":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also for thousands of digits or of brackets
        return text


def typed(name: str, value: Any, annotation: str) -> Any:
    """`value` as the annotated type, or InputError. Integers pass as floats, nothing else is converted."""
    if value is None and "None" in annotation:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation.startswith("float"):
        if "tuple" in annotation and isinstance(value, (list, tuple)):
            return tuple(typed(name, v, "float") for v in value)
        if number and abs(value) <= sys.float_info.max:
            return float(value)
        wanted = "a finite number" + (" or a list of numbers" if "tuple" in annotation else "")
        wanted += " or none" if "None" in annotation else ""
    elif annotation.startswith("int"):
        if number and value % 1 == 0:  # neither nan nor inf
            return int(value)
        wanted = "a whole number" + (" or none" if "None" in annotation else "")
    elif annotation == "bool":
        if isinstance(value, bool):
            return value
        wanted = "true or false"
    else:
        if isinstance(value, str):
            return value
        wanted = "a word"
    raise InputError(f"{name} must be {wanted}, got {value!r}")


def hint(name: str, known: list[str], section: str = "") -> str:
    """What to try in place of an unknown `name`."""
    close = difflib.get_close_matches(name, known, n=1)
    prefix = f"{section}." if section else ""
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; known: {', '.join(prefix + k for k in known)}"


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise InputError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise InputError(f"{name} must be {' or '.join(allowed)}, got {value!r}")


def at_least(name: str, value: float, least: float) -> None:
    """Raise InputError unless `value` is `least` or more."""
    if not value >= least:
        raise InputError(f"{name} must be at least {least:g}, got {value}")


def positive(name: str, value: float) -> None:
    """Raise InputError unless `value` is greater than 0."""
    if not value > 0:
        raise InputError(f"{name} must be > 0, got {value}")


def in_range(
    name: str, value: float, low: float, high: float, *, open_start: bool = False, open_end: bool = False
) -> None:
    """Raise InputError unless `value` lies between `low` and `high`."""
    inside = (low < value if open_start else low <= value) and (value < high if open_end else value <= high)
    if not inside:
        left, right = "(" if open_start else "[", ")" if open_end else "]"
        raise InputError(f"{name} must lie in {left}{low:g}, {high:,g}{right}, got {value}")


def class_or(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise InputError unless `value` is one of `allowed` or of the form package.module:Class."""
    if value not in allowed and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise InputError(f"{name} must be {' or '.join(allowed)} or package.module:Class, got {value!r}")


def setting(default: Any, check: Callable[..., None], *limits: Any, **options: Any) -> Any:
    """A field of a `Section` with its default, and what it must fulfil unless it is None."""
    return field(default=default, metadata={"check": (check, limits, options)})


class Section:
    """Base of a configuration's dataclasses: each setting is checked by its own check."""

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if each.metadata and value is not None:
                check, limits, options = each.metadata["check"]
                check(f"{self.section}.{each.name}", value, *limits, **options)


class Steps(Section):
    """A section with the settings `n_steps` and `step_size`, a size or one per step."""

    n_steps: int
    step_size: float | tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        name, value = f"{self.section}.step_size", self.step_size
        for size in value if isinstance(value, tuple) else (value,):
            positive(name, size)
        if isinstance(value, tuple) and len(value) != self.n_steps:
            n = len(value)
            raise InputError(f"{name} has {n} values for {self.n_steps} steps; give one per step, or one number")

"""What a value of the configuration may be: types, ranges, and what to say of others."""

from __future__ import annotations

import difflib
import json
import sys
from typing import Any

from lebm_text.errors import InputError

__all__ = ["at_least", "check_step_size", "hint", "in_range", "one_of", "parse_value", "positive", "typed"]


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


def check_step_size(name: str, value: float | tuple[float, ...], n_steps: int) -> None:
    """Raise InputError unless each step size is positive and there is one, or one a step."""
    sizes = value if isinstance(value, tuple) else (value,)
    for size in sizes:
        positive(name, size)
    if isinstance(value, tuple) and len(value) != n_steps:
        raise InputError(f"{name} has {len(value)} values for {n_steps} steps; give one a step, or one number")

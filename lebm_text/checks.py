"""Types and ranges of the values in a configuration, a plan or a report, and the messages for invalid ones."""

from __future__ import annotations

import difflib
import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lebm_text.errors import InputError

__all__ = [
    "MAX_COUNT",
    "MAX_DRAWS",
    "MAX_GUIDANCE",
    "MAX_PRIOR_TEMPERATURE",
    "MAX_SEED",
    "MAX_STEP_SIZE",
    "MAX_TEMPERATURE",
    "MIN_SHARE",
    "MIN_TEMPERATURE",
    "Checked",
    "Section",
    "Steps",
    "each_of",
    "file_name",
    "from_plain",
    "hint",
    "hints_of",
    "in_range",
    "one_of",
    "parse_value",
    "setting",
    "to_plain",
    "whole",
]

T = TypeVar("T")
_LONGEST_NAME = 100  # bytes
MAX_COUNT = 10**9  # of sentences, tokens, updates: more than is practical, and far from overflow
MAX_DRAWS = 4096  # of z for each sentence
MAX_SEED = 2**63 - 1  # the largest that torch accepts
MIN_SHARE = 1e-9
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-30, 1e30  # what logits in float32 can be divided by
MAX_PRIOR_TEMPERATURE = 100.0  # well beyond it, z is outside the region on which f was trained
MAX_GUIDANCE = 100.0
MAX_STEP_SIZE = 10.0  # of a chain: from 2 on, one on N(0, I) diverges


def parse_value(text: str) -> Any:
    """Return the value of `text`: JSON, `none`, or a bare word."""
    if text == "none":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also for thousands of digits or brackets
        return text


@functools.cache
def hints_of(kind: Any) -> dict[str, Any]:
    """Return field → type of a dataclass; cached, since it is slow to compute."""
    return get_type_hints(kind)


def to_plain(value: Any) -> Any:
    """Return a `value` for JSON, which has no nan and no infinity: None is in their place, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(to_plain, value)]
    return value


def from_plain(kind: type[T], value: object, name: str = "", *, strict: bool = False) -> T:
    """Convert a `value` from JSON or TOML to a dataclass, tuple, list, dictionary, union or plain type.

    Integers pass as floats, floats without a fraction as integers, strings as paths, and None as nan, for which
    `to_plain` writes it; nothing else is converted, and a dataclass passes as it is.

    Args:
        kind: the type.
        value: to convert.
        name: of the value, for messages.
        strict: refuse non-finite numbers, None in place of one, and unknown keys of a dataclass, which are ignored
            otherwise.

    Raises:
        InputError: it is not of that type.
    """
    found: T = _read(kind, value, name, strict)
    return found


def _read(kind: Any, value: Any, name: str, strict: bool) -> Any:
    if kind in (str, bool, int) and type(value) is kind:  # the most frequent case; the rest is slow
        return value
    if kind is float and value is None and not strict:
        return math.nan
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if not _fits(kind, value, strict):
        raise InputError(f"{name or 'it'} must be {_described(kind, strict)}, got {_short(value)}")
    if origin in (Union, UnionType):
        return _read(next(each for each in arguments if _fits(each, value, strict)), value, name, strict)
    if is_dataclass(origin):
        return _read_dataclass(kind, value, name, strict)
    if origin is dict:
        inner = arguments[1] if arguments else Any
        return {str(key): _read(inner, item, _joined(name, str(key)), strict) for key, item in value.items()}
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise InputError(f"{name} must have {len(arguments)} values, got {len(value)}")
        return tuple(_read(each, item, name, strict) for each, item in zip(arguments, value, strict=True))
    if origin in (list, tuple):
        inner = arguments[0] if arguments else Any
        return origin(_read(inner, item, f"{name}[{i}]", strict) for i, item in enumerate(value))
    return origin(value) if origin in (int, float, Path) else value


def _read_dataclass(kind: type, value: Any, name: str, strict: bool) -> Any:
    if isinstance(value, kind):
        return value
    hints, known = hints_of(kind), [each.name for each in fields(kind)]
    if not isinstance(value, Mapping):
        value = dict(zip(known, value, strict=True))
    if strict and (unknown := [str(key) for key in value if key not in known]):
        raise InputError(f"unknown key {_joined(name, unknown[0])}; known: {', '.join(known)}")
    found = {}
    for each in fields(kind):
        if each.name in value:
            found[each.name] = _read(hints[each.name], value[each.name], _joined(name, each.name), strict)
        elif each.default is MISSING and each.default_factory is MISSING:
            raise InputError(f"{_joined(name, each.name)} is missing")
    try:
        return kind(**found)
    except InputError as error:
        is_named = not name or str(error).startswith(name)
        raise InputError(str(error) if is_named else f"{name}: {error}") from None


def _fits(kind: Any, value: Any, strict: bool) -> bool:
    """Return whether `value` is of a kind, without checking its contents."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(each, value, strict) for each in arguments)
    if origin is Literal:
        return value in arguments
    if is_dataclass(origin) and isinstance(origin, type):  # version 0.1.0 wrote some as lists
        listed = isinstance(value, (list, tuple)) and len(value) == len(fields(origin))
        return listed or isinstance(value, (origin, Mapping))
    if origin in (int, float):
        if isinstance(value, bool) or not isinstance(value, Real):  # NumPy's numbers are Real, too
            return False
        finite = _is_finite(value)
        if origin is int:
            return isinstance(value, Integral) or bool(finite and value % 1 == 0)
        return finite or not (strict or isinstance(value, Integral))
    forms: dict[Any, Any] = {dict: Mapping, list: (list, tuple), tuple: (list, tuple), Path: (str, Path), Any: object}
    return isinstance(value, forms.get(origin, origin))


def _is_finite(value: Real) -> bool:
    """Return whether a number is finite as a float: Python's JSON has NaN and Infinity, and integers may overflow."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _described(kind: Any, strict: bool) -> str:
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_described(each, strict) for each in arguments)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (list, tuple):
        return "a list of numbers" if arguments[:1] == (float,) else "a list"
    number = "a finite number" if strict else "a number"
    names = {
        int: "a whole number",
        float: number,
        str: "a text",
        Path: "a path",
        bool: "true or false",
        NoneType: "none",
    }
    return names.get(kind, "an object")


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def hint(name: object, known: list[str], section: str = "") -> str:
    """Return a suggestion for an unknown `name`."""
    close = difflib.get_close_matches(str(name), known, n=1)
    prefix = f"{section}." if section else ""
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; known: {', '.join(prefix + k for k in known)}" if known else "; there are none here"


def file_name(name: str, value: str) -> None:
    """Raise InputError unless `value` may be, or begin, the name of a file or directory."""
    plain = value.isprintable() and not set(value) & set("/\\")
    bare = not value.startswith((" ", ".")) and not value.endswith(" ")
    if not (value and plain and bare and len(value.encode()) <= _LONGEST_NAME):
        raise InputError(
            f"{name} becomes the name of a directory: it must be short, without slashes and a point in front, "
            f"got {_short(value)}"
        )


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise InputError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise InputError(f"{name} must be {' or '.join(allowed)}, got {value!r}")


def whole(name: str, value: object, least: int, most: int | None = MAX_COUNT) -> int:
    """Return `value` as an integer from `least` to `most`. Raises InputError if it is none."""
    number = from_plain(int, value, name, strict=True)
    if number < least or (most is not None and number > most):
        allowed = f">= {least}" if most is None or number < least else f"at most {most:,}"
        raise InputError(f"{name} must be {allowed}, got {_short(number)}")
    return number


def in_range(
    name: str, value: float, low: float, high: float, *, open_start: bool = False, open_end: bool = False
) -> None:
    """Raise InputError unless `value` is between `low` and `high`, excluding an end that is open."""
    inside = (low < value if open_start else low <= value) and (value < high if open_end else value <= high)
    if not inside:
        left, right = "(" if open_start else "[", ")" if open_end else "]"
        raise InputError(f"{name} must lie in {left}{low:g}, {high:,g}{right}, got {_short(value)}")


def each_of(name: str, values: Iterable[Any], check: Callable[..., object], *limits: Any, **options: Any) -> None:
    """Raise InputError unless each of `values` passes a check called with `limits` and `options`."""
    for value in values:
        check(name, value, *limits, **options)


def setting(default: Any, check: Callable[..., object], *limits: Any, **options: Any) -> Any:
    """Return a field of a `Section` or `Checked` with a default, and a check for values other than None."""
    return field(default=default, metadata={"check": (check, limits, options)})


def _read_settings(of: Any, prefix: str = "") -> None:
    kind: Any = type(of)
    hints = hints_of(kind)
    for each in fields(of):
        name = f"{prefix}{each.name}"
        value = from_plain(hints[each.name], getattr(of, each.name), name, strict=True)
        object.__setattr__(of, each.name, value)
        if each.metadata and value is not None:
            check, limits, options = each.metadata["check"]
            check(name, value, *limits, **options)


class Checked:
    """Base of frozen dataclasses whose values must have the annotated types and pass the checks of their fields.

    Raises InputError for others.
    """

    def __post_init__(self) -> None:
        _read_settings(self)


@dataclass(frozen=True)
class Section:
    """Base of a configuration's dataclasses: each setting must have its annotated type and pass its check.

    Attributes:
        section: its name.
        implementation: the plug-in class whose settings these are, if any.
        is_open: whether they are unchecked settings of a plug-in class that has not been imported.
    """

    section: ClassVar[str]
    implementation: ClassVar[Any] = None
    is_open: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _read_settings(self, f"{self.section}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, ready for JSON. Raises TypeError for one that is neither JSON nor a path."""
        return json.loads(json.dumps(asdict(self), default=os.fspath))  # type: ignore[no-any-return]


class Steps(Section):
    """A section with the settings `n_steps` and `step_size`, one size or one per step."""

    n_steps: int
    step_size: float | tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        name, value = f"{self.section}.step_size", self.step_size
        for size in value if isinstance(value, tuple) else (value,):
            in_range(name, size, 0.0, MAX_STEP_SIZE, open_start=True)
        if isinstance(value, tuple) and len(value) != self.n_steps:
            n = len(value)
            raise InputError(f"{name} has {n} values for {self.n_steps} steps; give one per step, or one number")

"""From the plain values of JSON and TOML to dataclasses: every value is checked against the type of its field."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lebm_text.errors import InputError

__all__ = ["from_plain"]

T = TypeVar("T")


def from_plain(kind: type[T], value: object, name: str = "", *, strict: bool = False) -> T:
    """`value`, as JSON or TOML gives it, as a dataclass, tuple, list, dictionary, union or plain type.

    Args:
        name: of the value, for messages.
        strict: refuse keys that a dataclass does not have; they are ignored otherwise.

    Raises:
        InputError: it is not of that type.
    """
    found: T = _Reader(strict).read(kind, value, name)
    return found


@dataclass(frozen=True)
class _Reader:
    strict: bool

    def read(self, kind: Any, value: Any, name: str) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any or kind is object:
            return value
        if is_dataclass(kind) and isinstance(kind, type):
            return self._read_dataclass(kind, value, name)
        if origin in (Union, UnionType):
            return self._read_union(arguments, value, name)
        if origin is Literal:
            if value in arguments:
                return value
        elif origin is dict or kind is dict:
            if isinstance(value, Mapping):
                inner = arguments[1] if arguments else Any
                return {str(key): self.read(inner, item, _joined(name, str(key))) for key, item in value.items()}
        elif origin in (list, tuple) or kind in (list, tuple):
            if isinstance(value, (list, tuple)):
                return self._read_sequence(origin or kind, arguments, value, name)
        elif kind is float:
            # JSON as Python writes it has NaN and Infinity; a whole number may be too large for a float.
            if isinstance(value, float) or (_is_whole(value) and abs(value) <= sys.float_info.max):
                return float(value)
        elif kind is int:
            if _is_whole(value):
                return value
        elif kind is NoneType:
            if value is None:
                return None
        elif isinstance(value, kind):
            return value
        raise InputError(f"{name or 'it'} must be {_described(kind)}, got {_short(value)}")

    def _read_dataclass(self, kind: type, value: Any, name: str) -> Any:
        if isinstance(value, (list, tuple)) and len(value) == len(fields(kind)):  # as version 0.1.0 wrote some
            value = dict(zip((field.name for field in fields(kind)), value, strict=True))
        if not isinstance(value, Mapping):
            raise InputError(f"{name or 'it'} must be an object, got {_short(value)}")
        hints = get_type_hints(kind)
        if self.strict and (unknown := [str(key) for key in value if key not in hints]):
            known = [field.name for field in fields(kind)]
            raise InputError(f"unknown key {_joined(name, unknown[0])}; known: {', '.join(known)}")
        found = {}
        for field in fields(kind):
            if field.name in value:
                found[field.name] = self.read(hints[field.name], value[field.name], _joined(name, field.name))
            elif field.default is MISSING and field.default_factory is MISSING:
                raise InputError(f"{_joined(name, field.name)} is missing")
        return kind(**found)

    def _read_union(self, kinds: tuple[Any, ...], value: Any, name: str) -> Any:
        problem: InputError | None = None
        for kind in kinds:
            try:
                return self.read(kind, value, name)
            except InputError as error:
                problem = problem or error
        assert problem is not None
        raise problem

    def _read_sequence(self, kind: type, arguments: tuple[Any, ...], value: Any, name: str) -> Any:
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise InputError(f"{name} must have {len(arguments)} values, got {len(value)}")
            return tuple(self.read(each, item, name) for each, item in zip(arguments, value, strict=True))
        inner = arguments[0] if arguments else Any
        return kind(self.read(inner, item, f"{name}[{i}]") for i, item in enumerate(value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}
    return names.get(kind, "an object" if dict in (kind, get_origin(kind)) else "a list")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"

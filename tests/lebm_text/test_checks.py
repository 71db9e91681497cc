"""Plain values become the types that fields say, or one line says which value is wrong and what would be right."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from lebm_text.checks import from_plain
from lebm_text.errors import InputError


@dataclass(frozen=True)
class Inner:
    value: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    n: int
    inner: Inner
    by_name: dict[str, Inner] = field(default_factory=dict)
    pairs: tuple[tuple[float, float], ...] = ()
    rows: list[Inner | None] = field(default_factory=list)
    maybe: int | str | None = None
    free: Any = None


PLAIN: dict[str, Any] = {"name": "x", "n": 2, "inner": {"value": 1}}


def test_what_json_makes_of_it_is_read_back() -> None:
    whole = Outer("x", 1, Inner(0.5, "b"), {"y": Inner(2.0)}, ((1.0, 2.0),), [Inner(1.0), None], "text", [1, {}])
    assert from_plain(Outer, json.loads(json.dumps(asdict(whole)))) == whole
    assert from_plain(Inner, [0.5, "b"]) == Inner(0.5, "b")
    found = from_plain(Outer, PLAIN)
    assert found == Outer("x", 2, Inner(1.0))
    assert isinstance(found.inner.value, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 1.5}, "n must be a whole number, got 1.5"),
        ({"n": True}, "n must be a whole number, got True"),
        ({"inner": {"value": 10**400}}, "inner.value must be a number, got 1000"),
        ({"inner": {"value": 1, "kind": "c"}}, "inner.kind must be a or b, got 'c'"),
        ({"inner": {}}, "inner.value is missing"),
        ({"inner": [1, "a", 2]}, "inner must be an object"),
        ({"by_name": {"y": 3}}, "by_name.y must be an object, got 3"),
        ({"pairs": [[1, 2, 3]]}, r"pairs\[0\] must have 2 values, got 3"),
        ({"pairs": 1}, "pairs must be a list, got 1"),
        ({"rows": [{"value": "1"}]}, r"rows\[0\].value must be a number, got '1'"),
        ({"maybe": []}, "maybe must be a whole number or a text or none, got"),
        ({"name": None}, "name must be a text, got None"),
    ],
)
def test_what_is_not_of_its_type_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        from_plain(Outer, PLAIN | change)


def test_numbers_that_are_not_finite_are_numbers_unless_a_person_writes_them() -> None:
    plain = json.loads(json.dumps([math.inf, math.nan]))
    low, high = from_plain(tuple[float, float], plain)
    assert math.isinf(low) and math.isnan(high)
    for value in plain:
        with pytest.raises(InputError, match="it must be a finite number or a list of numbers or none, got"):
            from_plain(float | tuple[float, ...] | None, value, strict=True)  # type: ignore[arg-type]


def test_whole_numbers_may_be_written_as_floats() -> None:
    found = from_plain(int, 1e3)
    assert isinstance(found, int) and found == 1000


def test_unknown_keys_are_ignored_or_refused() -> None:
    plain = PLAIN | {"inner": {"value": 1, "vlaue": 2}}
    assert from_plain(Outer, plain) == from_plain(Outer, PLAIN)
    with pytest.raises(InputError, match=r"unknown key inner\.vlaue; known: value, kind"):
        from_plain(Outer, plain, strict=True)

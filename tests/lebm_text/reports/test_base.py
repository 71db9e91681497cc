"""A report's file: read back as it was written, refused in one line where it is damaged or of a later version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from lebm_text.errors import InputError
from lebm_text.reports import load
from lebm_text.reports.base import Report


@dataclass(frozen=True, kw_only=True)
class Counted(Report):
    kind: ClassVar[str] = "counted"

    n: int


def test_a_file_holds_the_report(tmp_path: Path) -> None:
    report = Counted(n=3, sha256={"text": "0"}, versions={"lebm-text": "1"}, command="lebm-text count")
    report.save(tmp_path / "counted.json")
    assert Counted.load(tmp_path / "counted.json") == report
    assert json.loads((tmp_path / "counted.json").read_text())["kind"] == "counted"
    assert report.figures() == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": "3", "sha256": {}, "versions": {}}, "x.json is damaged: n must be a whole number, got '3'"),
        ({"n": 3}, "x.json is damaged: sha256 is missing"),
        ({"n": 3, "schema": 2}, "x.json has schema 2 of counted; this version reads 1"),
    ],
)
def test_a_damaged_file_is_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        Counted.from_json(values, "x.json")


@pytest.mark.parametrize("values", [{"kind": "counted"}, {"metric": "counted"}, {}])
def test_an_unknown_kind_is_refused(tmp_path: Path, values: dict[str, object]) -> None:
    (tmp_path / "x.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"x\.json is no report that this version knows"):
        load(tmp_path / "x.json")

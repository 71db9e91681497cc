"""A report's file: read back as it was written, refused in one line where it is damaged; and missing packages."""

from __future__ import annotations

import io
import json
import math
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from rich.console import Console, Group
from rich.table import Table

from lebm_text import reports
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.reports import KINDS, base, load
from lebm_text.reports.base import Report, need_sklearn, new_table, origin
from lebm_text.reports.drawing import new_figure
from lebm_text.reports.likelihood import Likelihood

from ..tiny import tiny_model

OLD = Path(__file__).resolve().parents[2] / "data" / "run-0.1.0"


@dataclass(frozen=True, kw_only=True)
class Counted(Report):
    kind: ClassVar[str] = "counted"

    n: int

    def table(self) -> Group:
        return Group(str(self.n))


def test_a_file_holds_the_report(tmp_path: Path) -> None:
    report = Counted(n=3, sha256={"text": "0"}, versions={"lebm-text": "1"}, command="lebm-text count")
    report.save(f"{tmp_path}/counted.json")
    assert Counted.load(f"{tmp_path}/counted.json") == report
    assert json.loads((tmp_path / "counted.json").read_text())["kind"] == "counted"
    assert report.figure() is None


def test_a_file_is_strict_json_and_read_back_whatever_its_figures(tmp_path: Path) -> None:
    """Perplexity may be infinite; what --json prints is the same, and may be kept as a report."""
    path = OLD / "eval" / "likelihood-test.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["ais"] |= {"perplexity": math.inf, "perplexity_standard_error": math.inf}
    values["chain_gap"]["standard_error"] = math.nan
    Likelihood.from_json(values).save(tmp_path / "x.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    saved = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert saved["ais"]["perplexity"] is saved["chain_gap"]["standard_error"] is None
    found = load(tmp_path / "x.json")
    assert isinstance(found, Likelihood) and found.ais is not None and found.chain_gap is not None
    assert math.isnan(found.ais.perplexity) and math.isnan(found.chain_gap.standard_error)
    assert found.ais.perplexity_standard_error is None


def test_pictures_of_a_report_of_another_kind_do_not_stay_beside_one_without(tmp_path: Path) -> None:
    path, picture = tmp_path / "x.json", tmp_path / "x.png"
    report = Counted(n=3, sha256={}, versions={})
    for before, stays in (({"a": "file"}, True), ({**report.to_json(), "kind": "views"}, False)):
        path.write_text(json.dumps(before))
        picture.write_text("a picture")
        assert report.save_with_pictures(path) == []
        assert picture.exists() == stays
    assert sorted(tmp_path.iterdir()) == [path]


def test_two_that_write_one_report_leave_the_pictures_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    path, drawing, second = tmp_path / "x.json", threading.Event(), threading.Event()

    @dataclass(frozen=True, kw_only=True)
    class Slow(Counted):
        def figure(self) -> Any:
            drawing.set()
            if self.n == 1:
                second.wait(0.5)  # in which the other would write all of its files
            return self.n

    def save(figure: int, stem: Path) -> list[Path]:
        stem.with_suffix(".png").write_text(str(figure))
        return []

    def write_second() -> None:
        drawing.wait()
        Slow(n=2, sha256={}, versions={}).save_with_pictures(path)
        second.set()

    monkeypatch.setattr(base, "save_pictures", save)
    other = threading.Thread(target=write_second)
    other.start()
    Slow(n=1, sha256={}, versions={}).save_with_pictures(path)
    other.join()
    assert json.loads(path.read_text())["n"] == int((tmp_path / "x.png").read_text()) == 2
    assert len([*tmp_path.iterdir()]) == 2


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


def test_a_file_that_is_not_there_is_named_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^cannot read .*absent\.json: No such file or directory$"):
        load(tmp_path / "absent.json")


def _emptied(value: Any) -> Iterator[tuple[str, Any]]:
    """`value` with one list or dictionary in it empty, each in turn, and which."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in [*inside]:
        if isinstance(part, (dict, list)) and part:
            for path, changed in [("", type(part)()), *_emptied(part)]:
                copy = value.copy()
                copy[key] = changed
                yield f"{key}.{path}", copy


@pytest.mark.parametrize("path", sorted(OLD.glob("eval/*.json")), ids=lambda path: path.stem)
def test_what_loads_has_a_table(path: Path) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    for _, values in _emptied(report):
        kind = reports._kind_of(values)
        cls = getattr(getattr(reports, str(kind)), KINDS[str(kind)])
        try:
            found = cls.from_json(values, "x.json")
        except InputError as error:
            assert str(error).startswith("x.json is damaged: ")
        else:
            Console(file=io.StringIO(), width=60).print(found.table())


@pytest.mark.parametrize("values", [{"kind": "counted"}, {"metric": "counted"}, {"kind": ["views"]}, {}])
def test_an_unknown_kind_is_refused(tmp_path: Path, values: dict[str, object]) -> None:
    (tmp_path / "x.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"x\.json is no report that this version knows"):
        load(tmp_path / "x.json")


def _printed(table: Table, width: int) -> list[str]:
    """The lines of a table, after checking that none is too long."""
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    return lines


@pytest.mark.parametrize("width", [36, 40, 60, 200])
def test_figures_are_never_cut(width: int) -> None:
    """What has no room stands below, beside the names of its row again."""
    table = new_table("two judges", "decoding", "judge", *(f"figure {i}" for i in range(5)), keys=2)
    for name in ("sampled [/a]", "the most probable"):
        table.add_row(name, "kn5", *(f"{i}{i}.00 ± 0.01" for i in range(5)))
    shown = "".join(_printed(table, width))
    assert "…" not in shown
    assert shown.count("two judges") == 1
    for i in range(5):
        assert shown.count(f"{i}{i}.00 ± 0.01") == 2
    assert shown.count("judge ") == (1 if width == 200 else shown.count("kn5") // 2)
    assert width == 36 or "sampled [/a]" in shown  # else on two lines


@pytest.mark.parametrize("width", [50, 70, 100, 200])
def test_a_text_beside_many_figures_has_room(width: int) -> None:
    """Where hardly any would be left beside the figures, the texts stand below them."""
    sentence = "the lord is good and his mercy endures for ever"
    table = new_table("paths", "t", *(f"figure {i}" for i in range(4)), texts=["sentence"])
    for place in ("0.00", "1.00"):
        table.add_row(place, *(f"{i}.5" for i in range(4)), sentence)
    lines = _printed(table, width)
    assert sum("the lord is good" in line for line in lines) == 2
    assert sum("3.5" in line for line in lines) == 2
    assert sum(line.strip() == "paths" for line in lines) == 1
    assert any("3.5" in line and "lord" in line for line in lines) == (width >= 100)


@pytest.mark.parametrize("missing", ["sklearn.linear_model", "sklearn.metrics"])
def test_scikit_learn_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"scores need scikit-learn: pip install 'lebm-text\[analysis\]'"):
        need_sklearn("scores")


def test_matplotlib_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'lebm-text\[viz\]'"):
        new_figure(1, 1)


def test_a_signature_names_the_chain_that_drew() -> None:
    """Which may be finer than the run's configuration says, if training found its steps too long."""
    model = tiny_model()
    finer = LatentEBM(model.config.override(["prior.n_steps=8", "prior.step_size=0.25"]), model.tokenizer, model.model)
    run: Any = SimpleNamespace(weights_sha256="ab", config=model.config)
    assert "|prior:ebm-langevin(8x0.25)|" in origin(finer, run, "views(n=3)", 1)["signature"]

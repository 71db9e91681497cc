"""The page as a document: whole, self-contained, in order; with what a run has, without what it lacks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from matplotlib.figure import Figure
from rich.console import Group
from rich.text import Text

from lebm_text.page import page as module
from lebm_text.presets import preset
from lebm_text.reports import curves
from lebm_text.reports.base import Report, new_table
from lebm_text.reports.drawing import hover, panels
from lebm_text.run import Run

from .pages import HOSTILE, METRICS, OLD, Page, check_document, page_of, write_run


@dataclass(frozen=True, kw_only=True)
class Novel(Report):
    """A kind that the page knows nothing of."""

    kind: ClassVar[str] = "novel_kind"

    signature: str = "novel|v:1"
    texts: tuple[str, ...] = ("one", "two")

    def table(self) -> Group:
        table = new_table("a table of texts", "text", "count")
        for text in self.texts:
            table.add_row(Text(text), "12")
        return Group(table, "a line of text", Group(*self.texts))

    def figure(self) -> Figure:
        figure, (axes,) = panels([self.texts[0]])
        (line,) = axes.plot(range(len(self.texts)), range(len(self.texts)), "o", label=self.texts[0])
        hover(line, self.texts)
        axes.legend()
        return figure


def page_with(monkeypatch: pytest.MonkeyPatch, directory: Path, report: Report) -> Page:
    """The page of a run that has this report and no other."""
    monkeypatch.setattr(Run, "reports", lambda _: {"some": report})
    return page_of(directory)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "full"))


def _tiles(page: Page) -> dict[str, tuple[str, str]]:
    """What stands at the head of a page: label → figure and what is said beside it."""
    found = re.findall(r"<div><dt>(.*?)</dt><dd><strong>(.*?)</strong><span>(.*?)</span></dd></div>", page.source)
    return {label: (figure, beside) for label, figure, beside in found}


def test_each_figure_of_the_head_has_its_own_label(full: Path) -> None:
    assert _tiles(page_of(full)) == {
        "training": ("not finished", "epoch 3.0 of 4, update 29"),
        "validation perplexity, z inferred": ("8.71", "after epoch 3"),
        "validation perplexity, z from the prior": ("8.934", "after epoch 3"),
        "FPPL, kn5 judge": ("21.1", "real text 4.348"),
        "RPPL, kn5 judge": ("17.36", "real text 4.348"),
        "warnings": ("1", "of collapse or divergence"),
    }


def test_the_head_has_the_scores_of_samples_as_the_model_draws_them(full: Path) -> None:
    report = json.loads((full / "eval" / "frontier-kn5-default-test.json").read_text(encoding="utf-8"))
    for name, how in (("a", {"latents": "posterior"}), ("b", {"prior_temperature": 0.5}), ("c", {"guidance": 2.0})):
        results = [row | how | {"ppl": 1.0} for row in report["results"]]
        (full / "eval" / f"{name}.json").write_text(json.dumps(report | {"results": results}), encoding="utf-8")
    assert _tiles(page_of(full))["FPPL, kn5 judge"] == ("21.1", "real text 4.348")


@pytest.mark.parametrize(
    ("changes", "split", "said"),
    [
        ({}, "test", ""),
        ({"temperature": 0.5}, "test", ", T = 0.5"),
        ({"temperature": 1.5, "guidance": 2.0}, "valid", ", T = 1.5, guidance 2, valid text"),
        ({"prior_temperature": 0.5}, "test", ", T = 1, prior T = 0.5"),
        ({"decode": "greedy", "temperature": None}, "test", ", greedy"),
        ({"decode": "beam", "temperature": None}, "test", ", beam"),
        ({}, "valid", ", valid text"),
        ({"decode": None, "temperature": None}, "test", None),
        ({"latents": "posterior"}, "test", None),
    ],
    ids=str,
)
def test_the_head_names_what_is_unusual_of_a_score(
    full: Path, changes: dict[str, object], split: str, said: str | None
) -> None:
    """And has none of a text that came from elsewhere."""
    report = json.loads((full / "eval" / "fppl-kn5-default-test.json").read_text(encoding="utf-8"))
    report["results"][0] |= changes
    report["corpus"]["split"] = split
    shutil.rmtree(full / "eval")
    (full / "eval").mkdir()
    (full / "eval" / "a.json").write_text(json.dumps(report), encoding="utf-8")
    found = [label for label in _tiles(page_of(full)) if "judge" in label]
    assert found == ([] if said is None else [f"FPPL, kn5 judge{said}"])


def test_a_full_run_shows_everything(full: Path) -> None:
    page = page_of(full)
    check_document(page)
    parts = (
        *("not finished", "update 29", "8.71", "8.934", "FPPL, kn5 judge", "RPPL, kn5 judge", "1 warning"),
        *("After epoch 3", "hears the again", "(empty)", "→ the the", "z is ignored"),
        *("(of all, 0.0% empty, 8.3% cut off, 8.3% with <unk>, 0.0% duplicates)", "(of all, 10.0% empty, 0.0% cut"),
        *("tiny-corpus", "6af0bdf693661e65", "a the fish", "2.13.0+cpu", "likelihood_weight"),
        *("lebm-text train ./tiny-corpus --set", "lebm-text views --run runs/run-0.1.0 -n 12", "--temperature 0.5"),
        *("samples(n=12,decode=sample,T=1)", "views(n=12)|text:tiny-corpus-test", "44e53c1419dd1872"),
    )
    assert [part for part in parts if part not in page.text] == []
    assert "tiny-corpus/train.txt" not in page.source  # where the text lay
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) >= 20
    before, _, signatures = page.text.partition("quote it with the figure")
    assert "FPPL|lm:kn5" in signatures
    assert "FPPL|lm:kn5" not in before
    shown = json.loads((OLD / "eval" / "views.json").read_text(encoding="utf-8"))
    assert f"{shown['explained'][0]:.1%}" in page.text


def test_a_bare_run_has_a_page(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "bare"))
    check_document(page)
    assert page.sections == ["Settings, text and machine", "How to repeat it"]
    assert "begun" in page.text
    assert "Settings that differ from the preset" in page.text


def test_settings_are_told_from_the_nearest_preset(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "quick", config=preset("quick")))
    assert "All settings are those of the preset quick." in page.text
    page = page_of(write_run(tmp_path / "vae", config=preset("vae").override(["training.seed=5"])))
    assert "Settings that differ from the preset vae" in page.text
    assert "kl_weight_start" not in page.text.partition("All settings")[0]


def test_a_finished_run_says_how_long_it_took(tmp_path: Path) -> None:
    progress = {"finished": True, "step": 20, "epoch": 2, "seconds": 7200.0}
    page = page_of(write_run(tmp_path / "run", metrics=METRICS, progress=progress))
    assert "2 epochs, 20 updates, 2.0 hours" in page.text  # fewer than were asked for: training.patience may end it
    assert "4.263" in page.text


def test_a_model_without_a_checkpoint_was_trained_to_whatever_end(tmp_path: Path) -> None:
    shared, bare = write_run(tmp_path / "shared", metrics=METRICS), write_run(tmp_path / "bare")
    for run in (shared, bare):
        (run / "model.safetensors").touch()
    assert _tiles(page_of(shared))["training"] == ("ended", "epoch 2.0 of 20, update 20")
    assert _tiles(page_of(bare))["training"] == ("ended", "its figures were not kept")


def test_a_report_of_any_kind_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Novel(sha256={"text": "ef" * 32}, versions={}, command="lebm-text novel --run runs/bare")
    page = page_with(monkeypatch, write_run(tmp_path / "bare"), report)
    check_document(page)
    assert page.sections[0] == "Novel kind"
    parts = ("a table of texts", "12", "a line of text", "novel|v:1", "ef" * 32, "lebm-text novel --run runs/bare")
    assert [part for part in parts if part not in page.text] == []
    cells = [(tag, attributes.get("class")) for tag, attributes in page.tags if tag in ("th", "td")]
    assert cells[:4] == [("th", None), ("th", "number"), ("th", None), ("td", "number")]
    assert sum(tag == "title" for tag, _ in page.tags) == 3  # the page's, and one for each point


def test_curves_that_were_saved_stand_beside_those_of_the_page(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path / "run", metrics=METRICS))
    curves.compute([run]).save(run.report_file("curves"))
    page = page_of(run.path)
    check_document(page)  # each section has its own id
    assert page.sections[:2] == ["Training curves", "Curves"]


def test_without_matplotlib_there_are_tables(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_pictures = page_of(full)
    assert "pip install" not in with_pictures.text
    monkeypatch.setattr(module, "picture_formats", frozenset)
    page = page_of(full)
    check_document(page)
    assert "pip install 'lebm-text[viz]'" in page.text
    assert "svg" not in {tag for tag, _ in page.tags}
    assert page.sections == with_pictures.sections
    assert page.source.count("<table") == with_pictures.source.count("<table")


def test_long_tables_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = (Novel(sha256={}, versions={}, texts=("some",) * n) for n in (15, 16))
    assert "16 rows" not in page_with(monkeypatch, write_run(tmp_path / "short"), short).text
    assert "a table of texts: 16 rows" in page_with(monkeypatch, write_run(tmp_path / "long"), long).text


def test_samples_of_many_epochs_are_shown_at_some(tmp_path: Path) -> None:
    samples = {f"epoch-{n:04}.txt": [f"words of {n}"] for n in range(1, 31)}
    page = page_of(write_run(tmp_path / "run", samples=samples))
    followed = [int(text.split()[1]) for level, text in page.headings if level == 4]
    assert followed == sorted(followed)
    assert len(followed) == 6
    assert {1, 30} <= set(followed)
    assert "After epoch 30" in page.text


def test_the_policy_forbids_all_but_this_style(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    policy = next(str(a["content"]) for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def hostile_run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose every text is an attack."""
    run = write_run(
        directory,
        env={HOSTILE[0]: HOSTILE[1], "corpus": {"name": HOSTILE[0], "splits": {HOSTILE[2]: {"sha256": HOSTILE[1]}}}},
        metrics=METRICS,
        samples={"epoch-0001.txt": [*HOSTILE], "x<b>&'\".txt": [*HOSTILE]},
    )
    (run / "samples" / "pairs.tsv").write_bytes("".join(f"{text}\t{text}\n" for text in HOSTILE[:3]).encode())
    texts = (*HOSTILE, "lone \ud800")
    report = Novel(sha256={HOSTILE[0]: HOSTILE[1]}, versions={}, command=HOSTILE[0], signature=HOSTILE[1], texts=texts)
    monkeypatch.setattr(Run, "reports", lambda _: {"odd <i>'\"name": report})
    return run


def test_hostile_text_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of(hostile_run(tmp_path / "evil <script>'\"&", monkeypatch))
    check_document(page)
    assert "<script>alert(1)</script>" in page.text
    assert "onerror=alert(1)" in page.text
    allowed = (
        "a bdi body caption clippath code dd defs details div dl dt em figure footer g h1 h2 h3 h4 head "
        "header html li main meta nav ol p path pre rect section span strong style summary svg table tbody td "
        "text th thead title tr tspan ul use"
    )
    assert {tag for tag, _ in page.tags} <= set(allowed.split())
    hidden = "\x00\x07\x1b\x7f\x85\r\u202e\u2067\u200f\ufeff\u2028\U000e0041"
    assert [char for char in hidden if char in page.source] == []
    assert "⟨U+202E⟩abc" in page.text
    assert "characters more" in page.text
    page.source.encode()

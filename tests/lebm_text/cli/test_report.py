"""`lebm-text report` on runs as training leaves them: every kind of model, finished, stopped, judged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lebm_text.cli.main import main

from ..page.pages import Page, check_document
from ..toy import write_text_corpus
from .test_main import one_line

SIZES = ("model.embedding_dim=4", "model.hidden_dim=4", "training.n_epochs=2", "training.batch_size=8")
SETTINGS = (*SIZES, "training.n_threads=1", "training.report_every=2", "training.validation_sentences=4")
KINDS = {
    "quick": (
        ("model.latent_dim=3", "inference.n_steps=2", "prior.n_steps=2"),
        ("validation perplexity", "energy gap", "norms", "std(z⁺) / std(z⁻)", "largest curvature × s²/4"),
    ),
    "vae": (("model.latent_dim=3",), ("validation perplexity", "KL(q‖p0)", "settings that move", "norms")),
    "lm": ((), ("validation perplexity", "training NLL")),
}

PANELS = {panel for _, panels in KINDS.values() for panel in panels} | {"gradient norms", "tokens per second"}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus; the working directory has no runs."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return write_text_corpus(tmp_path / "toy")


def train(corpus: Path, out: Path, preset: str, *more: str) -> None:
    settings = [word for setting in (*SETTINGS, *KINDS[preset][0]) for word in ("--set", setting)]
    arguments = ["train", str(corpus), "--out", str(out), "--device", "cpu", "--precision", "fp32"]
    assert main([*arguments, "--preset", preset, *settings, *more]) == 0


def read(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    check_document(page)
    return page


@pytest.mark.parametrize("preset", list(KINDS))
def test_every_kind_of_model_has_its_curves(corpus: Path, tmp_path: Path, preset: str) -> None:
    run = tmp_path / "runs" / preset
    train(corpus, run, preset)
    assert main(["report", "--run", str(run)]) == 0
    page = read(run / "report.html")
    titles = [str(attributes["aria-label"]) for tag, attributes in page.tags if tag == "svg"]
    shown = {panel for panel in PANELS if any(title.startswith(panel) for title in titles)}
    assert set(KINDS[preset][1]) | {"gradient norms", "tokens per second"} <= shown
    assert ("energy gap" in shown) == (preset == "quick")
    assert ("norms" in shown) == (preset != "lm")
    assert page.sections == ["Samples", "Training curves", "Settings, text and machine", "How to repeat it"]
    assert "After epoch 2" in page.text
    assert "finished" in page.text
    assert f"--preset {preset}" in page.text or preset == "quick"


def test_a_run_that_still_trains_has_a_page(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, output = tmp_path / "runs" / "stopped", tmp_path / "elsewhere.html"
    train(corpus, run, "quick", "--max-steps", "3")
    with (run / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 4, "epo')
    (run / "model.safetensors").unlink()  # training writes it when it ends
    capsys.readouterr()
    assert main(["report", "--run", str(run), "-o", str(output)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"wrote {output}\n"
    page = read(output)
    assert "not finished" in page.text
    assert "update 3" in page.text
    assert not (run / "report.html").exists()


def test_what_cannot_be_read_is_said(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "runs" / "run"
    train(corpus, run, "lm", "--max-steps", "1")
    (run / "eval").mkdir()
    (run / "eval" / "broken.json").write_text("{")
    row = {"metric": "fppl", "judge": "odd", "real_ppl": math.inf}
    for name, ppl in (("endless", math.inf), ("good", 5.0)):
        (run / "eval" / f"{name}.json").write_text(json.dumps({"kind": "x", "results": [row | {"ppl": ppl}]}))
    capsys.readouterr()
    assert main(["report", "--run", str(run)]) == 0
    said = capsys.readouterr().err
    assert "not on the page: " in said
    assert "broken.json is damaged" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run in runs"),
        (["--run", "."], "is no run"),
        (["--run", "missing"], "does not exist"),
        (["--run", "made", "-o", "absent/page.html"], "the directory absent does not exist"),
        (["--run", "made"], "unknown key"),
        (["--run", "made", "-o", "page.pdf"], "the page is HTML, and page.pdf ends in .pdf: call it .html"),
        (["--run", "made", "-o", "page.html.gz"], "the page is HTML, and page.html.gz ends in .gz: call it .html"),
    ],
)
def test_wrong_arguments_are_refused(
    corpus: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("made").mkdir()
    Path("made", "config.json").write_text('{"model": {"no_such_key": 1}}')
    assert main(["report", *arguments]) == 2
    assert message in one_line(capsys)
    assert [path.name for path in Path("made").iterdir()] == ["config.json"]

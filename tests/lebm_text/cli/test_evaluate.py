"""`lebm-text evaluate`: a point a decoding, the real-data point, and a picture where matplotlib is there."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from lebm_text.cli.main import main
from lebm_text.errors import InputError
from lebm_text.generation.settings import DecodeSettings
from lebm_text.model import LatentEBM
from lebm_text.reports.frontier import FrontierSettings, compute
from lebm_text.run import Run
from lebm_text.text.corpora import find_corpus
from lm_eval.encoders import Embeddings

from ..launching import start_two
from ..reports.test_embedding import Letters
from ..tiny import tiny_model
from .conftest import Report
from .test_main import one_line

ARGUMENTS = ("evaluate", "-n", "50", "--temperature", "1", "--temperature", "0.5")


def test_every_decoding_is_judged_both_ways(
    grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of(*ARGUMENTS)
    assert report["kind"] == "frontier"
    points = report["points"]
    assert [(point["decode"], point.get("temperature")) for point in points] == [
        ("sample", 1.0),
        ("sample", 0.5),
        ("greedy", None),
    ]
    by_text = {(row["text"], row["metric"]): row for row in report["results"]}
    assert len(by_text) == 6
    for point in points:
        assert point["fppl"] == by_text[point["text"], "fppl"]["ppl"]
        assert point["rppl"] == by_text[point["text"], "rppl"]["ppl"]
        assert point["judge"] == "kn5"
    (real,) = report["real"]
    assert real["ppl"] == report["results"][0]["real_ppl"]
    assert real["ppl"] < real["rppl_at_n"] == by_text["samples,greedy", "rppl"]["extra"]["real_ppl_at_n"]
    assert "decode=greedy" in by_text["samples,greedy", "fppl"]["signature"]
    assert {path.name for path in (grammar_run / "samples").glob("*.txt")} == {
        "n50-T1-seed1.txt",
        "n50-T0.5-seed1.txt",
        "n50-greedy-seed1.txt",
    }
    assert json.loads((grammar_run / "eval" / "frontier-kn5-default-test-n50-T1+0.5.json").read_text()) == report
    assert main([*ARGUMENTS]) == 0
    table = capsys.readouterr().out
    for part in ("T = 0.5", "greedy", "real data, 50 sentences", "dupl."):
        assert part in table


def test_greedy_samples_are_not_what_the_bare_commands_judge(grammar_run: Path, report_of: Report) -> None:
    report_of("evaluate", "-n", "50", "--temperature", "1")
    (result,) = report_of("fppl", "-n", "50", "--lm", "kn5")["results"]
    assert result["decode"] == "sample"


def test_the_prior_s_temperature_holds_for_the_sweep_and_gets_a_report_of_its_own(
    grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    """A colder prior's samples are others, which the bare commands do not judge."""
    arguments = ("evaluate", "-n", "50", "--temperature", "1", "--prior-temperature", "0.25")
    report = report_of(*arguments)
    assert [(point["decode"], point["prior_temperature"]) for point in report["points"]] == [
        ("sample", 0.25),
        ("greedy", 0.25),
    ]
    assert all("prior_T=0.25" in row["signature"] for row in report["results"])
    assert {path.name for path in (grammar_run / "samples").glob("*.txt")} == {
        "n50-T1-prior_T0.25-seed1.txt",
        "n50-greedy-prior_T0.25-seed1.txt",
    }
    assert [path.name for path in (grammar_run / "eval").glob("*.json")] == [
        "frontier-kn5-default-test-n50-T1-prior-temperature0.25.json"
    ]
    assert main([*arguments]) == 0
    assert "T = 1, prior T = 0.25" in capsys.readouterr().out
    plain = report_of("fppl", "-n", "50", "--lm", "kn5")["results"][0]
    assert plain["prior_temperature"] is None
    assert plain["ppl"] != report["results"][0]["ppl"]
    assert plain["samples"]["path"].endswith("n50-T1-seed1.txt")


def test_what_a_perfect_prior_would_give_stands_apart(
    grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of(*ARGUMENTS, "--oracle", "--seed", "1", "--seed", "2")
    plain = report_of(*ARGUMENTS, "--seed", "1", "--seed", "2")
    assert (plain["points"], plain["spread"], plain["headroom"]) == (report["points"], report["spread"], [])
    assert {point["latents"] for point in report["points"]} == {None}
    kinds = [(point["latents"], point["temperature"], point["seed"]) for point in report["headroom"]]
    assert kinds == [(kind, t, seed) for kind in ("posterior", "long") for t in (1.0, 0.5) for seed in (1, 2)]
    by_text = {row["text"]: row["signature"] for row in report["results"]}
    for point in report["headroom"]:
        assert {"posterior": ",z=posterior(train)", "long": ",z=chain-x10"}[point["latents"]] in by_text[point["text"]]
        assert point["fppl"] not in {other["fppl"] for other in report["points"]}
    alone = compute(Run(grammar_run), FrontierSettings(n=50, temperatures=(1.0, 0.5), seeds=(1, 2), latents="long"))
    assert alone.points == []
    assert alone.to_json()["headroom"] == [point for point in report["headroom"] if point["latents"] == "long"]
    assert len(alone.figure().axes[0].lines) > 0
    shown = io.StringIO()
    Console(file=shown, width=200).print(alone.table())
    assert "T = 0.5, prior chain × 10 (no sampler), seed 2" in shown.getvalue()
    of_posterior = (grammar_run / "samples" / "n50-T1-zposterior-seed1.txt").read_text().splitlines()
    model = LatentEBM.from_pretrained(grammar_run, device="cpu")
    train = find_corpus(_corpus(grammar_run)).splits["train"].sentences()
    assert len(of_posterior) == 50
    assert of_posterior == model.decode(model.infer(_first_that_fit(list(train), 50)), DecodeSettings())
    assert main([*ARGUMENTS, "--oracle"]) == 0
    table = capsys.readouterr().out
    assert "T = 0.5, z⁺ of training text (no sampler)" in table
    assert "T = 1, prior chain × 10 (no sampler)" in table
    assert "are not the model's samples" in table


def test_samples_that_were_changed_are_not_judged_as_those_of_a_decoding(
    grammar_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS]) == 0
    path = grammar_run / "samples" / "n50-T0.5-seed1.txt"
    path.write_text(path.read_text().replace("\n", "\r\n"), newline="")
    capsys.readouterr()
    assert main([*ARGUMENTS]) == 2
    *_, said = capsys.readouterr().err.splitlines()
    assert "n50-T0.5-seed1.txt was changed after it was generated; delete it" in said


def _first_that_fit(train: list[str], n: int) -> list[str]:
    order = np.random.default_rng(1).permutation(len(train))
    return [train[row] for row in order if len(train[row].split()) <= 8][:n]


def test_every_point_has_its_distance_of_meaning_beside_real_text(
    grammar_run: Path, report_of: Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lebm_text.reports.embedding.load_encoder", lambda *_: Letters())
    monkeypatch.setattr("lm_eval.embedding._mauve", lambda *_: None)
    report = report_of(*ARGUMENTS, "--oracle", "--fed", "--diversity")
    points = report["points"] + report["headroom"]
    assert list(report["meaning"]) == [point["text"] for point in points]
    of_file = report_of("fed", "--samples", report["results"][0]["samples"]["path"], "--corpus", _corpus(grammar_run))
    assert report["meaning"]["samples,T=1"]["frechet"] == of_file["results"][0]["frechet"]
    assert report["real_meaning"]["frechet"] == of_file["real"]["frechet"] < report["meaning"]["samples,T=1"]["frechet"]
    plain = report_of(*ARGUMENTS)
    assert (plain["points"], plain["meaning"], plain["real_meaning"]) == (report["points"], {}, None)
    monkeypatch.setenv("COLUMNS", "200")
    copied = {row["text"]: row["diversity"]["in_train"]["4"] for row in report["results"]}
    assert len(copied) == len(report["points"]) + len(report["headroom"])
    assert all(0 <= share <= 1 for share in copied.values())
    assert main([*ARGUMENTS, "--fed", "--diversity"]) == 0
    table = capsys.readouterr().out
    assert f"{report['meaning']['samples,greedy']['frechet']:.1f}" in table
    assert f"{report['real_meaning']['frechet']:.1f}" in table
    assert "50 sentences beside held-out text" in table


def _corpus(run: Path) -> str:
    return str(run.parents[1] / "grammar")


def test_without_an_encoder_fed_is_refused_before_the_work(
    grammar_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert main([*ARGUMENTS, "--fed"]) == 2
    assert "pip install 'lebm-text[embed]'" in one_line(capsys)
    assert not (grammar_run / "samples").exists()


class Wide:
    """An encoder of 70 dimensions, as many sentences as no text of 60 has."""

    name = "wide@1"

    def encode(self, sentences: list[str]) -> Embeddings:
        return np.zeros((len(sentences), 70), dtype=np.float32)


@pytest.mark.parametrize("command", [["fed", "-n", "60"], [*ARGUMENTS, "--fed"]])
def test_texts_that_are_too_short_are_refused_before_samples_are_made(
    grammar_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setattr("lebm_text.reports.embedding.load_encoder", lambda *_: Wide())
    assert main(command) == 2
    assert "samples: " in (line := one_line(capsys)) and "too few for a Fréchet distance" in line
    assert not (grammar_run / "samples").exists()
    assert main([*command, "--split", "valid"]) == 2
    assert "real text: 60 sentences are too few" in one_line(capsys)
    assert not (grammar_run / "samples").exists()


@pytest.mark.parametrize(("prior", "latent_dim", "kinds"), [("gaussian", 4, {"posterior"}), ("gaussian", 0, None)])
def test_a_gaussian_prior_has_no_longer_chain_and_a_language_model_no_headroom(
    prior: str,
    latent_dim: int,
    kinds: set[str] | None,
    grammar_run: Path,
    report_of: Report,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny_model(prior=prior, latent_dim=latent_dim).save_pretrained(grammar_run)
    arguments = (*ARGUMENTS, "--no-greedy", "--oracle")
    if kinds is None:
        assert main([*arguments]) == 2
        assert "it has no latent space" in one_line(capsys)
    else:
        assert {point["latents"] for point in report_of(*arguments)["headroom"]} == kinds
        with pytest.raises(InputError, match="drawn from without a chain"):
            compute(Run(grammar_run), FrontierSettings(n=50, latents="long"))


@pytest.mark.parametrize("knob", ["--prior-temperature=0.5", "--guidance=2", "--oracle"])
def test_a_text_has_no_knobs(knob: str, grammar_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = str(grammar_corpus / "valid.txt")
    assert main(["evaluate", "--samples", samples, "--corpus", str(grammar_corpus), knob]) == 2
    assert " for a run" in one_line(capsys)


def test_guidance_of_a_model_without_z_dropout_is_refused(
    grammar_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("evaluate", "generate"):
        assert main([command, "-n", "50", "--guidance", "2"]) == 2
        assert "z_dropout" in one_line(capsys)
        assert not (grammar_run / "samples").exists()


def test_a_model_with_z_dropout_is_guided(grammar_run: Path, report_of: Report) -> None:
    model = tiny_model(z_dropout=0.1)
    model.model.generator.null_latent.data += torch.tensor([2.0, -1.0, 0.5, 1.0])  # type: ignore[attr-defined]
    model.save_pretrained(grammar_run)
    (point,) = report_of("evaluate", "-n", "50", "--temperature", "1", "--no-greedy", "--guidance", "3")["points"]
    assert point["guidance"] == 3
    lines = (grammar_run / "samples" / "n50-T1-guidance3-seed1.txt").read_text().splitlines()
    assert lines == LatentEBM.from_pretrained(grammar_run, device="cpu").generate(50, guidance=3).sentences


def test_seeds_and_judges_are_rows_of_the_frontier(grammar_run: Path, report_of: Report) -> None:
    arguments = ("evaluate", "-n", "50", "--temperature", "1", "--no-greedy", "--seed", "1", "--seed", "2")
    report = report_of(*arguments, "--lm", "both")
    assert [(point["seed"], point["judge"]) for point in report["points"]] == [
        (1, "kn5"),
        (1, "lstm"),
        (2, "kn5"),
        (2, "lstm"),
    ]
    assert {(row["metric"], row["judge"]) for row in report["spread"]} == {
        (metric, judge) for metric in ("fppl", "rppl") for judge in ("kn5", "lstm")
    }
    assert (grammar_run / "eval" / "frontier-kn5-lstm-default-test-n50-T1-seed1+2-no-greedy.json").exists()


def test_two_processes_judge_what_one_does(grammar_run: Path, tmp_path: Path, report_of: Report) -> None:
    """To the bit, samples included; the first alone speaks and writes."""
    other = Path(shutil.copytree(grammar_run, tmp_path / grammar_run.name))
    both = start_two(*("lebm_text", *ARGUMENTS, "--lm", "kn5", "--run", str(other), "--device", "cpu", "--json"))
    (printed, said), (silence, whisper) = (process.communicate(timeout=240) for process in both)
    assert [process.returncode for process in both] == [0, 0], said + whisper
    assert silence == whisper == ""
    one = report_of(*ARGUMENTS, "--lm", "kn5", "--run", str(grammar_run), "--device", "cpu")
    assert json.loads(printed.replace(str(other), str(grammar_run))) == one
    assert json.loads((other / "eval" / "frontier-kn5-default-test-n50-T1+0.5.json").read_text()) == json.loads(printed)
    files = [sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (grammar_run, other)]
    assert files[0] == files[1]


def test_a_named_text_is_one_point(grammar_corpus: Path, tmp_path: Path, report_of: Report) -> None:
    samples = str(grammar_corpus / "valid.txt")
    report = report_of("evaluate", "--samples", samples, "--corpus", str(grammar_corpus))
    (point,) = report["points"]
    assert point["text"] == "samples"
    assert list(tmp_path.rglob("frontier*")) == []


@pytest.mark.pictures
def test_picture_is_drawn_beside_the_report_or_where_it_was_asked_for(
    grammar_run: Path, tmp_path: Path, report_of: Report
) -> None:
    pytest.importorskip("matplotlib")
    report_of(*ARGUMENTS)
    assert (grammar_run / "eval" / "frontier-kn5-default-test-n50-T1+0.5.png").read_bytes().startswith(b"\x89PNG")
    report_of(*ARGUMENTS, "--picture", str(tmp_path / "here.svg"))
    assert "T = 0.5" in (tmp_path / "here.svg").read_text()


def test_without_matplotlib_the_picture_alone_is_missing(
    grammar_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert main([*ARGUMENTS]) == 0
    captured = capsys.readouterr()
    assert "pip install 'lebm-text[viz]'" in captured.err
    assert "greedy" in captured.out
    assert {path.suffix for path in (grammar_run / "eval").iterdir()} == {".json"}


@pytest.mark.parametrize(("picture", "part"), [("out.nonsense", "suffix"), ("absent/out.png", "absent")])
def test_picture_that_cannot_be_drawn_is_refused_before_the_work(
    picture: str, part: str, grammar_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert main([*ARGUMENTS, "--picture", picture]) == 2
    assert part in one_line(capsys)
    assert not (grammar_run / "samples").exists()

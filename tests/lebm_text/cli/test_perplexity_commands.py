"""`lebm-text fppl` and `rppl`: any text, a run's samples, the report, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lebm_text.cli.main import main
from lebm_text.files import sha256_file
from lebm_text.text.corpora import find_corpus

from ...lm_eval.grammar import grammar_sentences
from ..tiny import tiny_model
from .test_main import one_line

RESULT = {
    "judge",
    "ppl",
    "ppl_excluding_oov",
    "real_ppl",
    "ratio",
    "ci95",
    "n_sentences",
    "n_tokens",
    "n_oov",
    "fallback_orders",
    "signature",
}


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus directory, and a working directory without runs."""
    directory = tmp_path / "grammar"
    directory.mkdir()
    for seed, (name, n) in enumerate({"train": 400, "valid": 60, "test": 80}.items()):
        write(directory / f"{name}.txt", grammar_sentences(n, seed))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return directory


@pytest.fixture
def run(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest run: an untrained model, with the record of having been trained on the corpus."""
    directory = tmp_path / "runs" / "tiny"
    tiny_model().save_pretrained(directory)
    (directory / "env.json").write_text(json.dumps({"corpus": find_corpus(str(corpus)).describe()}))
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path / "runs"))
    return directory


def report_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main([*arguments, "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    report: dict[str, Any] = json.loads(captured.out)
    return report


@pytest.mark.parametrize("metric", ["fppl", "rppl"])
def test_any_text_is_judged(metric: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = write(tmp_path / "samples.txt", [*grammar_sentences(100, 7), ""])
    report = report_of(capsys, metric, "--samples", str(samples), "--corpus", str(corpus), "--lm", "kn3")
    assert report["metric"] == metric
    assert report["sha256"] == {
        "train": sha256_file(corpus / "train.txt"),
        "test": sha256_file(corpus / "test.txt"),
        "samples": sha256_file(samples),
    }
    assert {"lebm-text", "python", "numpy"} <= set(report["versions"])
    (result,) = report["results"]
    assert set(result) >= RESULT
    assert result["judge"] == "kn3"
    assert result["n_sentences"] == (101 if metric == "fppl" else 80)
    assert result["samples"]["empty_rate"] == pytest.approx(1 / 101)
    assert result["ratio"] == pytest.approx(result["ppl"] / result["real_ppl"])
    assert result["signature"].startswith(f"{metric.upper()}|lm:kn3|train:")
    assert list(tmp_path.rglob("eval")) == []


def test_held_out_text_is_the_real_row(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("fppl", "--corpus", str(corpus), "--samples")
    for split in ("test", "valid"):
        report = report_of(capsys, *arguments, str(corpus / f"{split}.txt"), "--split", split)
        assert report["results"][0]["ratio"] == 1
        assert f"grammar-{split}" not in report["results"][0]["signature"]
        assert split in report["sha256"]


def test_people_see_a_table_and_the_signature(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = write(tmp_path / "samples.txt", grammar_sentences(400, 0)[:1] * 400)
    assert main(["fppl", "--samples", str(samples), "--corpus", str(corpus), "--diversity"]) == 0
    captured = capsys.readouterr()
    for part in (
        "FPPL",
        "real data (train → held out)",
        "FPPL|lm:kn5|",
        "self-BLEU 100.0",
        "sha256 samples: ",
    ):
        assert part in captured.out
    assert "lies below the real-data row" in captured.err


def test_report_is_written(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    arguments = ("rppl", "--samples", str(corpus / "valid.txt"), "--corpus", str(corpus), "-o", str(file))
    assert json.loads(json.dumps(report_of(capsys, *arguments))) == json.loads(file.read_text())


def test_bare_command_judges_the_newest_run_and_writes_into_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = report_of(capsys, "rppl")
    assert first["results"][0]["samples"]["n_sentences"] == 400  # as many as training sentences
    assert json.loads((run / "eval" / "rppl-kn5-default-test.json").read_text()) == first
    samples = run / "samples" / "n400-T1-seed1.txt"
    assert first["sha256"]["samples"] == sha256_file(samples)
    assert "samples(n=400,decode=sample,T=1)" in first["results"][0]["signature"]
    assert "|seed:1|v:" in first["results"][0]["signature"]
    written = samples.stat().st_mtime_ns
    assert report_of(capsys, "fppl", "--run", str(run))["sha256"]["samples"] == first["sha256"]["samples"]
    assert samples.stat().st_mtime_ns == written  # not generated again


def test_samples_of_other_weights_are_not_taken(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_of(capsys, "fppl", "-n", "50")
    sidecar = run / "samples" / "n50-T1-seed1.txt.json"
    facts = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**facts, "weights_sha256": "0" * 64}))
    report_of(capsys, "fppl", "-n", "40")
    assert (run / "samples" / "n40-T1-seed1.txt").exists()


def test_temperatures_and_seeds_are_decoded_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(capsys, "rppl", "-n", "60", "--temperature", "0.5", "--temperature", "1", "--seed", "3")
    assert [(row["temperature"], row["seed"]) for row in report["results"]] == [(0.5, 3), (1.0, 3)]
    assert {path.name for path in (run / "samples").glob("*.txt")} == {
        "n60-T0.5-seed3.txt",
        "n60-T1-seed3.txt",
    }
    assert {"samples,T=0.5", "samples,T=1"} <= set(report["sha256"])


def test_corpus_that_changed_since_training_is_refused(
    run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(corpus / "train.txt", grammar_sentences(400, 99))
    assert main(["fppl", "--run", str(run)]) == 2
    assert "is not the text" in one_line(capsys)


def test_lowercase_runs_are_judged_on_lower_case(run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "valid", "test"):
        path = corpus / f"{name}.txt"
        path.write_text(path.read_text().upper())
    (run / "env.json").write_text(json.dumps({"corpus": find_corpus(str(corpus)).describe()}))
    config = json.loads((run / "config.json").read_text())
    config["text"]["lowercase"] = True
    (run / "config.json").write_text(json.dumps(config))
    samples = write(run.parent / "samples.txt", grammar_sentences(50, 5))
    report = report_of(capsys, "fppl", "--samples", str(samples))
    (result,) = report["results"]
    assert result["n_outside_vocabulary"] < (result["n_tokens"] - result["n_sentences"]) / 2
    assert "train:grammar-lower-train" in result["signature"]


def test_calibration_rows(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("fppl", "--samples", str(corpus / "valid.txt"), "--corpus", str(corpus), "--calibrate")
    rows = {row["text"]: row["ppl"] for row in report_of(capsys, *arguments)["calibration"]}
    assert rows["training text"] < rows["5-gram samples"] < rows["training text, words shuffled"]
    assert main(list(arguments)) == 0
    assert "5-gram samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--samples", "absent.txt"], "absent.txt"),
        (["--samples", "{samples}", "--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--samples", "{samples}", "--run", "{run}"], "one of them"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "--temperature", "1"], "--temperature"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "-n", "10000"], "fewer than the 10,000"),
        (["--samples", "{empty}", "--corpus", "{corpus}"], "is empty"),
        (["--samples", "{reserved}", "--corpus", "{corpus}"], "samples: line 2"),
        (["--run", "{corpus}"], "is no run"),
        (["--lm", "kn1"], "kn1"),
        (["--lm", "kn7"], "kn7"),
        (["--protocol", "other"], "other"),
        (["--split", "train"], "train"),
        (["-n", "0"], "0"),
        (["--temperature", "nan"], "finite"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "-o", "absent/report.json"], "absent"),
    ],
)
@pytest.mark.parametrize("metric", ["fppl", "rppl"])
def test_wrong_arguments_are_one_line(
    metric: str,
    arguments: list[str],
    part: str,
    run: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {
        "samples": write(tmp_path / "samples.txt", ["fine"]),
        "empty": write(tmp_path / "empty.txt", []),
        "reserved": write(tmp_path / "reserved.txt", ["fine", "not <UNK> fine"]),
        "run": run,
        "corpus": corpus,
    }
    assert main([metric, *(argument.format(**places) for argument in arguments)]) == 2
    assert part in one_line(capsys)


def test_without_a_run_there_is_a_hint(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fppl"]) == 2
    assert "train one first" in one_line(capsys)

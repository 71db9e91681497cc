"""`lebm-text fppl` and `rppl`: any text, a run's samples, the report, and one line for every mistake."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from lebm_text.cli.main import main
from lebm_text.generation.samples import write_samples
from lebm_text.run import Run
from lebm_text.store import sha256_file
from lebm_text.text.corpora import find_corpus

from ...lm_eval.grammar import grammar_sentences
from ..tiny import tiny_model
from .conftest import Report
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


@pytest.mark.parametrize("metric", ["fppl", "rppl"])
def test_any_text_is_judged(metric: str, grammar_corpus: Path, tmp_path: Path, report_of: Report) -> None:
    samples = write(tmp_path / "samples.txt", [*grammar_sentences(100, 7), ""])
    report = report_of(metric, "--samples", str(samples), "--corpus", str(grammar_corpus), "--lm", "kn3")
    assert report["metric"] == metric
    assert report["sha256"] == {
        "train": sha256_file(grammar_corpus / "train.txt"),
        "test": sha256_file(grammar_corpus / "test.txt"),
        "samples": sha256_file(samples),
    }
    assert {"lebm-text", "python", "numpy"} <= set(report["versions"])
    (result,) = report["results"]
    assert set(result) >= RESULT
    assert result["judge"] == "kn3"
    assert result["n_sentences"] == (101 if metric == "fppl" else 80)
    assert result["samples"]["empty_rate"] == pytest.approx(1 / 101)
    assert result["samples"]["truncated_rate"] is None
    assert result["ratio"] == pytest.approx(result["ppl"] / result["real_ppl"])
    assert result["signature"].startswith(f"{metric.upper()}|lm:kn3|train:")
    assert report["spread"] == []
    assert list(tmp_path.rglob("eval")) == []


@pytest.mark.parametrize("name", ["samples.jsonl", "samples.txt", "-"])
def test_samples_in_records_are_judged_as_their_sentences(
    name: str, grammar_corpus: Path, tmp_path: Path, report_of: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Braces and quotation marks were judged as words: 48.02 instead of 44.98 on Yelp, with no word said."""
    lines = grammar_sentences(50, 7)
    arguments = ("fppl", "--corpus", str(grammar_corpus), "--lm", "kn3", "--samples")
    plain = report_of(*arguments, str(write(tmp_path / "plain.txt", lines)))
    wrapped = write(tmp_path / name, [json.dumps({"prompt": "", "text": line}) for line in lines])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(wrapped.read_bytes())))
    report = report_of(*arguments, "-" if name == "-" else str(wrapped), "--text-column", "text")
    assert report["results"][0]["ppl"] == plain["results"][0]["ppl"]
    assert report["sha256"] == plain["sha256"]


def test_held_out_text_is_the_real_row(grammar_corpus: Path, report_of: Report) -> None:
    arguments = ("fppl", "--lm", "kn5", "--corpus", str(grammar_corpus), "--samples")
    for split in ("test", "valid"):
        report = report_of(*arguments, str(grammar_corpus / f"{split}.txt"), "--split", split)
        assert report["results"][0]["ratio"] == 1
        assert f"grammar-{split}" not in report["results"][0]["signature"]
        assert split in report["sha256"]


def test_people_see_a_table_and_if_they_ask_the_signatures(
    grammar_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = write(tmp_path / "samples.txt", grammar_sentences(400, 0)[:1] * 50)
    arguments = ["fppl", "--lm", "kn5", "--samples", str(samples), "--corpus", str(grammar_corpus), "--diversity"]
    assert main(arguments) == 0
    plain = capsys.readouterr().out
    assert main([*arguments, "--verbose"]) == 0
    sources = capsys.readouterr().out.removeprefix(plain)
    for part in (
        "FPPL",
        "bits/byte",
        "real data (train → held out)",
        "98.0% duplicates",
        "words per sentence",
        "self-BLEU 100.0",
        "3/4/6-grams that stand in train 1.000/1.000/0.000 (real 0.",
        "warning: the FPPL",
    ):
        assert part in plain
    for part in ("FPPL|lm:kn5|", "self-BLEU|n:50|", "sha256 samples: "):
        assert part not in plain
        assert part in sources


@pytest.mark.parametrize("command", ["fppl", "rppl", "evaluate", "fed"])
def test_a_text_without_a_corpus_or_a_run_needs_the_corpus(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path / "none"))
    samples = write(tmp_path / "samples.txt", grammar_sentences(10, 7))
    assert main([command, "--samples", str(samples)]) == 2
    assert "name the real text by --corpus; there is no run" in one_line(capsys)


@pytest.mark.parametrize("command", ["fppl", "rppl", "evaluate"])
def test_what_a_judge_cannot_read_is_said_above_the_table(
    command: str, grammar_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], report_of: Report
) -> None:
    samples = write(tmp_path / "samples.txt", [line.upper() for line in grammar_sentences(200, 7)])
    arguments = [command, "--lm", "kn3", "--samples", str(samples), "--corpus", str(grammar_corpus)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("warning: 100.0% of the samples' words are outside the vocabulary")
    (heading,) = (line for line in lines if "outside vocab." in line)
    column = heading.index("outside vocab.") + len("outside vocab.")
    shares = [line[:column].split()[-1] for line in lines if line.startswith((" samples  ", " real data "))][:2]
    assert shares[0] == "100.0%"
    assert 5 < float(shares[1].removesuffix("%")) < 30
    result = report_of(*arguments)["results"][0]
    assert result["coverage"]["n_outside"] == result["coverage"]["n_words"]
    assert result["real_coverage"]["n_sentences"] == 80
    assert "outside the vocabulary" in result["warnings"][0]


@pytest.mark.parametrize("command", ["fppl", "rppl", "evaluate"])
def test_raw_samples_are_tokenised_as_the_corpus_is(
    command: str, grammar_corpus: Path, tmp_path: Path, report_of: Report
) -> None:
    lines = grammar_sentences(200, 7)
    raw = write(tmp_path / "raw.txt", [f"{line[:1].upper()}{line[1:]}" for line in lines])
    arguments = (command, "--lm", "kn3", "--corpus", str(grammar_corpus), "--samples")
    plain = report_of(*arguments, str(write(tmp_path / "plain.txt", lines)))
    as_it_is, tokenised = report_of(*arguments, str(raw)), report_of(*arguments, str(raw), "--tokenize")
    for before, result, after in zip(*(each["results"] for each in (plain, as_it_is, tokenised)), strict=True):
        assert before["ppl"] == after["ppl"] != result["ppl"]
        assert after["signature"] == result["signature"].replace("|tok:word|", "|tok:13a+lower+bare|")
        assert after["samples"]["in_train_rate"] == before["samples"]["in_train_rate"]
    assert tokenised["sha256"]["samples"] == sha256_file(raw)


def test_what_cannot_be_read_is_told_before_a_judge_trains_for_minutes(
    grammar_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = write(tmp_path / "samples.txt", ["no such words"] * 20)
    assert main(["fppl", "--lm", "lstm", "--samples", str(samples), "--corpus", str(grammar_corpus)]) == 0
    messages = capsys.readouterr().err.splitlines()
    assert messages[0].startswith("warning: samples: 100.0% of the samples' words are outside the vocabulary")
    assert messages[1].startswith("training lstm")


def test_report_is_written(grammar_corpus: Path, tmp_path: Path, report_of: Report) -> None:
    file = tmp_path / "report.json"
    samples = str(grammar_corpus / "valid.txt")
    arguments = ("rppl", "--lm", "kn5", "--samples", samples, "--corpus", str(grammar_corpus), "-o", str(file))
    assert json.loads(json.dumps(report_of(*arguments))) == json.loads(file.read_text())


def test_without_matplotlib_nothing_is_missed_by_a_report_without_pictures(
    grammar_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert main(["fppl", "--lm", "kn5", "-n", "40"]) == 0
    captured = capsys.readouterr()
    assert "report: " in captured.err and "pictures" not in captured.err


def test_command_without_text_judges_the_newest_run_and_writes_into_it(grammar_run: Path, report_of: Report) -> None:
    first = report_of("rppl", "--lm", "kn5")
    (result,) = first["results"]
    assert result["samples"]["n_sentences"] == 400  # as many as training sentences
    assert 0 < result["samples"]["truncated_rate"] < 1  # as generate recorded it
    assert (result["decode"], result["temperature"], result["seed"]) == ("sample", 1, 1)
    assert json.loads((grammar_run / "eval" / "rppl-kn5-default-test.json").read_text()) == first
    samples = grammar_run / "samples" / "n400-T1-seed1.txt"
    assert first["sha256"]["samples"] == sha256_file(samples)
    assert "samples(n=400,decode=sample,T=1)" in result["signature"]
    assert "|seed:1|v:" in result["signature"]
    written = samples.stat().st_mtime_ns
    again = report_of("fppl", "--lm", "kn5", "--run", str(grammar_run))
    assert again["sha256"]["samples"] == first["sha256"]["samples"]
    assert samples.stat().st_mtime_ns == written  # not generated again


def test_samples_of_other_weights_are_not_taken(grammar_run: Path, report_of: Report) -> None:
    report_of("fppl", "--lm", "kn5", "-n", "50")
    sidecar = grammar_run / "samples" / "n50-T1-seed1.txt.json"
    facts = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**facts, "weights_sha256": "0" * 64}))
    report_of("fppl", "--lm", "kn5", "-n", "40")
    assert (grammar_run / "samples" / "n40-T1-seed1.txt").exists()


def test_samples_of_one_class_are_not_taken(grammar_run: Path, report_of: Report) -> None:
    tiny_model(labels=["bad", "good"]).save_pretrained(grammar_run)
    model = Run(grammar_run).model()
    write_samples(grammar_run / "samples" / "good.txt", model.generate(60, label="good"), Run(grammar_run))
    (result,) = report_of("fppl", "--lm", "kn5", "-n", "40")["results"]
    assert result["samples"]["path"].endswith("n40-T1-seed1.txt")


def test_samples_of_another_decoding_or_too_few_are_not_taken(grammar_run: Path, report_of: Report) -> None:
    report_of("fppl", "--lm", "kn5", "-n", "60", "--temperature", "0.5")
    (result,) = report_of("fppl", "--lm", "kn5", "-n", "50")["results"]
    assert result["temperature"] == 1
    (result,) = report_of("fppl", "--lm", "kn5", "-n", "40")["results"]
    assert result["samples"]["path"].endswith("n50-T1-seed1.txt")
    assert result["samples"]["truncated_rate"] is None  # known of all fifty alone
    (result,) = report_of("fppl", "--lm", "kn5")["results"]
    assert result["samples"]["n_sentences"] == 400


def test_a_damaged_sidecar_is_one_line(
    grammar_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "sam.txt"
    text.write_text("the cat sees a dog\n")
    (tmp_path / "sam.txt.json").write_text(json.dumps({"sha256": sha256_file(text)}))
    assert main(["fppl", "--lm", "kn5", "--samples", str(text), "--corpus", str(grammar_corpus)]) == 2
    assert "sam.txt.json is damaged: signature is missing" in one_line(capsys)


def test_sidecar_of_another_text_says_nothing(grammar_run: Path, report_of: Report) -> None:
    report_of("fppl", "--lm", "kn5", "-n", "50")
    path = grammar_run / "samples" / "n50-T1-seed1.txt"
    write(path, grammar_sentences(50, 3))
    (result,) = report_of("fppl", "--lm", "kn5", "--samples", str(path))["results"]
    assert "samples(n=50)" in result["signature"]
    assert result["temperature"] is None


def test_packed_samples_keep_their_record(grammar_run: Path, tmp_path: Path, report_of: Report) -> None:
    """The signature of a packed text lost how it was drawn: its record had the hash of the packed bytes."""
    reports = []
    for name in ("samples.txt", "samples.txt.gz"):
        arguments = ["-n", "40", "--temperature", "0.7", "-o", str(tmp_path / name)]
        assert main(["generate", *arguments]) == 0
        reports.append(report_of("fppl", "--lm", "kn5", "--samples", str(tmp_path / name)))
    assert (tmp_path / "samples.txt.gz").read_bytes()[:2] == b"\x1f\x8b"
    plain, packed = (report["results"][0] for report in reports)
    assert packed["signature"] == plain["signature"]
    assert "decode=sample,T=0.7" in packed["signature"]
    assert reports[0]["sha256"] == reports[1]["sha256"]


def test_names_that_are_not_utf8_are_shown(
    grammar_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = write(tmp_path / os.fsdecode(b"caf\xe9.txt"), grammar_sentences(50, 7))
    assert main(["fppl", "--lm", "kn3", "--corpus", str(grammar_corpus), "--samples", str(samples)]) == 0
    assert "caf\\udce9.txt" in "".join(capsys.readouterr().out.split())


def test_temperatures_and_seeds_are_decoded_again(grammar_run: Path, report_of: Report) -> None:
    arguments = ("rppl", "--lm", "kn5", "-n", "60", "--temperature", "0.5", "--temperature", "1")
    report = report_of(*arguments, "--seed", "3")
    assert [(row["temperature"], row["seed"]) for row in report["results"]] == [(0.5, 3), (1.0, 3)]
    assert {path.name for path in (grammar_run / "samples").glob("*.txt")} == {
        "n60-T0.5-seed3.txt",
        "n60-T1-seed3.txt",
    }
    assert {"samples,T=0.5", "samples,T=1"} <= set(report["sha256"])
    assert report["spread"] == []


def test_samples_of_sentencepieces_say_so(grammar_run: Path, report_of: Report) -> None:
    report_of("fppl", "--lm", "kn5", "-n", "40")
    config = json.loads((grammar_run / "config.json").read_text())
    config["text"]["tokenizer"] = "sentencepiece"
    (grammar_run / "config.json").write_text(json.dumps(config))
    (result,) = report_of("fppl", "--lm", "kn5", "-n", "40")["results"]
    assert "|tok:sentencepiece>word|" in result["signature"]


def test_corpus_that_changed_since_training_is_refused(
    grammar_run: Path, grammar_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(grammar_corpus / "train.txt", grammar_sentences(400, 99))
    assert main(["fppl", "--run", str(grammar_run)]) == 2
    assert "is not the text" in one_line(capsys)


def test_lowercase_runs_are_judged_on_lower_case(grammar_run: Path, grammar_corpus: Path, report_of: Report) -> None:
    for name in ("train", "valid", "test"):
        path = grammar_corpus / f"{name}.txt"
        path.write_text(path.read_text().upper())
    (grammar_run / "env.json").write_text(json.dumps({"corpus": find_corpus(str(grammar_corpus)).describe()}))
    config = json.loads((grammar_run / "config.json").read_text())
    config["text"]["lowercase"] = True
    (grammar_run / "config.json").write_text(json.dumps(config))
    samples = write(grammar_run.parent / "samples.txt", grammar_sentences(50, 5))
    report = report_of("fppl", "--lm", "kn5", "--samples", str(samples))
    (result,) = report["results"]
    assert result["n_outside_vocabulary"] < (result["n_tokens"] - result["n_sentences"]) / 2
    assert "train:grammar-lower-train" in result["signature"]


def test_calibration_rows(grammar_corpus: Path, report_of: Report, capsys: pytest.CaptureFixture[str]) -> None:
    samples = str(grammar_corpus / "valid.txt")
    arguments = ("fppl", "--lm", "kn5", "--samples", samples, "--corpus", str(grammar_corpus), "--calibrate")
    rows = {row["text"]: row["ppl"] for row in report_of(*arguments)["calibration"]}
    assert rows["training text"] < rows["5-gram samples"] < rows["training text, words shuffled"]
    assert main(list(arguments)) == 0
    assert "5-gram samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--samples", "absent.txt"], "absent.txt"),
        (["--samples", "{samples}", "--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--samples", "{samples}", "--run", "{run}"], "one of them"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "--temperature", "1"], "temperatures are for a run"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "--seed", "1", "--seed", "2"], "several seeds are for"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "-n", "10000"], "fewer than the 10,000"),
        (["--samples", "{empty}", "--corpus", "{corpus}"], "is empty"),
        (["--samples", "{latin}", "--corpus", "{corpus}"], "not UTF-8"),
        (["--samples", "{reserved}", "--corpus", "{corpus}"], "reserved.txt, line 2"),
        (["--samples", "{wrapped}", "--corpus", "{corpus}"], "looks like .jsonl"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "--text-column", "no"], "no column 'no'"),
        (["--run", "{corpus}"], "is no run"),
        (["--lm", "kn1"], "kn1"),
        (["--lm", "kn7"], "kn7"),
        (["--protocol", "other"], "other"),
        (["--protocol", "arae", "--lm", "lstm"], "closed vocabulary"),
        (["--protocol", "lebm", "--lm", "kn5"], "only lstm"),
        (["--lm", "kn5", "--judge-seeds", "2"], "no seeds"),
        (["--judge-seeds", "0"], "0"),
        (["--split", "train"], "train"),
        (["-n", "0"], "0"),
        (["--temperature", "nan"], "finite"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "-o", "absent/report.json"], "absent"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "-o", "report.png"], "is JSON"),
        (["--samples", "{samples}", "--corpus", "{corpus}", "-o", "report.json.gz"], "ends in .gz: call it .json"),
    ],
)
@pytest.mark.parametrize("metric", ["fppl", "rppl", "evaluate"])
def test_wrong_arguments_are_one_line(
    metric: str,
    arguments: list[str],
    part: str,
    grammar_run: Path,
    grammar_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {
        "samples": write(tmp_path / "samples.txt", ["fine"]),
        "empty": write(tmp_path / "empty.txt", []),
        "latin": tmp_path / "latin.txt",
        "reserved": write(tmp_path / "reserved.txt", ["fine", "not <UNK> fine"]),
        "wrapped": write(tmp_path / "wrapped.txt", ['{"text": "fine"}']),
        "run": grammar_run,
        "corpus": grammar_corpus,
    }
    places["latin"].write_bytes(b"caf\xe9\n")
    assert main([metric, *(argument.format(**places) for argument in arguments)]) == 2
    assert part in one_line(capsys)


def test_without_a_run_there_is_a_hint(grammar_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fppl"]) == 2
    assert "train one first" in one_line(capsys)


def test_another_text_of_the_same_name_does_not_replace_the_runs_own_report(
    grammar_run: Path, grammar_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / grammar_corpus.name
    shutil.copytree(grammar_corpus, other)
    write(other / "test.txt", grammar_sentences(30, 9))
    for corpus in (grammar_corpus, other):
        assert main(["fppl", "--lm", "kn3", "-n", "20", "--corpus", str(corpus), "--device", "cpu"]) == 0
    reports = {path.stem: json.loads(path.read_text()) for path in (grammar_run / "eval").glob("*.json")}
    assert len({report["sha256"]["test"] for report in reports.values()}) == len(reports) == 2

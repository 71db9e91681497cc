"""`lebm-text anomaly`: corpora without a class, and the table of who tells anomalies."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from lebm_text.cli.main import main
from lebm_text.errors import InputError
from lebm_text.reports.anomaly_systems import SystemScores, labels_of
from lebm_text.run import Run
from lebm_text.store import cache_directory

from ..tiny import tiny_model
from .conftest import Report
from .test_main import one_line

pytest.importorskip("sklearn")


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of animals (0) and sights (1)."""
    directory = tmp_path / "labelled"
    directory.mkdir()
    lines, labels = ["the cat", "the dog", "the sea", "the cat and the dog"] * 3, ["0", "0", "1", "0"] * 3
    for split in ("train", "valid", "test"):
        (directory / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
        (directory / f"{split}.label").write_text("".join(f"{label}\n" for label in labels))
    monkeypatch.chdir(tmp_path)
    return directory


def prepare(directory: Path, *options: str) -> int:
    return main(["anomaly", "prepare", str(directory), "--hold-out", "1", "-o", "new", *options])


def test_prepare_writes_a_corpus_that_others_read(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(labelled, "--max-length", "4", "--json") == 0
    protocol = json.loads(capsys.readouterr().out)
    assert json.loads(Path("new/protocol.json").read_text()) == protocol
    assert (protocol["n_train"], protocol["n_anomalies"], protocol["n_too_long"]) == (6, 3, 9)
    for split in ("train", "valid", "test"):
        assert set(Path(f"new/{split}.txt").read_text().splitlines()) == {"the cat", "the dog"}
    assert set(Path("new/anomalies.txt").read_text().splitlines()) == {"the <unk>"}
    assert main(["data", "check", "new"]) == 0


def test_prepare_overwrites_nothing(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(labelled) == 0
    before = {path.name: path.read_bytes() for path in Path("new").iterdir()}
    capsys.readouterr()
    assert prepare(labelled, "--min-count", "1") == 2
    assert "exists already" in one_line(capsys)
    assert {path.name: path.read_bytes() for path in Path("new").iterdir()} == before
    shutil.rmtree("new")
    assert prepare(labelled, "--min-count", "1000") == 2
    assert "no word stands 1,000 times" in one_line(capsys)
    assert not Path("new").exists()


def test_prepare_refuses_what_has_no_labels_or_no_such_class(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["anomaly", "prepare", str(labelled), "--hold-out", "7", "-o", "new"]) == 2
    assert "the labels are: 0, 1" in one_line(capsys)
    (labelled / "valid.label").write_text("0\n")
    assert prepare(labelled) == 2
    assert "has 1 lines" in one_line(capsys)
    (labelled / "valid.label").unlink()
    assert prepare(labelled) == 2
    assert "has no labels" in one_line(capsys)
    assert not Path("new").exists()


@pytest.fixture
def runs(grammar_corpus: Path, tmp_path: Path) -> list[str]:
    """An untrained model with a prior, and an untrained language model."""
    tiny_model().save_pretrained(tmp_path / "ebm")
    tiny_model(latent_dim=0, prior="gaussian").save_pretrained(tmp_path / "lm")
    (grammar_corpus / "anomalies.txt").write_text("cat cat cat\n\nthe the\ncat the\n" + "the " * 9 + "\n")
    return ["--run", str(tmp_path / "ebm"), "--run", str(tmp_path / "lm"), "--resamples", "20", "--device", "cpu"]


@pytest.mark.pictures
def test_the_report_has_every_system_and_compares_models_with_baselines(
    grammar_corpus: Path, runs: list[str], tmp_path: Path, report_of: Report
) -> None:
    pytest.importorskip("matplotlib")
    found = report_of("anomaly", "eval", str(grammar_corpus), *runs, "--swap", "0.5", "--replace", "1", "-n", "20")
    directory = tmp_path / "ebm" / "eval"
    assert json.loads((directory / "anomaly-grammar.json").read_text()) == found
    assert all((directory / f"anomaly-grammar.{suffix}").stat().st_size > 1000 for suffix in ("png", "svg"))
    own, swapped, replaced = found["contrasts"]
    assert (own["n_normal"], own["n_anomalous"], own["share"]) == (20, 3, 3 / 23)  # one is empty, one too long
    assert [each["anomalies"] for each in found["contrasts"]] == ["anomalies", "swap 0.5", "replace 1"]
    rows = {(row["system"], row["score"], row["per_token"]): row for row in own["results"]}
    assert {system for system, _, _ in rows} == {"ebm", "lm", "length", "unknown words", "kn5"}
    assert ("lm", "-log p(x)", True) in rows
    assert ("ebm", "-log p(x,z)", False) in rows
    assert all(row["auroc_ci95"][0] <= row["auroc"] <= row["auroc_ci95"][1] for row in rows.values())
    assert {compared["model"] for compared in own["comparisons"]} == {"ebm"}
    assert {compared["baseline"] for compared in own["comparisons"]} == {"lm", "length", "unknown words", "kn5"}
    # The grammar's own n-grams know at once that its words are out of order; their number says nothing.
    by_system = {row["system"]: row for row in swapped["results"] if row["score"] in ("tokens", "-log p(x)")}
    assert by_system["kn5"]["auroc"] > 0.8
    assert by_system["length"]["auroc"] == 0.5
    assert replaced["n_normal"] == replaced["n_anomalous"]
    assert "positive:swap 0.5" in swapped["signature"]


def test_unknown_words_have_the_price_of_the_rare_words_that_they_stand_for(
    grammar_corpus: Path, runs: list[str], report_of: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices, with_price = list[float](), SystemScores.with_price

    def watched(system: SystemScores, unknown: Any, price: float) -> SystemScores:
        prices.append(price)
        return with_price(system, unknown, price)

    monkeypatch.setattr(SystemScores, "with_price", watched)
    (grammar_corpus / "anomalies.txt").write_text("<unk> " * 6 + "\n" + "<unk> " * 7)  # normal ones have 4 at most
    arguments = ["anomaly", "eval", str(grammar_corpus), *runs[:2], *runs[4:], "-n", "20", "-o", "report.json"]
    (plain,) = report_of(*arguments)["contrasts"]
    assert not any("+ <unk>" in row["score"] for row in plain["results"])
    (grammar_corpus / "protocol.json").write_text(json.dumps({"n_rare_words": 10**9}))
    (priced,) = report_of(*arguments)["contrasts"]
    assert report_of(*arguments, "--rare-words", str(10**9))["contrasts"] == [priced]
    assert prices and set(prices) == {math.log(10**9)}  # of one of them, were all as frequent
    rows = {(row["system"], row["score"], row["per_token"]): row["auroc"] for row in priced["results"]}
    assert rows["kn5", "-log p(x) + <unk>", False] == rows["ebm", "-log p(x,z) + <unk>", False] == 1.0
    assert rows["ebm", "-log p(x,z)", False] < 1.0
    assert [row for row in priced["results"] if "+ <unk>" not in row["score"]] == plain["results"]
    config = Path(runs[1]) / "config.json"  # of a smaller vocabulary: <unk> stands for nobody knows how many words
    config.write_text(json.dumps(json.loads(config.read_text()) | {"text": {"max_length": 8, "vocab_size": 6}}))
    (smaller,) = report_of(*arguments)["contrasts"]
    assert {row["system"] for row in smaller["results"] if "+ <unk>" in row["score"]} == {"kn5"}
    scores = {(compared["score"], compared["baseline"]) for compared in priced["comparisons"]}
    assert {("-log p(x,z) + <unk>", "kn5"), ("-log p(x,z)", "kn5"), ("-log p(x,z) + <unk>", "length")} <= scores


def test_the_table_says_where_a_model_stands(
    grammar_corpus: Path, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["anomaly", "eval", str(grammar_corpus), *runs, "-n", "20", "-o", "report.json"]) == 0
    captured = capsys.readouterr()
    assert "anomalies: 3 anomalies among 20 normal sentences" in captured.out
    assert "chance: AUROC 0.5, AUPRC 0.130" in captured.out
    (compared,) = (line for line in captured.out.splitlines() if line.split()[:4] == ["ebm", "-log", "p(x,z)", "kn5"])
    assert any(compared.endswith(verdict) for verdict in ("better", "worse", "no difference shown"))
    assert "report: report.json" in captured.err


def test_scores_are_kept_until_the_weights_change(
    grammar_corpus: Path,
    runs: list[str],
    report_of: Report,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("the model is read")

    arguments = ["anomaly", "eval", str(grammar_corpus), *runs[:2], *runs[4:], "-n", "10", "-o", "report.json"]
    arguments += ["--steps", "40"]  # enough to draw no warning
    first = report_of(*arguments)
    monkeypatch.setattr("lebm_text.model.LatentEBM.from_pretrained", refuse)
    assert report_of(*arguments)["contrasts"] == first["contrasts"]
    for other in (["--draws", "2"], ["--seed", "2"], ["--precision", "bf16"]):
        assert main([*arguments, *other]) == 2
        assert "the model is read" in one_line(capsys)
    path = Path(runs[1]) / "config.json"
    before = path.read_text()
    config = json.loads(before)
    config["inference"]["n_steps"] += 1
    path.write_text(json.dumps(config))
    assert main(arguments) == 2
    path.write_text(before)
    assert report_of(*arguments)["contrasts"] == first["contrasts"]
    for kept in (cache_directory() / "scores").iterdir():
        content = bytearray(kept.read_bytes())
        content[-20] ^= 1  # a digit of a score
        kept.write_bytes(content)
    assert main(arguments) == 2  # damaged: computed again
    tiny_model(init_range=0.5).save_pretrained(runs[1])
    assert main(arguments) == 2


def test_short_chains_and_a_run_on_another_text_are_warned_of(
    grammar_corpus: Path, grammar_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(grammar_corpus, tmp_path / "other"))
    arguments = ["--run", str(grammar_run), "--swap", "0.5", "-n", "10", "--resamples", "20", "-o", "report.json"]
    assert main(["anomaly", "eval", str(grammar_corpus), *arguments]) == 0
    err = capsys.readouterr().err
    assert err.count("warning") == 1 and "tiny: chains of 3 steps go only part of the way to p(z|x)" in err
    assert main(["anomaly", "eval", str(grammar_corpus), *arguments, "--steps", "40"]) == 0
    assert "warning" not in capsys.readouterr().err
    (other / "train.txt").write_text("a dog\nthe cat\n")
    assert main(["anomaly", "eval", str(other), *arguments]) == 0
    assert "warning: tiny was trained on grammar, which is not the training text of other" in capsys.readouterr().err
    warning, chains = json.loads(Path("report.json").read_text())["warnings"]
    assert warning.startswith("tiny was trained on grammar") and chains.startswith("tiny: chains of 3 steps")


def test_what_a_swap_leaves_as_it_was_is_no_anomaly(grammar_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = grammar_corpus / "test.txt"
    test.write_text("dog\ncat cat\n" + test.read_text())
    n = len(test.read_text().splitlines())
    assert main(["anomaly", "eval", str(grammar_corpus), "--swap", "1", "--resamples", "20", "-o", "report.json"]) == 0
    contrasts = json.loads(Path("report.json").read_text())["contrasts"]
    assert all(contrast["n_anomalous"] <= n - 2 for contrast in contrasts)
    test.write_text("dog\ncat cat\na a a\n")
    (grammar_corpus / "anomalies.txt").unlink(missing_ok=True)
    capsys.readouterr()
    assert main(["anomaly", "eval", str(grammar_corpus), "--swap", "1", "-o", "report.json"]) == 2
    assert "0 sentences are changed by it" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--anomalous", "nothing-of-that-name"], "no corpus 'nothing-of-that-name'"),
        (["--swap", "0"], "--swap"),
        (["--swap", "nan"], "finite"),
        (["--swap", "1.5"], "--swap"),
        (["-o", "no/where.json"], "does not exist"),
        (["-o", "table.png"], "is JSON"),  # the picture would take its place
        (["--swap", "0.5", "--swap", "0.5"], "two kinds of anomalies"),
        (["--run", "../labelled-not"], "does not exist"),
    ],
)
def test_wrong_arguments_are_one_line(
    grammar_corpus: Path, runs: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["anomaly", "eval", str(grammar_corpus), *runs, *arguments]) == 2
    assert message in one_line(capsys)


def test_without_a_run_the_baselines_are_printed_and_go_nowhere(grammar_corpus: Path, report_of: Report) -> None:
    before = sorted(Path().rglob("*"))
    found = report_of("anomaly", "eval", str(grammar_corpus), "--swap", "0.5", "--resamples", "20")
    assert {row["system"] for contrast in found["contrasts"] for row in contrast["results"]} >= {"kn5", "length"}
    assert sorted(Path().rglob("*")) == before


def test_refuses_no_anomalies_and_a_run_twice(
    grammar_corpus: Path, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["anomaly", "eval", str(grammar_corpus), *runs, *runs[:2]]) == 2
    assert "given twice" in one_line(capsys)
    (grammar_corpus / "anomalies.txt").unlink()
    assert main(["anomaly", "eval", str(grammar_corpus), *runs]) == 2
    assert "say what is anomalous" in one_line(capsys)


def test_a_run_named_like_a_baseline_is_not_taken_for_it(tmp_path: Path) -> None:
    for name in ("kn5", "length", "ebm"):
        tiny_model().save_pretrained(tmp_path / name)
    labels = labels_of([Run(tmp_path / name) for name in ("kn5", "length", "ebm")])
    assert labels == ["run kn5", "run length", "ebm"]


def test_anomalies_may_be_a_column(grammar_run: Path, grammar_corpus: Path, report_of: Report, tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text("".join(f'{{"title": "x", "body": "{word} sees"}}\n' for word in ("dog", "cat")))
    options = ("--run", str(grammar_run), "--draws", "1", "-n", "4", "--resamples", "20")
    text = ("--anomalous", str(tmp_path / "odd.txt"), "--text-column", "body")
    found = report_of("anomaly", "eval", str(grammar_corpus), *text, *options)
    assert [contrast["n_anomalous"] for contrast in found["contrasts"]] == [2]

"""`--lm`, `--judge-seeds`, several `--seed` and `--protocol`: a row for each, their spread, one training each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean, stdev

import pytest

from lebm_text.cli.main import INTERRUPTED, main
from lebm_text.store import sha256_file
from lm_eval import lstm_training
from lm_eval.judges import RECIPES

from ...lm_eval.grammar import grammar_sentences
from .conftest import Report


@pytest.fixture
def valid(grammar_corpus: Path) -> tuple[str, ...]:
    """The options that judge the validation text as samples."""
    return ("--samples", str(grammar_corpus / "valid.txt"), "--corpus", str(grammar_corpus))


def test_both_judges_by_default(
    valid: tuple[str, ...], grammar_corpus: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of("fppl", *valid)
    assert [row["judge"] for row in report["results"]] == ["kn5", "lstm"]
    ngram, lstm = report["results"]
    assert (ngram["training"], ngram["judge_seed"], lstm["judge_seed"]) == (None, None, 1)
    assert lstm["training"]["n_epochs"] == 2
    assert ngram["n_tokens"] == lstm["n_tokens"]
    assert "|lm:lstm-brief|train:grammar-train|stop:real-valid|" in lstm["signature"]
    assert report["sha256"]["valid"] == sha256_file(grammar_corpus / "valid.txt")  # what training stopped on
    assert main(["fppl", *valid]) == 0
    captured = capsys.readouterr()
    assert "judge lstm of real text: 2 epochs" in captured.out
    assert ", from the cache" in captured.out
    assert "epoch 1" not in captured.err


def test_several_texts_have_a_row_each(grammar_corpus: Path, tmp_path: Path, report_of: Report) -> None:
    texts = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for seed, text in enumerate(texts, 7):
        text.write_text("".join(f"{line}\n" for line in grammar_sentences(50, seed)))
    rest = "--corpus", str(grammar_corpus), "--lm", "kn3"
    given = [word for text in [*texts, texts[0]] for word in ("--samples", str(text))]  # one of them twice
    report = report_of("fppl", *given, *rest)
    assert [row["text"] for row in report["results"]] == ["a.txt", "b.txt"]
    for row, text in zip(report["results"], texts, strict=True):
        (alone,) = report_of("fppl", "--samples", str(text), *rest)["results"]
        assert (alone["text"], alone["ppl"]) == ("samples", row["ppl"])
    (tmp_path / "sub").mkdir()
    namesake = texts[0].rename(tmp_path / "sub" / "b.txt")
    report = report_of("fppl", "--samples", str(texts[1]), "--samples", str(namesake), *rest)
    assert [row["text"] for row in report["results"]] == [str(texts[1]), str(namesake)]


def test_trained_judges_are_kept_and_epochs_are_shown(
    valid: tuple[str, ...], tmp_path: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rppl", "--lm", "lstm", *valid]) == 0
    captured = capsys.readouterr()
    assert "training lstm (seed 1) on 60 samples" in captured.err
    assert captured.err.count("epoch 2: ") == 2  # of the samples' judge and of that of real text
    assert len(list((tmp_path / "cache" / "judges").glob("*.safetensors"))) == 2
    (result,) = report_of("rppl", "--lm", "lstm", *valid)["results"]
    assert result["training"]["cached"]
    assert result["real_training"]["cached"]


def test_seeds_of_judge_and_samples_give_a_row_each_and_a_spread(
    grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("rppl", "-n", "50", "--seed", "4", "--seed", "2", "--judge-seeds", "2")
    report = report_of(*arguments)
    rows = [(row["seed"], row["judge"], row["judge_seed"]) for row in report["results"]]
    assert rows == [
        (4, "kn5", None),
        (4, "lstm", 1),
        (4, "lstm", 2),
        (2, "kn5", None),
        (2, "lstm", 1),
        (2, "lstm", 2),
    ]
    assert set(report["sha256"]) == {"train", "valid", "test", "samples,T=1,seed=4", "samples,T=1,seed=2", "weights"}
    ngram, lstm = report["spread"]
    ppl = [row["ppl"] for row in report["results"] if row["judge"] == "kn5"]
    assert ngram["ppl"]["mean"] == pytest.approx(fmean(ppl))
    assert ngram["ppl"]["sd_over_sample_seeds"] == pytest.approx(stdev(ppl))
    assert ngram["ppl"]["sd_over_judge_seeds"] is None
    assert lstm["ppl"]["n_judge_seeds"] == lstm["ppl"]["n_sample_seeds"] == 2
    assert lstm["ppl"]["sd_over_judge_seeds"] > 0
    real = {row["judge_seed"]: row["real_ppl"] for row in report["results"] if row["judge"] == "lstm"}
    assert lstm["real_ppl"]["sd_over_judge_seeds"] == pytest.approx(stdev(real.values()))
    assert main(list(arguments)) == 0
    table = capsys.readouterr().out
    assert re.search(r"samples, T = 1, seed 4 +lstm #2", table)
    assert "over 2 judge seeds, sd" in table


def test_calibration_of_rppl_trains_no_lstm_where_an_n_gram_judge_is_there(
    valid: tuple[str, ...], report_of: Report
) -> None:
    judges = {row["judge"] for row in report_of("rppl", *valid, "--calibrate")["calibration"]}
    assert judges == {"kn5"}
    judges = {row["judge"] for row in report_of("fppl", *valid, "--calibrate")["calibration"]}
    assert judges == {"kn5", "lstm"}


def test_protocols_choose_their_judge(
    valid: tuple[str, ...], grammar_run: Path, report_of: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = report_of("fppl", *valid, "--protocol", "arae")["results"]
    assert result["signature"].startswith("FPPL|protocol:arae|lm:kn5|")
    assert result["n_tokens"] == sum(len(line.split()) for line in Path(valid[1]).read_text().splitlines())
    monkeypatch.setitem(RECIPES, "lebm", RECIPES["default"])
    report = report_of("fppl", "-n", "40", "--protocol", "lebm")
    assert report["results"][0]["signature"].startswith("FPPL|protocol:lebm|lm:lstm-brief|")
    assert json.loads((grammar_run / "eval" / "fppl-lstm-lebm-test-n40.json").read_text()) == report


def test_an_interrupted_training_goes_on_where_it_was(
    valid: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = lstm_training._Training.epoch

    def interrupted(training: lstm_training._Training) -> str:
        if training.progress.n_epochs == 1:
            raise KeyboardInterrupt
        return epoch(training)

    arguments = ["fppl", "--lm", "lstm", *valid]
    with monkeypatch.context() as patch:
        patch.setattr(lstm_training._Training, "epoch", interrupted)
        assert main(arguments) == INTERRUPTED
    said = capsys.readouterr().err
    assert "epoch 1: " in said
    assert "the LSTM judge is kept as it was after epoch 1; the same command goes on from there" in said
    assert "lebm-text: interrupted" in said
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "going on after epoch 1" in said
    assert "epoch 1: " not in said


def test_the_quick_figure_is_said_before_the_slow_judge_has_learned(
    valid: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: lstm_training._Training) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(lstm_training._Training, "epoch", interrupted)
    assert main(["rppl", "--lm", "both", *valid]) == INTERRUPTED
    assert re.search(r"RPPL of samples by kn5: \d+\.\d\d, real data \d+\.\d\d\n", capsys.readouterr().err)

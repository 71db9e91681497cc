"""`lebm-text likelihood`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch

from lebm_text.build import build_model
from lebm_text.cli.main import main
from lebm_text.model import LatentEBM
from lebm_text.text.corpora import find_corpus
from lebm_text.text.tokenizers import SentencePieceTokenizer

from ..tiny import tiny_model
from .commands import changed
from .conftest import Report
from .test_main import one_line

QUICK = ["likelihood", "--device", "cpu", "-n", "3", "--ais-steps", "4", "--importance-samples", "200"]
QUICK += ["--partition-steps", "8"]


def test_the_object_and_the_file_are_the_same(grammar_run: Path, report_of: Report) -> None:
    found = report_of(*changed(QUICK, "--importance-n", "4", "--bracket"))
    assert json.loads((grammar_run / "eval" / "likelihood-test.json").read_text()) == found
    assert found["corpus"]["split"] == "test"
    assert found["ais"]["n_sentences"] == 3
    assert found["importance"]["n_sentences"] == 4
    assert found["bracket"] is not None
    assert "lower:ais(4x8,mala,from=prior,n=3)" in found["signature"]
    assert found["ais"]["bits_per_byte"] is None


def test_options_reach_the_estimators(grammar_run: Path, tmp_path: Path, report_of: Report) -> None:
    tiny_model(prior="gaussian").save_pretrained(grammar_run)  # log Z is exact, so that only sentences cost
    few = changed(QUICK, "--importance-n", "0")
    base = report_of(*few, "-o", str(tmp_path / "a.json"))
    assert (tmp_path / "a.json").exists()
    assert not (grammar_run / "eval" / "likelihood-test.json").exists()
    assert report_of(*few)["ais"] == base["ais"]
    for options in (["--seed", "2"], ["--split", "valid"], ["--ais-start", "proposal"], ["--leapfrog", "2"]):
        assert report_of(*few, *options)["ais"]["nll"] != base["ais"]["nll"], options
    assert report_of(*few, "--ais-chains", "2")["latent"]["active_units"] is None is not base["latent"]["active_units"]
    none = report_of(*changed(QUICK, "-n", "0", "--importance-n", "0"))
    assert none["ais"] is none["importance"] is none["latent"] is None


def test_the_signature_has_as_many_sentences_as_there_are(grammar_run: Path, report_of: Report) -> None:
    tiny_model(prior="gaussian").save_pretrained(grammar_run)
    found = report_of(*changed(QUICK, "-n", "1000", "--importance-n", "2"))
    n = found["corpus"]["n_sentences"]
    assert 2 < n == found["ais"]["n_sentences"] < 1000
    assert f",n={n})|importance(K=200,n=2)" in found["signature"]


@pytest.mark.parametrize("latent_dim", [0, 4])
def test_weights_of_a_training_that_diverged_are_one_line(
    grammar_run: Path, capsys: pytest.CaptureFixture[str], latent_dim: int
) -> None:
    model = tiny_model(prior="gaussian", latent_dim=latent_dim)
    with torch.no_grad():
        for weight in model.model.generator.parameters():
            weight.mul_(1e20)
    model.save_pretrained(grammar_run)
    assert main([*QUICK, "--json"]) == 2
    assert "not finite" in one_line(capsys)


def test_few_samples_are_refused_only_where_they_are_drawn(grammar_run: Path, report_of: Report) -> None:
    assert report_of(*changed(QUICK, "-n", "1", "--importance-samples", "100"))["importance"]["n_sentences"] == 1
    assert (
        report_of(*changed(QUICK, "-n", "1", "--importance-samples", "99", "--importance-n", "0"))["importance"] is None
    )


@pytest.mark.parametrize(("longest", "n"), [(8, "9"), (1, "4")])
def test_it_is_said_how_many_simulated_sentences_the_bracket_has(
    grammar_run: Path, grammar_corpus: Path, capsys: pytest.CaptureFixture[str], longest: int, n: str
) -> None:
    (grammar_corpus / "test.txt").write_text("cat\ndog\n" * 4)
    config = json.loads((grammar_run / "config.json").read_text())
    config["text"]["max_length"] = longest
    (grammar_run / "config.json").write_text(json.dumps(config))
    (grammar_run / "env.json").write_text(json.dumps({"corpus": find_corpus(str(grammar_corpus)).describe()}))
    assert main(changed(QUICK, "-n", n, "--bracket")) == 0
    report = json.loads((grammar_run / "eval" / "likelihood-test.json").read_text())
    out = " ".join(capsys.readouterr().out.split())
    kept = report["bracket"]["n_sentences"]
    assert f"simulated sentences kept for the bracket, the others too long {kept} of {n}" in out
    assert ("simulated sentences, from below" in out) == (kept > 0)


def test_a_report_without_pictures_leaves_none_of_the_one_that_it_replaces(
    grammar_run: Path, report_of: Report
) -> None:
    directory = grammar_run / "eval"
    directory.mkdir()
    kept = [directory / "likelihood-test-2.png", directory / "other.svg"]
    for path in kept:
        path.write_text("another's")
    report_of(*changed(QUICK, "-n", "2", "--importance-n", "0"))
    assert len(list(directory.iterdir())) == 5
    report_of(*changed(QUICK, "-n", "0", "--importance-n", "0"))
    assert sorted(directory.iterdir()) == sorted([*kept, directory / "likelihood-test.json"])
    (directory / "likelihood-valid.png").write_text("no picture of a report")
    report_of(*changed(QUICK, "-n", "0", "--importance-n", "0", "--split", "valid"))
    assert (directory / "likelihood-valid.png").exists()


def test_lines_for_people(grammar_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(changed(QUICK, "-n", "9", "--bracket", "--verbose")) == 0
    out = capsys.readouterr().out
    for part in ("log Z by forward AIS", "from below, by AIS", "information", "simulated", "log_p|density"):
        assert part in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--split", "train"],
        ["-n", "-1"],
        ["--ais-steps", "0"],
        ["--ais-chains", "0"],
        ["--bracket", "-n", "0"],
        ["--bracket", "--partition-chains", "2"],
        ["--run", "nowhere"],
        ["--partition-steps", "2", "--partition-chains", "4"],
        ["--importance-samples", "1"],
        ["--importance-samples", "99"],
        ["--output", "report.csv"],
        ["--output", "nowhere/at/all.json"],
    ],
)
def test_wrong_arguments_are_one_line(
    grammar_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(changed(QUICK, "--json", *arguments)) == 2
    assert one_line(capsys)


def test_of_a_language_model_it_is_exact(
    grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model(prior="gaussian", latent_dim=0)
    model.save_pretrained(grammar_run)
    found = report_of(*QUICK)
    corpus = find_corpus(str(grammar_run.parents[1] / "grammar"))
    sentences = [line for line in corpus.splits["test"].sentences() if len(line.split()) <= 8]  # text.max_length
    log_p = model.log_joint(sentences, torch.zeros(len(sentences), 0)).double()
    words = sum(len(sentence.split()) + 1 for sentence in sentences)
    assert found["exact_of_all"]["nll"] == pytest.approx(-float(log_p.mean()), rel=1e-5)
    assert found["exact_of_all"]["perplexity"] == pytest.approx(math.exp(-float(log_p.sum()) / words), rel=1e-5)
    assert found["exact"]["n_sentences"] == 3
    assert "|exact|" in found["signature"]
    assert main(QUICK) == 0
    assert re.search(rf"exact, all +{len(sentences)} ", capsys.readouterr().out)
    assert main(changed(QUICK, "--bracket")) == 2
    assert "exact" in one_line(capsys)


def test_with_sentencepiece_bits_per_byte_count_the_line_ends(
    grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = find_corpus(str(grammar_run.parents[1] / "grammar"))
    tokenizer = SentencePieceTokenizer.train(list(corpus.splits["train"].sentences()), vocab_size=40)
    like = tiny_model(prior="gaussian", latent_dim=0).config.merge({"text": {"max_length": 100}})
    network = build_model(like, vocab_size=len(tokenizer), bos_id=tokenizer.bos_id, rng=torch.Generator())
    (grammar_run / "tokenizer.json").unlink()
    LatentEBM(like, tokenizer, network).save_pretrained(grammar_run)
    found = report_of(*QUICK)["exact_of_all"]
    sentences = list(corpus.splits["test"].sentences())
    n_bytes = sum(len(sentence.encode()) + 1 for sentence in sentences)
    assert found["n_sentences"] == len(sentences)
    assert found["bits_per_byte"] == pytest.approx(found["nll"] * len(sentences) / math.log(2) / n_bytes)
    assert main(QUICK) == 0
    assert f" {found['bits_per_byte']:.4f} ±" in capsys.readouterr().out

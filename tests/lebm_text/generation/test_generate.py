"""Generated sentences: exactly n, the same for every batch size, with honest rates."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.generation.generate import (
    Block,
    Generated,
    Generation,
    _Rates,
    decode_latents,
    describe_model,
    signature_of,
)
from lebm_text.generation.settings import DecodeSettings
from lebm_text.models.generator import LSTMGenerator
from lebm_text.random import KeyedRng

from ..tiny import WORDS, tiny_model

SETTINGS = [DecodeSettings(), DecodeSettings(top_k=3, temperature=0.8), DecodeSettings("greedy")]
SETTINGS += [DecodeSettings("beam", beam_size=3)]


def _generate(n: int, settings: DecodeSettings | None = None, **options: Any) -> Generated:
    model = tiny_model(**options.pop("model", {}))
    return Generation(model.model, model.tokenizer, model.config, n, settings, **options).all()


def test_what_a_notebook_shows_of_many_sentences_is_one_line() -> None:
    assert repr(_generate(1200)).startswith("Generated(1,200 sentences, 'samples(n=1200,decode=sample,T=1)|")


def test_output_does_not_depend_on_how_many_z_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _generate(23, batch_size=4)
    monkeypatch.setattr("lebm_text.generation.generate.LATENTS", 5)
    for batch_size in (1, 4, 7):
        other = _generate(23, batch_size=batch_size)
        assert other.sentences == whole.sentences
        assert torch.allclose(other.z, whole.z, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS, ids=DecodeSettings.describe)
def test_output_does_not_depend_on_the_batch_size(settings: DecodeSettings) -> None:
    whole = _generate(23, settings, batch_size=100)
    assert len(set(whole.sentences)) > 3
    for batch_size in (1, 7, 23):
        other = _generate(23, settings, batch_size=batch_size)
        assert other.sentences == whole.sentences
        assert other.truncated == whole.truncated
        assert torch.allclose(other.z, whole.z, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS, ids=DecodeSettings.describe)
def test_without_the_unknown_word_its_probability_goes_to_the_others(settings: DecodeSettings) -> None:
    model, never = tiny_model(), replace(settings, no_unk=True)
    unk, generator = model.tokenizer.unk_id, cast("LSTMGenerator", model.model.generator)
    with torch.no_grad():
        generator.output_bias[unk] += 3
    assert "<unk>" in " ".join(model.generate(40, settings).sentences)
    found = model.generate(40, never)
    assert found.signature.startswith(f"samples(n=40,{settings.describe()},no_unk)")
    assert found.settings["no_unk"] is True
    with torch.no_grad():
        generator.output_bias[unk] = -1e9
    assert found.sentences == model.generate(40, settings).sentences


@pytest.mark.parametrize("decode", ["greedy", "beam"])
def test_the_one_likeliest_sentence_of_a_language_model_is_decoded_once(
    decode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def counting(model: Any, tokenizer: Any, z: torch.Tensor, *given: Any, **options: Any) -> Any:
        rows.append(len(z))
        return decode_latents(model, tokenizer, z, *given, **options)

    monkeypatch.setattr("lebm_text.generation.generate.decode_latents", counting)
    found = _generate(9, DecodeSettings(decode), model={"latent_dim": 0})
    assert rows == [1]
    assert found.sentences == found.sentences[:1] * 9
    assert found.truncated == found.truncated[:1] * 9
    assert found.z.shape == (9, 0)
    assert found.rates["duplicate"] == 8 / 9


def test_a_language_model_draws_each_sentence_by_itself() -> None:
    found = _generate(30, model={"latent_dim": 0})
    assert len(set(found.sentences)) > 3
    assert found.sentences == _generate(30, model={"latent_dim": 0}, batch_size=4).sentences
    assert found.z.shape == (30, 0)


def test_more_sentences_begin_with_the_same_ones() -> None:
    assert _generate(20).sentences[:6] == _generate(6).sentences


def test_seeds_differ_and_repeat() -> None:
    one, same, other = _generate(30, seed=1), _generate(30, seed=1), _generate(30, seed=2)
    assert one.sentences == same.sentences
    assert torch.equal(one.z, same.z)
    assert one.sentences != other.sentences
    assert not torch.isclose(one.z, other.z).any()


@pytest.mark.parametrize("n", [0, 1, 11])
def test_exactly_n_lines_of_known_words(n: int) -> None:
    found = _generate(n, batch_size=4)
    assert len(found.sentences) == len(found.truncated) == n
    assert found.z.shape == (n, 4)
    assert {word for sentence in found.sentences for word in sentence.split()} <= {*WORDS, "<unk>"}


def test_max_length_cuts_and_says_so() -> None:
    long, short = _generate(60), _generate(60, max_length=2)
    assert max(len(sentence.split()) for sentence in long.sentences) > 2
    for before, after, cut in zip(long.sentences, short.sentences, short.truncated, strict=True):
        assert after.split() == before.split()[:2]
        assert cut == (len(before.split()) > 2)
    assert short.rates["truncated"] == sum(short.truncated) / 60 > 0


def test_latents_come_from_the_chain_of_the_prior() -> None:
    model = tiny_model()
    z = model.model.prior.sample(30, KeyedRng(5, range(30)))
    start = KeyedRng(5, range(30)).normal((30, 4))
    assert torch.equal(_generate(30, seed=5).z, z)
    assert not torch.isclose(z, start).any()
    assert torch.equal(_generate(30, seed=5, model={"prior": "gaussian"}).z, start)


def test_rates_by_hand() -> None:
    ids = [[], [1], [4, 1, 5, 1], [4, 5], []]
    sentences, truncated = ["", "<unk>", "a <unk> b <unk>", "a b", ""], [False, False, True, False, False]
    rates = _Rates(5, unk_id=1)
    rates._hashes.fill(0)  # places of sentences to come are no duplicates, whatever is there
    assert set(rates.shares().values()) == {0.0}
    rates.add(sentences[:3], ids[:3], truncated[:3])
    assert rates.shares() == {"empty": 1 / 3, "truncated": 1 / 3, "unk": 2 / 3, "unk_tokens": 3 / 5, "duplicate": 0.0}
    rates.add(sentences[3:], ids[3:], truncated[3:])
    assert rates.shares() == {"empty": 0.4, "truncated": 0.2, "unk": 0.4, "unk_tokens": 3 / 7, "duplicate": 0.2}


def test_signature() -> None:
    config = Config()
    settings = DecodeSettings()
    length = config.text.max_length
    assert (
        signature_of(config, 1000, settings, seed=1, max_length=length)
        == "samples(n=1000,decode=sample,T=1)|prior:ebm-langevin(40x0.5)|seed:1|v:0.1.0"
    )
    config = config.override(["prior.n_steps=2", "prior.step_size=[0.5,0.25]", "prior.noise_scale=0.9"])
    assert (
        signature_of(config, 5, DecodeSettings(top_p=0.9), seed=3, max_length=7)
        == "samples(n=5,decode=sample,T=1,top_p=0.9,max_length=7)|prior:ebm-langevin(2x0.5+0.25,noise=0.9)"
        "|seed:3|v:0.1.0"
    )
    config = config.override(["model.prior=gaussian"])
    assert "|prior:gaussian|" in signature_of(config, 5, settings, seed=3, max_length=length)


@pytest.mark.parametrize(
    ("settings", "posterior"),
    [
        ({}, ""),
        ({"likelihood_weight": 3.0}, "weighted(3)"),
        ({"noise_scale": 0.5, "likelihood_weight": 0.25}, "tempered(0.5),weighted(0.25)"),
        ({"kind": "amortized"}, "amortized"),
        ({"kind": "local"}, "local"),
        ({"kind": "semi_amortized", "kl_weight": 0.5}, "semi-amortized,kl-weighted(0.5)"),
        ({"kind": "amortized", "free_bits": 0.5, "free_bits_kind": "total"}, "amortized,free-bits(0.5,total)"),
    ],
)
def test_a_signature_says_in_what_the_posterior_of_training_was_another(
    settings: dict[str, Any], posterior: str
) -> None:
    config = Config().merge({"inference": settings})
    assert describe_model(config) == "prior:ebm-langevin(40x0.5)" + f"|posterior:{posterior}" * bool(posterior)


@pytest.mark.parametrize(
    ("n", "options"),
    [(-1, {}), (1, {"seed": -1}), (1, {"seed": 2**63}), (1, {"max_length": 0}), (1, {"batch_size": 0})],
)
def test_nonsense_is_refused(n: int, options: dict[str, Any]) -> None:
    (name,) = options or ("n",)
    with pytest.raises(InputError, match=f"^{name} must be"):
        _generate(n, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", value) for value in ("3", 2.5, 10**18, True)),
        *(("temperature", value) for value in ("hot", 1e-46, 1e39, float("nan"))),
        *(("seed", "1"), ("batch_size", None), ("max_length", [1]), ("top_p", 1e-320), ("top_k", 2.5)),
        *(("beam_size", "x"), ("length_penalty", 1e300), ("decode", 3)),
    ],
)
def test_values_of_another_kind_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        tiny_model().generate(**{"n": 1, name: value})  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    asked = tiny_model().generate(np.int64(3), temperature=np.float32(0.5), top_k=np.int32(2))
    assert asked.sentences == tiny_model().generate(3, temperature=0.5, top_k=2).sentences
    assert json.loads(json.dumps(asked.settings)) == asked.settings


def test_blocks_are_those_sentences_and_nothing_is_kept_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lebm_text.generation.generate.LATENTS", 4)
    whole, model = _generate(11, batch_size=2), tiny_model()
    generation = Generation(model.model, model.tokenizer, model.config, 11, batch_size=2)
    seen: list[str] = []
    former: list[weakref.ref[Block]] = []
    for block in generation:
        assert not any(kept() for kept in former[:-1])
        former.append(weakref.ref(block))
        seen += block.sentences
        assert generation.n_done == len(seen) <= 11
    assert seen == whole.sentences
    assert generation.rates == whole.rates
    assert (generation.settings, generation.signature) == (whole.settings, whole.signature)


def test_going_through_again_begins_anew() -> None:
    generation, whole = tiny_model().stream(11, batch_size=2), _generate(11)
    next(iter(generation))  # and no further
    for _ in range(2):
        assert generation.all().sentences == whole.sentences
        assert (generation.n_done, generation.rates) == (11, whole.rates)


def test_progress_counts_to_n(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lebm_text.generation.generate.LATENTS", 4)
    seen: list[int] = []
    _generate(10, batch_size=2, on_progress=seen.append)
    assert seen == [4, 8, 10]

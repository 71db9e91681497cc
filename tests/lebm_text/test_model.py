"""`LatentEBM`: what was saved comes back; posterior, reconstruction and joint are what they should be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lebm_text
from lebm_text.checks import MAX_SEED
from lebm_text.errors import InputError
from lebm_text.generation.settings import DecodeSettings
from lebm_text.models.priors import base_log_prob
from lebm_text.random import KeyedRng
from lebm_text.reports.interpolation import interpolate
from lebm_text.reports.posterior import posterior_means
from lebm_text.reports.scores import Scorer, ScoreSettings
from lebm_text.store import sha256_file

from .tiny import log_likelihoods, tiny_model
from .toy import Mixture, gap

SENTENCES = ["the cat sees a dog", "", "a dog", "the unknown é", "the cat sees a dog"]


def test_public_name() -> None:
    assert lebm_text.LatentEBM is type(tiny_model())


def test_saved_model_is_the_same_model(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path / "one")
    loaded = lebm_text.LatentEBM.from_pretrained(tmp_path / "one", device="cpu")
    assert loaded.config == model.config
    assert loaded.generate(20).sentences == model.generate(20).sentences
    loaded.save_pretrained(tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    for name in names:
        assert sha256_file(tmp_path / "one" / name) == sha256_file(tmp_path / "two" / name)


READING: list[Callable[[lebm_text.LatentEBM], Any]] = [
    lambda model: model.infer(["A zzz", "dog zzz"] * 2),
    lambda model: model.reconstruct(["A zzz", "dog zzz"]),
    lambda model: model.log_joint(["A zzz", "dog zzz"], torch.zeros(2, 4)),
    lambda model: model.score(["A zzz", "dog zzz", "yyy " * 9]),
    lambda model: model.interpolate("A zzz", "dog zzz"),
    lambda model: model.neighbours(["A zzz"], ["dog zzz", "a"], k=1),
    lambda model: model.classify(["A zzz", "dog zzz"]),
]


@pytest.mark.parametrize("read", READING)
def test_each_call_warns_once_of_unknown_words_and_a_quiet_model_does_not(
    read: Callable[[lebm_text.LatentEBM], Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model(labels=("1", "2"))
    read(model)
    assert caplog.messages == ["not in the vocabulary, read as <unk>: A, zzz; in lower case known: a"]
    caplog.clear()
    read(model.quiet())
    model.require_fitting(["zzz"])
    model.infer(["a <unk> dog"])
    assert not caplog.messages


@pytest.mark.parametrize("prior", ["ebm", "gaussian"])
def test_log_joint_is_the_sum_of_its_parts(prior: str) -> None:
    model = tiny_model(prior=prior)
    z = torch.randn(len(SENTENCES), 4, generator=torch.Generator().manual_seed(0))
    found = model.log_joint(SENTENCES, z, batch_size=2)
    energy = model.model.prior.neg_energy(z)
    assert (energy != 0.0).all() == (prior == "ebm")
    assert gap(found, log_likelihoods(model, SENTENCES, z) + energy + base_log_prob(z)) < 1e-4


def test_inference_depends_on_the_sentence_and_its_place_alone() -> None:
    model = tiny_model()
    z = model.infer(SENTENCES, seed=7)
    assert z.shape == (5, 4)
    assert not z.requires_grad
    assert torch.allclose(model.infer(SENTENCES, seed=7, batch_size=2), z, atol=1e-5)
    assert torch.allclose(model.infer(SENTENCES[:3], seed=7), z[:3], atol=1e-5)
    assert not torch.isclose(model.infer(SENTENCES, seed=8), z).all(dim=1).any()
    other = model.infer(["dog dog dog dog dog", *SENTENCES[1:]], seed=7)
    assert torch.allclose(other[1:], z[1:], atol=1e-5)
    assert not torch.allclose(other[0], z[0], atol=1e-3)


def test_inference_raises_the_joint_above_that_of_its_start() -> None:
    model = tiny_model()
    model.config = model.config.override(["inference.n_steps=40", "inference.noise_scale=0.1"])
    sentences = ["the cat sees a dog"] * 20
    start = KeyedRng(1, tuple(range(20))).normal((20, 4))
    gain = model.log_joint(sentences, model.infer(sentences, seed=1)) - model.log_joint(sentences, start)
    assert float(gain.min()) > 0


def test_inference_uses_the_values_after_the_anneals() -> None:
    model = tiny_model()
    annealed = tiny_model()
    annealed.config = annealed.config.override(
        ["inference.likelihood_weight_start=10", "inference.noise_scale_start=0"]
    )
    assert torch.allclose(model.infer(SENTENCES), annealed.infer(SENTENCES), atol=1e-5)


@pytest.mark.parametrize("decode", ["greedy", "sample", "beam"])
def test_reconstructions_keep_their_places(decode: str) -> None:
    model = tiny_model()
    found = model.reconstruct(SENTENCES, decode=decode)
    assert len(found) == 5
    assert model.reconstruct(SENTENCES, decode=decode, batch_size=1) == found
    assert model.reconstruct(SENTENCES[:2], decode=decode) == found[:2]
    assert model.reconstruct([], decode=decode) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.infer("one"), "expected a list of sentences, got one string: 'one'"),
        (lambda m: m.fitting("one"), "expected a list of sentences, got one string: 'one'"),
        (lambda m: m.reconstruct("one"), "expected a list of sentences, got one string: 'one'"),
        (lambda m: m.score("one"), "expected a list of sentences, got one string: 'one'"),
        (lambda m: m.neighbours("one", ["a"]), "expected a list of sentences, got one string: 'one'"),
        (lambda m: m.neighbours(["a"], "one"), "expected a list of sentences, got one string: 'one'"),
        (lambda m: m.infer(np.array([["a"], ["b"]])), "expected a list of sentences, got ndarray"),
        (lambda m: m.infer(np.array("a")), "expected a list of sentences, got ndarray"),
        (lambda m: m.infer({"a": 1}), "expected a list of sentences, got dict"),
        (lambda m: m.infer({"a", "b"}), "expected a list of sentences, got set"),
        (lambda m: m.generate(1, temp=0.5), "unknown setting temp; known: decode, temperature, top_k"),
        (lambda m: m.decode(torch.zeros(1, 3), topk=5), "unknown setting topk; did you mean top_k?"),
        (lambda m: m.from_pretrained(None), "a run is named by the path of its directory, got NoneType"),
        (lambda m: m.infer(["a"], first="2"), "first must be a whole number, got '2'"),
        (lambda m: m.reconstruct(["a"], first=-1), "first must be >= 0, got -1"),
        (lambda m: m.score(["a", None]), "expected a list of sentences, which are strings; number 2 is None"),
        (lambda m: m.log_joint("one", torch.zeros(1, 4)), "expected a list of sentences, got one string"),
        (lambda m: m.log_joint(["a"], [[0.0] * 4]), "z must be a tensor or an array, got list"),
        (lambda m: m.decode([[0.0] * 4]), "z must be a tensor or an array, got list"),
        (lambda m: m.decode(3.0), "z must be a tensor or an array, got float"),
        (lambda m: m.decode(torch.tensor(3.0)), "z must have shape (1, 4), one row per sentence, got ()"),
        (lambda m: m.decode(np.zeros(())), "z must have shape (1, 4), one row per sentence, got ()"),
        (lambda m: m.decode(torch.zeros(4)), "z must have shape (1, 4), one row per sentence, got (4,)"),
        (lambda m: m.log_joint(["a", "a"], torch.zeros(2, 3)), "z must have shape (2, 4), one row per sentence"),
        (lambda m: m.decode(torch.zeros(3, 5)), "z must have shape (3, 4), one row per sentence, got (3, 5)"),
        (lambda m: m.decode(torch.zeros(1, 4, dtype=torch.complex64)), "z must be real numbers, got torch.complex64"),
        (lambda m: m.decode(np.zeros((1, 4), dtype=object)), "z must be real numbers, got object"),
        (lambda m: m.decode(torch.zeros(4)), "z must have shape (1, 4), one row per sentence, got (4,)"),
        (lambda m: m.decode(np.ma.zeros((1, 4))), "z must be a tensor or an array, got MaskedArray"),
        (lambda m: m.decode(torch.zeros(1, 4).to_sparse()), "z must be a dense tensor with values"),
        (lambda m: m.decode(torch.zeros(1, 4, device="meta")), "z must be a dense tensor with values"),
        (lambda m: m.generate(2, {"temperature": 0.5}), "expected DecodeSettings, got dict; or give their fields"),
    ],
)
def test_another_type_is_named_in_one_line(call: Callable[[Any], object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call(tiny_model())


def test_sentences_may_come_from_a_generator() -> None:
    model = tiny_model()
    z = model.infer(SENTENCES)

    def given() -> Iterator[str]:
        yield from SENTENCES

    assert torch.equal(model.infer(given()), z)
    assert model.reconstruct(given()) == model.reconstruct(SENTENCES)
    assert torch.equal(model.log_joint(given(), z), model.log_joint(SENTENCES, z))
    assert model.score(given()) == model.score(SENTENCES)
    assert model.neighbours(given(), given(), 2) == model.neighbours(SENTENCES, SENTENCES, 2)
    with pytest.raises(InputError, match=r"sentence 2 has 9 tokens \(a a a a a a a a a\); this model takes at most 8 "):
        model.infer(each for each in ("a", "a" + " a" * 8))


def test_a_model_is_not_saved_over_a_training(tmp_path: Path) -> None:
    model = tiny_model()
    for name in ("metrics.jsonl", "checkpoints"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / name).touch()
        with pytest.raises(InputError, match="is a run that was trained there; choose another directory"):
            model.save_pretrained(tmp_path / name)
    model.save_pretrained(tmp_path / "new")
    (tmp_path / "new" / "spm.model").touch()  # that of a model saved there before
    tiny_model(latent_dim=3).save_pretrained(tmp_path / "new")
    assert lebm_text.LatentEBM.from_pretrained(tmp_path / "new").config.model.latent_dim == 3


def test_reconstruction_decodes_the_inferred_latent() -> None:
    model = tiny_model()
    z = model.infer(SENTENCES, seed=4)
    for row, text in zip(z, model.reconstruct(SENTENCES, seed=4), strict=True):
        state, token, words = model.model.generator.start(row[None]), torch.tensor([2]), list[int]()
        while len(words) < 8:
            logits, state = model.model.generator.step(token, state)
            logits[:, [0, 2]] = -torch.inf
            token = logits.argmax(-1)
            if int(token) == 3:
                break
            words.append(int(token))
        assert model.tokenizer.decode(words) == text


def test_unknown_words_are_read_as_unk() -> None:
    model = tiny_model()
    assert torch.equal(model.infer(["the zebra"]), model.infer(["the <unk>"]))
    assert not torch.equal(model.infer(["the zebra"]), model.infer(["the cat"]))


def test_too_long_a_sentence_is_named() -> None:
    model = tiny_model()
    model.infer(["a " * 8])
    with pytest.raises(InputError, match="sentence 2 has 9 tokens"):
        model.infer(["a", "a " * 9])


def test_latents_may_come_from_numpy_in_any_precision() -> None:
    model = tiny_model()
    z = model.infer(SENTENCES, seed=4)
    arrays: list[Any] = [z.numpy().astype(kind) for kind in (np.float64, np.longdouble, ">f4")]
    for other in (z.double(), z.numpy(), z.flip(0).numpy()[::-1], *arrays):
        assert model.decode(other) == model.reconstruct(SENTENCES, seed=4)
        assert torch.equal(model.log_joint(SENTENCES, other), model.log_joint(SENTENCES, z))
    with pytest.raises(InputError, match=r"shape \(5, 4\)"):
        model.decode(z[:, :3])
    with pytest.raises(InputError, match="z must be finite"):
        model.decode(z / 0, decode="sample")


def test_generate_reconstruct_and_decode_take_the_same_options() -> None:
    model = tiny_model()
    generated = model.generate(6, DecodeSettings("beam", beam_size=2))
    assert generated.sentences == model.generate(6, decode="beam", beam_size=2).sentences
    assert generated.sentences == model.decode(generated.z, decode="beam", beam_size=2)
    z = model.infer(SENTENCES)
    assert model.reconstruct(SENTENCES, temperature=0.5, decode="sample") == model.decode(
        z, DecodeSettings(temperature=0.5)
    )
    with pytest.raises(InputError, match="give DecodeSettings or top_k, not both"):
        model.decode(z, DecodeSettings(), top_k=3)


def test_what_reports_compute_is_asked_of_the_model() -> None:
    model = tiny_model()
    points = model.interpolate("the cat", "a dog", n=3, seed=2)
    assert [point.t for point in points] == [0, 0.5, 1]
    assert [points[0].sentence, points[2].sentence] == model.reconstruct(["the cat", "a dog"], seed=2)
    assert points == interpolate(model, ("the cat", "a dog"), 3, "spherical", seed=2)
    assert model.interpolate("the cat", "a dog", n=3, path="straight", seed=2)[1] != points[1]
    texts = ["a dog", "the cat", "é"]
    (found,) = model.neighbours(["the cat"], texts, k=2, metric="euclidean", n_draws=2, seed=3)
    means = posterior_means(model, texts, n_draws=2, seed=3)
    distance = (means - posterior_means(model, ["the cat"], n_draws=2, seed=MAX_SEED - 3)).norm(dim=1)
    assert [each.sentence for each in found] == [texts[i] for i in distance.argsort()[:2]]
    assert [each.distance for each in found] == pytest.approx(distance.sort().values[:2].tolist(), abs=1e-4)
    settings = ScoreSettings(n_draws=2, seed=3)
    assert model.score(["the cat", "a " * 9], settings) == Scorer(model, settings)(["the cat", "a " * 9])
    assert model.score(["the cat", "a " * 9])[1] is None
    assert repr(model).startswith("LatentEBM(prior=ebm, generator=lstm, inference=short_run, latent_dim=4, vocab_size=")


def test_public_names_are_there() -> None:
    assert set(lebm_text.__all__) <= {name for name in dir(lebm_text) if getattr(lebm_text, name) is not None}
    assert lebm_text.reports.KINDS
    with pytest.raises(AttributeError):
        lebm_text.nothing  # noqa: B018


def test_code_that_a_configuration_names_is_imported_only_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(prior=f"{Mixture.__module__}:Mixture")
    model.save_pretrained(tmp_path)
    load = lebm_text.LatentEBM.from_pretrained
    with pytest.raises(InputError, match="would import the module"):
        load(tmp_path, device="cpu")
    assert load(tmp_path, device="cpu", trust_plugins=True).generate(3).sentences == model.generate(3).sentences
    monkeypatch.setenv("LEBM_TEXT_TRUST_PLUGINS", "1")
    assert load(tmp_path, device="cpu").generate(3).sentences == model.generate(3).sentences


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    load = lebm_text.LatentEBM.from_pretrained

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match) as error:
            load(tmp_path, device="cpu")
        assert "\n" not in str(error.value)

    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"hidden_dim": 6', '"hidden_dim": 5'))
    refused("does not fit")
    (tmp_path / "config.json").write_text(config.replace('"ebm"', '"gaussian"'))
    refused("layers.0.bias has shape .*, expected none of that name")
    (tmp_path / "config.json").write_text(config.replace("hidden_dim", "hiden_dim"))
    refused(f"{re.escape(str(tmp_path / 'config.json'))}: unknown key")
    (tmp_path / "config.json").write_text("{")
    refused("not JSON")
    (tmp_path / "config.json").write_text("[]")
    refused("JSON object")
    (tmp_path / "config.json").write_text(config)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["words"].reverse()
    del tokenizer["sha256"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused("another tokenizer")
    tiny_model().save_pretrained(tmp_path)
    load(tmp_path, device="cpu")
    os.truncate(tmp_path / "model.safetensors", 100)
    refused("cannot read the weights")
    (tmp_path / "model.safetensors").unlink()
    refused("training has not ended")
    (tmp_path / "config.json").unlink()
    refused("is no run")


def test_unknown_device_is_refused(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="device"):
        lebm_text.LatentEBM.from_pretrained(tmp_path, device="abacus")


def test_what_has_no_sense_is_refused_and_nothing_is_found_for_nothing() -> None:
    model = tiny_model()
    wrong: list[Callable[[], object]] = [
        lambda: model.neighbours(["a"], ["a"], metric="manhattan"),
        lambda: model.neighbours(["a"], ["a"], k=0),
        lambda: model.neighbours(["a"], ["a"], n_draws=0),
        lambda: model.interpolate("a", "a", path="curly"),
        lambda: model.interpolate("a", "a", n=1),
        lambda: model.decode(torch.zeros(1, 4), batch_size=0),
    ]
    for call in wrong:
        with pytest.raises(InputError, match=r"^\w+ must be .*, got (0|1|'manhattan'|'curly')$"):
            call()
    assert model.neighbours([], ["a"]) == []
    assert model.generate(2, seed=np.int64(3)).sentences == model.generate(2, seed=3).sentences


def test_decoding_the_z_of_generation_gives_its_sentences() -> None:
    model = tiny_model()
    generated = model.generate(7, seed=2)
    assert model.decode(generated.z, DecodeSettings(), seed=2, batch_size=3) == generated.sentences
    assert model.decode(generated.z) == model.generate(7, decode="greedy", seed=2).sentences
    assert model.decode(generated.z[:0]) == []


def test_inference_says_how_far_it_is() -> None:
    done: list[int] = []
    tiny_model().infer(["a", "the cat", "a dog"], batch_size=2, on_progress=done.append)
    assert done == [2, 3]


@pytest.mark.parametrize("state", [torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)])
def test_what_the_caller_has_set_for_torch_changes_nothing(state: Callable[[], Any], tmp_path: Path) -> None:
    tiny_model(labels=("yes", "no")).save_pretrained(tmp_path / "m")

    def figures() -> list[Any]:
        model = lebm_text.LatentEBM.from_pretrained(tmp_path / "m", device="cpu")
        z = model.infer(SENTENCES)
        scores = [each and each.score for each in model.score(SENTENCES)]
        return [
            z.tolist(),
            model.log_joint(SENTENCES, z).tolist(),
            model.decode(z),
            model.generate(9).sentences,
            scores,
            model.classify(SENTENCES),
            model.interpolate(SENTENCES[0], SENTENCES[2]),
            model.neighbours(SENTENCES[:2], SENTENCES),
        ]

    plain = figures()
    with state():
        assert figures() == plain


@pytest.mark.parametrize("sentence", ["a dog\n", "<s> a dog", "a\x0bdog"])
def test_what_judges_refuse_is_refused_by_models(sentence: str) -> None:
    with pytest.raises(InputError, match="line 2 contains"):
        tiny_model().infer(["a dog", sentence])
    with pytest.raises(InputError, match="line 2 contains"):
        tiny_model().score(["a dog", sentence])


def test_latents_that_are_infinite_in_float32_are_refused() -> None:
    with pytest.raises(InputError, match="inf in float32"):
        tiny_model().decode(np.full((1, 4), 1e300))

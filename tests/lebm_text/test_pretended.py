"""What only a GPU would refuse, on a device that is pretended: no numbers, but that everything gets through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lebm_text.cuda_graphs import captured, recordings_of
from lebm_text.generation.settings import DecodeSettings
from lebm_text.inference.short_run import LangevinChain, ShortRun
from lebm_text.likelihood import partition, sentences
from lebm_text.likelihood.diagnostics import bracket, simulate
from lebm_text.likelihood.partition import log_partition
from lebm_text.likelihood.sentences import AISSettings, ais_bounds, importance_values
from lebm_text.models.classes import ClassPrior
from lebm_text.reports.scores import Scorer, ScoreSettings
from lebm_text.reports.trajectories import walk
from lebm_text.run import Run
from lebm_text.samplers import ais, importance
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.training.train import train
from lm_eval.judges import LSTMRecipe
from lm_eval.lstm_training import train_lstm

from ..lm_eval.grammar import grammar_sentences
from . import pretended
from .recording import record_on_cpu
from .tiny import tiny_model
from .toy import (
    EOS,
    LATENT,
    seeded,
    toy_batch,
    toy_config,
    toy_corpus,
    toy_generator,
    toy_prior,
    toy_transformer,
    write_text_corpus,
)

if not pretended.possible():
    pytest.skip("this torch takes no device that is written in Python, or has a GPU", allow_module_level=True)

TRAININGS: dict[str, dict[str, dict[str, Any]]] = {
    "chains": {},
    "everything dropped": {
        "inference": {"persistent": True},
        "model": {"z_dropout": 0.2, "dropout": 0.2, "word_dropout": 0.1},
    },
    "encoder, pretrained": {"inference": {"kind": "amortized", "pretrain_epochs": 1}, "model": {"prior": "gaussian"}},
    "encoder, refined": {"inference": {"kind": "semi_amortized"}},
    "local": {"inference": {"kind": "local"}},
    "from a language model": {"training": {"init": "lm", "init_epochs": 1}},
    "transformer": {
        "model": {"generator": "transformer", "embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "n_heads": 2}
    },
    "classes": {"model": {"prior": "classes"}},
    "language model": {"model": {"latent_dim": 0}},
}
SENTENCES = ["the cat sees a dog", "a big red dog likes the cat", ""]
BOUND = AISSettings(n_steps=2, n_chains=2, n_moves=2)


@pytest.fixture
def device() -> Iterator[torch.device]:
    with pretended.pretence() as device:
        yield device


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two batches of sentences, with labels."""
    directory = write_text_corpus(tmp_path_factory.mktemp("text") / "toy", n_train=16)
    for split, n in (("train", 16), ("valid", 10)):
        (directory / f"{split}.label").write_text("yes\nno\n" * (n // 2))
    return find_corpus(str(directory))


@pytest.fixture(scope="module", params=TRAININGS)
def run(request: pytest.FixtureRequest, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained on the device to its end, after an epoch in which z has a part."""
    with pretended.pretence() as device:
        config, out = toy_config(TRAININGS[request.param]), tmp_path_factory.mktemp("run") / "run"
        if not (config.training.init_epochs or config.inference.pretrain_epochs):
            config = config.merge({"training": {"n_epochs": 1}})
        return train(corpus, out=out, config=config, device=str(device))


@pytest.fixture
def brief_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps before those that are asked for."""
    monkeypatch.setattr(ais, "WARM_UP", 1)
    for module in (sentences, partition):
        monkeypatch.setattr(module, "tune", partial(ais.tune, n_pilot=2))
    monkeypatch.setattr(importance, "ASCENT", 2)
    monkeypatch.setattr(sentences, "fit_proposal", partial(importance.fit_proposal, n_steps=2))


def test_the_pretence_refuses_what_a_gpu_refuses(device: torch.device) -> None:
    here, there = torch.ones(2), torch.ones(2, device=device)
    refused: dict[str, Callable[[], object]] = {
        "add.* of tensors on the host and": lambda: here + there,
        "stack.* of tensors": lambda: torch.stack([here[0], there[0]]),
        "add_.* of tensors": lambda: here[0].add_(there[0]),
        "index.* of tensors": lambda: here[there.long()],
        "randn on cpu with a generator of pretended": lambda: torch.randn(2, generator=torch.Generator(device)),
        "randn on pretended with a generator of cpu": lambda: torch.randn(2, generator=seeded(), device=device),
        "uniform_ on pretended with a generator of cpu": lambda: there.uniform_(generator=seeded()),
        r"numpy\(\)": lambda: np.asarray(there),
    }
    for message, operation in refused.items():
        with pytest.raises(AssertionError, match=message):
            operation()
    assert there.device == there.cpu().to(device).device == torch.zeros_like(here, device=device).device == device
    assert here.copy_(there + here[0]).tolist() == there.add_(1).tolist() == [2.0, 2.0]
    assert there[[0]].device == there[torch.tensor([0])].device == there.new_tensor([1.0]).device == device
    assert isinstance(torch.Generator(), torch.Generator)


def test_a_recording_refuses_the_host(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    record_on_cpu(monkeypatch, pretended.record)
    z, one = torch.ones(2, device=device), torch.ones(())
    refused: dict[str, Callable[[Tensor], Tensor]] = {
        "mul.* within a recording, on the host": lambda z: z * one,
        "zeros.* within a recording, on the host": lambda z: z * float(torch.zeros(2)[0]),
        "_to_copy.* within a recording, on the host": lambda z: z.cpu().to(device),
        "_local_scalar_dense.* would look": lambda z: z * z[0].item(),
        "index.* would look": lambda z: z[z > 0],
        "nonzero.* would look": lambda z: z.nonzero(),
    }
    for message, function in refused.items():
        with pytest.raises(AssertionError, match=message):
            captured(function, z)
    replay = captured(lambda z: z * z, z)
    assert replay(3 * z).tolist() == [9.0, 9.0]


def test_nothing_is_left_of_it() -> None:
    generator, tensor = torch.Generator, torch.ones(2)
    with pretended.pretence() as device:
        there = tensor.to(device)
        assert torch.Generator is not generator
    assert torch.Generator is generator
    assert not torch.accelerator.is_available()
    with torch.random.fork_rng():
        torch.manual_seed(1)
    torch.autograd.backward((tensor.requires_grad_() * there.cpu()).sum())
    assert type(tensor.grad) is Tensor


def test_training_ends_and_what_came_out_is_of_use(run: Run, device: torch.device) -> None:
    assert run.progress()["finished"]
    model = run.model(device=str(device))
    assert model.device == device
    assert len(model.generate(3).sentences) == 3
    assert len(model.generate(2, temperature=0.8, top_k=3, top_p=0.9).sentences) == 2
    assert len(model.score(SENTENCES)) == len(SENTENCES)
    if not run.config.model.latent_dim:
        return
    z = model.infer(SENTENCES)
    assert z.device.type == model.log_joint(SENTENCES, z).device.type == "cpu"
    assert len(model.reconstruct(SENTENCES)) == len(model.decode(z.to(device))) == len(SENTENCES)


def test_a_stopped_training_goes_on(corpus: Corpus, tmp_path: Path, device: torch.device) -> None:
    """On the device, also where it began on the host."""
    config = toy_config(TRAININGS["everything dropped"]).merge({"training": {"n_epochs": 1}})
    for name, began in (("there", str(device)), ("here", "cpu")):
        assert train(corpus, out=tmp_path / name, config=config, device=began, max_steps=1).progress()["step"] == 1
        assert train(out=tmp_path / name, resume=True, device=str(device)).progress()["finished"]


def test_z_is_drawn_followed_decoded_and_scored(brief_fits: None, device: torch.device) -> None:
    model = tiny_model(z_dropout=0.2)
    model.model.to(device)
    ways: list[dict[str, Any]] = [{"decode": "greedy"}, {"decode": "beam", "beam_size": 2}, {"guidance": 2.0}]
    for way in (*ways, {"guidance": 1.5, "decode": "beam", "beam_size": 2}, {"prior_temperature": 0.8}):
        assert len(model.generate(3, batch_size=2, **way).sentences) == 3
    assert len(model.interpolate(SENTENCES[0], SENTENCES[1], 3)) == 3
    assert len(model.neighbours(SENTENCES[:1], SENTENCES, 2, n_draws=1)[0]) == 2
    assert len(walk(model, 2, DecodeSettings(decode="greedy"), seed=1)) == 3
    assert all(Scorer(model, ScoreSettings(n_draws=2, n_steps=3, bound=BOUND), log_z=0.5)(SENTENCES))
    labelled = tiny_model(labels=("yes", "no"))
    labelled.model.to(device)
    assert len(labelled.generate(2, label="no").sentences) == len(labelled.classify(SENTENCES[:2], n_draws=2)) == 2


@pytest.mark.parametrize("recording", [False, True])
def test_likelihoods_are_estimated(
    recording: bool, brief_fits: None, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if recording:
        record_on_cpu(monkeypatch, pretended.record)
    prior, generator = toy_prior(dtype=torch.float32).to(device), toy_generator(dtype=torch.float32).to(device)
    corpus, index = toy_corpus([3, 1]), np.arange(2)
    settings = AISSettings(n_steps=2, n_chains=2, n_moves=2, start="proposal", n_leapfrog=2)
    assert ais_bounds(prior, generator, corpus, index, settings, seed=1).log_a.value.isfinite().all()
    assert importance_values(prior, generator, corpus, index, 4, seed=1).value.isfinite().all()
    drawn = simulate(generator, prior.sample(12, seeded()), eos_id=EOS, pad_id=0, max_length=9, seed=1)
    bracket(prior, generator, drawn, BOUND, seed=1)
    few: dict[str, Any] = {"n_steps": 2, "n_chains": 4, "n_draws": 64, "n_moves": 2, "n_long": 2}
    log_z, _ = log_partition(prior.neg_energy, torch.zeros(LATENT, device=device), rng=seeded(), **few)
    assert np.isfinite(log_z.forward.value)


@pytest.mark.parametrize("shortlist", [4, None])
def test_the_lstm_judge_learns(
    shortlist: int | None, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By recorded updates."""
    record_on_cpu(monkeypatch, pretended.record)
    recipe = LSTMRecipe("brief", 8, 8, shortlist=shortlist, max_epochs=2, min_updates=2)
    text = grammar_sentences(30, 1)
    types = sorted({word for sentence in text for word in sentence.split()})
    judge = train_lstm(
        text, text[:5], types, recipe=recipe, seed=1, precision="fp32", device=str(device), cache=tmp_path
    )
    assert np.isfinite(judge.score(text[:5]).nll).all()


@pytest.mark.parametrize("build", [toy_generator, toy_transformer], ids=["lstm", "transformer"])
def test_chains_are_recorded(build: Any, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    record_on_cpu(monkeypatch, pretended.record)
    prior, generator = toy_prior(dtype=torch.float32).to(device), build(dtype=torch.float32).to(device)
    for lengths in ([4, 3, 2], [3, 3, 1]):
        ShortRun(3, 0.3)(toy_batch(lengths).to(device), prior, generator, rng=seeded(1))
        assert prior.sample(4, seeded(1)).device == device
    assert len(recordings_of(generator).kept) == len(recordings_of(prior).kept) == 1


def test_gradients_of_one_batch_are_recorded(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """For sentences with labels, and for chains that somebody looks at."""
    record_on_cpu(monkeypatch, pretended.record)
    chain, generator = LangevinChain(4, 0.4), toy_generator(dtype=torch.float32).to(device)
    prior = ClassPrior(LATENT, labels=("a", "b"), hidden_dim=5, chain=chain, rng=seeded()).to(device)
    given, seen = prior.given(torch.tensor([0, 1, -1])), []
    ShortRun(4, 0.3)(toy_batch([4, 3, 2]).to(device), given, generator, rng=seeded(1))
    given.sample(3, seeded(1))
    start = torch.zeros(3, LATENT, device=device)
    chain.run(prior.logdensity, start, rng=seeded(1), callback=lambda *step: seen.append(step))
    assert len(seen) == 4


def test_a_pretrained_decoder_is_told_z(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from .models import test_pretrained as decoders  # which skips where there is no transformers

    tokenizer, generator = decoders._generator(decoders.write_decoder(tmp_path / "gpt2"))
    with pretended.pretence() as device:
        prior, batch = toy_prior(dtype=torch.float32).to(device), decoders._batch(tokenizer).to(device)
        generator.to(device)
        torch.autograd.backward(generator.log_likelihood(batch, torch.ones(3, LATENT, device=device)).sum())
        generator.initialise(torch.Generator(device))
        begin = torch.full((3,), tokenizer.bos_id, device=device)
        generator.step(begin, generator.start(torch.ones(3, LATENT, device=device)))
        record_on_cpu(monkeypatch, pretended.record)
        assert ShortRun(4, 0.3)(batch, prior, generator, rng=seeded(1)).z.device == device


def test_training_with_recordings_ends(
    corpus: Corpus, tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_on_cpu(monkeypatch, pretended.record)
    config = toy_config({"training": {"n_epochs": 1}})
    run = train(corpus, out=tmp_path / "run", config=config, device=str(device))
    assert run.progress()["finished"]
    model = run.model(device=str(device))
    assert len(model.generate(2).sentences) == len(model.infer(SENTENCES[:2])) == 2

"""The same code on every device: what the CPU computes is the reference."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lebm_text import cuda_graphs
from lebm_text.config import Config
from lebm_text.cuda_graphs import Replay, captured, recordings_of
from lebm_text.generation.settings import DecodeSettings
from lebm_text.inference.short_run import ShortRun
from lebm_text.likelihood.sentences import AISSettings
from lebm_text.model import LatentEBM
from lebm_text.models import lstm
from lebm_text.models.lstm import library_runs
from lebm_text.reports.scores import Scorer, ScoreSettings
from lebm_text.reports.trajectories import walk
from lebm_text.samplers.langevin import gradient
from lebm_text.training.train import train
from lebm_text.training.trainer import Trainer
from lm_eval.judges import LSTMRecipe
from lm_eval.lstm import LSTMNetwork, OutputVocabulary
from lm_eval.lstm_training import adam, train_lstm, update
from lm_eval.perplexity import perplexity

from ..lm_eval.grammar import grammar_sentences
from .tiny import tiny_model
from .toy import (
    gap,
    normal,
    seeded,
    text_corpus,
    toy_batch,
    toy_config,
    toy_generator,
    toy_model,
    toy_prior,
    toy_transformer,
)

DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]
on_each_device = pytest.mark.parametrize("device", DEVICES)
WIDE = partial(toy_generator, hidden_dim=lstm.SMALL_WIDTH + 8, init_range=0.25)  # recorded as a block, not packed


@on_each_device
def test_likelihood_and_its_gradients_are_those_of_the_cpu(device: str) -> None:
    z = normal(3, 3, seed=5)
    found = []
    for place in ("cpu", device):
        generator, batch = toy_generator().to(place), toy_batch([6, 4, 1]).to(torch.device(place))
        assert generator.device == batch.tokens.device
        at = z.to(place).requires_grad_()
        value = generator.log_likelihood(batch, at)
        grads = torch.autograd.grad(value.sum(), [at, *generator.parameters()])
        fast = generator.likelihood(batch)(z.to(place))
        found.append([value, fast, *grads])
    assert max(gap(a.cpu(), b.cpu()) for a, b in zip(*found, strict=True)) < 1e-10


@on_each_device
@pytest.mark.parametrize(
    ("dtype", "compute", "tolerance"),
    [
        pytest.param(torch.float64, torch.float64, 1e-9, id="float64"),
        pytest.param(torch.float32, torch.float32, 1e-4, id="float32"),
        pytest.param(torch.float32, torch.bfloat16, 0.1, id="bf16"),
    ],
)
def test_both_ways_through_the_lstm_give_one_likelihood(
    device: str, dtype: torch.dtype, compute: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scan and library, ∇z step by step and from a recording: four ways to the same numbers.

    On CUDA float32 may be TF32 in the library, 10 bits instead of 24, which is why it is not chosen there.
    """
    if device == "cuda" and dtype == compute == torch.float32 and not library_runs(torch.device(device), dtype):
        tolerance = 0.05
    z = normal(4, 3, seed=5).to(device, dtype)
    values, gradients = [], []
    for library in (False, True):
        monkeypatch.setattr(lstm, "library_runs", lambda device, dtype, chosen=library: chosen)
        generator = toy_generator(dtype=dtype, compute_dtype=compute).to(device)
        likelihood = generator.likelihood(toy_batch([6, 4, 4, 1]).to(torch.device(device)))
        slope = partial(gradient, likelihood)
        values += [likelihood(z), likelihood(z.expand(2, -1, -1))[1]]
        gradients += [slope(z), captured(slope, torch.zeros_like(z))(z)]
    for found, wanted in ((values, values[0]), (gradients, gradients[0])):
        assert max(gap(one, wanted) for one in found) < tolerance * float(wanted.abs().max())


@pytest.mark.gpu
@pytest.mark.parametrize("compute", [torch.float64, torch.bfloat16])
def test_a_gpu_runs_the_library_in_a_recording(compute: torch.dtype) -> None:
    place, dtype = torch.device("cuda"), torch.float64 if compute == torch.float64 else torch.float32
    assert library_runs(place, compute)
    likelihood = toy_generator(dtype=dtype, compute_dtype=compute).to(place).likelihood(toy_batch([5, 2]).to(place))
    record = captured(partial(gradient, likelihood), torch.zeros(2, 3, device=place, dtype=dtype))
    assert isinstance(record, Replay)  # the warning of a failed recording would be an error here


@on_each_device
def test_a_posterior_chain_draws_the_same_noise_everywhere(device: str) -> None:
    infer = ShortRun(n_steps=5, step_size=0.3)
    ends = [
        infer(
            toy_batch([5, 3]).to(torch.device(place)),
            toy_prior(dtype=torch.float32).to(place),
            toy_generator(dtype=torch.float32).to(place),
            rng=seeded(3),
        ).z
        for place in ("cpu", device)
    ]
    assert gap(ends[0], ends[1].cpu()) < 1e-4


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("build", "compute"),
    [
        pytest.param(toy_generator, torch.float64, id="float64"),
        pytest.param(toy_generator, torch.float32, id="float32"),
        pytest.param(toy_generator, torch.bfloat16, id="bf16"),
        pytest.param(WIDE, torch.bfloat16, id="bf16-wide"),
        pytest.param(partial(toy_transformer, init_range=0.3), torch.bfloat16, id="bf16-transformer"),
    ],
)
def test_a_gpu_keeps_a_recording_for_each_shape(
    build: Any, compute: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both chains; they end where the packed, unrecorded ones do, also after the weights have moved.

    Not nearer than float32, in which the noise of a recorded chain is scaled.
    """
    place, dtype = torch.device("cuda"), torch.float64 if compute == torch.float64 else torch.float32
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.05}[compute]
    prior = toy_prior(dtype=dtype).to(place)
    generator = build(dtype=dtype, compute_dtype=compute).to(place)
    infer = ShortRun(6, 0.3, 0.9, 2.0, memory=normal(9, 3).to(dtype))
    ends: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for factor in (1.0, 1.1):
        with torch.no_grad():
            for parameter in (*prior.parameters(), *generator.parameters()):
                parameter.mul_(factor)
        for lengths in ([7, 4, 4, 1], [3, 2, 1, 1], [6, 5, 1, 1]):
            batch, start = toy_batch(lengths).to(place), normal(4, 3).to(place, dtype)
            for records in ends:
                monkeypatch.setattr(cuda_graphs, "applies", lambda device, records=records: records)
                chains = replace(infer, memory=normal(9, 3).to(dtype))
                ends[records].append(chains(batch, prior, generator, rng=seeded(3)).z)
                assert prior.chain is not None
                ends[records].append(prior.chain.run(prior.logdensity, start, rng=seeded(4)))
    assert max(gap(one, other) for one, other in zip(*ends.values(), strict=True)) < tolerance
    assert len(recordings_of(generator).kept) == 2 and len(recordings_of(prior).kept) == 1
    assert not recordings_of(generator).failed and not recordings_of(prior).failed


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("latent_dim", [3, 0])
def test_an_update_on_a_gpu_waits_for_nothing(latent_dim: int) -> None:
    """Once its shapes are recorded. The memory that is reserved does not grow with updates."""
    changes: dict[str, Any] = {"model": {"dropout": 0.3, "latent_dim": latent_dim}, "training": {"precision": "bf16"}}
    if latent_dim == 0:
        changes |= {"inference": {"kind": "no_latent"}}
        changes["model"] |= {"prior": "gaussian"}
    config = (toy_config() if latent_dim else Config()).merge(changes)
    model = toy_model(config).to("cuda")
    trainer = Trainer(model, config, n_sentences=5, mean_batch_size=5)
    place, reserved = torch.device("cuda"), []
    try:
        for step in range(1, 12):
            torch.cuda.set_sync_debug_mode("error" if step > 2 else "default")
            trainer.update(toy_batch([7, 5, 5, 2, 1]).to(place), epoch=0.0, step=step)
            reserved.append(torch.cuda.memory_reserved())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.monitor.flush()["nll_token"] > 0
    assert reserved[-1] == reserved[4]


@pytest.mark.gpu
@pytest.mark.parametrize("width", [16, lstm.SMALL_WIDTH + 8])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_an_update_of_the_judge_on_a_gpu_is_recorded_and_waits_for_nothing(width: int) -> None:
    """Once its shape is recorded."""
    recipe = LSTMRecipe("tiny", width, width, shortlist=4, input_dropout=0.1, output_dropout=0.1)
    types = OutputVocabulary([f"w{i}" for i in range(12)])
    network = LSTMNetwork(len(types), recipe, "bf16", rng=seeded(1)).to("cuda")
    batch, optimizer = types.encode(["w0 w3 w11", "w1 w9"]).batch(np.arange(2)), adam(network, 1e-3)
    rng = torch.Generator("cuda").manual_seed(1)
    try:
        for step in range(5):
            torch.cuda.set_sync_debug_mode("error" if step > 2 else "default")
            nll = update(network, optimizer, batch, 7.0, rng=rng)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(nll) > 0
    assert len(recordings_of(network).kept) == 1 and not recordings_of(network).failed


@on_each_device
def test_scores_bounds_and_trajectories_are_those_of_the_cpu(device: str) -> None:
    """Few steps from the same numbers: longer chains would part by rounding."""
    scores, paths = [], []
    settings = ScoreSettings(n_draws=2, n_steps=3, bound=AISSettings(n_steps=3, n_chains=2, n_moves=4))
    for place in ("cpu", device):
        model = tiny_model()
        model.model.to(place)
        assert model.device.type == place
        found = [one for one in Scorer(model, settings, log_z=0.5)(["the cat sees a dog", "a", "é dog"]) if one]
        scores.append([(one.log_likelihood, one.log_prior, one.log_p_lower) for one in found])
        paths.append(walk(model, 4, DecodeSettings(decode="greedy"), seed=1))
    assert len(scores[0]) == 3
    for one, other in zip(*scores, strict=True):
        assert one == pytest.approx(other, abs=2e-3)
    for here, there in zip(*paths, strict=True):
        assert here.text == there.text
        assert here.f == pytest.approx(there.f, abs=1e-3)


@on_each_device
def test_the_lstm_judge_reads_alike_everywhere(device: str) -> None:
    """From the same weights and in the same order; without dropout, whose masks the device draws."""
    train, valid, read = (grammar_sentences(n, seed) for seed, n in enumerate((100, 20, 20)))
    without: dict[str, Any] = {"shortlist": None, "input_dropout": 0.0, "output_dropout": 0.0}
    recipe = LSTMRecipe("brief", 16, 16, max_epochs=1, min_updates=5, **without)
    types = sorted({word for sentence in train for word in sentence.split()})
    perplexities = []
    for place in ("cpu", device):
        judge = train_lstm(train, valid, types, recipe=recipe, seed=1, precision="fp32", device=place)
        perplexities.append(perplexity(judge.score(read)).ppl)
    assert perplexities[1] == pytest.approx(perplexities[0], rel=0.02)


@on_each_device
def test_train_generate_and_reconstruct(device: str, tmp_path: Path) -> None:
    corpus = text_corpus(tmp_path / "toy", n_train=24)
    out = tmp_path / "run"
    assert train(corpus, out=out, config=toy_config(), device=device).progress()["finished"]
    model = LatentEBM.from_pretrained(out, device=device)
    assert model.device.type == device
    assert len(model.generate(5).sentences) == 5
    assert len(model.reconstruct(["the cat sees a dog"])) == 1

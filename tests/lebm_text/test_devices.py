"""The same code on every device: what the CPU computes is the reference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lebm_text.devices import resolve_device
from lebm_text.errors import InputError
from lebm_text.inference.short_run import ShortRun
from lebm_text.model import LatentEBM
from lebm_text.training.run import train

from .toy import gap, normal, seeded, text_corpus, toy_batch, toy_config, toy_generator, toy_prior

DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]
on_each_device = pytest.mark.parametrize("device", DEVICES)


def test_auto_is_a_device_that_is_there() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["tpu9", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no such device"):
        resolve_device(name)


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cpu"):
        resolve_device("cuda")


@on_each_device
def test_likelihood_and_its_gradients_are_those_of_the_cpu(device: str) -> None:
    z = normal(3, 3, seed=5)
    found = []
    for place in ("cpu", device):
        generator, batch = toy_generator().to(place), toy_batch([6, 4, 1]).to(torch.device(place))
        at = z.to(place).requires_grad_()
        value = generator.log_likelihood(batch, at)
        grads = torch.autograd.grad(value.sum(), [at, *generator.parameters()])
        fast = generator.likelihood(batch)(z.to(place))
        found.append([value, fast, *grads])
    assert max(gap(a.cpu(), b.cpu()) for a, b in zip(*found, strict=True)) < 1e-10


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


@on_each_device
def test_train_generate_and_reconstruct(device: str, tmp_path: Path) -> None:
    corpus = text_corpus(tmp_path / "toy", n_train=24)
    out = tmp_path / "run"
    summary = train(toy_config(), corpus, out, device=device, on_event=lambda event: None)
    assert summary.reason == "finished"
    model = LatentEBM.from_pretrained(out, device=device)
    assert model.device.type == device
    assert len(model.generate(5).sentences) == 5
    assert len(model.reconstruct(["the cat sees a dog"])) == 1

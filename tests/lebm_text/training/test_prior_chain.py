"""The prior chain's step while f is learned: halved where it is too long, and known to whoever reads the weights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lebm_text.build import build_inference, prior_chain
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.models.base import LogDensity
from lebm_text.random import Rng, stream
from lebm_text.training import trainer
from lebm_text.training.train import train
from lebm_text.weights import load_weights, save_weights

from ..toy import gap, text_corpus, toy_batch, toy_config, toy_trainer

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "learning_a_density.py"


@pytest.mark.slow
@pytest.mark.usefixtures("whole_measurements")
def test_a_mixture_is_fitted_and_kept_where_a_fixed_step_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL(data‖p_α) on a grid, 150 fast updates; the monitor's figure tells the two apart."""
    spec = importlib.util.spec_from_file_location("learning_a_density", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "learning_a_density", example)
    spec.loader.exec_module(example)
    (_, _, fixed, lost_gap), (_, _, halved, kept_gap) = (
        next(example.learn(150, 1e-2, range(150, 151), halve=halve)) for halve in (False, True)
    )
    assert halved < 0.32 < 0.5 < fixed
    assert abs(kept_gap) < 0.3 < 0.5 < abs(lost_gap)


@pytest.mark.parametrize(("curvature", "halvings"), [(3.9, 0), (4.1, 1)])
def test_a_step_is_too_long_from_a_quarter_of_the_way_to_instability_where_its_chains_end(
    curvature: float, halvings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At s = 1/2, curvature × s²/4 is 1/4 for a curvature of 4; it is that of the prior at z⁻."""
    config, batch, looked = toy_config(), toy_batch([6, 4, 4, 1]), list[Tensor]()
    learner, twin = toy_trainer(config), toy_trainer(config)

    def largest(logdensity: LogDensity, z: Tensor, *, rng: Rng) -> Tensor:
        assert gap(logdensity(z), learner.model.prior.logdensity(z)) == 0
        looked.append(z)
        return torch.tensor(curvature)

    monkeypatch.setattr(trainer, "largest_curvature", largest)
    noise = stream(config.training.seed, "chains")
    build_inference(config.inference, epoch=0.0)(batch, twin.model.prior, twin.model.generator, rng=noise)
    learner.update(batch, epoch=0.0, step=trainer.CHECK_EVERY)
    assert [gap(z, twin.model.prior.sample(4, noise)) for z in looked] == [0]
    assert learner.halvings == halvings


def test_weights_know_the_prior_chain_that_training_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that always counts as too long: a run goes on alike after a stop, and its readers have the last chain."""
    monkeypatch.setattr(trainer, "CHECK_EVERY", 4)
    monkeypatch.setattr(trainer, "LONG_STEP", 0.0)
    corpus, config = text_corpus(tmp_path / "text"), toy_config({"training": {"select": "last"}})
    whole = train(corpus, config=config, out=tmp_path / "whole", device="cpu")
    train(corpus, config=config, out=tmp_path / "parts", device="cpu", max_steps=5)
    parts = train(out=tmp_path / "parts", device="cpu", resume=True)
    assert parts.weights_sha256 == whole.weights_sha256
    finer = config.prior.finer(2)
    reports = [record for record in whole.metrics() if "nll_token" in record]
    assert "prior_n_steps" not in reports[0]
    assert reports[-1]["prior_n_steps"] == finer.n_steps
    model = LatentEBM.from_pretrained(whole.path, device="cpu")
    assert model.config.prior == finer
    assert model.model.prior.chain == prior_chain(finer)
    assert f"ebm-langevin({finer.n_steps}x{finer.step_size:g})" in model.generate(2).signature
    model.save_pretrained(tmp_path / "saved")
    assert LatentEBM.from_pretrained(tmp_path / "saved", device="cpu").config.prior == finer
    weights, metadata = load_weights(whole.weights_file)
    for odd in (-1, 5, "2", 1.5):
        save_weights(whole.weights_file, weights, metadata | {"prior_step_halvings": odd})
        with pytest.raises(InputError, match="halvings"):
            LatentEBM.from_pretrained(whole.path, device="cpu")

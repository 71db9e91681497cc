"""One contract over all priors and ways of inference: they train, resume, generate, reconstruct and score alike."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.presets import PRESETS, preset
from lebm_text.store import sha256_file
from lebm_text.text.corpora import Corpus
from lebm_text.training.train import train

from .tiny import log_likelihoods
from .toy import gap, metrics_of, text_corpus

LATENT = 3
SENTENCES = ["the cat sees a dog", "", "a dog"]

# The models that the field compares, as presets, and the corners that no preset has.
CASES: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    **{name: (name, {}) for name in PRESETS if name not in ("paper", "demo")},
    "persistent": ("quick", {"inference": {"persistent": True}}),
    "persistent gaussian": ("gaussian", {"inference": {"persistent": True}}),
    "free bits of the sum": ("vae", {"inference": {"free_bits": 2.0, "free_bits_kind": "total"}}),
    "pretrained encoder, energy": ("avae", {"inference": {"pretrain_epochs": 1, "free_bits": 2.0}}),
    "refined encoder, energy": (
        "avae",
        {"inference": {"kind": "semi_amortized", "n_steps": 2, "step_size": [0.3, 0.2], "pretrain_epochs": 1}},
    ),
    "autoencoder": ("vae", {"inference": {"kl_weight": 0.0, "kl_weight_start": None}}),
    "local gaussian": ("local", {"model": {"prior": "gaussian"}, "inference": {"n_steps": 3, "kl_weight_start": 0.1}}),
    "classes": ("quick", {"model": {"prior": "classes"}, "prior": {"labels": ["no", "yes"]}}),
    "some labels, encoder": (
        "avae",
        {"model": {"prior": "classes"}, "prior": {"labels": ["no", "yes"], "label_share": 0.5}},
    ),
    "tied language model": ("lm", {"model": {"tied": True}}),
    "transformer language model": ("lm", {"model": {"generator": "transformer", "n_heads": 1}}),
}


def case(name: str) -> Config:
    """Its configuration in a toy's sizes: two epochs of three updates, an autoencoder's epoch included."""
    base, changes = CASES[name]
    config = preset(base).merge(changes)
    sizes = {"embedding_dim": 6, "hidden_dim": 6, "init_range": 0.5, "dropout": 0.3}
    if config.model.generator == "transformer":
        sizes["n_heads"] = 3
    if config.model.latent_dim:
        sizes["latent_dim"] = LATENT
    training = {
        "n_epochs": 2,
        "batch_size": 8,
        "batch_tokens": 1000,
        "precision": "fp32",
        "n_threads": 1,
        "report_every": 1,
        "validation_sentences": 6,
    }
    if config.inference.pretrain_epochs:
        config = config.merge({"inference": {"pretrain_epochs": 1}})
    return config.merge({"text": {"max_length": 10}, "model": sizes, "training": training})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three batches of sentences, with labels."""
    found = text_corpus(tmp_path_factory.mktemp("text") / "toy", n_train=24)
    for split in found.splits.values():
        split.path.with_suffix(".label").write_text(
            "no\nyes\n" * (split.n_sentences // 2) + "yes\n" * (split.n_sentences % 2)
        )
    return found


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A finished run of each."""
    out = tmp_path_factory.mktemp("runs") / "run"
    progress = train(corpus, out=out, config=case(request.param), device="cpu").progress()
    assert (progress["finished"], progress["step"]) == (True, 6)
    return request.param, out


def test_figures_are_finite_and_the_right_ones(run: tuple[str, Path]) -> None:
    name, out = run
    config, records = case(name), metrics_of(out)
    assert all(math.isfinite(value) for record in records for value in record.values())
    reports, validations = ([r for r in records if key in r] for key in ("nll_token", "valid_" + _first(config)))
    assert (len(reports), len(validations)) == (6, 2)
    found = set().union(*records)
    has_z, encoder = config.model.latent_dim > 0, "amortized" in config.inference.kind
    density = encoder or config.inference.kind == "local"
    learned, chain = config.model.prior != "gaussian", config.inference.kind == "short_run"
    assert ("valid_ppl" in found) == (not has_z)
    assert ({"valid_ppl_posterior", "valid_ppl_prior", "gap", "std_ratio", "nll_shuffled"} <= found) == has_z
    assert ({"kl", "kl_weight", "valid_kl"} <= found) == density
    assert ("grad_encoder" in found) == encoder
    assert ("valid_ppl_bound" in found) == (density and not learned)
    assert ({"likelihood_weight", "noise_scale", "move_positive", "curvature_posterior"} <= found) == chain
    assert ("grad_prior" in found) == learned
    assert ("valid_accuracy" in found) == (config.model.prior == "classes")
    assert ("curvature_prior" in found) == learned
    assert ("curvature" in found) == (chain or learned)
    if not has_z:
        assert found == {"step", "epoch", "nll_token", "grad_generator", "valid_nll", "valid_ppl", "uniform_ppl"}


def _first(config: Config) -> str:
    return "ppl_posterior" if config.model.latent_dim else "ppl"


# Of the models that keep the same things between updates, one.
RESUMED = (
    "quick", "transformer", "lm", "local", "fbvae", "persistent", "refined encoder, energy", "some labels, encoder",
)  # fmt: skip


@pytest.mark.parametrize("run", RESUMED, indirect=True)
def test_resumed_it_is_the_uninterrupted_run(run: tuple[str, Path], corpus: Corpus, tmp_path: Path) -> None:
    """Stopped within an epoch, at its end and after the first update of the next."""
    name, out = run
    train(corpus, out=tmp_path / "run", config=case(name), device="cpu", max_steps=2)
    for step in (3, 4, 6):
        train(out=tmp_path / "run", resume=True, device="cpu", max_steps=step)
    assert sha256_file(tmp_path / "run" / "model.safetensors") == sha256_file(out / "model.safetensors")
    assert metrics_of(tmp_path / "run") == metrics_of(out)


def test_training_moves_all_that_is_learned(run: tuple[str, Path], corpus: Corpus, tmp_path: Path) -> None:
    name, out = run
    slow = case(name).merge({"training": {"learning_rate": 1e-30}})
    if slow.model.prior != "gaussian":
        slow = slow.merge({"training": {"prior_learning_rate": 0.0}})
    train(corpus, out=tmp_path / "slow", config=slow, device="cpu", max_steps=1)
    after = LatentEBM.from_pretrained(out, device="cpu").model.state_dict()
    before = LatentEBM.from_pretrained(tmp_path / "slow", device="cpu").model.state_dict()
    moved = {key for key in before if not torch.allclose(before[key], after[key], atol=1e-6)}
    # The last bias of f drops out of its loss.
    assert {key for key in before if before[key].numel()} - moved <= {"prior.layers.2.bias"}


def test_generation(run: tuple[str, Path]) -> None:
    name, out = run
    model = LatentEBM.from_pretrained(out, device="cpu")
    found = model.generate(12, seed=3)
    assert len(found.sentences) == 12
    assert len(set(found.sentences)) > 3
    assert found.z.shape == (12, case(name).model.latent_dim)
    assert model.generate(12, seed=3, batch_size=5).sentences == found.sentences
    wanted = {
        "lm": "|prior:none|seed:",
        "vae": "|prior:gaussian|posterior:amortized|seed:",
        "local gaussian": "|posterior:local|seed:",
    }
    assert wanted.get(name, "|prior:") in found.signature


def test_inference_and_reconstruction(run: tuple[str, Path]) -> None:
    name, out = run
    model = LatentEBM.from_pretrained(out, device="cpu")
    if not case(name).model.latent_dim:
        for method in (model.infer, model.reconstruct):
            with pytest.raises(InputError, match=r"language model .* no latent space") as error:
                method(SENTENCES)
            assert "\n" not in str(error.value)
        return
    z = model.infer(SENTENCES, seed=2)
    assert z.shape == (3, LATENT)
    assert not z.requires_grad
    assert torch.allclose(model.infer(SENTENCES, seed=2, batch_size=1), z, atol=1e-5)
    assert torch.equal(model.infer(SENTENCES[:1], seed=2), model.infer(SENTENCES[:1], seed=2))
    assert not torch.isclose(model.infer(SENTENCES, seed=3), z).any()
    assert len(model.reconstruct(SENTENCES)) == 3


def test_joint_density(run: tuple[str, Path]) -> None:
    """With D = 0, the language model's log-likelihood, word by word."""
    name, out = run
    model = LatentEBM.from_pretrained(out, device="cpu")
    z = torch.randn(3, case(name).model.latent_dim, generator=torch.Generator().manual_seed(0))
    found = model.log_joint(SENTENCES, z)
    assert gap(found, log_likelihoods(model, SENTENCES, z) + model.model.prior.logdensity(z)) < 1e-4


def test_saved_and_loaded_it_is_the_same(run: tuple[str, Path], tmp_path: Path) -> None:
    name, out = run
    model = LatentEBM.from_pretrained(out, device="cpu")
    assert model.config == case(name)
    model.save_pretrained(tmp_path)
    assert sha256_file(tmp_path / "model.safetensors") == sha256_file(out / "model.safetensors")
    assert LatentEBM.from_pretrained(tmp_path, device="cpu").generate(5).sentences == model.generate(5).sentences

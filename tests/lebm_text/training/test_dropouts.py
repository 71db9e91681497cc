"""Dropout of z and of words: what an update is told, who knows, and the language model that is trained along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lebm_text.build import LatentModel, build_inference, build_model
from lebm_text.errors import InputError
from lebm_text.models.base import null_latent
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.modules import drop_words
from lebm_text.models.transformer import TransformerGenerator
from lebm_text.random import stream
from lebm_text.run import Run
from lebm_text.store import sha256_file
from lebm_text.text.corpora import Corpus
from lebm_text.training.data import prepare_text
from lebm_text.training.start import FirstWeights
from lebm_text.training.train import train
from lebm_text.training.trainer import Trainer, generator_loss

from ..toy import BOS, LATENT, VOCABULARY, gap, normal, seeded, toy_batch, toy_config, toy_trainer

MEAN = 5.5
UNK = 1
BATCH = toy_batch([6, 5, 5, 4, 4, 3, 2, 1])


def _trainer(rate: float, changes: dict[str, dict[str, Any]] | None = None) -> Trainer:
    config = toy_config({"model": {"dropout": 0.0, "z_dropout": rate}}).merge(changes or {})
    return toy_trainer(config, mean_batch_size=MEAN)


def _told(step: int, rate: float, n: int = len(BATCH.lengths)) -> Tensor:
    return torch.rand(n, 1, generator=stream(1, f"dropout of z {step}")) >= rate


@pytest.mark.parametrize("inference", [{"kind": "short_run"}, {"kind": "amortized", "kl_weight": 0.7}])
def test_an_update_is_told_the_null_vector_in_some_sentences(inference: dict[str, Any]) -> None:
    """Likelihood and gradients once more; a sentence whose z is hidden costs no KL, which nothing would answer."""
    trainer, twin = (_trainer(0.5, {"inference": inference}) for _ in range(2))
    model, told = twin.model, _told(1, 0.5)
    assert 0 < int(told.sum()) < len(told)
    with torch.no_grad():
        for each in (trainer, twin):
            null_latent(each.model.generator).fill_(0.3)
    infer = build_inference(twin.config.inference, epoch=0.7, encoder=model.encoder)
    positive = infer(BATCH, model.prior, model.generator, rng=twin.noise)
    z = torch.where(told, positive.z, torch.full((LATENT,), 0.3))
    log_likelihood = model.generator.log_likelihood(BATCH, z)
    penalty = infer.penalty(positive, model.prior)
    loss = generator_loss(log_likelihood, MEAN, penalty * told.squeeze(1))
    trainer.update(BATCH, epoch=0.7, step=1)
    figures = trainer.monitor.flush()
    assert figures["nll_token"] == pytest.approx(-float(log_likelihood.sum().detach()) / BATCH.n_tokens, rel=1e-5)
    for name in ["generator"] if model.encoder is None else ["generator", "encoder"]:
        module = model.get_submodule(name)
        wanted = [p for key, p in module.named_parameters() if key != "null_latent"]
        gradients = torch.autograd.grad(loss, wanted, retain_graph=True)
        # The null vector is z's value here, a constant: its own gradient is the sum over the hidden rows.
        norm = torch.stack([g.square().sum() for g in gradients]).sum()
        if name == "generator":
            of_z = _of_z(model, z)
            norm = norm + (of_z * ~told).sum(0).square().sum()
        assert figures[f"grad_{name}"] == pytest.approx(float(norm.sqrt()), rel=1e-4)
    moved = null_latent(trainer.model.generator).detach() - 0.3
    assert float(moved.abs().max()) == pytest.approx(0.01, rel=1e-2)  # Adam's first step


def _of_z(model: LatentModel, z: Tensor) -> Tensor:
    """Of the generator's loss."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(generator_loss(model.generator.log_likelihood(BATCH, z), MEAN), z)[0]


def test_the_share_is_the_rate_and_each_update_hides_others() -> None:
    """Over 300 updates of 8 sentences the share is within 4.5 standard errors."""
    rate, seen, trainer = 0.3, [], _trainer(0.3)
    share = trainer.processes.share(BATCH)
    for step in range(300):
        z, told = trainer._drop_latents(torch.ones(8, LATENT), share, step)
        assert isinstance(told, Tensor)
        assert torch.equal(z == 1, told.unsqueeze(1).expand(-1, LATENT))
        seen.append(told)
    hidden = 1 - torch.stack(seen).float().mean()
    assert abs(float(hidden) - rate) < 4.5 * (rate * (1 - rate) / 2400) ** 0.5
    assert len({tuple(told.tolist()) for told in seen}) > 100


def test_without_it_nothing_is_there() -> None:
    plain, dropped = _trainer(0.0).model, _trainer(0.2).model
    assert set(dropped.state_dict()) - set(plain.state_dict()) == {"generator.null_latent"}
    assert plain.generator.null_latent is None  # type: ignore[attr-defined]
    assert null_latent(plain.generator).tolist() == null_latent(dropped.generator).tolist() == [0.0] * LATENT
    same = plain.state_dict()
    assert all(torch.equal(same[name], value) for name, value in dropped.state_dict().items() if name in same)


BOTH = {"model": {"dropout": 0.3, "z_dropout": 0.3, "word_dropout": 0.3}}


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"n_epochs": 3, "init": "lm", "init_epochs": 1}},
        {"inference": {"kind": "amortized", "pretrain_epochs": 1}},
        {"model": {"generator": "transformer", "embedding_dim": 8, "hidden_dim": 8, "n_heads": 2}},
    ],
)
def test_runs_go_on_exactly_and_their_language_model_is_measured(
    corpus: Corpus, tmp_path: Path, changes: dict[str, dict[str, Any]]
) -> None:
    config = toy_config(BOTH).merge(changes)
    whole = train(corpus, out=tmp_path / "whole", config=config, device="cpu")
    train(corpus, out=tmp_path / "run", config=config, device="cpu", max_steps=1)
    train(out=tmp_path / "run", resume=True, device="cpu", max_steps=3)
    train(out=tmp_path / "run", resume=True, device="cpu")
    assert sha256_file(tmp_path / "run" / "model.safetensors") == whole.weights_sha256
    model = whole.model(device="cpu")
    null = null_latent(model.model.generator).detach()
    assert float(null.abs().max()) > 0
    record = [record for record in whole.metrics() if "valid_nll_null" in record][-1]
    valid = prepare_text(corpus, config.text, whole.tokenizer, config.training.validation_sentences).valid_sentences
    z = null.expand(len(valid), -1)
    joint = model.log_joint(valid, z) - model.model.prior.logdensity(z)
    n_tokens = sum(len(whole.tokenizer.encode(line)) + 1 for line in valid)
    assert record["valid_nll_null"] == pytest.approx(-float(joint.sum()) / n_tokens, rel=1e-4)
    assert not {"valid_ppl_null"} & {key for r in _plain(corpus, tmp_path).metrics() for key in r}


def _plain(corpus: Corpus, tmp_path: Path) -> Run:
    return train(corpus, out=tmp_path / "plain", config=toy_config(), device="cpu")


def test_epochs_as_a_language_model_use_and_teach_the_null_vector() -> None:
    trainer = _trainer(0.3, {"training": {"init": "lm", "init_epochs": 1}})
    null = null_latent(trainer.model.generator)
    with torch.no_grad():
        null.fill_(0.5)
        wanted = trainer.model.generator.log_likelihood(BATCH, torch.full((8, LATENT), 0.5)).sum()
    trainer.update(BATCH, epoch=0.5, step=1)
    assert trainer.monitor.flush()["nll_token"] == pytest.approx(-float(wanted) / BATCH.n_tokens, rel=1e-5)
    assert float((null.detach() - 0.5).abs().max()) == pytest.approx(0.01, rel=1e-2)


def test_a_new_generator_after_pretraining_has_a_new_null_vector() -> None:
    trainer = _trainer(0.3, {"inference": {"kind": "amortized", "pretrain_epochs": 1}})
    with torch.no_grad():
        null_latent(trainer.model.generator).fill_(0.5)
    trainer._end_pretraining()
    assert null_latent(trainer.model.generator).tolist() == [0.0] * LATENT


@pytest.mark.parametrize(("theirs", "ours"), [(0.3, 0.3), (0.0, 0.3), (0.3, 0.0)])
def test_a_null_vector_is_taken_where_both_have_one(theirs: float, ours: float) -> None:
    given, generator = _trainer(theirs).model.generator, _trainer(ours).model.generator
    assert isinstance(given, LSTMGenerator)
    with torch.no_grad():
        for parameter in given.parameters():
            parameter.fill_(0.75)
    FirstWeights(given.state_dict(), LATENT, Path("there"), "").give(generator)
    for name, value in generator.named_parameters():
        assert set(value.flatten().tolist()) == {0.0 if name == "null_latent" and not theirs else 0.75}


def _generator(kind: type, **options: Any) -> Any:
    sizes: dict[str, Any] = {"latent_dim": LATENT, "embedding_dim": 8, "hidden_dim": 8, "bos_id": BOS, "unk_id": UNK}
    if kind is TransformerGenerator:
        sizes |= {"n_layers": 1, "n_heads": 2}
    return kind(VOCABULARY, init_range=0.8, rng=seeded(0), **sizes, **options).double()


@pytest.mark.parametrize("kind", [LSTMGenerator, TransformerGenerator])
def test_words_that_are_read_are_dropped_targets_and_the_first_input_are_not(kind: type) -> None:
    """Where all words look like `<unk>`, dropping them changes nothing, and `<s>` does not."""
    generator, z = _generator(kind, word_dropout=0.6), normal(8, LATENT)
    kept = generator.log_likelihood(BATCH, z)
    dropped = generator.log_likelihood(BATCH, z, rng=seeded(1))
    assert gap(kept, dropped) > 0.1
    assert gap(dropped, generator.log_likelihood(BATCH, z, rng=seeded(1))) == 0
    assert gap(kept, generator.likelihood(BATCH)(z)) < 1e-12  # a chain has none
    assert gap(kept, _generator(kind, word_dropout=0.0).log_likelihood(BATCH, z, rng=seeded(1))) == 0
    with torch.no_grad():
        words = [i for i in range(VOCABULARY) if i != BOS]
        generator.embedding[words] = generator.embedding[UNK].clone()
    assert gap(generator.log_likelihood(BATCH, z), generator.log_likelihood(BATCH, z, rng=seeded(1))) < 1e-12


def test_words_are_dropped_at_their_rate() -> None:
    """Of 20,000 words within 4.5 standard errors; `<s>` never."""
    ids = torch.arange(2, 12).repeat(2500, 1)
    dropped = drop_words(ids, 0.3, UNK, BOS, seeded(3))
    assert torch.equal(dropped[:, BOS - 2], ids[:, BOS - 2])
    others = torch.cat([dropped[:, : BOS - 2], dropped[:, BOS - 1 :]], dim=1) == UNK
    assert abs(float(others.float().mean()) - 0.3) < 4.5 * (0.21 / others.numel()) ** 0.5
    assert bool(((dropped == ids) | (dropped == UNK)).all())


class Wordy(LSTMGenerator):
    """Takes no word dropout."""

    def __init__(self, vocab_size: int, *, latent_dim: int, bos_id: int, rng: torch.Generator) -> None:
        super().__init__(vocab_size, latent_dim=latent_dim, embedding_dim=4, hidden_dim=4, bos_id=bos_id, rng=rng)


def test_any_generator_has_dropout_of_z_but_must_know_that_of_words() -> None:
    sizes = {"generator": f"{__name__}:Wordy"}
    build = {"vocab_size": VOCABULARY, "bos_id": BOS, "rng": seeded(0)}
    config = toy_config({"model": {**sizes, "z_dropout": 0.2}}).with_plugins(trust_plugins=True)
    assert null_latent(build_model(config, **build).generator).requires_grad  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"model\.word_dropout has no effect with .*Wordy, which"):
        config = toy_config({"model": {**sizes, "word_dropout": 0.2}}).with_plugins(trust_plugins=True)
        build_model(config, **build)  # type: ignore[arg-type]

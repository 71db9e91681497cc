"""`training.init`: a generator begins as a language model, or as that of another run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lebm_text.build import build_model
from lebm_text.errors import InputError
from lebm_text.random import stream
from lebm_text.run import Run
from lebm_text.store import sha256_file
from lebm_text.text.corpora import Corpus
from lebm_text.training.data import prepare_text
from lebm_text.training.events import Event
from lebm_text.training.start import Begun, FirstWeights, annealing_warnings, first_weights
from lebm_text.training.train import train
from lebm_text.training.trainer import Trainer
from lebm_text.weights import load_weights

from ..system_calls import Killed
from ..toy import differing, gap, metrics_of, toy_batch, toy_config, toy_trainer, weights_of

LM = {"training": {"init": "lm", "init_epochs": 1}}
OF_Z = {"generator.latent_weight", "generator.initial_h.weight", "generator.initial_c.weight"}
BATCHES = [toy_batch(lengths, seed=seed) for seed, lengths in enumerate(([6, 4, 4, 1], [5, 5, 2], [7, 3, 3, 2]))]


def _trainer(changes: dict[str, dict[str, Any]]) -> Trainer:
    config = toy_config({"model": {"dropout": 0.3}}).merge(changes)
    return toy_trainer(config)


def test_a_prior_whose_first_epoch_would_come_after_the_last_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    config = toy_config(LM).merge({"training": {"prior_start_epoch": 1.0}})
    with pytest.raises(
        InputError, match=r"prior_start_epoch = 1 after training.init_epochs = 1 is not before"
    ) as error:
        train(corpus, out=tmp_path / "run", config=config, device="cpu")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
    train(corpus, out=tmp_path / "run", config=config.override(["training.prior_start_epoch=0.9"]), device="cpu")


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"inference": {"anneal_epochs": 2.0}}, None),
        ({"inference": {"anneal_epochs": 2.1}}, "inference.likelihood_weight would reach 1 after 2.1 epochs, and the"),
        ({**LM, "inference": {"anneal_epochs": 1.1}}, "likelihood_weight would reach 1 after 2.1 epochs, and the"),
        ({"inference": {"anneal_start_epoch": 0.6, "anneal_epochs": 1.5}}, "weight would reach 1 after 2.1 epochs"),
        ({"inference": {"kind": "amortized", "anneal_epochs": 6.0}}, None),
        (
            {"inference": {"kind": "amortized", "anneal_epochs": 9.0}},
            "no effect without a value to begin with: inference.anneal_epochs; set inference.kl_weight_start",
        ),
        (
            {"inference": {"likelihood_weight_start": None, "anneal_start_epoch": 0.5}},
            ": inference.anneal_epochs, inference.anneal_start_epoch; set inference.noise_scale_start or "
            "inference.likelihood_weight_start",
        ),
        ({"inference": {"kind": "amortized", "kl_weight_start": 1.0, "anneal_epochs": 9.0}}, None),
        (
            {"inference": {"kind": "amortized", "kl_weight_start": 0.0, "anneal_epochs": 1.5, "pretrain_epochs": 1}},
            "inference.kl_weight would reach 1 after 2.5 epochs, and the training has 2",
        ),
    ],
)
def test_annealing_that_does_not_end_or_begin_is_said(changes: dict[str, dict[str, Any]], warned: str | None) -> None:
    found = annealing_warnings(toy_config(changes))
    assert len(found) == (warned is not None)
    assert all(warned and warned in each for each in found)


def test_it_is_said_once_at_the_start(corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = toy_config({"inference": {"anneal_epochs": 9.0}})
    train(corpus, out=tmp_path / "run", config=config, device="cpu", max_steps=1)
    train(out=tmp_path / "run", resume=True, device="cpu", max_steps=2)
    (record,) = [each for each in caplog.records if "would reach" in each.message]
    assert record.levelname == "WARNING"


@pytest.mark.parametrize("more", [{}, {"persistent": True}, {"kind": "amortized"}, {"kind": "local"}])
def test_first_epochs_are_a_language_models(more: dict[str, Any]) -> None:
    """Generator alone moves, to the bit as with D = 0 and the same weights; no chain, no energy, no figure of z."""
    trainer = _trainer(LM | {"inference": more})
    before, noise, memory = weights_of(trainer.model), trainer.noise.get_state(), trainer.memory
    visited = None if memory is None else memory.clone()
    language_model = _trainer({"model": {"latent_dim": 0, "dropout": 0.3}})
    with torch.no_grad():
        for name, parameter in language_model.model.generator.named_parameters():
            if parameter.numel():
                parameter.copy_(before[f"generator.{name}"])
    for step, batch in enumerate(BATCHES, 1):
        for each in (trainer, language_model):
            each.update(batch, epoch=(step - 1) / 3, step=step, report=True)
        assert trainer.monitor.flush() == language_model.monitor.flush()
    after, wanted = weights_of(trainer.model), weights_of(language_model.model)
    learned = {name for name in before if name.startswith("generator.")} - OF_Z
    assert differing(before, after) == learned
    assert all(torch.equal(after[name], wanted[name]) for name in learned)
    assert torch.equal(trainer.noise.get_state(), noise)
    assert visited is None or (trainer.memory is not None and torch.equal(trainer.memory, visited))


def test_then_chain_prior_and_anneals_begin() -> None:
    """As in a run without those epochs: epochs of anneals and of the prior are counted from their end."""
    plain = _trainer({"training": {"prior_start_epoch": 0.5}})
    trainer = _trainer({"training": {"init": "lm", "init_epochs": 1, "prior_start_epoch": 0.5}})
    trainer.update(BATCHES[0], epoch=0.5, step=1)
    plain.model.load_state_dict(trainer.model.state_dict())
    trainer.dropout.set_state(plain.dropout.get_state())
    trainer.monitor.flush()
    for step, epoch in enumerate((0.0, 0.25, 0.75), 2):
        before = weights_of(trainer.model)
        trainer.update(BATCHES[1], epoch=1 + epoch, step=step)
        plain.update(BATCHES[1], epoch=epoch, step=step)
        mine, theirs = trainer.monitor.flush(), plain.monitor.flush()
        assert mine["likelihood_weight"] == theirs["likelihood_weight"] > 1  # where its anneal ends
        if epoch == 0:  # later the optimisers have another past
            assert mine == theirs
        changed = differing(before, weights_of(trainer.model))
        assert changed >= OF_Z
        assert any(name.startswith("prior.") for name in changed) == (epoch >= 0.5)


def test_steps_of_new_weights_are_no_longer_than_those_of_a_new_optimizer() -> None:
    """After 50 gradients of 0, Adam's first steps would be 3 to 6 times as long as the learning rate."""
    trainer = _trainer(LM)
    for step in range(50):
        trainer.update(BATCHES[0], epoch=0.5, step=step + 1)
    for step in range(50, 60):
        before = weights_of(trainer.model)
        trainer.update(BATCHES[1], epoch=1.0, step=step + 1)
        moved = max(gap(trainer.model.state_dict()[name], before[name]) for name in OF_Z)
        assert 0 < moved < 1.01 * 0.01
    state = trainer.optimizers["generator"].state[trainer.model.get_parameter("generator.gate_bias")]
    assert float(state["step"]) == 60  # what had gradients goes on


def test_state_between_the_two_is_complete() -> None:
    trainer, other = _trainer(LM), _trainer(LM)
    trainer.update(BATCHES[0], epoch=0.9, step=1)
    tensors, skeleton = trainer.state()
    other.load_state({name: tensor.clone() for name, tensor in tensors.items()}, skeleton)
    for each in (trainer, other):
        each.update(BATCHES[1], epoch=1.0, step=2)
        each.update(BATCHES[2], epoch=1.3, step=3)
    assert differing(weights_of(trainer.model), weights_of(other.model)) == set()


@pytest.mark.parametrize("inference", [{}, {"kind": "amortized"}])
def test_a_run_that_starts_as_a_language_model(corpus: Corpus, tmp_path: Path, inference: dict[str, Any]) -> None:
    """Its figures, its samples, what selects its weights, and that it goes on from anywhere as if never stopped."""
    more = {"n_epochs": 4, "init": "lm", "init_epochs": 2, "report_every": 1, "select": "valid"}
    config = toy_config({"model": {"prior": "gaussian"}, "inference": inference, "training": more})
    events: list[Event] = []
    run = train(corpus, out=tmp_path / "whole", config=config, device="cpu", on_event=events.append)
    records = metrics_of(run)
    of_language = [record for record in records if record["epoch"] <= 2]
    assert {key for record in of_language for key in record} - {"step", "epoch", "digest"} == {
        *("nll_token", "grad_generator", "valid_nll", "valid_ppl", "uniform_ppl")
    }
    assert not [record for record in records if record["epoch"] > 2 and "valid_ppl" in record]
    assert sorted(path.name for path in (run.path / "samples").iterdir()) == ["epoch-0003.txt", "epoch-0004.txt"]
    end = events[-1].data
    assert end["published_by"] == ("valid_ppl_bound" if inference else None)
    assert "valid_ppl" not in end["best"]
    assert min(at["epoch"] for at in end["best"].values()) > 2
    out = tmp_path / "stopped"
    train(corpus, out=out, config=config, device="cpu", max_steps=1)
    for step in (3, 4, 5, 8):
        train(out=out, resume=True, device="cpu", max_steps=step)
    assert sha256_file(out / "model.safetensors") == sha256_file(run.weights_file)
    assert metrics_of(Run(out)) == records


def test_valid_ppl_of_those_epochs_is_the_exact_one(corpus: Corpus, tmp_path: Path) -> None:
    run = train(corpus, out=tmp_path / "run", config=toy_config(LM), device="cpu", max_steps=2)
    model = run.model(device="cpu")
    (record,) = [record for record in run.metrics() if "valid_nll" in record]
    valid = prepare_text(corpus, run.config.text, run.tokenizer, 6).valid_sentences
    null = torch.zeros(len(valid), model.config.model.latent_dim)
    # log p(x, z) less log p0(z) and f(z), at z = 0.
    joint = model.log_joint(valid, null) - model.model.prior.logdensity(null)
    n_tokens = sum(len(run.tokenizer.encode(line)) + 1 for line in valid)
    assert record["valid_nll"] == pytest.approx(-float(joint.sum()) / n_tokens, rel=1e-5)


@pytest.fixture(scope="module")
def language_model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with D = 0."""
    config = toy_config({"model": {"latent_dim": 0}})
    return train(corpus, out=tmp_path_factory.mktemp("runs") / "lm", config=config, device="cpu")


def _from(run: Run, **changes: dict[str, Any]) -> Any:
    return toy_config(changes).merge({"training": {"init": str(run)}})


@pytest.mark.parametrize("latent_dim", [3, 0])
def test_a_run_starts_with_anothers_generator(
    language_model: Run, corpus: Corpus, tmp_path: Path, latent_dim: int
) -> None:
    """What it has of no z is taken to the bit, the rest is drawn as without it; env.json says from where."""
    config = _from(language_model, model={"latent_dim": latent_dim})
    run = train(corpus, out=tmp_path / "run", config=config, device="cpu", max_steps=0)
    found, given = load_weights(run.weights_file)[0], load_weights(language_model.weights_file)[0]
    rng = stream(config.training.seed, "weights")
    drawn = weights_of(build_model(config, vocab_size=len(run.tokenizer), bos_id=run.tokenizer.bos_id, rng=rng))
    for name, value in found.items():
        new = name.startswith("prior.") or (name in OF_Z and latent_dim > 0)
        assert torch.equal(value, drawn[name] if new else given[name]), name
    path = str(language_model.path.resolve())
    assert run.environment["init"] == {"run": path, "weights_sha256": language_model.weights_sha256}
    sentences = ["the cat sees a dog", "a dog"]
    at_null = run.model(device="cpu").log_joint(sentences, torch.zeros(2, latent_dim))
    null = run.model(device="cpu").model.prior.logdensity(torch.zeros(2, latent_dim)).detach()
    wanted = language_model.model(device="cpu").log_joint(sentences, torch.zeros(2, 0))
    assert gap(at_null - null, wanted) < 1e-5  # with z = 0 it is that language model


@pytest.mark.parametrize(
    ("init", "wrong"),
    [({}, "init.run is missing"), (5, "init must be an object, got 5"), ({"run": 1, "weights_sha256": ""}, "got 1")],
)
def test_what_a_run_began_with_is_damaged(tmp_path: Path, init: Any, wrong: str) -> None:
    (tmp_path / "env.json").write_text(json.dumps({"init": init}))
    with pytest.raises(InputError, match=rf"env\.json is damaged: .*{wrong}"):
        Begun.of(Run(tmp_path))


def test_a_run_needs_the_other_until_its_first_checkpoint(
    language_model: Run, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, out = tmp_path / "other", tmp_path / "run"
    shutil.copytree(language_model.path, other)
    monkeypatch.chdir(tmp_path)
    config = toy_config({"training": {"init": "other"}})  # relative to where it began
    whole = train(corpus, out=tmp_path / "whole", config=config, device="cpu")

    def kill(event: Event) -> None:
        if event.kind == "report":
            raise Killed

    with pytest.raises(Killed):
        train(corpus, out=out, config=config, device="cpu", on_event=kill)
    monkeypatch.chdir(out)
    weights = (other / "model.safetensors").read_bytes()
    again = train(
        corpus, out=tmp_path / "lm", config=toy_config({"model": {"latent_dim": 0}}), device="cpu", max_steps=1
    )
    shutil.copy(again.weights_file, other / "model.safetensors")
    with pytest.raises(InputError, match="are not those that this run began with"):
        train(out=out, resume=True, device="cpu")
    (other / "model.safetensors").write_bytes(weights)
    train(out=out, resume=True, device="cpu", max_steps=1)
    shutil.rmtree(other)
    resumed = train(out=out, resume=True, device="cpu")
    assert resumed.weights_sha256 == whole.weights_sha256
    assert metrics_of(resumed) == metrics_of(whole)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": {"hidden_dim": 5}}, "model.hidden_dim is 6 in"),
        ({"model": {"embedding_dim": 5}}, "model.embedding_dim is 6 in"),
        ({"model": {"tied": True}}, "model.tied is False in"),
        ({"text": {"vocab_size": 9}}, "words have other ids in"),
    ],
)
def test_a_run_of_other_sizes_or_words_is_refused(
    language_model: Run, corpus: Corpus, tmp_path: Path, changes: dict[str, Any], part: str
) -> None:
    config = toy_config(changes).merge({"training": {"init": str(language_model)}})
    with pytest.raises(InputError) as error:
        train(corpus, out=tmp_path / "run", config=config, device="cpu")
    assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_make_is_refused(language_model: Run, tmp_path: Path) -> None:
    """Weights of another number of heads would fit, those of more layers too: both would be another function."""
    made: dict[str, Any] = {"latent_dim": 0, "generator": "transformer", "n_layers": 2, "n_heads": 3}
    shutil.copytree(language_model.path, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(toy_config({"model": made}).to_dict()))
    other, tokenizer = Run(tmp_path / "other"), language_model.tokenizer
    for run, name, theirs, ours in (
        (language_model, "generator", "lstm", "transformer"),
        (other, "n_layers", 2, 1),
        (other, "n_heads", 3, 1),
    ):
        with pytest.raises(InputError, match=f"model.{name} is {theirs} in .* and {ours} here"):
            first_weights(_from(run, model=made | {name: ours}), tokenizer)


def test_what_is_no_run_or_has_no_weights_is_refused(language_model: Run, corpus: Corpus, tmp_path: Path) -> None:
    shutil.copytree(language_model.path, tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    for name, part in (("nowhere", "is no run"), ("bare", "training has not ended yet")):
        with pytest.raises(InputError, match=part):
            train(corpus, out=tmp_path / "run", config=_from(Run(tmp_path / name)), device="cpu")


class Concatenating(nn.Module):
    """Reads [x; z] by one matrix."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.read = nn.Linear(5 + latent_dim, 4)
        self.start = nn.Linear(latent_dim, 4)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("theirs", "ours"), [(0, 3), (2, 3), (3, 3), (3, 0)])
def test_columns_of_z_are_taken_only_where_it_is_as_wide(theirs: int, ours: int) -> None:
    given, generator = Concatenating(theirs), Concatenating(ours)
    drawn = weights_of(generator)
    FirstWeights(given.state_dict(), theirs, Path("there"), "").give(generator)  # type: ignore[arg-type]
    assert torch.equal(generator.read.weight[:, :5], given.read.weight[:, :5])
    assert torch.equal(generator.read.bias, given.read.bias)
    same = given.state_dict() if theirs == ours else drawn
    assert torch.equal(generator.read.weight[:, 5:], same["read.weight"][:, 5:])
    assert torch.equal(generator.start.weight, same["start.weight"])


@pytest.mark.parametrize("shape", [None, (4, 6), (5, 5), ()])
def test_weights_that_do_not_fit_are_refused_by_name(shape: tuple[int, ...] | None) -> None:
    generator = Concatenating(3)
    tensors = {**generator.state_dict(), "read.weight": None if shape is None else torch.zeros(shape)}
    given = {name: value for name, value in tensors.items() if value is not None}
    with pytest.raises(InputError, match=r"generator\.read\.weight has shape \(4, 8\) here and .* in there"):
        FirstWeights(given, 0, Path("there"), "").give(generator)  # type: ignore[arg-type]


def test_a_single_number_that_the_other_run_lacks_is_refused_too() -> None:
    """It has the shape of nothing."""
    given = Concatenating(3).state_dict()
    generator = Concatenating(3)
    generator.gain = nn.Parameter(torch.tensor(2.0))
    with pytest.raises(InputError, match=r"generator\.gain has shape \(\) here and none in there"):
        FirstWeights(given, 3, Path("there"), "").give(generator)  # type: ignore[arg-type]
    FirstWeights({**given, "gain": torch.tensor(3.0)}, 3, Path("there"), "").give(generator)  # type: ignore[arg-type]
    assert generator.gain == 3

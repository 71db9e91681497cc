"""Labels beside the training text: whose they are, how many are told, and what a model learns of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lebm_text.config import Config
from lebm_text.cuda_graphs import recordings_of
from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.models.classes import UNKNOWN, ClassPrior, Given, classes_of
from lebm_text.models.generator import LSTMGenerator
from lebm_text.run import Run
from lebm_text.sections import ClassesConfig
from lebm_text.store import sha256_file
from lebm_text.text.corpora import find_corpus
from lebm_text.training import trainer as module
from lebm_text.training.data import PreparedText, labelled, prepare_text, train_tokenizer
from lebm_text.training.train import train
from lebm_text.training.trainer import Trainer

from ..recording import record_on_cpu
from ..tiny import tiny_model
from ..toy import toy_config, toy_corpus, toy_model

WORDS = {"animal": ("cat", "dog"), "colour": ("red", "blue")}


def _write(directory: Path, texts: dict[str, str], labels: dict[str, str]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        (directory / f"{split}.txt").write_text(texts.get(split, "a b a b\n"))
    for split, text in labels.items():
        (directory / f"{split}.label").write_text(text)
    return directory


def _text(directory: Path, config: Config) -> PreparedText:
    corpus = find_corpus(str(directory))
    tokenizer = train_tokenizer(corpus, config.text)
    return prepare_text(corpus, config.text, tokenizer, config.training.validation_sentences)


def _config(**prior: Any) -> Config:
    return toy_config({"model": {"prior": "classes"}, "prior": prior, "text": {"max_length": 3}})


def test_labels_stay_with_their_sentences(tmp_path: Path) -> None:
    """Lines that are empty or too long are no sentences of the training, and an empty label is none."""
    text = "a a\n\na b c a b\nb b\nc c\na c\n"
    _write(tmp_path, {"train": text, "valid": text}, {"train": "x\ny\ny\nz\n\nx\n", "valid": "x\nx\nx\nz\ny\n\n"})
    config, found = labelled(_config(), _text(tmp_path, _config()))
    assert config.to_dict()["prior"]["labels"] == ["x", "y", "z"]
    assert found.labels.train is not None
    assert found.labels.train.tolist() == [0, 2, UNKNOWN, 0]
    assert found.labels.valid is not None
    assert found.labels.valid.tolist() == [0, 2, 1, UNKNOWN]
    assert [found.tokenizer.encode(line) for line in found.valid_sentences] == [
        row[:-1].tolist() for row in np.split(found.valid.tokens, found.valid.offsets[1:-1])
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_labels_of_validation_are_those_of_the_sentences_chosen(n: int, tmp_path: Path) -> None:
    label_of = {"a a": "x", "a b c a b": "y", "b b": "y", "c c": "z", "a c": "x", "b c": "z", "c b": "y"}
    valid = {"valid": "".join(f"{part}\n" for part in label_of)}, {"valid": "\n".join(label_of.values()) + "\n"}
    _write(tmp_path, {"train": "a b c\n" * 3, **valid[0]}, {"train": "x\ny\nz\n", **valid[1]})
    config = _config().merge({"training": {"validation_sentences": n}})
    _, found = labelled(config, _text(tmp_path, config))
    assert found.labels.valid is not None
    assert found.labels.valid.tolist() == ["xyz".index(label_of[line]) for line in found.valid_sentences]


def test_a_share_is_told_and_always_the_same(tmp_path: Path) -> None:
    _write(tmp_path, {"train": "a b\n" * 50}, {"train": "x\ny\n" * 20 + "\n" * 10})
    told = [labelled(_config(label_share=0.25), _text(tmp_path, _config()))[1].labels.train for _ in range(2)]
    assert told[0] is not None
    assert told[1] is not None
    assert told[0].tolist() == told[1].tolist()
    assert sum(number != UNKNOWN for number in told[0].tolist()) == 10
    assert all(number in (UNKNOWN, place % 2) for place, number in enumerate(told[0].tolist()))
    assert (told[0] != UNKNOWN).nonzero().max() > 20  # by chance, not the first ones


def test_without_labels_a_prior_of_named_classes_is_told_none(tmp_path: Path) -> None:
    _write(tmp_path, {"train": "a b\na b\n"}, {})
    config = _config(labels=["x", "y"], label_share=0.0)
    assert labelled(config, _text(tmp_path, config))[1].labels == (None, None, None)


def test_without_a_share_of_them_labels_name_the_classes_alone(tmp_path: Path) -> None:
    _write(tmp_path, {"train": "a b\na b\n"}, {"train": "y\nx\n"})
    config, text = labelled(_config(label_share=0.0), _text(tmp_path, _config()))
    assert config.to_dict()["prior"]["labels"] == ["x", "y"]
    assert text.labels.train is None


@pytest.mark.parametrize(
    ("labels", "prior", "match"),
    [
        (None, {}, "has no labels: .*train.label does not exist"),
        ("x\n" * 4, {}, r"train.label has 1 different labels; there must be 2 to 1,000$"),
        ("x\ny\n", {}, "train.label has 2 lines"),
        ("x\ny\nz\nx\n", {"labels": ["x", "y"]}, r"train.label: 'z' is none of prior.labels: x, y$"),
        ("x\ny\nx\nx\n", {"label_share": 0.01}, r"prior.label_share = 0.01 of 4 training sentences .* is none$"),
    ],
)
def test_bad_labels_are_one_line(tmp_path: Path, labels: str | None, prior: dict[str, Any], match: str) -> None:
    _write(tmp_path, {"train": "a b\n" * 4}, {} if labels is None else {"train": labels})
    with pytest.raises(InputError, match=match) as caught:
        labelled(_config(**prior), _text(tmp_path, _config()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [["x"], ["x", "x"], ["x", ""]])
def test_names_of_classes_are_different_ones(names: list[str]) -> None:
    with pytest.raises(InputError, match=r"prior\.labels"):
        _config(labels=names)


def test_a_run_goes_on_with_the_labels_that_it_began_with(tmp_path: Path) -> None:
    _write(tmp_path / "c", {"train": "a b\n" * 30}, {"train": "x\ny\n" * 15})
    train(tmp_path / "c", out=tmp_path / "run", config=_config(), device="cpu", max_steps=1)
    (tmp_path / "c" / "train.label").write_text("y\nx\n" * 15)
    before = sha256_file(tmp_path / "run" / "metrics.jsonl")
    with pytest.raises(InputError, match="does not hold the labels that the run began with"):
        train(out=tmp_path / "run", resume=True, device="cpu")
    assert sha256_file(tmp_path / "run" / "metrics.jsonl") == before


def _two_classes(directory: Path) -> Path:
    """Sentences of two words of either class."""
    draw, texts, labels = np.random.default_rng(0), {}, {}
    for split, n in (("train", 160), ("valid", 40), ("test", 40)):
        names = [list(WORDS)[i] for i in draw.integers(0, 2, n)]
        texts[split] = "".join(" ".join(draw.choice(WORDS[name], 2)) + "\n" for name in names)
        labels[split] = "".join(f"{name}\n" for name in names)
    return _write(directory, texts, labels)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model of two classes that share no word, in which z soon matters."""
    directory = tmp_path_factory.mktemp("classes")
    sizes = {
        "latent_dim": 2,
        "embedding_dim": 16,
        "hidden_dim": 16,
        "dropout": 0.0,
        "init_range": 0.5,
        "prior_hidden_dim": 16,
    }
    settings = {
        "model": {"prior": "classes", **sizes},
        "prior": {"n_steps": 8},
        "inference": {"n_steps": 4, "step_size": 0.5, "likelihood_weight": 10.0},
        "training": {
            "n_epochs": 8,
            "batch_size": 16,
            "learning_rate": 0.02,
            "prior_learning_rate": 0.02,
            "report_every": 1000,
            "select": "last",
            "n_threads": 1,
        },
    }
    return train(_two_classes(directory / "c"), out=directory / "run", overrides=settings, device="cpu")


def test_what_it_reads_is_told_apart(run: Run) -> None:
    rows = run.corpus().splits["test"]
    labels = rows.path.with_suffix(".label").read_text().split()
    found = LatentEBM.from_pretrained(run.path, device="cpu").classify(list(rows.sentences()))
    assert all(sum(each.values()) == pytest.approx(1) for each in found)
    assert np.mean([max(each, key=each.__getitem__) == label for each, label in zip(found, labels, strict=True)]) > 0.9
    accuracies = [record["valid_accuracy"] for record in run.metrics() if "valid_accuracy" in record]
    assert len(accuracies) == 8
    assert accuracies[-1] > 0.85


def test_what_it_says_for_a_label_is_of_that_class(run: Run) -> None:
    model = LatentEBM.from_pretrained(run.path, device="cpu")
    for label, words in WORDS.items():
        made = model.generate(200, label=label)
        said = [word for sentence in made.sentences for word in sentence.split()]
        assert np.mean([word in words for word in said]) > 0.8
        assert made.settings["label"] == label
        assert f",label={label})" in made.signature
    plain = [word for sentence in model.generate(200).sentences for word in sentence.split()]
    assert 0.2 < np.mean([word in WORDS["animal"] for word in plain]) < 0.8


def test_a_model_without_classes_refuses_labels() -> None:
    model = tiny_model()
    with pytest.raises(InputError, match="no classes"):
        model.generate(1, label="x")
    with pytest.raises(InputError, match="no classes"):
        model.classify(["the cat"])


def test_an_update_infers_with_the_labels_of_its_rows_and_learns_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(labels=["x", "y"])
    model = toy_model(config, seed=0)
    labels = torch.tensor([1, UNKNOWN, 0, 0, 1, 1])
    trainer = Trainer(model, config, n_sentences=6, mean_batch_size=3.0, labels=labels)
    batch = toy_corpus([3, 4, 2, 5, 3, 2]).batch(np.array([4, 1, 3]))
    seen: dict[str, Any] = {}
    real_inference, real_loss = trainer.inference(0.0), module.prior_loss

    def loss(prior: Any, positive: Any, negative: Any, size: float, given: Any) -> torch.Tensor:
        seen["loss"] = prior, given
        return real_loss(prior, positive, negative, size, given)

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(real_inference, name)

        def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Any) -> Any:
            seen["inference"] = prior
            return real_inference(batch, prior, generator, rng=rng)

    monkeypatch.setattr(trainer, "inference", lambda _epoch: Spy())
    monkeypatch.setattr(module, "prior_loss", loss)
    trainer.update(batch, epoch=0.0, step=1)
    given = seen["inference"]
    assert isinstance(given, Given)
    assert given.labels.tolist() == labels[batch.index].tolist() == [0, UNKNOWN, 1]
    assert seen["loss"] == (model.prior, given)


def test_nothing_is_recorded_ahead_of_a_training_with_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its chains depend on the labels of a batch, so no later batch could replay the recording."""
    config = _config(labels=["x", "y"])
    model = toy_model(config, seed=0)
    record_on_cpu(monkeypatch)
    largest = toy_corpus([3, 4]).batch(np.array([1, 0]))
    for labels, n in ((torch.tensor([1, 0]), 0), (None, 1)):
        Trainer(model, config, n_sentences=2, mean_batch_size=2.0, labels=labels).record(largest)
        assert isinstance(model.generator, LSTMGenerator)
        assert len(recordings_of(model.generator).kept) == n


class Plane(ClassPrior):
    """A prior of others that knows classes."""

    Settings = ClassesConfig

    def __init__(self, latent_dim: int, *, labels: Any, label_share: float, chain: Any, rng: torch.Generator) -> None:
        assert label_share == 0.5
        super().__init__(latent_dim, labels=labels, hidden_dim=4, chain=chain, rng=rng)


def test_a_prior_of_others_is_told_labels_too(tmp_path: Path) -> None:
    _write(tmp_path / "c", {"train": "a b\n" * 20}, {"train": "x\ny\n" * 10})
    config = _config(labels=["x", "y"]).merge({"model": {"prior": f"{__name__}:Plane"}})
    config = config.merge({"prior": {"label_share": 0.5}})
    run = train(tmp_path / "c", out=tmp_path / "run", config=config, device="cpu", max_steps=1)
    model = LatentEBM.from_pretrained(run.path, device="cpu", trust_plugins=True)
    assert model.config.to_dict()["prior"]["label_share"] == 0.5
    assert list(model.classify(["a b"])[0]) == ["x", "y"]
    assert "labels_sha256" in run.environment
    assert model.generate(3, label="y").settings["label"] == "y"


def test_labels_of_any_letters_leave_signatures_whole() -> None:
    model = tiny_model(labels=["so|so, (well)", "good"])
    assert ",label=so_so___well_)|prior:classes-langevin(4x0.5)|" in model.generate(1, label="so|so, (well)").signature


def test_what_a_sentence_is_classified_as_depends_on_it_and_its_place_alone() -> None:
    model = tiny_model(labels=["bad", "good"])
    both = model.classify(["the cat", "a dog sees"], n_draws=3)
    assert [list(each) for each in both] == [["bad", "good"]] * 2
    assert model.classify(["the cat"], n_draws=3)[0] == pytest.approx(both[0], abs=1e-5)
    z = model.infer(["the cat"] * 3)
    assert both[0]["good"] == pytest.approx(
        classes_of(model.model.prior).class_log_probs(z).exp()[:, 1].mean().item(), abs=1e-5
    )
    assert model.classify([]) == []
    with pytest.raises(InputError, match="n_draws"):
        model.classify(["the cat"], n_draws=0)

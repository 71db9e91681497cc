"""TensorBoard, Weights & Biases and MLflow are told the numbers, samples, pictures and latent vectors of a training."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from lebm_text.cli.main import main
from lebm_text.errors import InputError
from lebm_text.run import Run
from lebm_text.training import tracking
from lebm_text.training.events import Event
from lebm_text.training.tracking import TRACKERS, Latents, Tracking
from lebm_text.training.train import train

from ..cli.test_main import one_line
from ..toy import text_corpus, toy_config

Trained = tuple[Run, list[Event]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run, and the events of its training."""
    place, events = tmp_path_factory.mktemp("tracked"), list[Event]()
    corpus = text_corpus(place / "toy", n_train=16)
    return train(corpus, config=toy_config(), out=place / "run", device="cpu", on_event=events.append), events


def listen(trained: Trained, *names: str) -> None:
    """Tell trackers of all of that training."""
    listener = Tracking(trained[0], names)
    for event in trained[1]:
        listener(event)


def replaced(trained: Trained, place: Path) -> Run:
    """A run like it that another training has begun."""
    run = Run(shutil.copytree(trained[0].path, place, ignore=shutil.ignore_patterns("tensorboard")))
    run.environment_file.write_text(json.dumps(run.environment | {"date": "2001-01-01T00:00:00+00:00"}))
    return run


def figures(events: Sequence[Event], kind: str, name: str) -> list[tuple[int, float]]:
    return [(event.data["step"], event.data[name]) for event in events if event.kind == kind and name in event.data]


class Recorder:
    """A tracker that keeps what it is told."""

    told: list[tuple[str, Any]]

    def begin(self, run: Run, step: int) -> None:
        self.told.append(("begin", step))

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self.told.append(("numbers", (dict(values), step)))

    def samples(self, sentences: Sequence[str], step: int) -> None:
        self.told.append(("samples", list(sentences)))

    def picture(self, name: str, figure: Figure, step: int) -> None:
        self.told.append(("picture", name))

    def latents(self, latents: Latents, step: int) -> None:
        self.told.append(("latents", latents))

    def end(self) -> None:
        self.told.append(("end", None))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What a recorder in the place of MLflow is told."""
    recorder = type("Recorder", (Recorder,), {"told": []})
    monkeypatch.setitem(TRACKERS, "mlflow", ("json", recorder))
    return recorder.told  # type: ignore[attr-defined, no-any-return]


def test_the_listener_tells_all_there_is(trained: Trained, told: list[tuple[str, Any]]) -> None:
    listen(trained, "mlflow")
    assert told[0] == ("begin", 0)
    assert told[-1] == ("end", None)
    numbers = [what for kind, what in told if kind == "numbers"]
    for kind, name in (("report", "gap"), ("validation", "valid_ppl_prior")):
        found = [(step, values[f"{kind}/{name}"]) for values, step in numbers if f"{kind}/{name}" in values]
        assert found == figures(trained[1], kind, name) != []
    texts = [what for kind, what in told if kind == "samples"]
    assert texts[-1] == (trained[0].path / "samples" / "epoch-0002.txt").read_text().split("\n")[:-1]
    assert [what for kind, what in told if kind == "picture"] == ["curves", "latent-space"]
    (latents,) = (what for kind, what in told if kind == "latents")
    held_out = list(trained[0].corpus().splits["valid"].sentences())
    assert latents.sentences[:10] == held_out
    assert latents.origins == ["read"] * 10 + ["generated"] * 10
    assert latents.z.shape == (20, 3)
    model = trained[0].model(device="cpu")
    assert latents.z[:10].equal(model.infer(held_out))
    assert latents.sentences[10:] == model.generate(10).sentences


def test_a_run_that_goes_on_begins_after_its_last_update(trained: Trained, told: list[tuple[str, Any]]) -> None:
    Tracking(trained[0], ["mlflow"])(Event("start", {"step": 4}))
    assert told == [("begin", 4)]


def test_a_language_model_has_no_latent_vectors(tmp_path: Path, told: list[tuple[str, Any]]) -> None:
    config = toy_config().merge({"model": {"latent_dim": 0}, "training": {"n_epochs": 1}})
    run = Run(tmp_path / "run")
    corpus = text_corpus(tmp_path / "toy", n_train=8)
    train(corpus, config=config, out=run.path, device="cpu", on_event=Tracking(run, ["mlflow"]))
    assert {kind for kind, _ in told} == {"begin", "numbers", "samples", "picture", "end"}


def test_a_text_that_is_gone_is_no_end_of_the_training(
    trained: Trained, told: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_run: Run) -> None:
        raise InputError("toy is gone")

    monkeypatch.setattr(Run, "corpus", gone)
    listen(trained, "mlflow")
    assert "not told of pictures and latent vectors: toy is gone" in caplog.messages
    assert [kind for kind, _ in told][-2:] == ["picture", "end"]


def test_what_a_tracker_raises_does_not_end_the_training(
    trained: Trained, told: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard = list[tuple[str, Any]]()

    class Failing(Recorder):
        told = heard

        def numbers(self, values: Mapping[str, float], step: int) -> None:
            raise OSError("no route\nto host")

    monkeypatch.setitem(TRACKERS, "wandb", ("json", Failing))
    with caplog.at_level(logging.WARNING, "lebm_text"):
        listen(trained, "wandb", "mlflow")
    assert caplog.messages == ["wandb: no route to host; it is told nothing more, the training goes on"]
    assert [kind for kind, _ in heard] == ["begin"]
    assert [kind for kind, _ in told][-2:] == ["latents", "end"]  # the other one is told on


def test_no_more_latent_vectors_are_told_than_a_service_shows(
    trained: Trained, told: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "N_LATENTS", 4)
    listen(trained, "mlflow")
    (latents,) = (what for kind, what in told if kind == "latents")
    assert latents.origins == ["read"] * 4 + ["generated"] * 4


@pytest.mark.parametrize("name", list(TRACKERS))
def test_one_that_is_not_installed_is_refused_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each: None if each in TRACKERS else find(each))
    with pytest.raises(InputError, match="pip install"):
        Tracking(Run(tmp_path), [name])
    assert main(["train", str(tmp_path), f"--{name}", "--out", str(tmp_path / "run")]) == 2
    assert f"pip install 'lebm-text[{name}]'" in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_tensorboard_has_numbers_samples_pictures_and_the_projector(trained: Trained) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    listen(trained, "tensorboard")
    kept = EventAccumulator(str(trained[0].tensorboard))
    kept.Reload()
    for kind, name in (("report", "gap"), ("validation", "valid_ppl_prior")):
        found = [(each.step, each.value) for each in kept.Scalars(f"{kind}/{name}")]
        assert found == [(step, pytest.approx(value)) for step, value in figures(trained[1], kind, name)]
    assert kept.Tags()["images"] == ["curves", "latent-space"]
    assert {"config/text_summary", "samples/text_summary"} <= set(kept.Tags()["tensors"])
    (metadata,) = trained[0].tensorboard.glob("*/z/metadata.tsv")
    rows = metadata.read_text().splitlines()
    first = next(iter(trained[0].corpus().splits["valid"].sentences()))
    assert rows[:2] == ["sentence\torigin", f"{first}\tread"]
    assert len(rows) == len((metadata.parent / "tensors.tsv").read_text().splitlines()) + 1
    assert "z/metadata.tsv" in (trained[0].tensorboard / "projector_config.pbtxt").read_text()


def test_what_tensorboard_was_told_of_updates_that_are_made_again_is_superseded(
    trained: Trained, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = replaced(trained, tmp_path / "run")
    for begun, steps in ((0, (3, 4, 5)), (4, (6,))):
        tracker = TRACKERS["tensorboard"][1]()
        tracker.begin(run, begun)
        for step in steps:
            tracker.numbers({"gap": float(begun)}, step)
        tracker.end()
    kept = EventAccumulator(str(run.tensorboard))
    kept.Reload()
    assert [(each.step, each.value) for each in kept.Scalars("gap")] == [(3, 0.0), (4, 0.0), (6, 4.0)]


def test_weights_and_biases_is_told(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a module of its shape: the real one is another test's."""
    began, logged, finished = list[dict[str, Any]](), list[tuple[dict[str, Any], int]](), list[bool]()

    def init(**options: Any) -> SimpleNamespace:
        began.append(options)
        return SimpleNamespace(
            log=lambda values, step: logged.append((values, step)), finish=lambda: finished.append(True)
        )

    fake = ModuleType("wandb")
    vars(fake).update(init=init, Settings=dict, Table=SimpleNamespace, Image=lambda figure: ("image", figure))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setitem(TRACKERS, "wandb", ("json", TRACKERS["wandb"][1]))
    listen(trained, "wandb")
    listen(trained, "wandb")
    assert began[0]["config"] == trained[0].config.to_dict()
    assert (began[0]["resume"], began[0]["id"]) == ("allow", began[1]["id"])
    assert finished == [True, True]
    Tracking(replaced(trained, tmp_path / "run"), ["wandb"])(Event("start", {"step": 0}))
    assert began[2]["id"] != began[0]["id"]
    last = {key: value for values, _ in logged for key, value in values.items()}
    assert last["z"].columns == ["sentence", "origin", "z"]
    assert [len(row[2]) for row in last["z"].data] == [3] * 20
    assert last["latent-space"][1].size > (100, 100)
    assert [(step, values["report/gap"]) for values, step in logged if "report/gap" in values][
        : len(figures(trained[1], "report", "gap"))
    ] == figures(trained[1], "report", "gap")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_weights_and_biases_offline_leaves_its_files(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    listen(trained, "wandb")
    (kept,) = (trained[0].path / "wandb").glob("offline-run-*/run-*.wandb")
    assert kept.stat().st_size > 1000
    tables = (trained[0].path / "wandb").glob("offline-run-*/files/media/table/z_*.json")
    assert "generated" in next(tables).read_text()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_mlflow_keeps_a_run_in_its_store(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    listen(trained, "mlflow")
    listen(trained, "mlflow")  # as when a run goes on
    client = MlflowClient()
    experiment = client.get_experiment_by_name("lebm-text")
    (kept,) = client.search_runs([experiment.experiment_id])
    assert kept.info.status == "FINISHED"
    assert kept.data.params["model.latent_dim"] == "3"
    gaps = [(each.step, each.value) for each in client.get_metric_history(kept.info.run_id, "report/gap")]
    assert sorted(set(gaps)) == figures(trained[1], "report", "gap")
    assert {each.path for each in client.list_artifacts(kept.info.run_id)} == {
        "samples",
        "curves.png",
        "latent-space.png",
        "z.json",
    }


def test_mlflow_is_told(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By modules of its shape: the real ones are another test's."""
    asked, marks = list[tuple[str, tuple[Any, ...]]](), list[str]()

    class Client:
        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str) -> str:
            return "7"

        def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
            found = [n for n, mark in enumerate(marks, 11) if filter_string == f"tags.lebm_text = '{mark}'"]
            return [SimpleNamespace(info=SimpleNamespace(run_id=str(n))) for n in found]

        def create_run(self, experiment: str, *, tags: dict[str, str], **_: Any) -> Any:
            marks.append(tags["lebm_text"])
            return SimpleNamespace(info=SimpleNamespace(run_id=str(10 + len(marks))))

        def __getattr__(self, name: str) -> Any:
            return lambda *given, **_: asked.append((name, given))

    package, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    vars(package).update(MlflowClient=Client)
    vars(entities).update(Metric=lambda *values: values)
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setitem(TRACKERS, "mlflow", ("json", tracking.MLflow))
    listen(trained, "mlflow")
    assert {given[0] for _, given in asked} == {"11"}
    metrics = [metric for name, given in asked if name == "log_batch" for metric in given[1]]
    assert [(step, value) for name, value, _, step in metrics if name == "report/gap"] == figures(
        trained[1], "report", "gap"
    )
    assert ("log_param", ("11", "model.latent_dim", 3)) in asked
    assert [given[2] for name, given in asked if name in ("log_figure", "log_dict")] == [
        "curves.png",
        "latent-space.png",
        "z.json",
    ]
    assert asked[-1] == ("set_terminated", ("11",))
    asked.clear()
    goes_on = Event("start", {"step": 4})
    Tracking(trained[0], ["mlflow"])(goes_on)
    assert asked == [("update_run", ("11",))]
    Tracking(replaced(trained, tmp_path / "run"), ["mlflow"])(goes_on)
    assert asked[1:] and {given[0] for _, given in asked[1:]} == {"12"}

"""A run directory: what is in it, what each setting does to it, and how it is taken up again."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from lebm_text.config import Config
from lebm_text.cuda_graphs import Replay
from lebm_text.errors import InputError
from lebm_text.models.generator import LSTMGenerator
from lebm_text.sections import INFERENCE
from lebm_text.store import sha256_file
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.training import train as module
from lebm_text.training.checkpoint import load_checkpoint
from lebm_text.training.events import Event
from lebm_text.training.loop import Limits, TrainingLoop
from lebm_text.training.train import train
from lebm_text.weights import load_weights

from ..recording import record_on_cpu, trace
from ..system_calls import Killed
from ..toy import metrics_of, text_corpus, toy_config

pytestmark = pytest.mark.usefixtures("log")


def _improving() -> Callable[[Sequence[str], Sequence[str], Sequence[str]], float]:
    """A judge who finds each epoch worse than the one before."""
    seen: list[int] = []

    def score(_samples: Sequence[str], _real: Sequence[str], _vocabulary: Sequence[str]) -> float:
        seen.append(1)
        return float(len(seen))

    return score


def _train(corpus: Corpus, out: Path, config: Config, **options: Any) -> list[Event]:
    events: list[Event] = []
    options.setdefault("sample_score", _improving())
    run = train(corpus, out=out, config=config, device="cpu", on_event=events.append, **options)
    assert run.path == out
    return events


def _resume(out: Path, **options: Any) -> list[Event]:
    events: list[Event] = []
    train(out=out, resume=True, device="cpu", on_event=events.append, **options)
    return events


def _end(events: list[Event]) -> tuple[str, int]:
    """Why a training ended, and after which update."""
    assert events[-1].kind == "end"
    return events[-1].data["reason"], events[-1].data["step"]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> None:
    """`caplog` has notices, too."""
    caplog.set_level(logging.INFO, "lebm_text")


@pytest.fixture(scope="module")
def base(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A finished run of two epochs of two updates or more, and what it told."""
    out = tmp_path_factory.mktemp("runs") / "base"
    return out, _train(corpus, out, toy_config())


def test_files_of_a_run(base: tuple[Path, list[Event]], corpus: Corpus) -> None:
    out, events = base
    names = ["checkpoints", "config.json", "env.json", "metrics.jsonl", "model.safetensors", "samples"]
    assert sorted(p.name for p in out.iterdir()) == [*names, "tokenizer.json"]
    assert Config.from_dict(json.loads((out / "config.json").read_text())) == toy_config()
    environment = json.loads((out / "env.json").read_text())
    assert environment["corpus"]["splits"]["train"]["sha256"] == corpus.splits["train"].sha256
    assert sorted(p.name for p in (out / "samples").iterdir()) == ["epoch-0001.txt", "epoch-0002.txt"]
    assert (out / "samples" / "epoch-0002.txt").read_text().count("\n") == module.SHOWN_SAMPLES
    with safe_open(out / "model.safetensors", framework="pt") as stream:
        assert len(stream.metadata()) == 1
    assert events[0].kind == "start"
    assert _end(events)[0] == "finished"


def test_the_start_and_the_end_are_told_with_their_sizes(base: tuple[Path, list[Event]], corpus: Corpus) -> None:
    (out, events), config, text = base, toy_config().training, corpus.splits["train"]
    start, end = events[0].data, events[-1].data
    assert (start["run"], start["corpus"], start["device"], end["path"]) == (str(out), corpus.name, "cpu", str(out))
    assert (start["n_sentences"], start["n_tokens"]) == (text.n_sentences, text.n_words + text.n_sentences)
    assert start["n_parameters"] == sum(each.numel() for each in load_weights(out / "model.safetensors")[0].values())
    assert start["n_steps"] == start["steps_per_epoch"] * config.n_epochs == end["step"]
    assert (start["step"], start["processes"], start["init"], start["batch_size"]) == (0, 1, None, config.batch_size)
    assert 0 < end["seconds"] < 600


def test_published_weights_are_those_of_the_last_checkpoint(base: tuple[Path, list[Event]]) -> None:
    found = load_checkpoint(base[0] / "checkpoints")
    weights, _ = load_weights(base[0] / "model.safetensors")
    saved = found.state["trainer"]["model"]
    assert set(saved) == set(weights)
    assert all(torch.equal(found.tensors[saved[name]["__tensor__"]], weights[name]) for name in weights)


def test_equal_runs_are_equal_bytes_and_global_state_is_left_alone(
    base: tuple[Path, list[Event]], corpus: Corpus, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(99)
    _train(corpus, tmp_path / "again", toy_config())
    assert torch.get_num_threads() == threads
    for name in ("model.safetensors", "config.json", "tokenizer.json", "samples/epoch-0001.txt"):
        assert sha256_file(tmp_path / "again" / name) == sha256_file(base[0] / name)
    assert metrics_of(tmp_path / "again") == metrics_of(base[0])


class Halved(LSTMGenerator):
    """Begins with other weights."""

    def initialise(self, rng: torch.Generator) -> None:
        super().initialise(rng)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(0.5)


# What changing a field must change: the weights; reports alone; the number of updates; the checkpoints alone; the
# number of threads told; which weights are published; when it ends.
EFFECTS: dict[str, tuple[Any, str]] = {
    "text.tokenizer": ("sentencepiece", "weights"),
    "text.vocab_size": (9, "weights"),
    "text.lowercase": (True, "vocabulary"),
    "text.max_length": (5, "weights"),
    "model.prior": ("gaussian", "weights"),
    "model.generator": (f"{__name__}:Halved", "weights"),
    "model.latent_dim": (2, "weights"),
    "model.embedding_dim": (5, "weights"),
    "model.hidden_dim": (5, "weights"),
    "model.n_layers": (1, "weights"),
    "model.n_heads": (1, "weights"),
    "model.dropout": (0.5, "weights"),
    "model.z_dropout": (0.5, "weights"),
    "model.word_dropout": (0.5, "weights"),
    "model.tied": (True, "weights"),
    "model.prior_hidden_dim": (4, "weights"),
    "model.energy_bound": (0.5, "weights"),
    "model.init_range": (0.4, "weights"),
    "inference.kind": ("amortized", "weights"),
    "inference.n_steps": (3, "weights"),
    "inference.step_size": ([0.4, 0.3], "weights"),
    "inference.noise_scale": (0.5, "weights"),
    "inference.noise_scale_start": (0.1, "weights"),
    "inference.likelihood_weight": (2.0, "weights"),
    "inference.likelihood_weight_start": (3.0, "weights"),
    "inference.anneal_epochs": (1.0, "weights"),
    "inference.anneal_start_epoch": (1.0, "weights"),
    "inference.persistent": (True, "weights"),
    "inference.learning_rate": (0.05, "weights"),
    "inference.kl_weight": (0.5, "weights"),
    "inference.kl_weight_start": (0.1, "weights"),
    "inference.free_bits": (0.3, "weights"),
    "inference.free_bits_kind": ("total", "weights"),
    "inference.pretrain_epochs": (1, "weights"),
    "prior.n_steps": (2, "weights"),
    "prior.step_size": ([0.5, 0.4, 0.3], "weights"),
    "prior.noise_scale": (0.5, "weights"),
    "training.n_epochs": (3, "steps"),
    "training.batch_size": (3, "steps"),
    "training.batch_tokens": (12, "steps"),
    "training.learning_rate": (0.02, "weights"),
    "training.learning_rate_decay": (0.5, "weights"),
    "training.schedule": ("linear", "weights"),
    "training.schedule_start": (0.1, "weights"),
    "training.prior_learning_rate": (0.02, "weights"),
    "training.prior_weight_decay": (0.5, "weights"),
    "training.prior_start_epoch": (1.0, "weights"),
    "training.init": ("lm", "weights"),
    "training.init_epochs": (1, "weights"),
    "training.clip_norm": (0.01, "weights"),
    "training.prior_clip_norm": (1e-4, "weights"),
    "training.seed": (2, "weights"),
    "training.precision": ("bf16", "weights"),
    "training.n_threads": (2, "threads"),
    "training.report_every": (1, "reports"),
    "training.checkpoint_every": (1, "checkpoints"),
    "training.validation_sentences": (3, "reports"),
    "training.select": ("valid_kn5", "published"),
    "training.patience": (1, "ends"),
}


# Those that have an effect beside others alone.
_TRANSFORMER = {"model": {"generator": "transformer", "embedding_dim": 8, "hidden_dim": 8, "n_heads": 2}}
NEEDS: dict[str, dict[str, dict[str, Any]]] = {
    "inference.learning_rate": {"inference": {"kind": "local"}},
    "model.n_layers": _TRANSFORMER,
    "model.n_heads": _TRANSFORMER,
    "training.schedule_start": {"training": {"schedule": "linear"}},
}
# Those that only an encoder has.
OF_ENCODERS = ("kl_weight", "kl_weight_start", "free_bits", "free_bits_kind", "pretrain_epochs")
WITH_ENCODER = {"inference": {"kind": "amortized", "free_bits": 0.15}}


@pytest.fixture(scope="module")
def with_encoder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """As `base`, with an encoder."""
    out = tmp_path_factory.mktemp("runs") / "encoder"
    return out, _train(corpus, out, toy_config(WITH_ENCODER))


def test_every_field_is_checked() -> None:
    sections = [type(getattr(Config(), section.name)) for section in fields(Config)] + list(INFERENCE.values())
    names = {f"{section.section}.{field.name}" for section in sections for field in fields(section)}
    assert set(EFFECTS) == names


@pytest.mark.parametrize("name", EFFECTS)
def test_every_field_changes_something(
    name: str,
    base: tuple[Path, list[Event]],
    with_encoder: tuple[Path, list[Event]],
    corpus: Corpus,
    tmp_path: Path,
) -> None:
    value, effect = EFFECTS[name]
    section, key = name.split(".")
    before = toy_config()
    if key in OF_ENCODERS:
        before, base = toy_config(WITH_ENCODER), with_encoder
    if other := NEEDS.get(name):
        before = toy_config(other)
        base = tmp_path / "before", _train(corpus, tmp_path / "before", before)
    assert before.to_dict()[section][key] != value
    changes: dict[str, dict[str, Any]] = {section: {key: value}}
    if key in ("init", "init_epochs"):  # each needs the other
        changes[section] |= {"init": "lm", "init_epochs": 1}
    if key == "patience":  # the judge finds each epoch worse
        changes[section] |= {"select": "valid_kn5", "n_epochs": 3}
    if name == "text.tokenizer":
        changes["text"]["vocab_size"] = 20
    if name == "text.lowercase":  # has an effect on capitals alone
        corpus = _with_capitals(tmp_path / "capitals")
    stop = {"max_minutes": 1e-9} if effect == "threads" else {}  # more threads than free cores would take long
    events = _train(corpus, tmp_path / "run", before.merge(changes), **stop)

    old, new = base[0], tmp_path / "run"
    same_weights = sha256_file(old / "model.safetensors") == sha256_file(new / "model.safetensors")
    start, former = ({**next(e for e in some if e.kind == "start").data, "run": ""} for some in (events, base[1]))
    saved, formerly = ([e.data["step"] for e in some if e.kind == "checkpoint"] for some in (events, base[1]))
    if effect == "weights":
        assert not same_weights
        assert metrics_of(new) != metrics_of(old)
    elif effect == "steps":
        assert start["n_steps"] > former["n_steps"]
    elif effect == "vocabulary":
        assert start["vocab_size"] == former["vocab_size"]  # capitals would have made words of their own
    elif effect == "threads":
        assert (start["threads"], former["threads"]) == (2, 1)
    elif effect == "reports":
        assert same_weights
        assert metrics_of(new) != metrics_of(old)
    elif effect == "ends":
        assert _end(events) == ("patience", _end(base[1])[1])  # after two epochs of three
    elif effect == "checkpoints":
        assert same_weights
        assert metrics_of(new) == metrics_of(old)
        assert set(saved) > set(formerly)
    else:
        assert effect == "published"
        assert not same_weights


def _with_capitals(directory: Path) -> Corpus:
    corpus = text_corpus(directory, n_train=16)
    path = corpus.splits["train"].path
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line.upper() if i % 2 else line}\n" for i, line in enumerate(lines)))
    return find_corpus(str(directory))


def test_open_settings_are_resolved_and_kept(corpus: Corpus, tmp_path: Path) -> None:
    config = toy_config({"training": {"precision": "auto", "n_threads": 0}})
    events = _train(corpus, tmp_path / "run", config, max_steps=1)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["training"]
    assert stored["precision"] in ("fp32", "bf16")
    assert stored["n_threads"] == torch.get_num_threads()
    assert next(e for e in events if e.kind == "start").data["precision"] == stored["precision"]


def test_stopped_run_has_a_checkpoint_and_weights_and_resumes_to_the_same(
    base: tuple[Path, list[Event]], corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    assert _end(_train(corpus, out, toy_config(), max_steps=1)) == ("max_steps", 1)
    assert sha256_file(out / "model.safetensors") != sha256_file(base[0] / "model.safetensors")
    caplog.clear()
    events = _resume(out)
    assert _end(events)[0] == "finished"
    assert caplog.text == ""
    assert next(e for e in events if e.kind == "start").data["step"] == 1
    assert sha256_file(out / "model.safetensors") == sha256_file(base[0] / "model.safetensors")
    assert metrics_of(out) == metrics_of(base[0])


def test_recorded_chains_train_the_same_weights_stopped_or_not(
    base: tuple[Path, list[Event]], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: the largest batch's chains are recorded first, and all others fit into its memory."""
    shapes: list[torch.Size] = []

    def record(function: Callable[..., Tensor], given: tuple[Tensor, ...], pool: Any) -> Replay:
        shapes.extend(each.shape for each in given[2:3])  # tokens; a prior's chain has none
        return trace(function, given, pool)

    record_on_cpu(monkeypatch, record)
    _train(corpus, tmp_path / "whole", toy_config())
    assert shapes[0] == max(shapes, key=torch.Size.numel)
    assert len({*shapes}) > 1
    _train(corpus, tmp_path / "part", toy_config(), max_steps=1)
    _resume(tmp_path / "part")
    whole, part, unrecorded = (path / "model.safetensors" for path in (tmp_path / "whole", tmp_path / "part", base[0]))
    assert sha256_file(part) == sha256_file(whole)
    assert metrics_of(tmp_path / "part") == metrics_of(tmp_path / "whole")
    wanted = load_weights(unrecorded)[0]
    for name, weights in load_weights(whole)[0].items():
        assert torch.allclose(weights, wanted[name], atol=1e-4), name


def test_without_validation_sentences_a_run_has_no_figures_of_them(corpus: Corpus, tmp_path: Path) -> None:
    events = _train(corpus, tmp_path / "run", toy_config({"training": {"validation_sentences": 0}}))
    assert [event.data.keys() for event in events if event.kind == "validation"] == [{"step", "epoch"}] * 2
    assert events[-1].data["best"] == {} and events[-1].data["published_by"] is None
    assert (tmp_path / "run" / "samples" / "epoch-0002.txt").is_file()


def test_max_minutes_stops(corpus: Corpus, tmp_path: Path) -> None:
    events = _train(corpus, tmp_path / "run", toy_config(), max_minutes=1e-9)
    assert _end(events) == ("max_minutes", 0)
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_minutes_have_sixty_seconds(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits, run = list[Limits](), TrainingLoop.run

    def stopped(loop: TrainingLoop, given: Limits) -> str:
        limits.append(given)
        return run(loop, Limits(max_steps=0))

    monkeypatch.setattr(TrainingLoop, "run", stopped)
    began = time.monotonic()
    _train(corpus, tmp_path / "run", toy_config(), max_minutes=20)
    assert limits[0].deadline is not None
    assert began + 1200 <= limits[0].deadline <= time.monotonic() + 1200


def test_killed_before_the_first_checkpoint(
    base: tuple[Path, list[Event]], corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(event: Event) -> None:
        if event.kind == "report":
            raise Killed

    out = tmp_path / "run"
    with pytest.raises(Killed):
        train(corpus, out=out, config=toy_config(), device="cpu", on_event=kill)
    assert len(metrics_of(out)) == 1
    assert not (out / "checkpoints").exists()
    _resume(out)
    assert "no checkpoint yet" in caplog.text
    assert metrics_of(out) == metrics_of(base[0])
    assert sha256_file(out / "model.safetensors") == sha256_file(base[0] / "model.safetensors")


def test_killed_between_the_last_checkpoint_and_the_weights(
    base: tuple[Path, list[Event]], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of an earlier stop must not pass for those of the finished run."""
    out = tmp_path / "run"
    _train(corpus, out, toy_config(), max_steps=1)

    def kill(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_weights", kill)
        with pytest.raises(Killed):
            _resume(out)
    assert sha256_file(out / "model.safetensors") != sha256_file(base[0] / "model.safetensors")
    assert _end(_resume(out))[0] == "finished"
    assert sha256_file(out / "model.safetensors") == sha256_file(base[0] / "model.safetensors")


def test_finished_run_is_left_as_it_is(base: tuple[Path, list[Event]], caplog: pytest.LogCaptureFixture) -> None:
    files = [path for path in base[0].rglob("*") if path.is_file()]
    before = {path: (sha256_file(path), path.stat().st_mtime_ns) for path in files}
    assert _resume(base[0]) == []
    assert "nothing to do" in caplog.text
    assert {path: (sha256_file(path), path.stat().st_mtime_ns) for path in before} == before
    assert {path for path in base[0].rglob("*") if path.is_file()} == set(files)


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        (["a b", "c"], {"config": toy_config()}, "a corpus is a name, a path or a Corpus, got list; of a list"),
        (
            "toy",
            {"config": toy_config(), "preset": "lm"},
            "give a preset's name, a run's path or a Config, .* got both",
        ),
        (
            "toy",
            {"overrides": "training.n_epochs=1"},
            "overrides are a list of section.key=value or a mapping",
        ),
        ("toy", {"config": {"model": {}}}, "give a preset's name, a run's path or a Config, .* got a dict as config"),
        ("toy", {"preset": toy_config()}, "give a preset's name, a run's path or a Config, .* got a Config as preset"),
        ("toy", {"overrides": toy_config()}, "overrides are a list of section.key=value or a mapping, got Config"),
        ("toy", {"overrides": [("model.tied", 1)]}, r"expected section.key=value, got \('model.tied', 1\)"),
        ("toy", {"overrides": {3: 1}}, "expected section.key as the name of a setting, got 3"),
        (None, {"resume": True, "overwrite": True}, "resume continues a run, overwrite replaces it: give one of them"),
        ("toy", {"config": toy_config(), "data_dir": "nowhere"}, "the data directory nowhere does not exist"),
    ],
)
def test_another_type_is_named_in_one_line(corpus: Any, options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train(corpus, out=tmp_path / "run", device="cpu", **options)
    assert not (tmp_path / "run").exists()


def test_out_is_a_directory(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ways: list[dict[str, Any]] = [{}, {"resume": True}, {"overwrite": True}]
    for out, why in (("file", "File exists"), ("file/run", "Not a directory")):
        for options in ways:
            with pytest.raises(InputError, match=f"^cannot make the directory .*/{out}: {why}; choose another$"):
                train(corpus, out=tmp_path / out, config=toy_config(), device="cpu", **options)
    with pytest.raises(InputError, match="a run is named by the path of its directory, got NoneType"):
        train(corpus, out=None, config=toy_config())  # type: ignore[arg-type]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_what_the_caller_set_for_all_of_torch_changes_nothing(
    base: tuple[Path, list[Event]], corpus: Corpus, tmp_path: Path, around: Callable[[], Any]
) -> None:
    with around():
        _train(corpus, tmp_path / "run", toy_config())
    assert sha256_file(tmp_path / "run" / "model.safetensors") == sha256_file(base[0] / "model.safetensors")


def test_another_default_dtype_is_refused_before_anything_is_written(corpus: Corpus, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(InputError, match=r"torch's default dtype is torch.float64"):
            _train(corpus, tmp_path / "run", toy_config())
    finally:
        torch.set_default_dtype(torch.float32)
    assert not (tmp_path / "run").exists()


def test_a_refused_run_leaves_its_directory_free(corpus: Corpus, tmp_path: Path) -> None:
    """What is found wrong only as the model is built must not be in the way of the next try."""
    wrong = toy_config({"model": {"prior": "no_such_module:Prior"}})
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be imported"):
            _train(corpus, tmp_path / "run", wrong)
    assert not (tmp_path / "run" / "config.json").exists()


def test_truncated_checkpoint_is_replaced_by_its_predecessor(
    base: tuple[Path, list[Event]], corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "run"
    _train(corpus, out, toy_config({"training": {"checkpoint_every": 2}}), max_steps=3)
    os.truncate(out / "checkpoints" / "last" / "tensors.safetensors", 100)
    events = _resume(out)
    last, previous = (out / "checkpoints" / name for name in ("last", "previous"))
    assert re.search(rf"{last} is damaged: .*; going on from {previous} instead", caplog.text)
    assert next(e for e in events if e.kind == "start").data["step"] == 2
    assert sha256_file(out / "model.safetensors") == sha256_file(base[0] / "model.safetensors")
    assert metrics_of(out) == metrics_of(base[0])


def test_changed_text_is_refused(tmp_path: Path) -> None:
    corpus = text_corpus(tmp_path / "toy", n_train=16)
    _train(corpus, tmp_path / "run", toy_config(), max_steps=1)
    with (tmp_path / "toy" / "valid.txt").open("a") as stream:
        stream.write("the dog\n")
    with pytest.raises(InputError, match=r"valid\.txt is not the text"):
        _resume(tmp_path / "run")


def test_text_that_was_moved_is_found_in_the_data_directory(tmp_path: Path) -> None:
    corpus = text_corpus(tmp_path / "toy", n_train=16)
    _train(corpus, tmp_path / "run", toy_config(), max_steps=1)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "toy").rename(tmp_path / "elsewhere" / "toy")
    with pytest.raises(InputError, match="toy"):
        _resume(tmp_path / "run")
    assert _end(_resume(tmp_path / "run", data_dir=tmp_path / "elsewhere", max_steps=2)) == ("max_steps", 2)


@pytest.mark.parametrize("content", [None, "{", '{"training": {"sede": 1}}'])
def test_a_directory_that_is_no_run_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json|sede"):
        _resume(tmp_path)


def test_divergence_is_bad_input_that_names_the_settings(corpus: Corpus, tmp_path: Path) -> None:
    config = toy_config({"inference": {"step_size": 10.0, "n_steps": 40}})
    with pytest.raises(
        InputError, match=r"diverged: non-finite .* at step 1 .*step_size of inference or prior"
    ) as error:
        _train(corpus, tmp_path / "run", config)
    assert "\n" not in str(error.value)
    weights, _ = load_weights(tmp_path / "run" / "model.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_figures_of_held_out_sentences_that_are_not_finite_end_a_training(corpus: Corpus, tmp_path: Path) -> None:
    """They come of the epoch's last update, whose own figures were finite; no selection compares them."""
    out, config = tmp_path / "run", toy_config({"training": {"n_epochs": 1, "batch_size": 16, "batch_tokens": 1000}})
    config = config.merge({"inference": {"kind": "semi_amortized"}, "training": {"prior_learning_rate": 10.0}})
    with pytest.raises(InputError, match=r"diverged: non-finite .*valid_kl after 1 epochs; the weights in ") as error:
        _train(corpus, out, config.merge({"training": {"learning_rate": 1.0}}))
    assert "\n" not in str(error.value)
    assert not any("valid_kl" in record for record in metrics_of(out))
    weights, _ = load_weights(out / "model.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_a_divergence_that_stays_finite_is_said(
    corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _train(corpus, tmp_path / "run", toy_config({"training": {"learning_rate": 10.0, "n_epochs": 1}}))
    assert metrics_of(tmp_path / "run")[-1]["uniform_ppl"] == 12
    assert "validation perplexity is above that of guessing at random: 12, the vocabulary's size" in caplog.text


def test_most_of_a_text_unknown_is_a_warning(corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _train(corpus, tmp_path / "run", toy_config({"text": {"vocab_size": 5}}), max_steps=1)
    (record,) = [record for record in caplog.records if "<unk> to the model" in record.message]
    assert record.levelno == logging.WARNING


def test_left_out_sentences_are_said(corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _train(corpus, tmp_path / "run", toy_config({"text": {"max_length": 4}}), max_steps=1)
    assert "longer than 4 tokens" in caplog.text


def test_unavailable_device_is_bad_input_and_nothing_is_begun(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="CUDA"):
        train(corpus, out=tmp_path / "run", config=toy_config(), device="cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("overrides", [{"training.seed": 5}, {"training": {"seed": 5}}, ["training.seed=5"]])
def test_a_plain_call_trains(corpus: Corpus, tmp_path: Path, overrides: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """From Python: a directory, a few values in the place of a configuration, and nobody who listens."""
    small = {"model.hidden_dim": 4, "model.embedding_dim": 4, "inference.n_steps": 1, "prior": {"n_steps": 1}}
    where = corpus.splits["train"].path.parent
    run = train(where, out=tmp_path / "run", overrides={**small, "training.n_threads": 1}, max_steps=1)
    assert (run.progress()["step"], run.progress()["finished"]) == (1, False)
    assert run.config.model.hidden_dim == 4 and run.config.prior.n_steps == 1
    assert run.config.training.seed == 1
    assert len(run.model(device="cpu").generate(2).sentences) == 2
    with pytest.raises(InputError, match="already holds a run"):
        train(where, out=tmp_path / "run")
    with pytest.raises(InputError, match=r"training\.seed is 1, not 5"):
        train(out=tmp_path / "run", resume=True, overrides=overrides)
    with pytest.raises(InputError, match="needs a corpus"):
        train(out=tmp_path / "other")
    again = train(where, out=tmp_path / "run", config=run.config, overrides=overrides, max_steps=1, overwrite=True)
    assert again.config == run.config.merge({"training": {"seed": 5}})
    assert capfd.readouterr() == ("", "")

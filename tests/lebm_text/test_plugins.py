"""Classes that are not the package's own: found, checked, tried out, recorded, and not imported for just anybody."""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lebm_text import LatentEBM, train
from lebm_text.build import build_inference
from lebm_text.checks import Section, in_range, setting
from lebm_text.cli.main import main
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.experiments.reading import read_experiment
from lebm_text.experiments.runner import Runner
from lebm_text.generation.generate import describe_model
from lebm_text.inference.base import NoLatent
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior
from lebm_text.plugins import MissingPlugin, find, trusted, trusting
from lebm_text.processes import ALONE
from lebm_text.progress import Progress
from lebm_text.reports.judging import JudgeSettings, prepare
from lebm_text.run import Run, read_config
from lebm_text.sections import GeneratorConfig, InferenceConfig, PriorConfig
from lebm_text.store import read_json
from lebm_text.text.corpora import CorpusDescription, find_again, find_corpus
from lebm_text.text.labels import labelled_split
from lebm_text.text.registry import SPLITS
from lm_eval.judges import JudgeSpec, KneserNeySpec, TrainedJudge, judge_specs
from lm_eval.lists import fppl
from lm_eval.perplexity import SentenceScores
from lm_eval.plugins import PluggedSpec
from lm_eval.texts import CONVENTIONS, Reference

from .tiny import tiny_model
from .toy import Mixture, plugged_model, toy_config, toy_model, write_text_corpus

HERE = __name__


@dataclass(frozen=True)
class PartSettings(PriorConfig):
    n_parts: int = setting(3, in_range, 1, 9)


class Parts(Mixture):
    """With a setting of its own."""

    Settings = PartSettings

    def __init__(self, latent_dim: int, n_parts: int) -> None:
        super().__init__(latent_dim)
        self.means = nn.Parameter(torch.arange(n_parts * latent_dim).view(n_parts, -1) / 10)


@dataclass(frozen=True)
class WideSettings(GeneratorConfig):
    gain: float = setting(1.0, in_range, 0.0, 2.0)


class Wide(LSTMGenerator):
    Settings = WideSettings

    def __init__(self, *args: Any, gain: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gain = gain


@dataclass(frozen=True)
class ConstantSettings(InferenceConfig):
    shift: float = setting(0.0, in_range, -1.0, 1.0)


class Encoder(nn.Linear):
    def __init__(self, latent_dim: int) -> None:
        super().__init__(1, latent_dim)


class Constant(NoLatent):
    """The same z for all sentences, which an encoder of its own knows."""

    Settings = ConstantSettings
    Encoder = Encoder

    def __init__(self, shift: float, epoch: float, encoder: nn.Module) -> None:
        object.__setattr__(self, "given", (shift, epoch, encoder))

    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Any) -> Any:
        z = self.given[2](torch.ones(len(batch.lengths), 1)) + self.given[0]  # type: ignore[attr-defined]
        return super().__call__(batch, prior, generator, rng=rng)._replace(z=z, start=z)


def _config(**changes: dict[str, Any]) -> Config:
    return toy_config(changes).with_plugins(trust_plugins=True)


def test_settings_of_a_class_reach_its_constructor() -> None:
    config = toy_config().override([f"model.prior={HERE}:Parts", "prior.n_parts=5", "prior.n_steps=7"])
    assert config.prior.is_open
    assert len(plugged_model(config).prior.means) == 5  # type: ignore[attr-defined]
    checked = config.with_plugins(trust_plugins=True)
    assert isinstance(checked.prior, PartSettings)
    assert (checked.prior.n_parts, checked.prior.n_steps) == (5, 7)
    assert checked.override(["prior.n_parts=2"]).prior.n_parts == 2  # type: ignore[attr-defined]
    config = _config(model={"generator": f"{HERE}:Wide"}, generator={"gain": 0.5})
    assert config.to_dict()["generator"] == {"gain": 0.5}


def test_a_configuration_with_settings_of_others_comes_back_from_json() -> None:
    config = _config(model={"prior": f"{HERE}:Parts"}, prior={"n_parts": 4})
    read = Config.from_dict(config.to_dict())
    assert read.to_dict() == config.to_dict()
    assert read == Config.from_dict(config.to_dict())
    assert read.with_plugins(trust_plugins=True) == config
    assert config.conflicts(read) == {}
    assert config.override(["model.prior=ebm"]) == toy_config()


def test_a_way_of_inference_has_settings_and_an_encoder_that_learns() -> None:
    config = _config(inference={"kind": f"{HERE}:Constant", "shift": 0.5})
    assert Config.from_dict(config.to_dict()).with_plugins(trust_plugins=True) == config
    model = plugged_model(config)
    assert isinstance(model.encoder, Encoder)
    infer: Any = build_inference(config.inference, epoch=2.0, encoder=model.encoder)
    assert infer.given == (0.5, 2.0, model.encoder)
    assert describe_model(config).endswith(f"|posterior:inference={HERE}:Constant")


@dataclass(frozen=True)
class FiledSettings(PriorConfig):
    means: Path = Path("means.npy")
    sizes: list[int] = field(default_factory=lambda: [2, 3])


class Filed(Mixture):
    Settings = FiledSettings

    def __init__(self, latent_dim: int, means: Path, sizes: list[int]) -> None:
        super().__init__(latent_dim)
        self.given = means, sizes


def test_paths_and_lists_are_settings_too() -> None:
    config = _config(model={"prior": f"{HERE}:Filed"}, prior={"means": "mine.npy"})
    assert config.to_dict()["prior"]["means"] == "mine.npy"
    assert Config.from_dict(config.to_dict()).with_plugins(trust_plugins=True) == config
    assert plugged_model(config).prior.given == (Path("mine.npy"), [2, 3])  # type: ignore[attr-defined]
    assert config.differences(toy_config()) == {"model.prior": f"{HERE}:Filed", "prior.means": "mine.npy"}


def test_a_run_goes_on_with_the_settings_of_its_class_alone(tmp_path: Path) -> None:
    config = toy_config({"model": {"prior": f"{HERE}:Parts"}, "prior": {"n_parts": 2}})
    run = train(write_text_corpus(tmp_path / "text"), config=config, out=tmp_path / "run", max_steps=1, device="cpu")
    again: dict[str, Any] = {"out": run.path, "resume": True, "trust_plugins": True, "device": "cpu", "max_steps": 2}
    for asked, message in (
        ({"prior.n_prts": 4}, "unknown key prior.n_prts; did you mean prior.n_parts?"),
        ({"prior.n_parts": 4}, "prior.n_parts is 2, not 4"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            train(**again, overrides=asked)
    stored = read_json(run.config_file)
    del stored["prior"]["n_parts"]
    run.config_file.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"was changed: prior.n_parts is missing, and the training began with 2;"):
        train(**again)
    stored["prior"]["n_parts"] = 2
    run.config_file.write_text(json.dumps(stored))
    assert train(**again, config=config).progress()["step"] == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("prior.n_prts=4", "unknown key prior.n_prts; did you mean prior.n_parts?"),
        ("prior.n_parts=many", "prior.n_parts must be a whole number, got 'many'"),
        ("prior.n_parts=10", "prior.n_parts must lie in [1, 9], got 10"),
        ("prior.n_steps=0", "prior.n_steps must lie in [1, 1e+06], got 0"),
        ("prior.finer=1", "prior.finer is no name that a setting"),
        ("prior.not-a-name=1", "prior.not-a-name is no name that a setting"),
        ("generator.gain=1", "unknown key generator.gain"),
    ],
)
def test_settings_of_a_class_are_checked_like_others(assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        toy_config().override([f"model.prior={HERE}:Parts", assignment]).with_plugins(trust_plugins=True)
    assert "\n" not in str(refused.value)


def test_a_setting_of_another_kind_is_refused_from_a_user_and_dropped_from_a_file(tmp_path: Path) -> None:
    config = toy_config().override([f"inference.kind={HERE}:Constant", "inference.n_steps=3"])
    with pytest.raises(InputError, match=f"inference.n_steps has no effect with inference.kind = {HERE}:Constant"):
        config.with_plugins(trust_plugins=True)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    read = read_config(tmp_path, plugged=True, trust_plugins=True)
    assert read == _config(
        inference={"kind": f"{HERE}:Constant"}
    )  # the chain's settings of `toy_config` are not asked for


class NoDataclass(Parts):
    class Settings(PriorConfig):
        n_parts: int = 3


class Foreign(Parts):
    Settings = WideSettings  # type: ignore[assignment]


class Redefined(Parts):
    @dataclass(frozen=True)
    class Settings(PriorConfig):
        n_steps: int = 3


class Lazy(Parts):
    """Without annotations until somebody asks for them, as Python 3.14 makes classes."""

    @dataclass(frozen=True)
    class Settings(PriorConfig):
        n_steps: int = 3

    del Settings.__annotations__


class Unstored(Mixture):
    @dataclass(frozen=True)
    class Settings(PriorConfig):
        names: Any = frozenset({"a"})


class Wider(Mixture):
    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim + 1)


class OutOfRange(Parts):
    @dataclass(frozen=True)
    class Settings(PriorConfig):
        n_parts: int = setting(0, in_range, 1, 9)


class Untaken(Mixture):
    Settings = PartSettings


class Failing(Mixture):
    def __init__(self, latent_dim: int) -> None:
        raise ZeroDivisionError("by nothing\nat all")


class Steep(Mixture):
    def logdensity(self, z: Tensor) -> Tensor:
        return super().logdensity(z) * math.nan


class Flat(Mixture):
    def logdensity(self, z: Tensor) -> Tensor:
        return super().logdensity(z.detach())


class Rooted(Mixture):
    """Its gradient is infinite."""

    def logdensity(self, z: Tensor) -> Tensor:
        return -(z - z.detach()).abs().sqrt().sum(-1)


class Scalar(Mixture):
    def neg_energy(self, z: Tensor) -> Tensor:
        return super().neg_energy(z).sum()


class Unsure(Mixture):
    def sample(self, n: int) -> Tensor:  # type: ignore[override]
        return torch.zeros(n, self.latent_dim)


class Guessing(Mixture):
    def log_z(self) -> float:
        return math.nan


class Frozen(LSTMGenerator):
    def initialise(self, rng: torch.Generator) -> None:
        super().initialise(rng)
        self.requires_grad_(False)


class Deaf(LSTMGenerator):
    def likelihood(self, batch: Any) -> Any:
        hears = super().likelihood(batch)
        return lambda z: hears(z.detach())


class Short(LSTMGenerator):
    def step(self, tokens: Tensor, state: Any) -> Any:
        logits, state = super().step(tokens, state)
        return logits[:, 1:], state


class Still(Constant):
    """Its encoder has nothing to learn."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()


class Bare:
    pass


class Lost(Constant):
    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Any) -> Any:
        result = super().__call__(batch, prior, generator, rng=rng)
        return result._replace(z=result.z / 0)


class Aimless(Constant):
    def target(self, prior: Any, likelihood: Any) -> Any:
        return lambda z: z


class Endless(Constant):
    def figures(self, result: Any) -> dict[str, Any]:
        return {"z": math.inf}


class Numbered(Constant):
    def figures(self, result: Any) -> Any:
        return {3: 1.0}


class Early(Lost):
    """Has no z in its first epoch."""

    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Any) -> Any:
        cls = Lost if self.given[1] < 1 else Constant  # type: ignore[attr-defined]
        return cls.__call__(self, batch, prior, generator, rng=rng)


class Sharp(Mixture):
    """The gradient in its parameters is infinite."""

    def neg_energy(self, z: Tensor) -> Tensor:
        return super().neg_energy(z) + (self.means - self.means.detach()).abs().sqrt().sum()


class Mute(LSTMGenerator):
    def step(self, tokens: Tensor, state: Any) -> Any:
        logits, state = super().step(tokens, state)
        return logits * math.nan, state


@pytest.mark.parametrize(
    ("setting_", "message"),
    [
        ("model.prior=NoDataclass", "its Settings must be a dataclass: write @dataclass(frozen=True) above them"),
        ("model.prior=Foreign", "its Settings must be a dataclass that inherits PriorConfig"),
        ("model.prior=Redefined", "prior.n_steps is no name that a setting of your own can have"),
        ("model.prior=Lazy", "prior.n_steps is no name that a setting of your own can have"),
        ("model.prior=OutOfRange", "prior.n_parts must lie in [1, 9], got 0"),
        ("model.prior=Unstored", "Unstored, its Settings: TypeError: "),
        ("model.prior=Wider", ": its latent_dim must be that of the configuration, model.latent_dim = 3, got 4"),
        ("model.prior=Untaken", "has the setting n_parts, which its constructor does not take"),
        ("model.prior=Failing", ": ZeroDivisionError: by nothing at all"),
        ("model.prior=Steep", ": logdensity is nan or inf at z of N(0, I)"),
        ("model.prior=Flat", ": logdensity is not differentiable in z; chains need its gradient"),
        ("model.prior=Rooted", ": logdensity has a gradient that is nan or inf"),
        ("model.prior=Scalar", ": neg_energy must be a tensor of shape (2, 3), got ()"),
        ("model.prior=Unsure", ": sample(3, rng): TypeError: "),
        ("model.prior=Guessing", ": log_z must be a finite number, or None if it is not known, got nan"),
        ("model.generator=Frozen", " has no parameters that learn"),
        ("model.generator=Deaf", ": likelihood(batch) is not differentiable in z; chains need its gradient"),
        ("model.generator=Short", ": the logits of step must be a tensor of shape (2, 12), got (2, 11)"),
        ("inference.kind=Still", ": its Encoder has no parameters that learn"),
        ("inference.kind=Lost", ": z is nan or inf at z of N(0, I)"),
        ("inference.kind=Early", ": z is nan or inf at z of N(0, I)"),
        ("inference.kind=Aimless", ": target must be a tensor of shape (2,), got (2, 3)"),
        ("inference.kind=Endless", ": figures: z must be one finite number, got inf"),
        ("inference.kind=Numbered", ": figures: 3 must be text"),
        ("model.prior=Sharp", ": neg_energy: the gradient in the parameters is nan or inf"),
        ("model.generator=Mute", ": the logits of step is nan at z of N(0, I)"),
        ("inference.kind=Bare", " is no Inference: it lacks chain, figures, moments, penalty, target"),
    ],
)
def test_what_does_not_do_its_part_is_named_in_one_line(setting_: str, message: str) -> None:
    what, _, name = setting_.partition("=")
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        plugged_model(toy_config().override([f"{what}={HERE}:{name}"]))
    assert "\n" not in str(refused.value)
    assert name in str(refused.value) or "prior.n_" in str(refused.value)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package, mixtures 1.2, that registers a prior; the directory that it lies in."""
    place = tmp_path / "site"
    (place / "mixtures-1.2.dist-info").mkdir(parents=True)
    (place / "mixtures-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mixtures\nVersion: 1.2\n")
    points = f"[lebm_text.priors]\nmixture = mixtures_of_a_test:Parts\n[lebm_text.judges]\npairs = {HERE}:Pairs\n"
    (place / "mixtures-1.2.dist-info" / "entry_points.txt").write_text(points)
    (place / "mixtures_of_a_test.py").write_text(f"from {HERE} import Parts\n")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "mixtures_of_a_test", raising=False)
    return place


@pytest.mark.parametrize("plugins", [5, {"model.prior": 5}, {"model.prior": {"package": 5}}, {"x": {"package": ""}}])
def test_packages_that_are_not_known_are_not_asked_for(tmp_path: Path, plugins: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(toy_config().to_dict()))
    (tmp_path / "env.json").write_text(json.dumps({"plugins": plugins}))
    assert read_config(tmp_path) == toy_config()


def test_a_registered_class_is_used_by_its_name_recorded_and_missed(
    installed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = toy_config({"model": {"prior": "mixture"}, "prior": {"n_parts": 2}})
    run = train(write_text_corpus(tmp_path / "text"), config=config, out=tmp_path / "run", max_steps=2, device="cpu")
    entry = {"name": "mixture", "class": "mixtures_of_a_test:Parts", "package": "mixtures", "version": "1.2"}
    assert read_json(run.environment_file)["plugins"] == {"model.prior": entry}
    loaded = LatentEBM.from_pretrained(run.path, device="cpu")  # what is installed is trusted
    assert len(loaded.model.prior.means) == 2  # type: ignore[attr-defined]
    (installed / "mixtures-1.2.dist-info").rename(installed / "mixtures-1.3.dist-info")
    metadata = installed / "mixtures-1.3.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    LatentEBM.from_pretrained(run.path, device="cpu")
    assert "trained with model.prior of mixtures 1.2; here is 1.3" in caplog.text
    (installed / "mixtures-1.3.dist-info" / "entry_points.txt").unlink()
    with pytest.raises(InputError, match=r"got 'mixture'; no installed.*trained with mixtures 1\.2: install that"):
        read_config(run.path)


def test_a_run_says_which_loose_class_made_it_and_is_not_resumed_without_trust(tmp_path: Path) -> None:
    config = toy_config({"model": {"prior": f"{HERE}:Parts"}, "training": {"n_epochs": 1}})
    run = train(write_text_corpus(tmp_path / "text"), config=config, out=tmp_path / "run", max_steps=2, device="cpu")
    assert run.environment["plugins"]["model.prior"]["class"] == f"{HERE}:Parts"
    assert Run(run.path).config.to_dict()["prior"]["n_parts"] == 3  # resolved, read without an import
    with pytest.raises(InputError, match=f"would import the module {HERE} and so run its code"):
        train(out=run.path, resume=True, device="cpu")
    assert train(out=run.path, resume=True, device="cpu", trust_plugins=True).progress()["finished"]


def test_settings_of_another_run_import_its_loose_class_only_with_trust(tmp_path: Path) -> None:
    config = toy_config({"model": {"prior": f"{HERE}:Parts"}, "prior": {"n_parts": 2}})
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    options: dict[str, Any] = {"out": tmp_path / "run", "preset": tmp_path, "max_steps": 1, "device": "cpu"}
    text = write_text_corpus(tmp_path / "text")
    with pytest.raises(InputError, match=f"would import the module {HERE} and so run its code"):
        train(text, **options)
    assert train(text, **options, trust_plugins=True).config.to_dict()["prior"]["n_parts"] == 2


@pytest.mark.parametrize(
    ("prior", "more"), [(f"{HERE}:Mixture", f"; model.prior = {HERE}:Mixture may be at fault, too"), ("ebm", "")]
)
def test_a_class_is_named_when_a_training_with_it_diverges(
    prior: str, more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*_arguments: object, **_more: object) -> None:
        raise FloatingPointError("a norm of nan")

    monkeypatch.setattr("lebm_text.training.trainer.Trainer.update", diverged)
    config = toy_config({"model": {"prior": prior}})
    with pytest.raises(InputError) as error:
        train(write_text_corpus(tmp_path / "text"), config=config, out=tmp_path / "run", device="cpu")
    assert str(error.value).partition("training.prior_learning_rate")[2] == more


def test_a_file_alone_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_imported.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("model.prior", "model.generator", "inference.kind"):
        config = toy_config().override([f"{name}=never_imported:A"])
        assert Config.from_dict(config.to_dict()).plugged
        with pytest.raises(InputError, match="--trust-plugins"):
            config.with_plugins()
    described: dict[str, Any] = {"name": "A", "origin": "directory", "source": "never_imported:A"}
    split = {"path": str(tmp_path / "gone" / "train.txt"), "sha256": "", "n_sentences": 0, "n_words": 0}
    with pytest.raises(InputError, match=r"corpus = never_imported:A would import the module never_imported"):
        find_again(CorpusDescription.read(described | {"splits": dict.fromkeys(SPLITS, split)}))


def test_an_experiment_with_a_class_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    changes = f'[settings]\n"model.prior" = "{HERE}:Parts"\n'
    (tmp_path / "mine.toml").write_text(f'base = "twins"\n{changes}')
    with pytest.raises(InputError, match=f"mine.toml: row .*: model.prior = {HERE}:Parts would import"):
        read_experiment(str(tmp_path / "mine.toml"))
    with trusting():
        read_experiment(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text(f'base = "twins"\ncorpus = "{HERE}:Sentences"\n')
    experiment = read_experiment(str(tmp_path / "mine.toml"))
    with pytest.raises(InputError, match=f"corpus = {HERE}:Sentences would import"):
        Runner(experiment, tmp_path / "out").carry_out()


def test_a_command_imports_the_class_of_a_run_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model(prior=f"{HERE}:Parts").save_pretrained(tmp_path)
    call = ["generate", "-n", "2", "--device", "cpu", "--run", str(tmp_path)]
    assert main(call) == 2
    refused = capsys.readouterr().err
    assert f"model.prior = {HERE}:Parts would import the module {HERE}" in refused
    assert refused.count("\n") == 1
    assert main([*call, "--trust-plugins"]) == 0
    assert not trusted()
    capsys.readouterr()
    assert main(call) == 2


def test_a_loose_class_of_an_installed_package_is_recorded_with_its_version() -> None:
    assert find("model.prior", "pytest:Item", trust_plugins=True).origin == ("pytest", pytest.__version__)


def test_a_module_in_the_current_directory_is_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lying_here.py").write_text("")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])  # as the installed command has it
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"No module named 'lying_here'; lying_here.py is in this directory: set PYTH"):
        find("model.prior", "lying_here:A", trust_plugins=True).load()


def test_an_error_in_a_module_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="broken_module:A cannot be imported: ZeroDivisionError"):
        toy_config().override(["model.prior=broken_module:A"]).with_plugins(trust_plugins=True)


class PairsModel:
    def __init__(self, wrong: str) -> None:
        self.wrong = wrong

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        lengths = np.array([line.count(" ") + 2 for line in sentences])
        nll = lengths * math.log(10) * {"nan": math.nan, "infinite": math.inf, "sign": -1.0}.get(self.wrong, 1.0)
        if self.wrong == "shape":
            nll = np.stack([nll, nll])
        nll *= self.wrong != "certain"
        nothing = np.zeros(len(lengths))
        n_tokens = lengths + (self.wrong == "count")
        if self.wrong == "lists":
            lists: Any = [each.tolist() for each in (nll, n_tokens, nothing, nothing, nothing)]
            return SentenceScores(*lists)
        scores = SentenceScores(nll, n_tokens, nothing.astype(int), nothing, nothing)
        wrong: dict[str, dict[str, Any]] = {
            "one number": {"nll": 5.0},
            "nll_oov": {"nll_oov": nll + 1.0},
            "nll_eos": {"nll_eos": 2 * nll},
            "n_oov": {"n_oov": n_tokens + 1},
        }
        return replace(scores, **wrong.get(self.wrong, {}))


@dataclass(frozen=True)
class Pairs(Section):
    """Every token has the probability 1 / 10."""

    section: ClassVar[str] = "judge"
    wrong: str = ""
    weight: float = setting(0.5, in_range, 0.0, 1.0)

    name: ClassVar[str] = "pairs"
    stop = seed = None
    n_more: ClassVar[int] = 2
    cheap: ClassVar[bool] = True

    @property
    def lm(self) -> str:
        return "pairs|" if self.wrong == "name" else f"pairs-{self.weight:g}"

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        return None if self.wrong == "nothing" else TrainedJudge(PairsModel(self.wrong))  # type: ignore[return-value]


def test_a_judge_of_others_judges_and_is_in_the_signature(installed: Path) -> None:
    for judge, lm in ((f"{HERE}:Pairs,weight=0.25", "pairs-0.25"), ("pairs", "pairs-0.5@1.2")):
        score = fppl(["a b", "b"], ["a b", "b a"], judge=judge)
        assert score.ppl == pytest.approx(10)
        assert f"|lm:{lm}|" in score.signature


def test_scores_in_lists_become_arrays() -> None:
    assert fppl(["a b", "b"], ["a b", "b a"], judge=f"{HERE}:Pairs,wrong=lists").ppl == pytest.approx(10)


@dataclass(frozen=True)
class Forward(Pairs):
    """The type of a field is known to type checkers alone."""

    other: Later | None = None  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True)
class PlacedPairs(Pairs):
    device: str = ""

    def placed(self, device: str, on_progress: Progress) -> PlacedPairs:
        on_progress(f"on {device}", 1, 1)
        return replace(self, device=device)


def test_a_judge_that_can_be_placed_is_given_the_device_and_where_to_report(tmp_path: Path) -> None:
    stages: list[str] = []
    settings = JudgeSettings(lm=f"{HERE}:PlacedPairs", device="cpu")
    (named,) = settings.judges()  # not placed, which may read gigabytes of weights
    assert isinstance(named, PluggedSpec) and named.spec == PlacedPairs()
    assert settings.file_name("fppl") == "fppl-pairs-0.5-default-test"

    def judge(settings: JudgeSettings) -> JudgeSpec:
        def note(stage: str, done: int, total: int) -> None:
            stages.append(stage)

        return prepare(["a b"], settings, note, ALONE, corpus).evaluators[0].spec

    corpus = find_corpus(str(write_text_corpus(tmp_path / "text")))
    placed = judge(settings)
    assert isinstance(placed, PluggedSpec) and isinstance(placed.spec, PlacedPairs)
    assert (placed.spec.device, stages) == ("cpu", ["on cpu"])
    other = judge(JudgeSettings(lm=f"{HERE}:Pairs", device="nowhere"))  # which needs none
    assert isinstance(other, PluggedSpec) and isinstance(other.spec, Pairs)


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("Pairs,wrong=nan", "nll of sentence 1 must be finite and not below 0, got nan"),
        ("Pairs,wrong=infinite", "nll of sentence 1 must be finite and not below 0, got inf"),
        ("Pairs,wrong=sign", "nll of sentence 1 must be finite and not below 0, got -6.9"),
        ("Pairs,wrong=shape", "nll must have the shape (2,), got (2, 2)"),
        ("Pairs,wrong=one number", "nll must have the shape (2,), got ()"),
        ("Pairs,wrong=nll_oov", "nll_oov of sentence 1 must be part of its nll, 6.90776, got 7.90776"),
        ("Pairs,wrong=nll_eos", "nll_eos of sentence 1 must be part of its nll, 6.90776, got 13.8155"),
        ("Pairs,wrong=n_oov", "n_oov of sentence 1 must be part of its n_tokens, 3, got 4"),
        ("Pairs,wrong=certain", "nll is 0 for all sentences: not all of them can have the probability 1"),
        ("Pairs,wrong=5", "Pairs,wrong must be a text, got 5; as a text it stands in quotes, in a shell wrong='\"5\"'"),
        ("Pairs,wrong=count", "sentence 1 has 3 tokens, </s> counted, and not 4"),
        ("Pairs,wrong=nothing", "train must give a TrainedJudge, got NoneType"),
        ("Pairs,wrong=name", "its lm must be letters, digits"),
        ("Pairs,weight=2", "judge.weight must lie in [0, 1], got 2"),
        ("Pairs,weight=x", "Pairs,weight must be a finite number, got 'x'"),
        ("Pairs,wieght=1", "has no setting 'wieght'; did you mean weight?"),
        ("Pairs,weight", "expected key=value after the comma, got 'weight'"),
        ("Nothing", "cannot be imported"),
        ("Parts", "is no dataclass"),
        ("Forward", "Forward, its fields: NameError: name 'Later' is not defined"),
        ("PartSettings", "is no JudgeSpec: it lacks cheap, lm, n_more, name, seed, stop, train"),
    ],
)
def test_judges_that_judge_nothing_are_named_in_one_line(judge: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        fppl(["a b", "b"], ["a b", "b a"], judge=f"{HERE}:{judge}")
    assert "\n" not in str(refused.value)


def test_protocols_of_papers_know_no_judges_of_others() -> None:
    assert judge_specs("kn3", CONVENTIONS["default"]) == [KneserNeySpec(3)]
    with pytest.raises(InputError, match="the protocol arae has no judge"):
        judge_specs(f"{HERE}:Pairs", CONVENTIONS["arae"])
    with pytest.raises(InputError, match="several seeds are for the LSTM judge"):
        judge_specs(f"{HERE}:Pairs", CONVENTIONS["default"], n_seeds=2)


@dataclass(frozen=True)
class Lines(Section):
    section: ClassVar[str] = "corpus"
    n: int = setting(4, in_range, 1, 50)
    wrong: str = ""

    def sentences(self, split: str) -> Iterable[str]:
        if self.wrong == "error":
            raise KeyError(split)
        given = {"empty": [], "string": "a b b", "surrogate": ["\ud800"], "break": ["a b\n"]}
        return given.get(self.wrong, ["a b b"] * self.n)

    def labels(self, split: str) -> Iterable[str]:
        return ["x"] * (self.n + (self.wrong == "labels"))


def test_a_class_makes_a_corpus_which_is_found_again_without_it() -> None:
    corpus = find_corpus(f"{HERE}:Lines,n=6")
    assert (corpus.name, corpus.splits["train"].n_sentences) == ("Lines,n=6", 6)
    assert labelled_split(corpus, "test")[0] == ("a b b", "x")
    described = corpus.describe()
    assert described["made_by"]["class"] == f"{HERE}:Lines"  # type: ignore[index]
    assert find_again(CorpusDescription.read(described)).splits["valid"].sha256 == corpus.splits["valid"].sha256


@dataclass(frozen=True)
class Unlabelled:
    def sentences(self, split: str) -> Iterable[str]:
        return ["a b b"]


def test_a_class_may_make_a_corpus_without_labels() -> None:
    directory = find_corpus(f"{HERE}:Unlabelled").splits["train"].path.parent
    assert sorted(path.name for path in directory.iterdir()) == ["test.txt", "train.txt", "valid.txt"]


def test_what_a_class_made_is_left_as_it_is_unless_it_was_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may be reading it."""
    made = find_corpus(f"{HERE}:Lines,n=8").splits["train"].path
    before = made.parent.stat().st_ino
    assert find_corpus(f"{HERE}:Lines,n=8").splits["train"].path.parent.stat().st_ino == before
    made.write_text("damaged\n")
    assert find_corpus(f"{HERE}:Lines,n=8").splits["train"].n_sentences == 8
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot write the cache .*; set LEBM_TEXT_CACHE to a directory that can be"):
        find_corpus(f"{HERE}:Lines,n=8")


def test_what_a_class_made_before_it_was_edited_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = find_corpus(f"{HERE}:Lines,n=7")
    described = CorpusDescription.read(before.describe())
    monkeypatch.setattr(Lines, "sentences", lambda self, split: [f"edited {split}"] * self.n)
    after = find_corpus(f"{HERE}:Lines,n=7")
    assert (before.name, list(after.splits["test"].sentences())) == (after.name, ["edited test"] * 7)
    assert list(find_again(described).splits["test"].sentences()) == ["a b b"] * 7
    shutil.rmtree(before.splits["test"].path.parent)
    with pytest.raises(InputError, match=r"the class .*:Lines,n=7 makes another text now: restore what it was$"):
        find_again(described, trust_plugins=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",n=0", "corpus.n must lie in [1, 50], got 0"),
        (",wrong=error", "sentences of train: KeyError: 'train'"),
        (",wrong=empty", "sentences of train: there are none"),
        (",wrong=break", "sentences of train: number 1 must be a text of one line"),
        (",wrong=labels", "labels of train: there are 5 for 4"),
        (",wrong=string", "sentences of train, got one string: 'a b b'"),
        (",wrong=surrogate", "sentences of train contains half of a surrogate pair"),
    ],
)
def test_a_class_that_gives_no_text_is_named(options: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        find_corpus(f"{HERE}:Lines{options}")


def test_the_packages_own_parts_are_not_plugged() -> None:
    assert isinstance(toy_model(toy_config()).prior, EBMPrior)
    assert not toy_config().plugged
    assert toy_config().with_plugins() == toy_config()


def test_a_class_that_is_missing_can_be_told_to_other_processes() -> None:
    error = pickle.loads(pickle.dumps(MissingPlugin("prior", "no such class")))
    assert (error.what, str(error)) == ("prior", "no such class")

"""What a report is computed from: one line refuses what is no run, no settings or no sentences of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lebm_text import reports
from lebm_text.errors import InputError
from lebm_text.reports.directions import DirectionsSettings
from lebm_text.reports.neighbours import NeighboursSettings
from lebm_text.reports.reconstruction import ReconstructionSettings, compute
from lebm_text.reports.trajectories import TrajectoriesSettings
from lebm_text.reports.views import ViewsSettings
from lebm_text.run import Run

from ..tiny import tiny_model

OLD = Path(__file__).resolve().parents[2] / "data" / "run-0.1.0"
OF_RUNS: dict[str, tuple[Any, ...]] = {
    "views": (),
    "trajectories": (),
    "likelihood": (),
    "directions": (),
    "interpolation": ("the cat", "a dog"),
}
OF_RUNS |= {"neighbours": (["the cat"],), "reconstruction": (["the cat"],)}
NAME: Any = "kjv"
DICT: Any = {"n": 3}
WORDS: Any = ["the"]
OF_TEXTS = ("perplexity", "frontier", "embedding")


@pytest.mark.parametrize("kind", OF_RUNS)
@pytest.mark.parametrize("given", [lambda: "runs/demo", tiny_model], ids=["path", "model"])
def test_what_is_no_run(kind: str, given: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match=r"^a report is computed from a Run, such as Run.find\(PATH\), got \w+$"):
        getattr(reports, kind).compute(given(), *OF_RUNS[kind])


@pytest.mark.parametrize("kind", [*OF_RUNS, *OF_TEXTS])
@pytest.mark.parametrize("settings", [{}, {"n": 3}, ReconstructionSettings(), NeighboursSettings()])
def test_settings_of_another_report(kind: str, settings: Any) -> None:
    if type(settings).__name__.lower() == f"{kind}settings":
        return
    with pytest.raises(InputError, match=rf"^the settings must be (?i:{kind})Settings\(…\), got \w+$"):
        getattr(reports, kind).compute(Run(OLD), *OF_RUNS.get(kind, ()), settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: reports.curves.compute(run), "expected a list of runs, got Run"),
        (lambda run: reports.curves.compute(NAME), r"a report is computed from a Run, .* got str"),
        (lambda run: reports.curves.compute([NAME]), r"a report is computed from a Run, .* got str"),
        (lambda run: reports.curves.compute([]), "there is no run to draw the curves of; give at least one"),
        (lambda run: reports.anomaly.compute(NAME, [run]), r"expected a Corpus, .* got str"),
        (lambda run: reports.anomaly.compute(NAME, run), "expected a list of runs, got Run"),
        (
            lambda run: reports.anomaly.compute(NAME, [run], DICT),
            r"the settings must be AnomalySettings.* got dict",
        ),
        (
            lambda run: reports.interpolation.compute(run, WORDS, "a"),
            "expected a list of sentences, .* number 1 is .*",
        ),
        (lambda run: reports.neighbours.compute(run, []), "there are no sentences to find neighbours of; give at .*"),
        (lambda run: reports.neighbours.compute(run, "abc"), "expected a list of sentences, got one string: 'abc'"),
        (
            lambda run: reports.reconstruction.compute(run, []),
            "there are no sentences to reconstruct; give at least one",
        ),
        (lambda run: reports.reconstruction.compute(run, "abc"), "expected a list of sentences, got one string: 'abc'"),
        (
            lambda run: compute(run, ["the"]).save(run.path),
            "cannot write .*: it is a directory; give the name of a file",
        ),
    ],
)
def test_other_things_than_the_call_takes(call: Callable[[Any], object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        call(Run(OLD))


def test_the_real_text_is_the_one_that_was_given(tmp_path: Path) -> None:
    other = shutil.copytree(OLD.parent / "tiny-corpus", tmp_path / "other")
    run = Run(shutil.copytree(OLD, tmp_path / "run"), data_dir=OLD.parent)
    settings = reports.perplexity.PerplexitySettings(n=4, lm="kn3")
    for corpus, name in ((other, "other"), (str(other), "other"), (None, "tiny-corpus")):
        assert reports.perplexity.compute(run, settings, corpus=corpus).corpus.name == name
    plain = reports.perplexity.compute(["a dog"] * 4, settings, corpus=run)
    assert plain.corpus.name == "tiny-corpus"
    for source in (run, ["a dog"]):
        with pytest.raises(InputError, match="a corpus is its name, its directory, a Corpus or a Run, got list"):
            reports.perplexity.compute(source, settings, corpus=["a dog"])  # type: ignore[arg-type]


def test_a_text_column_is_of_a_file(tmp_path: Path) -> None:
    run, settings = Run(OLD, data_dir=OLD.parent), reports.perplexity.PerplexitySettings(lm="kn3", text_column="text")
    for source in (run, ["a dog"]):
        with pytest.raises(InputError, match="a text column is a field of a file; samples of a run"):
            reports.perplexity.compute(source, settings, corpus=run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperatures": (0.5,)}, "temperatures are for a run, which is decoded again"),
        ({"seeds": (1, 2)}, "several seeds are for a run, which is sampled again"),
        ({"prior_temperature": 0.5}, "prior_temperature and guidance are for a run"),
        ({"guidance": 2.0}, "prior_temperature and guidance are for a run"),
        ({"oracle": True}, "oracle is for a run, whose model makes other sentences"),
        ({"latents": "long"}, "latents = long is for a run, whose model makes other sentences"),
    ],
)
def test_a_given_text_is_judged_as_it_is(settings: dict[str, Any], message: str) -> None:
    run = Run(OLD, data_dir=OLD.parent)
    with pytest.raises(InputError, match=f"^{message}; a given text is judged as it is$"):
        reports.frontier.compute(["a dog"] * 4, reports.frontier.FrontierSettings(**settings), corpus=run)


def test_samples_are_no_directory(tmp_path: Path) -> None:
    for source in (tmp_path, str(tmp_path)):
        with pytest.raises(InputError, match=r"is a directory: samples are a file, or those of a run, Run.find\('/"):
            reports.perplexity.compute(source, corpus=Run(OLD, data_dir=OLD.parent))


def test_a_signature_has_the_maximum_length_that_was_asked_for() -> None:
    for settings, said in (
        (None, "decode=greedy)|"),
        (ReconstructionSettings(max_length=3), "decode=greedy,max_length=3)|"),
    ):
        assert said in compute(Run(OLD), ["the cat sees a dog"], settings).signature


def test_few_labelled_sentences_are_said_to_be_some_of_all() -> None:
    pytest.importorskip("sklearn")
    settings: dict[str, Any] = {"held_out": 3, "moved": 2, "draws": 1, "repeats": 1, "shown": 0}
    run = Run(OLD, data_dir=OLD.parent)
    said = set()
    for seed in range(1, 9):
        try:
            report = reports.directions.compute(run, DirectionsSettings(sizes=(2,), seed=seed, **settings))
            said.add(report.signature.partition("|")[0])
        except InputError as error:
            said.add(str(error).partition(" of tiny-corpus")[0])
    assert said == {
        "directions(M=1,repeats=1,n=3,moved=2)",
        "2 of the 120 labelled sentences",
        "3 of the 40 labelled sentences",
    }


def test_a_generator_is_as_good_as_a_list() -> None:
    sentences = ["the cat sees", "a dog"]
    assert compute(Run(OLD), (each for each in sentences)) == compute(Run(OLD), sentences)


@pytest.mark.parametrize("state", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_what_the_caller_has_set_for_torch_changes_nothing(state: Callable[[], Any]) -> None:
    def computed() -> list[dict[str, Any]]:
        run = Run(OLD, data_dir=OLD.parent)
        found = [
            reports.trajectories.compute(run, TrajectoriesSettings(n=8, factor=10)),
            reports.views.compute(run, ViewsSettings(n=8)),
            reports.interpolation.compute(run, *OF_RUNS["interpolation"]),
        ]
        return [each.to_json() | {"seconds": 0.0} for each in found]

    plain = computed()
    with state():
        assert computed() == plain

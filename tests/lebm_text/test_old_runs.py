"""Run directories of earlier versions still load, go on and have their page: `tests/data/run-0.1.0`, of `tiny-corpus`.

The run was stopped by --max-steps before its last epoch ended; its reports are one of every kind.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lebm_text.cli.main import main
from lebm_text.generation.generate import decode_latents
from lebm_text.generation.settings import DecodeSettings
from lebm_text.model import LatentEBM
from lebm_text.run import Run

from .page.pages import Page, check_document
from .toy import seeded

DATA = Path(__file__).resolve().parents[1] / "data"
OLD = DATA / "run-0.1.0"
SECTIONS = [
    "Samples",
    "Reconstructions",
    "Scores",
    "Fluency against coverage",
    "Training curves",
    "Likelihood",
    "Trajectories of the prior chain",
    "Views of the latent space",
    "Direction of an attribute",
    "Anomaly detection",
    "Settings, text and machine",
    "How to repeat it",
    "Signatures",
]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old run where it may be written to; the working directory is that from which its corpus is found."""
    monkeypatch.chdir(DATA)
    return Path(shutil.copytree(OLD, tmp_path / OLD.name))


class NoiseOfThen:
    """Each sentence's noise as 0.1.0 drew it: two generators of torch, 256 numbers at a time."""

    def __init__(self, seed: int, n: int) -> None:
        keys = [[self._mix(seed, 2 * index + kind) for index in range(n)] for kind in (0, 1)]
        self._generators = [[seeded(key) for key in each] for each in keys]
        self._left = [torch.empty(n, 0), torch.empty(n, 0)]

    @staticmethod
    def _mix(seed: int, index: int) -> int:
        mask = (1 << 64) - 1
        value = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return (value ^ (value >> 31)) >> 1

    def normal(self, shape: Iterable[int]) -> Tensor:
        return self._draw(0, torch.randn, tuple(shape))

    def uniform(self, shape: Iterable[int]) -> Tensor:
        return self._draw(1, torch.rand, tuple(shape))

    def _draw(self, kind: int, function: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        n = math.prod(shape[1:])
        while self._left[kind].shape[1] < n:
            fresh = torch.stack([function(256, generator=each) for each in self._generators[kind]])
            self._left[kind] = torch.cat([self._left[kind], fresh], dim=1)
        drawn, self._left[kind] = self._left[kind][:, :n], self._left[kind][:, n:]
        return drawn.reshape(shape)


def test_the_sentences_are_those_of_then_under_the_noise_of_then() -> None:
    made = json.loads((OLD / "samples" / "kept.txt.json").read_text(encoding="utf-8"))["settings"]
    model = LatentEBM.from_pretrained(OLD, device="cpu")
    sentences = (OLD / "samples" / "kept.txt").read_text(encoding="utf-8").splitlines()
    rng, longest = NoiseOfThen(made["seed"], made["n"]), made["max_length"]
    z = model.model.prior.sample(made["n"], rng)
    found = decode_latents(model.model, model.tokenizer, z, DecodeSettings(), max_length=longest, rng=rng)
    assert [model.tokenizer.decode(ids) for ids in found.ids] == sentences
    assert len(set(sentences)) > 5


def test_training_goes_on(copy: Path) -> None:
    assert main(["train", "--resume", "--out", str(copy), "--device", "cpu"]) == 0
    records = [json.loads(line) for line in (copy / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert records[-1]["step"] == 32
    assert (copy / "samples" / "epoch-0004.txt").is_file()


def test_the_page_has_its_sections(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--run", str(copy)]) == 0
    assert "not on the page" not in capsys.readouterr().err
    page = Page((copy / "report.html").read_text(encoding="utf-8"))
    check_document(page)
    assert page.sections == SECTIONS


@pytest.mark.parametrize("metric", ["fppl", "rppl"])
def test_the_samples_are_judged_as_then(copy: Path, metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([metric, "--run", str(copy), "--lm", "kn5", "-n", "20", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    (kept,) = json.loads((OLD / "eval" / f"{metric}-kn5-default-test.json").read_text(encoding="utf-8"))["results"]
    assert found["ppl"] == pytest.approx(kept["ppl"])
    assert found["signature"].partition("|v:")[0] == kept["signature"].partition("|v:")[0]


def test_the_newest_report_of_a_kind_is_found_and_nothing_is_written(copy: Path) -> None:
    newer = json.loads((copy / "eval" / "views.json").read_text()) | {"command": "lebm-text views, later"}
    (copy / "eval" / "again.json").write_text(json.dumps(newer))
    os.utime(copy / "eval" / "views.json", ns=(0, 0))
    run = Run(copy)
    found = run.report("views")
    assert found is not None
    assert found.command == "lebm-text views, later"
    assert run.notes == []
    shutil.rmtree(copy / "eval")
    assert run.report("views") is None
    assert not (copy / "eval").exists()


def test_a_stale_report_is_noted_once(copy: Path) -> None:
    with (copy / "model.safetensors").open("ab") as weights:
        weights.write(b" ")
    run = Run(copy)
    run.reports()
    run.reports()
    assert run.notes.count("views.json: of weights that the run no longer has") == 1

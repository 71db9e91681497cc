"""The small model that comes with the package: sentences in seconds, without training and without a network."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
import yaml

from lebm_text import LatentEBM, Run
from lebm_text.cli.main import main
from lebm_text.sharing.hub import DEMO
from lebm_text.text.registry import REGISTRY
from lebm_text.weights import load_weights

from ..cli.test_main import one_line
from ..tiny import tiny_model

PACKED = Path(str(resources.files("lebm_text") / "pretrained" / DEMO))


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without runs, an empty cache, a Hub that cannot be reached."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_sentences_without_any_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "-n", "3", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    sentences = captured.out.splitlines()
    assert sentences == LatentEBM.from_pretrained(DEMO, device="cpu").generate(3).sentences
    assert f"no run in runs; this is {DEMO}, the small model that comes with lebm-text" in captured.err
    assert main(["generate", "-n", "3", "--device", "cpu", "--run", DEMO]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == sentences
    assert "no run" not in captured.err


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["curves", DEMO, "-o", "c.png"], 0, "wrote c.png"),
        (["compare", DEMO, DEMO], 2, f"{DEMO} has no report of evaluate"),
        (["push", DEMO, "a/b"], 2, "cannot push to a/b: the exchange with the Hub failed"),
    ],
)
def test_it_is_a_run_to_every_command(
    command: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ann")
    assert main(command) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", [["generate", "--run", DEMO], ["generate"], ["data", "fetch", "kjv"]])
def test_a_cache_that_cannot_be_written_is_named(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.txt").write_text("no directory")
    monkeypatch.setenv("LEBM_TEXT_CACHE", "a.txt")
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "cannot write the cache a.txt/" in said and "set LEBM_TEXT_CACHE to a directory" in said


def test_judges_do_not_take_it_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fppl"]) == 2
    assert "no run in runs; train one first (lebm-text train FILE)" in one_line(capsys)


def test_a_directory_of_that_name_and_a_run_go_before(capsys: pytest.CaptureFixture[str]) -> None:
    for place in (Path(DEMO), Path("runs", "tiny")):
        tiny_model().save_pretrained(place)
    expected = tiny_model().generate(3).sentences
    for options in ([], ["--run", DEMO]):
        assert main(["generate", "-n", "3", "--device", "cpu", *options]) == 0
        assert capsys.readouterr().out.splitlines() == expected


def test_what_is_made_of_it_lies_in_the_cache(tmp_path: Path) -> None:
    run = Run.find(Path(DEMO))
    assert run.path == tmp_path / "cache" / "pretrained" / DEMO
    run.report_file("views").parent.mkdir()
    (run.path / "model.safetensors").write_bytes(b"damaged")
    assert Run.find(Path(DEMO)).weights_file.read_bytes() == (PACKED / "model.safetensors").read_bytes()
    assert (run.path / "eval").is_dir()
    assert not (PACKED / "eval").exists()


def test_it_is_small_and_says_where_it_comes_from() -> None:
    assert sum(path.stat().st_size for path in PACKED.iterdir()) < 3_300_000
    weights, _ = load_weights(PACKED / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    environment = json.loads((PACKED / "env.json").read_text())
    recorded = {name: split["sha256"] for name, split in environment["corpus"]["splits"].items()}
    assert recorded == {name: split.sha256 for name, split in REGISTRY["kjv"].expected.items()}
    card = (PACKED / "README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["library_name"] == "lebm-text"
    assert f"--run {DEMO}" in card
    assert "FPPL|lm:kn5" in card
    assert "RPPL|lm:kn5" in card

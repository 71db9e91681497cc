"""Every field of every signature that the code makes is explained, and what is no field is said to be unknown."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lebm_text.cli.main import main
from lebm_text.errors import InputError
from lebm_text.generation.generate import signature_of
from lebm_text.generation.latents import PosteriorLatents, PriorLatents
from lebm_text.generation.samples import Decoding
from lebm_text.generation.settings import DecodeSettings
from lebm_text.presets import PRESETS, preset
from lebm_text.reports import interpolation, likelihood, neighbours, reconstruction
from lebm_text.reports.signatures import explain, split_fields
from lebm_text.run import Run
from lm_eval.diversity import bleu_against, compare_each, self_bleu
from lm_eval.judges import judge_specs
from lm_eval.protocol import METRICS, signature
from lm_eval.texts import CONVENTIONS, RealText, Reference, Samples

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data"
TEXT = ["the cat sees a dog .", "a dog likes the cat .", "the dog sees the cat ."] * 3


def _signatures(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key == "signature" else item if key == "signatures" else _signatures(item)
    elif isinstance(value, list):
        for item in value:
            yield from _signatures(item)


def _unusual() -> Iterator[str]:
    """How z was drawn, if not plainly."""
    yield ",prior_T=0.5,prior_steps=90,label=good,guidance=2"
    prior: Any = SimpleNamespace(latent_dim=2, chain=object())
    anything: Any = None
    yield PriorLatents(prior, anything, long=True).describe()
    yield PosteriorLatents(anything, TEXT, 1, anything).describe()
    yield ""


def _made(run: Path) -> Iterator[str]:
    for path in (*run.rglob("*.json"), *(ROOT / "docs" / "tables").rglob("results.json")):
        yield from _signatures(json.loads(path.read_text()))
    decodings = [DecodeSettings(temperature=0.5, top_k=3, top_p=0.9), DecodeSettings(decode="beam", no_unk=True)]
    for name in PRESETS:
        for decoding in decodings:
            for unusual in _unusual():
                config = preset(name).merge({"prior": {"noise_scale": 0.5}} if name == "quick" else {})
                yield signature_of(config, 9, decoding, seed=2, max_length=7, unusual=unusual)
    samples = Samples(TEXT, "decode=greedy", ("prior:gaussian", "seed:3"), "13a+lower")
    for convention in CONVENTIONS.values():
        reference = Reference(RealText("cats", TEXT, "test", TEXT, TEXT), convention)
        trained: Any = SimpleNamespace(training=SimpleNamespace(precision="bf16"))
        for spec in judge_specs(None, convention):
            for metric in METRICS:
                yield signature(metric, spec, trained, reference, samples)
    yield self_bleu(TEXT).signature
    yield bleu_against(TEXT, TEXT).signature
    described: Any = SimpleNamespace(name="cats", split="test", n_sentences=50)
    for exact in (False, True):
        yield likelihood._signature(
            described, "sentencepiece", likelihood.LikelihoodSettings(n_importance=9), exact=exact
        )
    yield compare_each([TEXT], TEXT, TEXT)[0].signature
    for label in ("mine.txt", f"samples,{Decoding(temperature=0.9, latents='posterior')},seed=2"):
        yield f"FED|enc:minilm@0123abcd|test:cats-test|samples:{label}|n:200|k:5|seed:1"
    yield "AUROC,AUPRC|positive:Lines,n=6(n=5)|negative:Lines,n=6-test(n=7)|z:p(z|x),draws=3,steps=run|eos:yes"
    found = Run(run, data_dir=DATA)
    sentences = list(found.corpus().splits["test"].sentences())[:2]
    yield interpolation.compute(found, sentences[0], sentences[1]).signature
    for metric in neighbours.METRICS:
        yield neighbours.compute(found, sentences[:1], neighbours.NeighboursSettings(metric=metric)).signature
    yield reconstruction.compute(found, sentences).signature


def test_every_field_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    shutil.copytree(DATA / "run-0.1.0", run)
    kinds = {re.sub(r"\d+", "0", each): each for each in _made(run)}.values()
    found = {field.text: field.meaning for each in kinds for field in explain(each)}
    assert [text for text, meaning in found.items() if meaning is None] == []
    assert len(found) > 60
    # A field that only a catch-all fits is explained wrongly.
    assert not [text for text, meaning in found.items() if "plug-in" in str(meaning) and "." not in text]


def test_split_fields_leaves_parentheses_whole() -> None:
    assert split_fields("a|b(c|d,e(f|g))|h", "|") == ["a", "b(c|d,e(f|g))", "h"]


def test_each_argument_is_explained_by_what_holds_it() -> None:
    found = {field.text: field.meaning or "" for field in explain("log_p|lower:ais(6x2,n=3)|prior:ebm-langevin(4x0.5)")}
    assert "6 temperatures, 2 chains" in found["6x2"] and "4 of 0.5" in found["4x0.5"] and "3" in found["n=3"]


def test_names_with_commas_and_orders_are_whole() -> None:
    fields = explain("in-train|orders:3,4,6|train:Lines,n=6-train|test:samples(n=3,z=chain-x10)|negative:a,b-test(n=7)")
    assert [(field.text, field.inside) for field in fields] == [
        ("in-train", False),
        ("orders:3,4,6", False),
        ("train:Lines,n=6-train", False),
        ("test:samples", False),
        ("n=3", True),
        ("z=chain-x10", True),
        ("negative:a,b-test", False),
        ("n=7", True),
    ]


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    found = {field.text: field.meaning for field in explain("RPPL|lm:kn5|frobnication:7|test:samples(n=3,odd=1)")}
    assert found["frobnication:7"] is None and found["odd=1"] is None and found["n=3"] is not None
    with pytest.raises(InputError, match="is no signature"):
        explain("hello")


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "RPPL|lm:kn5|odd:1"]) == 0
    out = capsys.readouterr().out
    assert "5-gram model" in out and "unknown" in out
    assert main(["explain", "nonsense"]) == 2
    assert "is no signature" in capsys.readouterr().err

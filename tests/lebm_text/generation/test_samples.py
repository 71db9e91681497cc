"""The record beside a text of samples: what it says of the text is known of it, and damage is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.generation.samples import Decoding, _newest, read_samples, samples_of_run, write_samples
from lebm_text.reports.texts import how_decoded
from lebm_text.run import Run
from lebm_text.store import sha256_file

from ...damage import refused

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "sam.txt").write_text("a cat\na dog\n")
    return tmp_path / "sam.txt"


def record(text: Path) -> dict[str, Any]:
    settings = {"n": 2, "seed": 3, "decode": "sample", "temperature": 0.5, "top_k": 0}
    return {
        "sha256": sha256_file(text),
        "signature": "samples(n=2,decode=sample,T=0.5)|prior:none|seed:3|v:1",
        "settings": settings,
        "rates": {"truncated": 0.25},
    }


def write(text: Path, values: dict[str, Any]) -> None:
    text.with_name("sam.txt.json").write_text(json.dumps(values))


def test_a_record_is_that_of_the_text(text: Path) -> None:
    write(text, record(text))
    found = read_samples(text)
    assert (found.truncated_rate, found.signature[-6:]) == (0.25, "seed:3")
    assert how_decoded(found)["temperature"] == 0.5
    assert read_samples(text, 1).truncated_rate is None
    write(text, {"sha256": "another"})
    assert read_samples(text).signature == ""


def test_what_a_record_lacks_is_said(text: Path) -> None:
    write(text, {"sha256": sha256_file(text)})
    with pytest.raises(InputError, match=r"sam\.txt\.json is damaged: signature is missing; make the samples again"):
        read_samples(text)


def test_no_damage_of_a_record_is_a_traceback(text: Path) -> None:
    def read() -> None:
        temperature = how_decoded(read_samples(text))["temperature"]
        assert temperature is None or (isinstance(temperature, (int, float)) and temperature > 0)

    assert refused(text.with_name("sam.txt.json"), record(text), read) > 30


def _run_with_usual_samples(tmp_path: Path) -> tuple[Run, Path, Path, dict[str, Any]]:
    """Return a run with one text of default settings, the text, the file of its record, and the record."""
    run = Run(shutil.copytree(OLD, tmp_path / "run"))
    (run.path / "samples" / "kept.txt").unlink()
    path = run.path / "samples" / "n20-T1-seed1.txt"
    sidecar = path.with_name(f"{path.name}.json")
    return run, path, sidecar, json.loads(sidecar.read_text())


def test_samples_of_a_run_whose_record_is_damaged_are_not_taken(tmp_path: Path) -> None:
    run, path, sidecar, known = _run_with_usual_samples(tmp_path)
    known = {key: known[key] for key in ("signature", "settings", "rates", "weights_sha256")}
    known["rates"] = {"truncated": 0.0}
    sidecar.write_text(json.dumps(known))
    assert _newest(run, 1) == path
    assert refused(sidecar, known, lambda: _newest(run, 1)) == 0
    sidecar.write_text(json.dumps(known | {"weights_sha256": "0" * 64}))  # before it was trained on
    assert _newest(run, 1) is None
    sidecar.write_text(json.dumps(known | {"settings": known["settings"] | {"n": "many"}}))
    assert _newest(run, 1) is None


@pytest.mark.parametrize("changed", [{"prior_steps": 0}, {"no_unk": True}])
def test_samples_by_another_chain_or_without_a_word_are_not_the_usual_ones(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    run, path, sidecar, known = _run_with_usual_samples(tmp_path)
    assert _newest(run, 1) == path
    sidecar.write_text(json.dumps(known | {"settings": known["settings"] | changed}))
    assert _newest(run, 1) is None


def test_samples_by_other_settings_are_not_those_asked_for_whatever_their_name(tmp_path: Path) -> None:
    run, path, _, _ = _run_with_usual_samples(tmp_path)
    model = run.model(device="cpu")
    usual = model.generate(20).sentences
    for more in ({"top_k": 1}, {"top_p": 0.1}, {"max_length": 2}):
        write_samples(path, model.stream(20, **more), run)
        (found,) = samples_of_run(run, 20, [Decoding()], [1], device="cpu")
        assert list(found.sentences) == usual

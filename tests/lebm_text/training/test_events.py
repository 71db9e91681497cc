"""The metrics of a resumed run are those of an uninterrupted one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.training.events import MetricsLog, read_metrics


def _record(step: int) -> dict[str, object]:
    return {"step": step, "nll": 1 / (step + 1), "note": "é"}


def test_records_are_on_disk_as_soon_as_appended(tmp_path: Path) -> None:
    with closing(MetricsLog(tmp_path / "m.jsonl")) as log:
        log.append(_record(1))
        assert read_metrics(tmp_path / "m.jsonl") == [_record(1)]
        log.append(_record(2))
        assert read_metrics(tmp_path / "m.jsonl") == [_record(1), _record(2)]
    with pytest.raises(ValueError, match="closed"):
        log.append(_record(3))


@pytest.mark.parametrize("torn", [b"", b'{"ste', b'{"step": 5, "nll": 0.1', b"\x00\x00"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, torn: bytes) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    with closing(MetricsLog(whole)) as log:
        for step in range(8):
            log.append(_record(step))
    with closing(MetricsLog(resumed)) as log:
        for step in range(5):
            log.append(_record(step))
    with resumed.open("ab") as stream:
        stream.write(torn)
    with closing(MetricsLog(resumed)) as log:  # the checkpoint was taken at step 3
        log.truncate_after(3)
        for step in range(4, 8):
            log.append(_record(step))
    assert resumed.read_bytes() == whole.read_bytes()


def test_last_line_without_its_newline_is_kept_when_it_belongs_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}')
    with closing(MetricsLog(path)) as log:
        log.truncate_after(2)
        log.append({"step": 3})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_damage_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        read_metrics(path)
    with pytest.raises(InputError, match="does not exist"):
        read_metrics(tmp_path / "none.jsonl")

"""The metrics of a resumed run are those of an uninterrupted one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.metrics import MetricsLog, read_metrics

from .damage import flips


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
    assert path.read_bytes().startswith(b'{"step": 1}\n{"step": 2}\n{"step": 3, "digest": "')
    assert [record["step"] for record in read_metrics(path)] == [1, 2, 3]


def test_damage_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        read_metrics(path)
    with pytest.raises(InputError, match="does not exist"):
        read_metrics(tmp_path / "none.jsonl")


def _log(path: Path, n: int) -> bytes:
    with closing(MetricsLog(path)) as log:
        for step in range(n):
            log.append({"step": step, "nll": 1 / (step + 1)})
    return path.read_bytes()


@pytest.mark.parametrize("n", [1, 3])
def test_every_changed_bit_is_noticed(tmp_path: Path, n: int) -> None:
    path = tmp_path / "m.jsonl"
    good = _log(path, n)
    records = read_metrics(path)
    assert [record["step"] for record in records] == list(range(n))
    for damaged in flips(good):
        path.write_bytes(damaged)
        with pytest.raises(InputError) as noticed:
            read_metrics(path)
        assert "\n" not in str(noticed.value)


def test_lines_that_are_lost_moved_or_doubled_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    first, second, third = _log(path, 3).splitlines(keepends=True)
    for lines in ((first, third), (second, third), (first, third, second), (first, first, second), (third,)):
        path.write_bytes(b"".join(lines))
        with pytest.raises(InputError, match="digest"):
            read_metrics(path)


def test_a_file_that_is_cut_anywhere_has_the_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    good = _log(path, 3)
    for end in range(len(good)):
        path.write_bytes(good[:end])
        whole = good[:end].count(b"}")
        assert [record["step"] for record in read_metrics(path)] == list(range(whole))


def test_lines_of_older_versions_are_read_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1, "nll": NaN}\n{"step": 2}\n')
    with closing(MetricsLog(path)) as log:
        log.truncate_after(1)
        log.append({"step": 2, "nll": 0.5})
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
    with path.open("ab") as stream:
        stream.write(b'{"step": 3}\n')
    with pytest.raises(InputError, match="line 3 is damaged"):
        read_metrics(path)

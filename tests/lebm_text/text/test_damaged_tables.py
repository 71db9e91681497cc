"""Damaged Arrow and Parquet files are read, or refused in one line: no traceback, no crash.

    python -m tests.lebm_text.text.test_damaged_tables 500 1 DIR

damages so many files, from that seed on, and counts what came of them; those that did worse stay in DIR.
"""

from __future__ import annotations

import io
import random
import sys
from functools import partial
from pathlib import Path

import pyarrow
import pyarrow.parquet

from lebm_text.text.sources import raw_lines, raw_records

from ...damage import Campaign, carry_out, counts_of

N_ROWS = 300


def whole_files() -> dict[str, bytes]:
    """One text in each layout that writers of tables leave."""
    rows = [f"the {i} cats see {'é' * (i % 7)} a dog" for i in range(N_ROWS)]
    table = pyarrow.table({"n": list(range(N_ROWS)), "text": rows, "other": [None, "x"] * (N_ROWS // 2)})
    only = pyarrow.table({"text": pyarrow.array(rows, pyarrow.large_string())})
    files = {}
    for name, each, codec in (
        ("plain", table, None),
        ("only", only, None),
        ("lz4", table, "lz4"),
        ("zstd", only, "zstd"),
    ):
        options = pyarrow.ipc.IpcWriteOptions(compression=codec)
        for kind, new in (("stream", pyarrow.ipc.new_stream), ("file", pyarrow.ipc.new_file)):
            stream = io.BytesIO()
            with new(stream, each.schema, options=options) as writer:
                writer.write_table(each, max_chunksize=100)
            files[f"{name}-{kind}.arrow"] = stream.getvalue()
    for codec in ("none", "snappy", "gzip", "zstd"):
        for use_dictionary in (True, False):
            stream = io.BytesIO()
            pyarrow.parquet.write_table(
                table, stream, compression=codec, use_dictionary=use_dictionary, row_group_size=100, data_page_size=500
            )
            files[f"{codec}-{use_dictionary}.parquet"] = stream.getvalue()
    return files


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` with bytes changed (often those at an end, where the sizes stand), cut, left out, doubled or zeroed."""
    spoilt, n = bytearray(data), len(data)
    place = rng.choice([rng.randrange(n), n - 1 - rng.randrange(min(n, 400)), rng.randrange(min(n, 400))])
    length = rng.choice([1, 4, 8, 64, n // 3])
    match rng.choice(["byte", "byte", "bytes", "number", "cut", "left out", "doubled", "zeroed"]):
        case "byte":
            spoilt[place] ^= 1 << rng.randrange(8)
        case "bytes":
            for _ in range(rng.randint(2, 20)):
                spoilt[rng.randrange(n)] = rng.randrange(256)
        case "number":
            value = rng.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**30, 255, 2**24])
            spoilt[place : place + 4] = value.to_bytes(4, "little", signed=True)
        case "cut":
            del spoilt[place:]
        case "left out":
            del spoilt[place : place + length]
        case "doubled":
            spoilt[place:place] = spoilt[place : place + length]
        case "zeroed":
            spoilt[place : place + length] = bytes(len(spoilt[place : place + length]))
    return bytes(spoilt)


def campaign(n: int, seed: int, directory: Path) -> Campaign:
    """The whole files, then `n` damaged ones."""
    rng, files = random.Random(seed), whole_files()
    for i in range(-len(files), n):
        name = sorted(files)[i % len(files)]
        path = directory / f"{i}-{name}"
        path.write_bytes(files[name] if i < 0 else damaged(files[name], rng))
        yield path, partial(_is_whole, path)


def _is_whole(path: Path) -> bool:
    return len(list(raw_lines(path))) == len(list(raw_records(path))) == N_ROWS


def test_damaged_tables_are_read_or_refused(tmp_path: Path) -> None:
    counts = counts_of(__name__, 32, 7, tmp_path)
    assert counts.keys() == {"read", "refused"}
    assert counts["read"] >= 16  # those that are whole
    assert counts["refused"] > 16


if __name__ == "__main__":
    carry_out(campaign(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))

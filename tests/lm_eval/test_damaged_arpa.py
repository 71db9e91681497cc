"""Damaged ARPA files are read, or refused in one line: no traceback, and kenlm does not crash.

    python -m tests.lm_eval.test_damaged_arpa 200 1 DIR

damages so many files, from that seed on, and counts what came of them; those that did worse stay in DIR.
"""

from __future__ import annotations

import random
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lebm_text.errors import InputError
from lm_eval.kenlm import KenlmJudge
from lm_eval.ngram import NgramModel

from ..damage import Campaign, carry_out, counts_of

TEXT = ["the cat sees a dog", "a dog sees the cat", "zwölf käse", "the end", "a cat <unk>"] * 3
COUNTS = (b"-12", b"0", b"+3", b"1e3", b"x", b"", b"4294967295", b"1000000000", b"99999999999999999999", b"914")
VALUES = (b"1.5", b"nan", b"inf", b"-inf", b"1e400", b"+", b"--1", b"0x10", b"\xff", b"")
LINES = (b"", b"\xff\xfe", b"\\end\\", b"\\4-grams:", b"ngram 9=1", b"nan\tfoo\t0", b"garbage", b"\0")
ENDS = (b"\t0", b"\tnan", b"\t", b" extra", b"\r", b"\xc3", b"\tinf", b"\t1")


def whole_file(directory: Path) -> bytes:
    """An ARPA file of three orders."""
    path = directory / "whole.arpa"
    NgramModel.train(TEXT, 3).save(path)
    return path.read_bytes()


def damaged(data: bytes, rng: random.Random) -> bytes:
    """`data` cut, with other bytes, lines, counts, values, separators or words, in another encoding or order."""
    lines, kind = data.split(b"\n"), rng.randrange(12)
    i = rng.randrange(len(lines))
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        spoilt = bytearray(data)
        for _ in range(rng.randint(1, 10)):
            spoilt[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(spoilt)
    if kind == 2:
        lines[i : i + 1] = [lines[i]] * rng.choice([0, 2])
    elif kind == 3:
        lines[i] = rng.choice(LINES)
    elif kind == 4:
        order, count = b"ngram %d=" % rng.randint(1, 3), rng.choice(COUNTS)
        lines = [order + count if line.startswith(order) else line for line in lines]
    elif kind == 5:
        order, by = b"ngram %d=" % rng.randint(1, 3), rng.choice([-20, -5, -1, 1, 2, 5, 20])
        lines = [order + b"%d" % (int(line[8:]) + by) if line.startswith(order) else line for line in lines]
    elif kind == 6:
        lines[i] = rng.choice(VALUES) + b"\t" + lines[i].partition(b"\t")[2]
    elif kind == 7:
        lines[i] = lines[i].replace(b"\t", rng.choice([b" ", b"", b"\t\t", b"\0", b"\v"]))
    elif kind == 8:
        lines[i] += rng.choice(ENDS)
    elif kind == 9:
        return data.decode().encode("utf-16")
    elif kind == 10:
        others = [b"dog", b"\xe9", b"a b", b"", b"<s>"]
        return data.replace(rng.choice([b"<unk>", b"<s>", b"</s>", b"cat"]), rng.choice(others))
    else:
        rng.shuffle(lines)
    return b"\n".join(lines)


def campaign(n: int, seed: int, directory: Path) -> Campaign:
    """The whole file, then `n` damaged ones."""
    rng, data = random.Random(seed), whole_file(directory)
    for i in range(-1, n):
        path = directory / f"{i}.arpa"
        path.write_bytes(data if i < 0 else damaged(data, rng))
        yield path, partial(_is_scored, path)


def _is_scored(path: Path) -> bool:
    return not np.isnan(KenlmJudge(path).score(["the cat sees", "unknown words", ""]).nll).any()


def test_damaged_models_are_read_or_refused(tmp_path: Path) -> None:
    counts = counts_of(__name__, 60, 3, tmp_path)
    assert counts.keys() == {"read", "refused"}
    assert counts["refused"] > 30


@pytest.mark.parametrize("count", [b"-12", b"4294967295", b"99999999999999999999"])
def test_counts_that_would_crash_kenlm_are_refused_before(count: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_bytes(re.sub(rb"(?<=ngram 2=)\d+", count, whole_file(tmp_path)))
    with pytest.raises(InputError, match=r"kenlm cannot load .*model\.arpa: its header"):
        KenlmJudge(path)


def test_what_kenlm_quotes_need_not_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_bytes(whole_file(tmp_path).replace(b"\tthe cat\t", b"\tthe c\xe9t\t"))
    # The module for Python 3.10 loses what kenlm said if it is not UTF-8.
    said = "Word c\ufffdt was not seen in the unigrams" if sys.version_info >= (3, 11) else "Cannot read model .*'$"
    with pytest.raises(InputError, match=said):
        KenlmJudge(path)


if __name__ == "__main__":
    carry_out(campaign(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))

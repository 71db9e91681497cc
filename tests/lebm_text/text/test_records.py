"""Samples from every format are the same sentences; what only looks like sentences is refused, sentences are not."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.text import records
from lebm_text.text.reading import read_text
from lebm_text.text.records import likeness
from lebm_text.text.sources import raw_records

from ...lm_eval.grammar import grammar_sentences

SENTENCES = ["the cat , it sees", "", 'a "dog"', "zwölf Käse", "two\nlines , \r\nhere", "\ttabs"]
READ = ["the cat , it sees", "", 'a "dog"', "zwölf Käse", "two lines , here", "tabs"]


def _separated(delimiter: str) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows([["id", "text"], *([str(i), text] for i, text in enumerate(SENTENCES))])
    return stream.getvalue().encode()


def _parquet() -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"id": ["x"] * len(SENTENCES), "text": SENTENCES}), stream)
    return stream.getvalue()


def _arrow() -> bytes:
    table, stream = pyarrow.table({"n": list(range(len(SENTENCES))), "text": SENTENCES}), io.BytesIO()
    with pyarrow.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "a.jsonl": lambda: "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in SENTENCES).encode(),
    "b.jsonl": lambda: "\ufeff".encode() + "\n\n".join(map(json.dumps, SENTENCES)).encode(),
    "a.json": lambda: json.dumps([{"text": text, "sentence": "other"} for text in SENTENCES], indent=1).encode(),
    "b.json": lambda: json.dumps(SENTENCES).encode("utf-16"),
    "c.json": lambda: "".join(json.dumps({"sentence": text}) + "\n" for text in SENTENCES).encode(),
    "a.csv": lambda: _separated(","),
    "b.CSV": lambda: "\ufeff".encode() + _separated(";"),
    "a.tsv": lambda: _separated("\t"),
    "a.parquet": _parquet,
    "a.arrow": _arrow,
}


@pytest.mark.parametrize("packed", [False, True], ids=["", "gz"])
@pytest.mark.parametrize("name", FILES)
def test_every_format_holds_the_same_sentences(name: str, packed: bool, tmp_path: Path) -> None:
    data = FILES[name]()
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(data) if packed else data)
    text = read_text(path)
    assert text.lines == READ
    as_lines = "".join(f"{line}\n" for line in (*READ[:4], "two lines ,  here", "\ttabs"))
    assert text.sha256 == hashlib.sha256(as_lines.encode()).hexdigest()


def test_the_format_of_what_has_no_ending_is_seen_if_a_column_is_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.csv", "b.CSV", "a.parquet"):
        (tmp_path / "pipe").write_bytes(FILES[name]())
        assert read_text(tmp_path / "pipe", "text").lines == READ, name


def test_the_column_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mr,ref\nname[x],one\nname[y],two\n")
    assert read_text(tmp_path / "a.csv", "ref").lines == ["one", "two"]
    with pytest.raises(InputError, match=r"should have a column text or sentence .* strings: mr, ref"):
        read_text(tmp_path / "a.csv")
    with pytest.raises(InputError, match="no column 'other' of strings; its columns of strings: mr, ref"):
        read_text(tmp_path / "a.csv", "other")


@pytest.mark.parametrize(
    ("data", "asked", "message"),
    [
        ("text,text\na,b\n", None, "has 2 columns 'text'; give each a name of its own"),
        ("a,b,a\n1,2,3\n", "a", "has 2 columns 'a'; give each a name of its own"),
        ("n,n\n5,a\n", None, "its columns of strings: n, n"),
    ],
)
def test_a_column_that_is_there_twice_is_refused(data: str, asked: str | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(data)
    with pytest.raises(InputError, match=message):
        read_text(tmp_path / "a.csv", asked)


@pytest.mark.parametrize("second", [["c", "d"], [1, 2]])
def test_a_column_that_is_twice_in_a_table_is_refused(second: list[Any], tmp_path: Path) -> None:
    table = pyarrow.table([pyarrow.array(["a", "b"]), pyarrow.array(second)], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        with pytest.raises(InputError, match="has 2 columns 'text'"):
            read_text(tmp_path / name)


def test_other_columns_may_be_there_twice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n,n\na,1,2\n")
    assert read_text(tmp_path / "a.csv").lines == ["a"]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ("id,review,stars\n1,it was cold,4.5\n2,7,5\n", ["it was cold", "7"]),
        ('stars,share,price\n5,50%,"1,000.50"\n', None),
        ("text,n\n5,6\n", ["5"]),
        ("n\n5\n", ["5"]),
    ],
)
def test_a_column_of_numbers_is_no_text_where_another_one_may_be(
    data: str, lines: list[str] | None, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(data)
    if lines is None:
        with pytest.raises(InputError, match="its columns of strings: stars, share, price"):
            read_text(tmp_path / "a.csv")
    else:
        assert read_text(tmp_path / "a.csv").lines == lines


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b"[1, 2]", "record 1: should be a string, got 1"),
        ("a.json", b"12", "should hold a list"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b'["a" "b"]', "record 2: not JSON .*comma"),
        ("a.json", b'["a", "b"', "record 3: not JSON"),
        ("a.json", b'["a",\n"b', "record 2: not JSON"),
        ("a.json", b'["a",]', "record 2: not JSON"),
        ("a.json", b'["a"]\n["b"]', "not JSON .*more after the list"),
        ("a.json", b'["a\xff"]', "not JSON .*utf-8"),
        ("a.json", b'["a", null]', "record 2: should be a string, got null"),
        ("a.json", rb'["\ud800"]', "record 1: holds half of a surrogate pair"),
        ("a.json", b'["a", {"text": "b"}]', "record 2: should be a string"),
        ("a.json", b'["a", "<s> b"]', "line 2: holds a reserved word"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 1}\n', "record 2: should be an object with a string 'text'"),
        ("a.jsonl", b'{"text": "a"}\n{"other": "b"}\n', "record 2: should be an object with a string 'text'"),
        ("a.jsonl", b'{"text": "a"}\n"b"\n', "record 2: should be an object"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": \n', "line 3: not JSON"),
        ("a.jsonl", b'{"text": "a\xff"}\n', "line 1: not JSON"),
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text\n", "is empty"),
        ("a.csv", b"the food was good .\nso was this .\n", "should begin with the names of its columns"),
        ("a.csv", b"5,the food was good .\n3,so was this .\n", "names of its columns, not with 'the food was good .'"),
        ("a.tsv", b"text,label\nthe food was good,1\n", "should have tabs between its columns.* call it .csv"),
        ("a.tsv", b"the food was good .\t1\nso was this .\t0\n", "names of its columns, not with 'the food"),
        ("a.csv", b"id,text\n1,a\n2\n", "record 2: has 1 cells, the header 2"),
        ("a.csv", b'id,text\n1,"a\n2,b\n', "record 1: damaged"),
        ("a.csv", b"id,text\n1,caf\xe9\n", "line 2: not UTF-8"),
        ("a.parquet", b"PAR1 and no more", "damaged"),
    ],
)
def test_damaged_records_are_one_line(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_text(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def _wrapped(kind: str) -> bytes:
    lines = [f"{line} , and so on" for line in grammar_sentences(150, 3)]
    if kind == "csv-all-quoted":
        return "".join(f'"{line} ""now"" "\n' for line in lines).encode()
    wrapped = {
        "jsonl": "\n".join(json.dumps({"text": line}) for line in lines),
        "jsonl-strings": "\n".join(json.dumps(line) for line in lines),
        "json": json.dumps(lines),
        "json-pretty": json.dumps(lines, indent=2),
        "json-pretty-objects": json.dumps([{"id": 1, "text": line} for line in lines], indent=2),
        "csv": "id,text\n" + "\n".join(f'{i},"{line}"' for i, line in enumerate(lines)),
        "csv-three": "id,text\n1,a\n2,b\n",
        "csv-no-header": "\n".join(f'{i},"{line}"' for i, line in enumerate(lines)),
        "csv-semicolon": "a;text\n" + "\n".join(f"{i};{line}" for i, line in enumerate(lines)),
        "tsv": "\n".join(f"{i}\t{line}" for i, line in enumerate(lines)),
    }
    return wrapped[kind].encode()


KINDS = ["jsonl", "jsonl-strings", "json", "json-pretty", "json-pretty-objects", "csv", "csv-three", "csv-no-header"]
KINDS += ["csv-semicolon", "csv-all-quoted", "tsv"]


@pytest.mark.parametrize("kind", KINDS)
def test_wrapped_sentences_are_no_sentences(kind: str, tmp_path: Path) -> None:
    (tmp_path / "samples.txt").write_bytes(_wrapped(kind))
    ending = "tsv" if kind == "tsv" else "csv" if "csv" in kind else "json"
    with pytest.raises(InputError, match=rf"samples\.txt looks like \.{ending}.*name the text column"):
        read_text(tmp_path / "samples.txt")


@pytest.mark.parametrize(
    "lines",
    [
        ["[ 12 ]", "[ 3 ]"] * 10,
        ['" hello , " he said .', '" bye , " she said .'] * 10,
        ["{", "}"],
        ["the food , which was good , came late .", "the food was late .", "well , no ."] * 10,
        ["Smith, John", "Doe, Jane"] * 10,
        ["a\tb c", "d e\tf\tg", "h"] * 10,
        ["1,000 men", "2,000 women and 3,000 children", "none"] * 10,
        ["text", "the food was good ."],
        ["don't 'quote' me", '"'] * 10,
        ["", "a,b"],
        ["name[The Eagle], eatType[pub]", "name[Zizzi], food[French], area[riverside]", "near[Burger King]"] * 5,
    ],
)
def test_sentences_are_sentences(lines: list[str]) -> None:
    assert likeness([f"{line}\n".encode() for line in lines]) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(_JSON), st.sampled_from([None, 0, 2]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_a_list_is_read_item_by_item_as_it_is_read_whole(values: list[Any], indent: int | None, encoding: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_AT_ONCE", 1)
        lines = io.BytesIO(json.dumps(values, indent=indent).encode(encoding))
        assert list(records._items(lines, json.detect_encoding(lines.getvalue()), "a list")) == values


def test_a_long_list_is_never_in_memory(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps([{"text": f"sentence {i} of a long list"} for i in range(50_000)], indent=1)
    )
    tracemalloc.start()
    assert sum(1 for _ in raw_records(tmp_path / "a.json")) == 50_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < (tmp_path / "a.json").stat().st_size

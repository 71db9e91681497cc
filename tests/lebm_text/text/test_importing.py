"""One's own text becomes a corpus: every format, the splits, what is done once, and what is refused."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets  # type: ignore[import-untyped]
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from lebm_text.errors import InputError
from lebm_text.text import fetching, gathering, importing, parts
from lebm_text.text.corpora import CorpusDescription, find_again, find_corpus
from lebm_text.text.importing import RECORD, import_text
from lebm_text.text.labels import labelled_split
from lebm_text.text.parts import name_of_source

from ..sharing.fake_hub import silent_hub

SENTENCES = [f"the cat number {i} sees a dog" for i in range(100)]
LABELS = [i % 3 for i in range(100)]
SPLITS = ("train", "valid", "test")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def _corpus(directory: Path) -> dict[str, list[str]]:
    return {split: _lines(directory / f"{split}.txt") for split in SPLITS}


def _write_txt(path: Path) -> None:
    path.write_text("".join(f"{line}\n" for line in SENTENCES))


def _write_gz(path: Path) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in SENTENCES).encode()))


def _rows() -> list[dict[str, Any]]:
    return [{"body": line, "mark": label} for line, label in zip(SENTENCES, LABELS, strict=True)]


def _write_json(path: Path) -> None:
    path.write_text(json.dumps(_rows()))


def _write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows()))


def _write_separated(path: Path) -> None:
    sign = "\t" if path.suffix == ".tsv" else ","
    path.write_text(f"mark{sign}body\n" + "".join(f"{row['mark']}{sign}{row['body']}\n" for row in _rows()))


def _write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_rows()), path)


def _write_arrow(path: Path) -> None:
    table = pyarrow.Table.from_pylist(_rows())
    with pyarrow.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("mine.json", _write_json),
        ("mine.jsonl", _write_jsonl),
        ("mine.csv", _write_separated),
        ("mine.tsv", _write_separated),
        ("mine.parquet", _write_parquet),
        ("mine.arrow", _write_arrow),
        ("mine.txt", _write_txt),
        ("mine.txt.gz", _write_gz),
        ("mine.gz", _write_gz),
    ],
)
def test_every_format_gives_the_same_corpus(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    source = tmp_path / name
    write(source)
    columns: dict[str, Any] = (
        {} if write in (_write_txt, _write_gz) else {"text_column": "body", "label_column": "mark"}
    )
    made = import_text(source, tmp_path / "out", **columns)
    corpus = _corpus(tmp_path / "out")
    assert sorted(line for lines in corpus.values() for line in lines) == sorted(SENTENCES)
    assert {split: len(lines) for split, lines in corpus.items()} == {"train": 90, "valid": 5, "test": 5}
    assert made.record["counts"]["sentences"] == {"train": 90, "valid": 5, "test": 5}
    assert corpus["train"] == [line for line in SENTENCES if line in corpus["train"]]  # in their order
    if columns:
        found = labelled_split(find_corpus(str(tmp_path / "out")), "test")
        assert {row.sentence: row.label for row in found}.items() <= {
            line: str(label) for line, label in zip(SENTENCES, LABELS, strict=True)
        }.items()
    else:
        assert not (tmp_path / "out" / "test.label").exists()


def test_sentences_of_a_program_are_those_of_a_file(tmp_path: Path) -> None:
    """Of a list, and of a column of a table, whose own index is of no account."""
    _write_txt(tmp_path / "mine.txt")
    import_text(tmp_path / "mine.txt", tmp_path / "file")
    made = import_text(SENTENCES, tmp_path / "mine")
    assert _corpus(tmp_path / "mine") == _corpus(tmp_path / "file")
    assert made.record["source"] == "mine"
    assert import_text(dict.fromkeys(SENTENCES).keys(), tmp_path / "mine").was_there
    assert import_text(["a\nb", *SENTENCES], tmp_path / "broken").record["counts"]["rows"] == 101


@pytest.mark.parametrize(
    ("sentences", "options", "message"),
    [
        (SENTENCES, {"output": None}, "needs a directory: import_text(sentences, DIRECTORY)"),
        ([*SENTENCES, math.nan], {}, "which are strings; number 101 is nan"),
        (SENTENCES, {"text_column": "body"}, "a list of sentences has no column 'body'"),
        (["a", "b \ud800", "c"], {}, "number 2 of the sentences contains half of a surrogate pair"),
        (set(SENTENCES), {}, "expected a list of sentences, got set"),
        (np.array("x"), {}, "expected a list of sentences, got ndarray"),
        ({"text": SENTENCES}, {}, "expected a list of sentences, got dict"),
        (5, {}, "expected a list of sentences, got int"),
        (io.StringIO("a\nb\nc\n"), {}, "expected a list of sentences, got StringIO"),
    ],
)
def test_what_is_no_list_of_sentences_is_refused(
    tmp_path: Path, sentences: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        import_text(sentences, **{"output": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists()


def test_the_splits_depend_on_the_sentences_alone(tmp_path: Path) -> None:
    _write_txt(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("".join(f"{line}\n" for line in random.Random(1).sample(SENTENCES, 100)))
    import_text(tmp_path / "a.txt", tmp_path / "a")
    import_text(tmp_path / "b.txt", tmp_path / "b")
    a, b = _corpus(tmp_path / "a"), _corpus(tmp_path / "b")
    assert a != b and {k: sorted(v) for k, v in a.items()} == {k: sorted(v) for k, v in b.items()}


@pytest.mark.parametrize(
    ("valid", "test", "n"),
    [("10%", "20%", (30, 60)), (7, "31", (7, 31)), ("0.2%", "1.5%", (1, 5)), ("14%", "7%", (42, 21))],
)
def test_equal_sentences_stand_in_one_split(
    tmp_path: Path, valid: str | int, test: str | int, n: tuple[int, int]
) -> None:
    rng = random.Random(3)
    lines = [line for line in SENTENCES for _ in range(rng.randrange(1, 6))][:300]
    (tmp_path / "mine.txt").write_text("".join(f"{line}\n" for line in lines))
    made = import_text(tmp_path / "mine.txt", tmp_path / "out", valid=valid, test=test)
    corpus = _corpus(tmp_path / "out")
    train, held_out, last = (set(corpus[split]) for split in SPLITS)
    assert not train & held_out and not train & last and not held_out & last
    assert (len(corpus["valid"]), len(corpus["test"])) == n
    assert made.record["counts"]["repeated"] == 300 - len(set(lines))
    assert made.record["counts"]["held_out_in_train"] == 0


def test_sentences_that_are_all_frequent_are_divided_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a b\nc d\ne f\n" * 50)
    import_text(tmp_path / "mine.txt", tmp_path / "out")
    assert sorted(len(set(lines)) for lines in _corpus(tmp_path / "out").values()) == [1, 1, 1]
    for n in ((30, 20, 40), (20, 40, 30), (40, 30, 20)):  # the most frequent one is left to train on
        lines = [line for line, count in zip(("a b", "c d", "e f"), n, strict=True) for _ in range(count)]
        made = import_text(lines, tmp_path / "other", overwrite=True)
        assert made.record["counts"]["sentences"]["train"] == 40


@pytest.mark.parametrize(
    ("lines", "sizes", "notices"),
    [
        ([f"a b {i}" for i in range(60)], {"valid": 3, "test": "10%"}, []),
        (
            [f"a b {i % 6}" for i in range(60)],
            {"valid": 3, "test": "5%"},
            [
                f"{split} has 10 sentences, not the 3 asked for: equal sentences stay together in one split"
                for split in ("valid", "test")
            ],
        ),
    ],
)
def test_a_split_of_another_size_than_asked_for_says_why(
    tmp_path: Path, lines: list[str], sizes: dict[str, Any], notices: list[str]
) -> None:
    assert list(import_text(lines, tmp_path / "out", **sizes).notices()) == notices


def test_a_size_for_a_split_that_the_source_has_is_said_to_be_unused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, n in (("train", 40), ("dev", 9)):
        (tmp_path / "in" / f"{name}.txt").write_text("".join(f"a b {name} {i}\n" for i in range(n)))
    made = import_text(tmp_path / "in", tmp_path / "out", valid=3, test=4)
    assert made.notices() == (f"{tmp_path / 'in'} has a valid split of its own: valid 3 is unused",)
    assert import_text(tmp_path / "in", tmp_path / "other", test=4).notices() == ()


def test_splits_that_are_named_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "train-00000-of-00001.jsonl").write_text("".join(json.dumps({"text": x}) + "\n" for x in SENTENCES[:90]))
    (source / "dev.txt").write_text("".join(f"{x}\n" for x in SENTENCES[80:95]))
    (source / "README.md").write_text("no text\n")
    made = import_text(source, tmp_path / "out", test=9)
    corpus = _corpus(tmp_path / "out")
    assert corpus["valid"] == SENTENCES[80:95]
    assert sorted(corpus["train"] + corpus["test"]) == sorted(SENTENCES[:90]) and len(corpus["test"]) == 9
    left_over = len(set(corpus["valid"]) & set(corpus["train"]))
    assert made.record["counts"]["held_out_in_train"] >= left_over > 0
    assert "as the source divides them" in made.describe()


def test_a_directory_without_names_is_one_text(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    _write_txt(source / "a.txt")
    (source / "b.csv").write_text('text\n"one, more"\n')
    import_text(source, tmp_path / "out")
    assert sum(map(len, _corpus(tmp_path / "out").values())) == 101


def test_how_samples_were_made_is_no_text(tmp_path: Path) -> None:
    source = tmp_path / "samples"
    source.mkdir()
    _write_txt(source / "a.txt")
    (source / "a.txt.json").write_text('{\n  "seed": 1\n}\n')
    (source / "b.json").write_text('["one more"]')
    import_text(source, tmp_path / "out")
    assert sum(map(len, _corpus(tmp_path / "out").values())) == 101


def test_what_datasets_saved_is_read(tmp_path: Path) -> None:
    table = datasets.Dataset.from_list(_rows())
    datasets.DatasetDict({"train": table, "validation": table.select(range(4))}).save_to_disk(str(tmp_path / "saved"))
    import_text(tmp_path / "saved", tmp_path / "out", text_column="body", label_column="mark")
    assert _corpus(tmp_path / "out")["valid"] == SENTENCES[:4]
    assert _lines(tmp_path / "out" / "valid.label") == ["0", "1", "2", "0"]


def test_labels_beside_a_plain_text_go_with_it(tmp_path: Path) -> None:
    _write_txt(tmp_path / "mine.txt")
    (tmp_path / "mine.label").write_text("".join(f"{line[15:18]}\n" for line in SENTENCES))
    import_text(tmp_path / "mine.txt", tmp_path / "out")
    for split in SPLITS:
        lines, labels = _lines(tmp_path / "out" / f"{split}.txt"), _lines(tmp_path / "out" / f"{split}.label")
        assert [line[15:18].strip() for line in lines] == labels
    for n, what in ((1, "fewer"), (101, "more")):
        (tmp_path / "mine.label").write_text("0\n" * n)
        with pytest.raises(InputError, match=rf"mine\.label has {what} lines than .*mine\.txt"):
            import_text(tmp_path / "mine.txt", tmp_path / "out2")


class _Hub:
    """What `datasets.load_dataset` stands for, without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        marks = datasets.ClassLabel(names=["c", "d", "e"])
        features = datasets.Features({"body": datasets.Value("string"), "mark": marks})
        table = datasets.Dataset.from_list(_rows(), features=features)
        self.asked: list[tuple[str, str | None]] = []
        self.splits = {"train": table.select(range(90)), "test": table.select(range(90, 100))}
        monkeypatch.setattr(datasets, "load_dataset", self.load)
        monkeypatch.setattr(fetching, "unreachable", lambda *_: None)

    def load(self, name: str, config: str | None = None) -> Any:
        self.asked.append((name, config))
        if name != "user/cats":
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return datasets.DatasetDict(self.splits)


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = _Hub(monkeypatch)
    made = import_text("hf:user/cats:small", tmp_path / "out", text_column="body", label_column="mark", valid=10)
    assert hub.asked == [("user/cats", "small")]
    corpus = _corpus(tmp_path / "out")
    assert corpus["test"] == SENTENCES[90:] and len(corpus["valid"]) == 10
    assert _lines(tmp_path / "out" / "test.label") == list("cdecdecdec")
    assert [each["split"] for each in made.record["sources"]] == ["train", "test"]
    again = import_text("hf:user/cats:small", tmp_path / "out", text_column="body", label_column="mark", valid=10)
    assert again.was_there
    with pytest.raises(InputError, match=r"hf:user/dogs cannot be read \(Dataset 'user/dogs' doesn't exist"):
        import_text("hf:user/dogs", tmp_path / "out2")
    with pytest.raises(InputError, match=r"has no column 'mark' of strings; its columns of strings: body"):
        import_text("hf:user/cats", tmp_path / "out2", text_column="mark")
    assert not (tmp_path / "out2").exists()


def test_no_split_of_a_data_set_is_dropped_for_another_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub(monkeypatch)
    hub.splits["test2"], hub.splits["extra"] = (hub.splits["train"].select(range(i, i + 5)) for i in (0, 5))
    import_text("hf:user/cats", tmp_path / "out", text_column="body", valid=10)
    assert _corpus(tmp_path / "out")["test"] == SENTENCES[90:] + SENTENCES[:5]


def test_a_data_set_without_a_train_split_is_divided_if_it_has_but_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub(monkeypatch)
    del hub.splits["train"]
    import_text("hf:user/cats", tmp_path / "out", text_column="body")
    assert sorted(line for lines in _corpus(tmp_path / "out").values() for line in lines) == sorted(SENTENCES[90:])
    hub.splits["extra"] = hub.splits["test"]
    with pytest.raises(InputError, match="hf:user/cats has no train split; its splits: test, extra"):
        import_text("hf:user/cats", tmp_path / "out2", text_column="body")


def test_without_the_network_a_data_set_is_the_copy_that_datasets_has(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub = _Hub(monkeypatch)
    assert find_corpus("hf:user/cats:small").splits["test"].n_sentences == 10
    assert hub.asked == [("user/cats", "small")]
    with pytest.raises(InputError, match="hf:user/dogs cannot be read"):
        find_corpus("hf:user/dogs")
    with pytest.raises(InputError, match="cannot fetch hf:user/cats: the network is not to be used"):
        find_corpus("hf:user/cats", offline=True)


def test_a_hub_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    with silent_hub(monkeypatch), pytest.raises(InputError, match=r"user/none cannot be read: .*timed out; the cache"):
        import_text("hf:user/none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_words_and_case(tmp_path: Path) -> None:
    raw = ['"Hello," he said: it costs $3.50, doesn\'t it?', "The <unk>, I see (2 of them).", "Well... No!", "A B"]
    (tmp_path / "mine.txt").write_text("".join(f"{line}\n" for line in raw))
    for tokenize, lowercase in ((False, True), (True, False), (True, True)):
        import_text(tmp_path / "mine.txt", tmp_path / "out", tokenize=tokenize, lowercase=lowercase, overwrite=True)
        wanted = ['" Hello , " he said : it costs $ 3.50 , doesn\'t it ?', "The <unk> , I see ( 2 of them ) ."]
        wanted += ["Well . . . No !", "A B"]
        lines = [line.lower() if lowercase else line for line in (wanted if tokenize else raw)]
        assert sorted(line for part in _corpus(tmp_path / "out").values() for line in part) == sorted(lines)


def test_the_same_call_does_nothing_and_another_one_is_refused(tmp_path: Path) -> None:
    _write_txt(tmp_path / "mine.txt")
    out = tmp_path / "out"
    first = import_text(tmp_path / "mine.txt", out)
    before = {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in out.iterdir()}
    again = import_text(tmp_path / "mine.txt", out)
    assert (first.was_there, again.was_there) == (False, True)
    assert {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in out.iterdir()} == before
    assert "was imported already, nothing to do" in again.describe()
    with pytest.raises(InputError, match=r"or the same by other options; replace it \(--overwrite; in Python"):
        import_text(tmp_path / "mine.txt", out, valid="6%")
    (out / "notes.md").write_text("mine")
    with pytest.raises(InputError, match=r"also holds notes\.md, which no import wrote"):
        import_text(tmp_path / "mine.txt", out, valid="6%", overwrite=True)
    (out / "notes.md").unlink()
    import_text(tmp_path / "mine.txt", out, valid="6%", overwrite=True)
    assert len(_corpus(out)["valid"]) == 6
    (out / "valid.txt").write_text("changed\n")
    with pytest.raises(InputError, match="holds the same text, but changed since"):
        import_text(tmp_path / "mine.txt", out, valid="6%")
    (out / RECORD).write_text("{")
    with pytest.raises(InputError, match="overwrite"):
        import_text(tmp_path / "mine.txt", out)


def test_the_record_says_all(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a b c\n\nd\ne\na b c\n")
    import_text(tmp_path / "mine.txt", tmp_path / "out")
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    counts = record["counts"]
    assert record["sources"][0]["path"] == str(tmp_path / "mine.txt") and len(record["sources"][0]["sha256"]) == 64
    assert (counts["rows"], counts["empty"], counts["repeated"], counts["words"], counts["longest"]) == (5, 1, 1, 8, 3)
    found = find_corpus(str(tmp_path / "out"))
    assert record["sha256"] == {f"{name}.txt": split.sha256 for name, split in found.splits.items()}
    assert record["options"]["valid"] == "5%" and record["version"]


def _run_directory(directory: Path) -> None:
    directory.mkdir()
    for name in ("config.json", "env.json"):
        (directory / name).write_text("{}")


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "x,y\n1,2\n", {}, r"should have a column text or sentence .*; its columns of strings: x, y"),
        (
            "a.csv",
            "x,text\n1,2\n",
            {"text_column": "z"},
            r"has no column 'z' of .*columns of strings: x, text",
        ),
        ("a.jsonl", '{"text": "a", "n": 1.5}\n', {"label_column": "n"}, r"has no column 'n' of strings"),
        ("a.txt", "", {}, r"a\.txt holds no sentence"),
        ("a.txt", "\n \n", {}, r"a\.txt holds no sentence"),
        ("a.txt", "a\nb\na\n", {}, r"holds 2 different sentences to divide; a corpus needs at least 3"),
        ("a.txt", b"a\n\xff\xfe\n", {}, r"a\.txt, line 2: not UTF-8"),
        ("a.txt", b"a\n\xff\xfe\n", {"tokenize": True, "lowercase": True}, r"a\.txt, line 2: not UTF-8"),
        ("a.txt", "a\nb\nc <S>\n", {"lowercase": True}, r"a\.txt, line 3: holds a reserved word, '<s>'"),
        ("a.txt", "a\nb\nc\n", {"label_column": "y"}, r"is plain text, which has no column 'y'"),
        ("a.txt", "a\nb\nc\n", {"valid": "60%", "test": "40%"}, r"leave nothing to train on"),
        (
            "a.txt",
            "a\nb\nc\nd\n",
            {"valid": 2, "test": 2},
            r"4 sentences to divide: .* leave nothing to train on",
        ),
        ("a.txt", "a\nb\nc\n", {"valid": "0"}, r"valid must be a number of sentences or a share such as 5%"),
        ("a.txt", "a\nb\nc\n", {"test": "x%"}, r"test must be a number of sentences or a share such as 5%"),
        ("a.docx", "a\nb\nc\n", {}, r"a\.docx ends in none of \.txt, \.json"),
        ("a", "a\nb\nc\n", {}, r"ends in none of"),
    ],
)
def test_what_is_no_text_is_refused_and_nothing_is_left(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    source = tmp_path / "in" / name
    source.parent.mkdir()
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as refused:
        import_text(source, tmp_path / "out", **options)
    assert "\n" not in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "cwd"}


def test_places_that_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    with pytest.raises(InputError, match=r"src has no file that ends in one of \.txt"):
        import_text(source, tmp_path / "out")
    _write_txt(source / "a.txt")
    for inside in (source, source / "out", tmp_path):
        with pytest.raises(InputError, match="lie one in the other"):
            import_text(source, inside)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="exists already and holds no import"):
            import_text(source, tmp_path / "own", overwrite=overwrite)
    assert (tmp_path / "own" / "letter").read_text() == "dear"
    with pytest.raises(InputError, match="does not exist; give a file, a directory of files, or hf:"):
        import_text(tmp_path / "nothing", tmp_path / "out")
    _run_directory(tmp_path / "run")
    with pytest.raises(InputError, match="is the directory of a run, not of text"):
        import_text(tmp_path / "run", tmp_path / "out")
    (source / "test.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"names splits, but for a\.txt"):
        import_text(source, tmp_path / "out")
    (source / "a.txt").unlink()
    with pytest.raises(InputError, match="but no train text"):
        import_text(source, tmp_path / "out")
    with pytest.raises(InputError, match="names no data set"):
        import_text("hf:", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _import_and_interrupt(monkeypatch: pytest.MonkeyPatch, row: int, *arguments: Any, **options: Any) -> None:
    """Stop at a row, with positions kept every ten."""
    monkeypatch.setattr(gathering, "_SYNCED", 10)
    pairs, rows = gathering._pairs, itertools.count(1)

    def interrupted(*of_part: Any) -> Iterator[tuple[str, str]]:
        for pair in pairs(*of_part):
            if next(rows) == row:
                raise KeyboardInterrupt
            yield pair

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gathering, "_pairs", interrupted)
        import_text(*arguments, **options)


@pytest.mark.parametrize("row", [5, 45, 88, 100])
def test_an_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    """Before the first position, within the first file, the second one, and at the last row."""
    (tmp_path / "mine").mkdir()
    rows = [{"text": f"sentence {i} of them" if i % 7 else "", "label": i % 3} for i in range(100)]
    for name, part in (("a.jsonl", rows[:60]), ("b.jsonl", rows[60:])):
        (tmp_path / "mine" / name).write_text("".join(json.dumps(each) + "\n" for each in part))
    whole = import_text(tmp_path / "mine", tmp_path / "whole", label_column="label")
    _import_and_interrupt(monkeypatch, row, tmp_path / "mine", tmp_path / "out", label_column="label")
    assert not (tmp_path / "out").exists()
    formed = []

    def form(line: bytes) -> bytes:
        formed.append(line)
        return line

    monkeypatch.setattr(importing, "_form", lambda **_: form)
    found = import_text(tmp_path / "mine", tmp_path / "out", label_column="label")
    assert len(formed) == 100 - (row - 1) // 10 * 10
    assert _contents(found.directory) == _contents(whole.directory)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "whole", "out", "cwd"}


def test_what_other_options_left_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_txt(tmp_path / "mine.txt")
    old = import_text(tmp_path / "mine.txt", tmp_path / "out")
    before = _contents(old.directory)
    arguments = tmp_path / "mine.txt", tmp_path / "out"
    _import_and_interrupt(monkeypatch, 50, *arguments, lowercase=True, overwrite=True)
    assert _contents(tmp_path / "out") == before
    again = import_text(*arguments, valid=9, overwrite=True)
    assert _contents(again.directory) == _contents(import_text(arguments[0], tmp_path / "b", valid=9).directory)


def test_lines_of_an_import_that_goes_on_keep_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").write_text("".join(f"line {i}\n" for i in range(1, 40)) + "a <s> b\n")
    _import_and_interrupt(monkeypatch, 25, tmp_path / "mine.txt", tmp_path / "out")
    with pytest.raises(InputError, match="line 40: holds a reserved word"):
        import_text(tmp_path / "mine.txt", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "cwd"}


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    _write_gz(tmp_path / "mine.gz")
    told: dict[str, list[tuple[int, int]]] = {}
    import_text(
        tmp_path / "mine.gz", tmp_path / "out", on_progress=lambda stage, *far: told.setdefault(stage, []).append(far)
    )
    assert [stage.partition(" ")[0] for stage in told] == ["reading", "writing"]
    for far in told.values():
        assert far == sorted(far) and far[-1][0] == far[-1][1] > 0


def test_a_file_is_a_corpus_and_is_found_again(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "My.Reviews.txt").write_text("".join(f"Dear {line}, I say.\n" for line in SENTENCES))
    corpus = find_corpus(str(tmp_path / "My.Reviews.txt"))
    assert corpus.name == "My.Reviews" == name_of_source(str(tmp_path / "My.Reviews.txt"))
    assert corpus.splits["train"].path.is_relative_to(cache)
    said, raw = corpus.notices
    assert "imported: 90 train, 5 valid, 5 test sentences" in said
    assert raw.endswith("lebm-text data import changes that by --lowercase, --tokenize")
    described = CorpusDescription.read(json.loads(json.dumps(corpus.describe())))
    assert find_again(described).splits["test"].sha256 == corpus.splits["test"].sha256
    for file in corpus.splits["train"].path.parent.iterdir():
        file.unlink()
    corpus.splits["train"].path.parent.rmdir()
    assert find_again(described).splits["test"].sha256 == corpus.splits["test"].sha256  # the cache may be deleted
    (tmp_path / "My.Reviews.txt").write_text("".join(f"more {i}\n" for i in range(200)))
    assert find_again(described).splits["train"].n_sentences == 90  # what was imported, not what the file is now


def test_the_cache_keeps_an_import_for_each_way_and_repairs_it(tmp_path: Path, cache: Path) -> None:
    _write_txt(tmp_path / "mine.txt")
    first, other = import_text(tmp_path / "mine.txt"), import_text(tmp_path / "mine.txt", valid=9)
    assert [len(_corpus(each.directory)["valid"]) for each in (first, other)] == [5, 9]
    assert all(each.directory.is_relative_to(cache) for each in (first, other))
    assert import_text(tmp_path / "mine.txt").was_there
    before = _contents(first.directory)
    (first.directory / "train.txt").write_text("changed\n")
    assert not import_text(tmp_path / "mine.txt").was_there
    assert _contents(first.directory) == before


def test_a_file_in_a_format_that_is_not_clear_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"columns of strings: x, y; .*: lebm-text data import .*a\.csv --text-column"):
        find_corpus(str(tmp_path / "a.csv"))


def test_prepared_text_is_not_said_to_be_raw(tmp_path: Path) -> None:
    _write_txt(tmp_path / "mine.txt")
    assert import_text(tmp_path / "mine.txt", tmp_path / "out").notices() == ()


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """Of ten times the sentences ten times eight bytes are kept, and little else."""
    program = (
        "import sys, tracemalloc; from lebm_text.text.importing import import_text; "
        "import_text(sys.argv[1], sys.argv[3]); tracemalloc.start(); import_text(sys.argv[2], sys.argv[4]); "
        "print(tracemalloc.get_traced_memory()[1])"
    )
    n = 60_000
    _write_txt(tmp_path / "small.txt")
    with (tmp_path / "large.txt").open("w") as file:
        file.writelines(f"this is the sentence number {i} of a long text with some words\n" for i in range(n))
    size = (tmp_path / "large.txt").stat().st_size
    arguments = [str(tmp_path / name) for name in ("small.txt", "large.txt", "a", "b")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, env=os.environ
    )
    assert int(done.stdout) < 40 * n + 1_000_000 < size


def test_names_of_splits() -> None:
    names = ("train", "Validation", "dev", "test_0001", "train-00000-of-00002", "trainer", "latest", "valid.2")
    found = [parts._split_of(name) for name in names]
    assert found == ["train", "valid", "valid", "test", "train", None, None, "valid"]

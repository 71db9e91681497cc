"""Where a corpus is looked for, in which order, and what is said when it is not there or not right."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.run import Run
from lebm_text.sharing.push import _without_machine
from lebm_text.store import cache_directory
from lebm_text.text.corpora import CorpusDescription, find_again, find_corpus, locate
from lebm_text.text.fetching import read_manifest, store
from lebm_text.text.registry import REGISTRY, SPLITS, CorpusEntry

from ...damage import refused
from .conftest import COUNTS, TEXTS, write_corpus

DATA = Path(__file__).parents[2] / "data"
ENVIRONMENT = json.loads((DATA / "run-0.1.0" / "env.json").read_text())
CORPUS = ENVIRONMENT["corpus"]

Registry = dict[str, CorpusEntry]


def _decoded() -> dict[str, list[str]]:
    return {split: data.decode().splitlines() for split, data in TEXTS.items()}


def test_directory_is_read_counted_and_hashed(tmp_path: Path) -> None:
    corpus = find_corpus(str(write_corpus(tmp_path / "mine")))
    assert (corpus.name, corpus.origin, corpus.notices) == ("mine", "directory", ())
    assert list(corpus.splits) == ["train", "valid", "test"]
    for split, found in corpus.splits.items():
        assert (found.n_sentences, found.n_words) == COUNTS[split]
        assert found.sha256 == hashlib.sha256(TEXTS[split]).hexdigest()
    assert list(corpus.splits["train"].sentences()) == ["a b c", "a b", "d e"]


def test_sentences_can_be_read_again(tmp_path: Path) -> None:
    split = find_corpus(str(write_corpus(tmp_path / "mine"))).splits["test"]
    assert list(split.sentences()) == list(split.sentences()) == ["c c c"]


def test_description_is_json_with_hash_and_counts(tmp_path: Path) -> None:
    described = json.loads(json.dumps(find_corpus(str(write_corpus(tmp_path / "mine"))).describe()))
    assert described["splits"]["valid"] == {
        "path": str(tmp_path / "mine" / "valid.txt"),
        "sha256": hashlib.sha256(TEXTS["valid"]).hexdigest(),
        "n_sentences": 2,
        "n_words": 3,
    }


def test_empty_lines_are_left_out_and_said(tmp_path: Path) -> None:
    corpus = find_corpus(str(write_corpus(tmp_path / "mine", {**TEXTS, "train": b"a\n\n \t\nb\n"})))
    assert list(corpus.splits["train"].sentences()) == ["a", "b"]
    assert corpus.splits["train"].n_sentences == 2
    assert [notice for notice in corpus.notices if "2 empty lines left out" in notice]


def test_windows_line_ends_give_the_same_sentences(tmp_path: Path) -> None:
    unix = find_corpus(str(write_corpus(tmp_path / "unix")))
    dos = find_corpus(str(write_corpus(tmp_path / "dos", {k: v.replace(b"\n", b"\r\n") for k, v in TEXTS.items()})))
    for split in SPLITS:
        assert list(dos.splits[split].sentences()) == list(unix.splits[split].sentences())
        assert dos.splits[split].n_words == unix.splits[split].n_words


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"a\n\xff\n", r"valid\.txt, line 2: not UTF-8"), (b"", r"valid\.txt holds no sentence")],
)
def test_broken_file_names_itself(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_corpus(str(write_corpus(tmp_path / "mine", {**TEXTS, "valid": data})))


@pytest.mark.parametrize("origin", ["directory", "data-dir"])
def test_missing_files_are_named(tmp_path: Path, origin: str) -> None:
    directory = write_corpus(tmp_path / "mine", {"train": TEXTS["train"]})
    name, data_dir = (str(directory), None) if origin == "directory" else ("mine", tmp_path)
    with pytest.raises(InputError, match=r"mine lacks valid\.txt, test\.txt; a corpus needs"):
        find_corpus(name, data_dir=data_dir)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no corpus 'ptv' \(did you mean ptb\?\).*ptb, snli, yelp, e2e, agnews, kjv"):
        find_corpus("ptv")


@pytest.mark.parametrize("name", ["reviews.csv", "texts/reviews", "/nowhere/reviews.txt"])
def test_what_looks_like_a_path_is_missed_as_one(name: str) -> None:
    with pytest.raises(InputError, match=rf"^there is no file or directory '{name}'$"):
        find_corpus(name)


def test_a_pipe_is_not_said_to_be_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a directory"):
        find_corpus(str(tmp_path / "pipe"))


@pytest.mark.parametrize("name", ["", ".", "..", "/", "/nonexistent/x", "a/../b"])
def test_odd_names_are_input_errors(name: str) -> None:
    with pytest.raises(InputError):
        find_corpus(name)


def test_look_up_order(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    given, env, default = tmp_path / "given", tmp_path / "env", tmp_path / "cwd" / "data"
    for directory in (given, env, default):
        write_corpus(directory / "toy")
    cached = store(registry["toy"], _decoded(), "here")
    monkeypatch.setenv("LEBM_TEXT_DATA", str(env))

    def found(data_dir: Path | None = None) -> tuple[str, Path]:
        corpus = find_corpus("toy", data_dir=data_dir)
        return corpus.origin, corpus.splits["train"].path.parent

    assert found(given) == ("data-dir", given / "toy")
    assert found() == ("data-dir", env / "toy")
    monkeypatch.delenv("LEBM_TEXT_DATA")
    assert found() == ("data-dir", Path("data/toy"))
    monkeypatch.chdir(tmp_path)
    assert found() == ("cache", cached)


def test_registered_name_wins_over_a_directory_of_that_name(tmp_path: Path, registry: Registry) -> None:
    write_corpus(Path("toy"))
    assert locate("toy") is None
    location = locate("./toy")
    assert location is not None and location.origin == "directory"


def test_unregistered_name_is_found_in_the_data_directory(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data" / "mine")
    assert find_corpus("mine", data_dir=tmp_path / "data").origin == "data-dir"


def test_the_corpus_of_a_run_is_found_again_in_the_data_directory_that_it_had(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data" / "mine")
    described = CorpusDescription.read(find_corpus("mine", data_dir=tmp_path / "data").describe())
    assert find_again(described).splits["test"].path == tmp_path / "data" / "mine" / "test.txt"


def test_a_split_that_is_another_one_gets_a_notice(tmp_path: Path) -> None:
    (notice,) = find_corpus(str(write_corpus(tmp_path / "mine", {**TEXTS, "test": TEXTS["train"]}))).notices
    assert "train.txt" in notice and "test.txt are the same text" in notice


def test_data_directory_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data directory .*nope does not exist"):
        find_corpus("ptb", data_dir=tmp_path / "nope")


def test_local_copy_that_differs_is_used_with_a_notice(tmp_path: Path, registry: Registry) -> None:
    write_corpus(tmp_path / "data" / "toy", {**TEXTS, "test": b"c c\n"})
    corpus = find_corpus("toy", data_dir=tmp_path / "data")
    assert list(corpus.splits["test"].sentences()) == ["c c"]
    (notice,) = corpus.notices
    assert "differs from the registry" in notice
    assert "test.txt has 2 words instead of 3" in notice and "sha256" in notice
    assert "train" not in notice and "\n" not in notice


def test_local_copy_that_agrees_gets_no_notice(tmp_path: Path, registry: Registry) -> None:
    write_corpus(tmp_path / "data" / "toy")
    assert find_corpus("toy", data_dir=tmp_path / "data").notices == ()


def test_nothing_is_written_under_the_data_directory(tmp_path: Path, registry: Registry) -> None:
    data_dir = tmp_path / "data"
    write_corpus(data_dir / "toy")

    def snapshot() -> list[tuple[str, int]]:
        return sorted((str(p), p.stat().st_mtime_ns) for p in [data_dir, *data_dir.rglob("*")])

    before = snapshot()
    find_corpus("toy", data_dir=data_dir)
    with pytest.raises(InputError):
        find_corpus("ptb", data_dir=data_dir, offline=True)
    assert snapshot() == before


@pytest.mark.parametrize("how", ["argument", "HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_and_not_found_is_one_helpful_line(
    how: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    if how != "argument":
        monkeypatch.setenv(how, "1")
    monkeypatch.setenv("LEBM_TEXT_DATA", str(tmp_path / "texts"))
    with pytest.raises(InputError) as caught:
        find_corpus("ptb", offline=how == "argument")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        str(tmp_path / "texts" / "ptb"),
        str(cache / "corpora" / "ptb"),
        "train.txt, valid.txt and test.txt",
        "try: lebm-text train kjv",
        "offline",
    ):
        assert part in message
    assert not cache.exists()


def test_cached_copy_that_was_changed_is_refused(registry: Registry) -> None:
    directory = store(registry["toy"], _decoded(), "here")
    (directory / "test.txt").write_bytes(b"c c\n")
    with pytest.raises(InputError, match="changed since it was written; run: lebm-text data fetch toy --force"):
        find_corpus("toy")
    (directory / "test.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="changed since it was written"):
        find_corpus("toy")


def test_copy_that_the_user_put_into_the_cache_is_used_with_a_notice(cache: Path, registry: Registry) -> None:
    directory = write_corpus(cache / "corpora" / "toy", {**TEXTS, "test": b"c c\n"})
    corpus = find_corpus("toy")
    assert corpus.origin == "cache" and "differs" in corpus.notices[0]
    (directory / "test.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"test\.txt, line 1: not UTF-8"):
        find_corpus("toy")


def test_half_a_copy_in_the_cache_does_not_count(cache: Path, registry: Registry) -> None:
    write_corpus(cache / "corpora" / "toy", {"train": TEXTS["train"]})
    assert locate("toy") is None


def test_store_writes_lines_and_manifest_and_nothing_else(cache: Path, registry: Registry) -> None:
    directory = store(registry["toy"], _decoded(), "here")
    assert {p.name: p.read_bytes() for p in directory.iterdir() if p.suffix == ".txt"} == {
        f"{split}.txt": data for split, data in TEXTS.items()
    }
    assert read_manifest(directory) == {split: hashlib.sha256(data).hexdigest() for split, data in TEXTS.items()}
    assert [p.name for p in (cache / "corpora").iterdir()] == ["toy"]


def test_store_refuses_what_the_registry_does_not_list_and_keeps_the_old_copy(cache: Path, registry: Registry) -> None:
    store(registry["toy"], _decoded(), "here")
    with pytest.raises(InputError, match=r"toy from there is not what.*valid\.txt has 1 sentences.*nothing was kept"):
        store(registry["toy"], {**_decoded(), "valid": ["a b"]}, "there")
    assert find_corpus("toy").splits["valid"].n_sentences == 2
    assert [p.name for p in (cache / "corpora").iterdir()] == ["toy"]


def test_store_replaces_an_older_copy(cache: Path, registry: Registry) -> None:
    write_corpus(cache / "corpora" / "toy", {"train": b"old\n"})
    directory = store(registry["toy"], _decoded(), "here")
    assert (directory / "train.txt").read_bytes() == TEXTS["train"]
    assert [p.name for p in (cache / "corpora").iterdir()] == ["toy"]


def test_cache_that_cannot_be_written_says_what_to_do(cache: Path, registry: Registry) -> None:
    cache.write_text("a file where the directory should be")
    with pytest.raises(InputError, match=r"cannot write the cache .*; set LEBM_TEXT_CACHE"):
        store(registry["toy"], _decoded(), "here")


def test_a_user_without_a_home_is_told_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: str) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CACHE_HOME", "LEBM_TEXT_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", homeless)
    for own in (None, "~/kept"):
        if own is not None:
            monkeypatch.setenv("LEBM_TEXT_CACHE", own)
        with pytest.raises(InputError, match="no home directory for the cache; set LEBM_TEXT_CACHE"):
            cache_directory()


def test_cache_directory_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("LEBM_TEXT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "lebm-text"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "lebm-text"


def test_registry_is_consistent() -> None:
    assert list(REGISTRY) == ["ptb", "snli", "yelp", "e2e", "agnews", "kjv"]
    for name, entry in REGISTRY.items():
        assert entry.name == name and set(entry.expected) == set(SPLITS)
        assert entry.package != bool(entry.sources)
        for source in entry.sources:
            assert source.builder in ("parquet", "text", "csv")
            assert set(source.files) | ({"valid"} if source.valid_every else set()) == set(SPLITS)
            assert all(os.path.basename(file) for files in source.files.values() for file in files)


def test_the_corpus_of_a_run_is_found_from_anywhere_and_missed_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    described = CorpusDescription.read(find_corpus("mine").describe())
    monkeypatch.chdir("/")
    assert find_again(described).splits["test"].sha256 == described.splits["test"].sha256
    (tmp_path / "mine").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"is not in .*/mine; name the data directory that holds mine/ \(--data-dir\)"):
        find_again(described)


def test_what_is_read_is_what_was_written() -> None:
    for more in ({}, {"source": "hf:a/b"}, {"made_by": {"class": "a:B", "version": None}}):
        assert CorpusDescription.read(CORPUS | more).to_json() == CORPUS | more


@pytest.mark.parametrize(
    ("corpus", "wrong"),
    [
        (None, "corpus must be an object, got None"),
        ({}, "corpus.name is missing"),
        ({"name": "kjv"}, "corpus.origin is missing"),
        ({"name": "kjv", "origin": "cache"}, "corpus.splits is missing"),
        (CORPUS | {"splits": {}}, "corpus.splits must be train, valid, test, got none"),
        (
            CORPUS | {"splits": CORPUS["splits"] | {"test": {"path": 5}}},
            "corpus.splits.test.path must be a text, got 5",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, corpus: Any, wrong: str) -> None:
    (tmp_path / "env.json").write_text(json.dumps({"corpus": corpus}))
    with pytest.raises(InputError) as error:
        Run(tmp_path).corpus()
    problem = f"is damaged: it does not say what text the run was trained on ({wrong})"
    assert str(error.value) == f"{tmp_path / 'env.json'} {problem}"


@pytest.mark.parametrize("ask", [Run.corpus, lambda run: run.environment, lambda run: run.weights_sha256])
def test_a_directory_that_is_not_there_is_said(ask: Callable[[Run], object]) -> None:
    with pytest.raises(InputError, match=r"^there is no directory kjv-demo; names such as kjv-demo are for Run.find$"):
        ask(Run("kjv-demo"))


def test_a_copy_without_its_env_json_is_said(tmp_path: Path) -> None:
    shutil.copy(DATA / "run-0.1.0" / "config.json", tmp_path)
    with pytest.raises(InputError, match=r"has no env\.json, which says what text it learned: copy that, too$"):
        Run(tmp_path).corpus()


def test_no_damage_is_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    shutil.copy(DATA / "run-0.1.0" / "config.json", tmp_path)

    def read() -> None:
        run = Run(tmp_path, data_dir=DATA)
        json.dumps(_without_machine(run))
        assert run.corpus().name == run.corpus_name

    assert refused(tmp_path / "env.json", {"corpus": CORPUS}, read) > 100

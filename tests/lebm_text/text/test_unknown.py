"""The warning about unknown words names each of them once, the first twenty, and those known in lower case."""

from __future__ import annotations

import pytest

from lebm_text.text.tokenizers import WordTokenizer
from lebm_text.text.unknown import warn_of_unknown

TOKENIZER = WordTokenizer(["a", "cat"])


@pytest.mark.parametrize(
    ("sentences", "said"),
    [
        (["A cat", "a zzz cat", "zzz"], ["not in the vocabulary, read as <unk>: A, zzz; in lower case known: a"]),
        ([" ".join(f"w{i}" for i in range(22))], [f"…: {', '.join(f'w{i}' for i in range(20))} and 2 more"]),
        (["z" * 50], [f"…: {'z' * 40}…"]),
        (["a cat", "<unk> cat", ""], []),
    ],
)
def test_unknown_words_are_named(sentences: list[str], said: list[str], caplog: pytest.LogCaptureFixture) -> None:
    warn_of_unknown(TOKENIZER, iter(sentences))
    assert caplog.messages == [line.replace("…:", "not in the vocabulary, read as <unk>:", 1) for line in said]

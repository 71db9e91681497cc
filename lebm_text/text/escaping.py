"""Escapes for what the sentencepiece library treats specially, so that every sentence decodes to itself.

The library spells a blank as U+2581, learns nothing from a line with U+2585, and cuts the names of special tokens
out of words that contain them (`<unk>'s`). A text may contain all of these, so each is replaced by a Unicode
noncharacter, which is not meant for interchange; if the text has one of these itself, U+FDD0 is put before it.
Refusing such text would mean refusing a whole corpus for one word.
"""

from __future__ import annotations

import re

__all__ = ["escape", "unescape"]

_ITSELF = "\ufdd0"
_OWN = dict(
    zip(("\u2581", "\u2585", "<pad>", "<unk>", "<s>", "</s>"), "\ufdd1\ufdd2\ufdd3\ufdd4\ufdd5\ufdd6", strict=True)
)
_SPELLED = _OWN | {sign: _ITSELF + sign for sign in (_ITSELF, *_OWN.values())}
_MEANT = {sign: text for text, sign in _SPELLED.items()}
_TEXT = re.compile("|".join(map(re.escape, _SPELLED)))
_SIGN = re.compile(f"{_ITSELF}[{_ITSELF}{''.join(_OWN.values())}]|[{''.join(_OWN.values())}]|{_ITSELF}")


def escape(sentence: str) -> str:
    """Return `sentence` with everything replaced that the library would not treat as text."""
    if "<" not in sentence and sentence.isascii():
        return sentence
    return _TEXT.sub(lambda found: _SPELLED[found[0]], sentence)


def unescape(text: str) -> str:
    """Invert `escape`. In a text that it never returns, a U+FDD0 that escapes nothing is dropped."""
    return text if text.isascii() else _SIGN.sub(lambda found: _MEANT.get(found[0], ""), text)

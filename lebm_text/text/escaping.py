"""What the sentencepiece library reads as its own, spelled otherwise and back, so that a sentence comes back as it was.

U+2581 is how the library spells a blank; a line with U+2585 teaches it nothing, and the names of special tokens are cut
out of the words that hold them (`<unk>'s`). A text may have all of these, so each is spelled as one noncharacter of
Unicode, which texts are not to be exchanged with; where one has a noncharacter all the same, U+FDD0 stands before it.
To refuse them would be to refuse a whole corpus for one word.
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
    """`sentence` without anything that the library would not take as a piece of text."""
    if "<" not in sentence and sentence.isascii():
        return sentence
    return _TEXT.sub(lambda found: _SPELLED[found[0]], sentence)


def unescape(text: str) -> str:
    """What `escape` was given. Of a text that it never returns, a U+FDD0 that stands before nothing is left out."""
    return text if text.isascii() else _SIGN.sub(lambda found: _MEANT.get(found[0], ""), text)

"""Text for people: what a terminal or a browser would obey, or a reader would not see, is spelled out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

__all__ = ["named", "shortened", "visible"]

_LOOKED_AT = re.compile(r"[^ -~\n\t]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NO_XML = frozenset("\ufffe\uffff")
_JOINERS = frozenset("\u200c\u200d")  # that some scripts and emoji are written with


def escaped(char: str) -> str:
    r"""As Python has it, such as \x1b or \u202e: for terminals."""
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def named(char: str) -> str:
    """Such as ⟨U+202E⟩: for pages and pictures."""
    return f"⟨U+{ord(char):04X}⟩"


def visible(text: str, spelling: Callable[[str], str] = escaped) -> str:
    """`text` with the `spelling` of each character that is not seen, or that moves others; tab and line feed stay."""

    def spelled(found: re.Match[str]) -> str:
        char = found[0]
        hidden = unicodedata.category(char) in _HIDDEN and char not in _JOINERS
        return spelling(char) if hidden or char in _NO_XML else char

    return _LOOKED_AT.sub(spelled, text)


def shortened(text: str, most: int = 40) -> str:
    """`text`, or its first characters where it has more than `most`."""
    return text if len(text) <= most else f"{text[:most]}…"

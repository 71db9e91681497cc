"""Text for people: what a terminal would obey, or a reader would not see, is spelled out."""

from __future__ import annotations

import re

__all__ = ["visible"]

# Controls but for line feed and tab, marks that end lines or turn the direction of a text, halves of surrogate pairs.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""`text` with \x1b, \u202e and so on in the place of such characters; all others, tab and line feed too, stay."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)

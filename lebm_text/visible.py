"""Text for display: characters that a terminal or browser would interpret, or that are invisible, are spelled out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["named", "read_template", "shortened", "visible"]

_LOOKED_AT = re.compile(r"[^ -~\n\t]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NO_XML = frozenset("\ufffe\uffff")
_JOINERS = frozenset("\u200c\u200d")  # used in some scripts and emoji


def escaped(char: str) -> str:
    r"""Return the Python escape, such as \x1b or \u202e: for terminals."""
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def named(char: str) -> str:
    """Return the code point, such as ⟨U+202E⟩: for pages and pictures."""
    return f"⟨U+{ord(char):04X}⟩"


def visible(text: str, spelling: Callable[[str], str] = escaped) -> str:
    """Return `text` with invisible and reordering characters replaced by their `spelling`, except tab and line feed."""

    def spelled(found: re.Match[str]) -> str:
        char = found[0]
        hidden = unicodedata.category(char) in _HIDDEN and char not in _JOINERS
        return spelling(char) if hidden or char in _NO_XML else char

    return _LOOKED_AT.sub(spelled, text)


def shortened(text: str) -> str:
    """Return `text`, cut after 40 characters."""
    return text if len(text) <= 40 else f"{text[:40]}…"


def read_template(package: str, name: str, *, escape: bool, **filters: Callable[..., str]) -> Template:
    """Return the Jinja template in the file `name` of a package, with `filters`; `escape` for HTML.

    All that it shows passes through `visible`.
    """
    from importlib import resources

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else visible(str(value), named),
    )
    environment.filters |= filters
    return environment.from_string(resources.files(package).joinpath(name).read_text(encoding="utf-8"))

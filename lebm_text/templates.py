"""Templates of the package, in which all text is shown as text; characters that affect their neighbours are named."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING

from lebm_text.visible import named, visible

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["read_template"]


def read_template(package: str, name: str, *, escape: bool, **filters: Callable[..., str]) -> Template:
    """Return the Jinja template in the file `name` of a package, with `filters`; `escape` for HTML."""
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

"""mkdocs hooks: pages for files outside docs/, and the source of programs inserted into pages.

A page names a program in a comment, which the site replaces by its source; next to it is a link for readers of
the page without the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = "https://github.com/lebm-text/lebm-text/blob/main"
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "data/README.md": "corpora.md",
    "examples/images/README.md": "images.md",
}
"""Documents that are pages of the site, too, and where."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of `OUTSIDE`."""
    from mkdocs.structure.files import File

    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=re.sub(r"\]\((\.\./)*docs/", "](", text)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Insert programs, and point links that leave docs/ to the corresponding pages or to the sources."""
    markdown = re.sub(
        r"<!-- (examples/\w+\.py) -->",
        lambda match: f"```python\n{(ROOT / match[1]).read_text(encoding='utf-8')}```",
        markdown,
    )
    for name, target in OUTSIDE.items():
        markdown = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(name)}", rf"](\1{target}", markdown)
    return re.sub(r"\]\((?:\.\./)+(examples/\w[\w/]*\.(?:py|ipynb))\)", rf"]({SOURCES}/\1)", markdown)

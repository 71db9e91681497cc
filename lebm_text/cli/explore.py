"""`lebm-text explore`: a web page on this machine to play with a model."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.sharing.hub import run_or_demo

from .main import quick_imports
from .options import device_options, run_options, whole
from .parameters import Command
from .streams import print_note

__all__ = ["command"]


@click.command("explore", cls=Command)
@run_options
@click.option("--port", type=whole(1, 65535), default=7860, help="Of 127.0.0.1, where the page is shown.")
@click.option("--no-browser", is_flag=True, help="Only say where the page is; do not open it.")
@device_options()
def command(run: Path | None, data_dir: Path | None, port: int, no_browser: bool, device: str) -> None:
    """Open a page that generates, reads a sentence, mixes two, and shows the latent space of a model.

    The page is for this machine alone: it loads nothing from elsewhere and sends nothing. Ctrl-C ends it.
    """
    found = run_or_demo(run, data_dir=data_dir)
    with quick_imports():
        from lebm_text.app.explorer import Explorer
        from lebm_text.app.page import require_gradio, serve
    require_gradio()
    explorer = Explorer(found, device=device)
    serve(
        explorer, port=port, browser=not no_browser, on_ready=lambda address: print_note(f"{address} (Ctrl-C ends it)")
    )

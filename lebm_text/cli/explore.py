"""`lebm-text explore`: serve a local web page to try out a model."""

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
@click.option("--port", type=whole(1, 65535), default=7860, help="Serve the page at this port of 127.0.0.1.")
@click.option("--no-browser", is_flag=True, help="Print the address of the page, but do not open it.")
@device_options()
def command(run: Path | None, data_dir: Path | None, port: int, no_browser: bool, device: str) -> None:
    """Open a web page to try out a model: generate, reconstruct, interpolate, and look at its latent space.

    The page is served to this machine only; it loads nothing from the network and sends nothing. Ctrl-C stops it.
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

"""`lebm-text explore [RUN]`: a web page on this machine to play with a model."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.app.explorer import Explorer
from lebm_text.app.page import require_gradio, serve
from lebm_text.run import Run

from .options import RUN, data_dir_option, device_options
from .streams import print_note

__all__ = ["command"]


@click.command("explore")
@click.argument("run", metavar="[RUN]", required=False, type=RUN)
@data_dir_option
@click.option("--port", type=click.IntRange(1, 65535), default=7860, help="Of 127.0.0.1, where the page is shown.")
@click.option("--no-browser", is_flag=True, help="Only say where the page is; do not open it.")
@device_options()
def command(run: Path | None, data_dir: Path | None, port: int, no_browser: bool, device: str) -> None:
    """Open a page that generates, reads a sentence, mixes two, and shows the latent space of a model.

    RUN is a run directory, or user/model on the Hugging Face Hub; the newest under $LEBM_TEXT_RUNS, or ./runs, if none
    is named. The page is for this machine alone: it loads nothing from elsewhere and sends nothing. Ctrl-C ends it.
    """
    found = Run.find(run, data_dir=data_dir)
    require_gradio()
    explorer = Explorer(found, device=device)
    serve(
        explorer, port=port, browser=not no_browser, on_ready=lambda address: print_note(f"{address} (Ctrl-C ends it)")
    )

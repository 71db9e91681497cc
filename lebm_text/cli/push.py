"""`lebm-text push RUN user/name`: upload a run to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click

from lebm_text.run import Run
from lebm_text.sharing.hub import UNKNOWN_LICENCE
from lebm_text.sharing.push import push

from .options import RUN
from .parameters import Command
from .streams import print_text

__all__ = ["command"]


@click.command("push", cls=Command)
@click.argument("run", type=RUN)
@click.argument("name", metavar="USER/MODEL")
@click.option("--private", is_flag=True, help="Make the repository private.")
@click.option("--licence", default=UNKNOWN_LICENCE, help="Licence of the model, in the Hub's notation: mit, cc-by-4.0.")
def command(run: Path, name: str, private: bool, licence: str) -> None:
    """Upload RUN to the Hugging Face Hub as USER/MODEL, with a model card; other commands load it by --run USER/MODEL.

    The weights, configuration, vocabulary and training metrics are uploaded, and README.md, the model card: data,
    settings, samples, the reports in eval/ with their signatures, and how to load the model. Checkpoints and the text
    of the corpus are not uploaded. You need a token: hf auth login, or HF_TOKEN. An earlier upload is replaced; the Hub
    keeps its history.
    """
    print_text(push(Run.find(run), name, private=private, licence=licence))

"""`lebm-text push RUN user/name`: a run on the Hugging Face Hub, for others to load."""

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
@click.option("--private", is_flag=True, help="Only you, and those you let, may read it.")
@click.option("--licence", default=UNKNOWN_LICENCE, help="Of the model, as the Hub names it, such as mit or cc-by-4.0.")
def command(run: Path, name: str, private: bool, licence: str) -> None:
    """Put RUN on the Hugging Face Hub as USER/MODEL, with a card; it is then loaded by that name: --run USER/MODEL.

    Sent are weights, configuration, vocabulary, the figures of the training, and README.md, the card: data, settings,
    samples, reports of eval/ with their signatures, how to load it. No checkpoint is sent and no text of the corpus.
    A token is needed: hf auth login, or HF_TOKEN. What was pushed before is replaced; the Hub keeps its history.
    """
    print_text(push(Run.find(run), name, private=private, licence=licence))

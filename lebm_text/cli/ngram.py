"""`lebm-text ngram`: Kneser-Ney models without building KenLM, and perplexity with any ARPA or kenlm file."""

from __future__ import annotations

import click

from .ngram_score import score
from .ngram_train import train

__all__ = ["command"]


@click.group("ngram", commands=[train, score], no_args_is_help=False)
def command() -> None:
    """Train n-gram language models (interpolated modified Kneser-Ney) and score text with them.

    Models are ARPA files, which kenlm and other tools read. The literal word <unk> is an ordinary word and is
    called <oov> in the file, where <unk> stands for every word that the model does not know.
    """

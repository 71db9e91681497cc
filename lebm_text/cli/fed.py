"""`lebm-text fed`: samples beside real text in the space of a sentence encoder."""

from __future__ import annotations

from typing import Any

import click

from lebm_text.reports.embedding import EmbeddingSettings, compute

from .judging import SAMPLES_REPORT, judge, sample_options
from .options import field_option, report_options
from .parameters import Command

__all__ = ["command"]


@click.command("fed", cls=Command)
@sample_options(n="at most 3000 of each text", temperatures="1")
@field_option(EmbeddingSettings, "k", "-k", help="Nearest neighbours.")
@field_option(EmbeddingSettings, "encoder", metavar="NAME|DIR", help="One of sentence-transformers.")
@report_options(SAMPLES_REPORT)
def command(**options: Any) -> None:
    """Fréchet distance of sentence embeddings, and their nearest neighbours: what perplexities do not see.

    A perplexity looks at the next word, an embedding at what a sentence is about. The distance to real held-out text
    is read beside that of real training text, which is not 0. Precision says whether samples lie where real sentences
    do, recall whether real sentences lie where samples do.

    Without --samples or --run the newest run is judged; samples that it lacks are generated. Needs
    pip install 'lebm-text[embed]'. Embeddings are kept in the cache.
    """
    judge(compute, EmbeddingSettings, "embedding", **options)

"""`lebm-text fed`: compare the sentence embeddings of samples with those of real text."""

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
@field_option(EmbeddingSettings, "k", "-k", help="Nearest neighbours for precision and recall.")
@field_option(EmbeddingSettings, "encoder", metavar="NAME|DIR", help="Sentence encoder of sentence-transformers.")
@report_options(SAMPLES_REPORT)
def command(**options: Any) -> None:
    """Compute the Fréchet distance, precision and recall of sentence embeddings of samples and real text.

    They measure what perplexity does not: a perplexity depends on the next word, an embedding on what a sentence is
    about. Compare the distance to real held-out text with that of real training text, which is not 0. Precision is
    the share of samples that lie near real sentences, recall the share of real sentences that lie near samples.

    Without --samples or --run the newest run is judged; missing samples are generated. Needs
    pip install 'lebm-text[embed]'. Embeddings are kept in the cache.
    """
    judge(compute, EmbeddingSettings, "embedding", **options)

"""`lebm-text rppl`: reverse perplexity: a judge trained on the samples reads real held-out text."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from lebm_text.reports.perplexity import PerplexitySettings, compute

from .judging import judge
from .options import metric_options

__all__ = ["command"]


@click.command("rppl")
@metric_options
def command(**options: Any) -> None:
    """Reverse perplexity: a judge trained on the samples reads real held-out text.

    Low is close to the real distribution, in quality and in variety. It falls with the number of samples: the
    standard is as many as the training text has.

    Without --samples or --run the newest run is judged, on the corpus that it was trained on; samples that it
    lacks are generated. The LSTM judge is trained on the samples, which takes minutes; --lm kn5 takes seconds.
    docs/which-perplexity.md says what exactly is counted. Several processes share texts and judges and find the
    same: torchrun --nproc-per-node N -m -- lebm_text rppl ...
    """
    judge(compute, partial(PerplexitySettings, metric="rppl"), "rppl", **options)

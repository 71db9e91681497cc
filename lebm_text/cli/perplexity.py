"""`lebm-text fppl` and `lebm-text rppl`: perplexities between samples and real text, by a judge."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from lebm_text.reports.perplexity import PerplexitySettings, compute

from .judging import judge, judge_options
from .options import all_of, field_option
from .parameters import Command

__all__ = ["fppl", "rppl"]

_options = all_of(
    judge_options(lm="both; kn5 for arae, lstm for lebm", temperatures="1"),
    field_option(
        PerplexitySettings, "calibrate",
        help="Also judge texts of known quality: n-gram samples, training text, a repeated block.",
    ),
)  # fmt: skip


@click.command("fppl", cls=Command)
@_options
def fppl(**options: Any) -> None:
    """Forward perplexity: a judge trained on the real training text reads the samples.

    Low is fluent, but copied, short and repeated sentences are low too: a value below the real-data row is a
    warning. Read it together with rppl.

    Without --samples or --run the newest run is judged, on the corpus that it was trained on; samples that it
    lacks are generated. An LSTM judge is trained once for a corpus and kept in the cache.
    docs/which-perplexity.md says what exactly is counted. Several processes share texts and judges and find the
    same: torchrun --nproc-per-node N -m -- lebm_text fppl ...
    """
    judge(compute, partial(PerplexitySettings, metric="fppl"), "fppl", **options)


@click.command("rppl", cls=Command)
@_options
def rppl(**options: Any) -> None:
    """Reverse perplexity: a judge trained on the samples reads real held-out text.

    Low is close to the real distribution, in quality and in variety. It falls with the number of samples: the
    standard is as many as the training text has.

    Without --samples or --run the newest run is judged, on the corpus that it was trained on; samples that it
    lacks are generated. The LSTM judge is trained on the samples, which takes minutes; --lm kn5 takes seconds.
    docs/which-perplexity.md says what exactly is counted. Several processes share texts and judges and find the
    same: torchrun --nproc-per-node N -m -- lebm_text rppl ...
    """
    judge(compute, partial(PerplexitySettings, metric="rppl"), "rppl", **options)

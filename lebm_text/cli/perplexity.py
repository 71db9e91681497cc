"""`lebm-text fppl` and `lebm-text rppl`: forward and reverse perplexity of samples."""

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
        help="Also judge texts of known quality: samples of an n-gram model, training text, a repeated block of text.",
    ),
)  # fmt: skip


@click.command("fppl", cls=Command)
@_options
def fppl(**options: Any) -> None:
    """Compute forward perplexity (FPPL): a language model trained on real text, the judge, scores the samples.

    A low value means fluent samples, but copied, short and repeated sentences also have low values. A value below that
    of real text is a warning. Read it together with rppl.

    Without --samples or --run the newest run is judged, on the corpus that it was trained on; missing samples are
    generated. An LSTM judge is trained once for each corpus and kept in the cache. docs/which-perplexity.md defines
    which tokens are counted. Several processes can share the work, with the same result:
    torchrun --nproc-per-node N -m -- lebm_text fppl ...
    """
    judge(compute, partial(PerplexitySettings, metric="fppl"), "fppl", **options)


@click.command("rppl", cls=Command)
@_options
def rppl(**options: Any) -> None:
    """Compute reverse perplexity (RPPL): a language model trained on the samples, the judge, scores real held-out text.

    A low value means that the samples are close to real text, in quality and in diversity. It decreases with the number
    of samples; by default there are as many as training sentences.

    Without --samples or --run the newest run is judged, on the corpus that it was trained on; missing samples are
    generated. The LSTM judge is trained on the samples, which takes minutes; --lm kn5 takes seconds.
    docs/which-perplexity.md defines which tokens are counted. Several processes can share the work, with the same
    result: torchrun --nproc-per-node N -m -- lebm_text rppl ...
    """
    judge(compute, partial(PerplexitySettings, metric="rppl"), "rppl", **options)

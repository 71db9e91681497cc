"""`lebm-text evaluate`: FPPL against RPPL over decoding temperatures and greedy: table, JSON, picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import judge_options

__all__ = ["command"]


@click.command("evaluate")
@judge_options(lm="kn5; lstm for lebm", temperatures="1, 0.9, 0.8, 0.6")
@click.option("--greedy/--no-greedy", default=True, show_default=True, help="Judge greedy decoding, too.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="FPPL against RPPL as a picture; its suffix decides the format (png, svg, pdf).  [default: as the report]",
    metavar="FILE",
)
def command(*, greedy: bool, picture: Path | None, **options: Any) -> None:
    """Both perplexities of a run over decoding temperatures and greedy decoding, beside real text.

    Lower temperatures trade RPPL for FPPL, so that a single decoding can flatter a model; the whole curve
    cannot. The real-data point is where both are those of real text.

    Without --run the newest run is judged; samples that it lacks are generated. A text from --samples is one
    point. An LSTM judge (--lm lstm) is trained anew on every point's samples. Several processes share the
    judgements and find the same: torchrun --nproc-per-node N -m -- lebm_text evaluate ...
    """
    from .frontier import evaluate

    evaluate(options, greedy=greedy, picture=picture)

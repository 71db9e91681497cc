"""`lebm-text evaluate`: FPPL against RPPL over decoding temperatures and greedy: table, JSON, picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lebm_text.reports.drawing import check_picture, picture_formats, save_picture
from lebm_text.reports.frontier import FrontierSettings, compute
from lebm_text.store import check_writable

from .judging import judge, judge_options
from .options import NEW_FILE, field_option, guidance_options
from .parameters import Command
from .streams import print_note

__all__ = ["command"]


@click.command("evaluate", cls=Command)
@judge_options(lm="kn5; lstm for lebm", temperatures="1, 0.9, 0.8, 0.6")
@guidance_options
@field_option(FrontierSettings, "greedy", "--greedy/--no-greedy", help="Judge greedy decoding, too.")
@field_option(FrontierSettings, "oracle",
              help="Also what a better prior would give: decoded z⁺ of training text, a longer chain.")  # fmt: skip
@field_option(FrontierSettings, "fed",
              help="Also the Fréchet distance of sentence embeddings, precision and recall.")  # fmt: skip
@click.option("--picture", type=NEW_FILE,
              help="FPPL against RPPL as a picture; its suffix decides the format (png, svg, pdf).  "
              "[default: as the report]")  # fmt: skip
def command(picture: Path | None, **options: Any) -> None:
    """Both perplexities of a run over decoding temperatures and greedy decoding, beside real text.

    Lower temperatures trade RPPL for FPPL, so that a single decoding can flatter a model; the whole curve
    cannot. The real-data point is where both are those of real text.

    Without --run the newest run is judged; samples that it lacks are generated. A text from --samples is one
    point. An LSTM judge (--lm lstm) is trained anew on every point's samples. Several processes share the
    judgements and find the same: torchrun --nproc-per-node N -m -- lebm_text evaluate ...
    """
    if picture is not None:
        check_writable(picture)
        check_picture(picture)
    report = judge(compute, FrontierSettings, "frontier", **options)
    if report is not None and picture is not None:
        if picture_formats():
            save_picture(report.figure(), picture)
        else:
            print_note(f"{picture} was not drawn: pictures need matplotlib, pip install 'lebm-text[viz]'")

"""`lebm-text evaluate`: FPPL against RPPL over decoding temperatures and for greedy decoding."""

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
@field_option(FrontierSettings, "greedy", "--greedy/--no-greedy", help="Also judge greedy decoding.")
@field_option(FrontierSettings, "oracle",
              help="Also judge what a better prior would give: samples decoded from z⁺ of training text, and from the "
              "end of a longer chain.")  # fmt: skip
@field_option(FrontierSettings, "fed",
              help="Also compute the Fréchet distance, precision and recall of sentence embeddings.")  # fmt: skip
@click.option("--picture", type=NEW_FILE,
              help="File for a picture of FPPL against RPPL; its suffix sets the format (png, svg, pdf).  "
              "[default: next to the report]")  # fmt: skip
def command(picture: Path | None, **options: Any) -> None:
    """Compute FPPL and RPPL of a run, sampled at several temperatures and decoded greedily, and of real text.

    Lower temperatures improve FPPL and worsen RPPL, so that a single decoding can flatter a model; the whole curve
    cannot. The real-data point has the FPPL and RPPL of real text.

    Without --run the newest run is judged; missing samples are generated. A text given by --samples is one point;
    several are rows of one table. An LSTM judge (--lm lstm) is trained anew on the samples of every point. Several
    processes can share the work, with the same result: torchrun --nproc-per-node N -m -- lebm_text evaluate ...
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

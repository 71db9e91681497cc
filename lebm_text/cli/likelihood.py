"""`lebm-text likelihood`: estimate log p(x) of held-out sentences, and how much information z carries."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.processes import joined
from lebm_text.reports.likelihood import AISSettings, LikelihoodSettings, compute
from lebm_text.run import Run

from .console import make_report
from .options import data_dir_option, field_option, report_options, run_option, seed_option
from .parameters import Command

__all__ = ["command"]


@click.command("likelihood", cls=Command)
@run_option
@field_option(LikelihoodSettings, "split")
@data_dir_option
@field_option(LikelihoodSettings, "n_ais", "-n", help="Number of sentences with an AIS bound.")
@field_option(AISSettings, "n_steps", "--ais-steps", help="AIS steps from the base density to the target.")
@field_option(AISSettings, "n_chains", "--ais-chains", help="AIS chains per sentence.")
@field_option(AISSettings, "start", "--ais-start",
              help="Anneal from N(0, I), or from the Gaussian fitted for importance sampling.")  # fmt: skip
@field_option(AISSettings, "n_leapfrog", "--leapfrog", help="Leapfrog steps per proposal; 1 is MALA.")
@field_option(LikelihoodSettings, "n_importance", "--importance-n",
              help="Number of sentences estimated by importance sampling.  [default: as many as by AIS]")  # fmt: skip
@field_option(LikelihoodSettings, "n_samples", "--importance-samples", help="Importance samples per sentence.")
@click.option("--bracket", is_flag=True, help="Also bound log p(x) of -n simulated sentences from both sides.")
@field_option(LikelihoodSettings, "partition_steps", help="AIS steps for log Z.")
@field_option(LikelihoodSettings, "partition_chains", help="AIS chains for log Z.")
@seed_option()
@report_options("likelihood-SPLIT.json in the run's eval/")
def command(
    run: Path | None, data_dir: Path | None, output: Path | None, as_json: bool, bracket: bool, **options: Any
) -> None:
    """Estimate log p(x) of held-out sentences under a run's density: temperature 1, no dropout, no training noise.

    Annealed importance sampling (AIS) gives a stochastic lower bound; importance sampling gives an estimate if its
    effective sample size is at least 100. Neither is reported unless the estimates of log Z agree to 0.02 nat. The
    order of sentences is fixed, so that all models are evaluated on the same ones. For a language model log p(x) is
    exact. Several processes can share the sentences, with the same result:
    torchrun --nproc-per-node N -m -- lebm_text likelihood ...
    """
    if bracket and not options["n_ais"]:
        raise InputError("--bracket simulates as many sentences as -n says, which is 0")
    found = Run.find(run, data_dir=data_dir)
    ais = AISSettings(**{name: options.pop(name) for name in ("n_steps", "n_chains", "start", "n_leapfrog")})
    settings = LikelihoodSettings(ais=ais, n_bracket=options["n_ais"] if bracket else 0, **options)
    with joined(settings.device) as processes:
        work = partial(compute, found, settings, processes=processes)
        make_report(work, found, f"likelihood-{settings.split}", output, as_json=as_json, processes=processes)

"""`lebm-text likelihood`: log p(x) of held-out sentences under a trained model, and what its latent vector carries."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.checks import MAX_SEED
from lebm_text.errors import InputError
from lebm_text.processes import joined
from lebm_text.reports.likelihood import AISSettings, LikelihoodSettings, compute
from lebm_text.run import Run

from .console import make_report
from .options import data_dir_option, report_options, run_option, seed_option, split_option, whole

__all__ = ["command"]
_option, _n = click.option, whole
_START = "Anneal from N(0, I), or from the Gaussian fitted for importance sampling."
_OTHERS = "Sentences by importance sampling, at most all.  [default: as many as by AIS]"


@click.command("likelihood")
@run_option
@split_option("test", "valid")
@data_dir_option
@_option("-n", "n_ais", type=_n(0), default=200, help="Sentences bounded by AIS.")
@_option("--ais-steps", "n_steps", type=_n(2, 1_000_000), default=500)
@_option("--ais-chains", "n_chains", type=_n(1, 4096), default=8, help="Of each sentence.")
@_option("--ais-start", "start", type=click.Choice(["prior", "proposal"]), default="prior", help=_START)
@_option("--leapfrog", "n_leapfrog", type=_n(1, 1000), default=1, help="Leapfrog steps of a proposal; 1 is MALA.")
@_option("--importance-n", "n_importance", type=_n(0), help=_OTHERS)
@_option("--importance-samples", "n_samples", type=_n(2, 10_000_000), default=2000, help="Of each sentence.")
@_option("--bracket", is_flag=True, help="Also bound -n simulated sentences from both sides.")
@_option("--partition-steps", type=_n(2, 1_000_000), default=200, help="For log Z.")
@_option("--partition-chains", type=_n(2, 1 << 20), default=4096, help="For log Z.")
@seed_option(largest=MAX_SEED - 1)
@report_options("likelihood-SPLIT.json in the run's eval/")
def command(
    run: Path | None, data_dir: Path | None, output: Path | None, as_json: bool, bracket: bool, **options: Any
) -> None:
    """Estimate log p(x) of held-out sentences under a run's density: temperature 1, no dropout, no training noise.

    AIS gives a stochastic lower bound, importance sampling an estimate where its effective sample size is at least 100.
    Neither is given unless the estimates of log Z agree to 0.02 nat. Sentences are taken in one fixed order, so that
    all models see the same ones. Of a language model log p(x) is exact. Several processes share the sentences and find
    the same: torchrun --nproc-per-node N -m -- lebm_text likelihood ...
    """
    if bracket and not options["n_ais"]:
        raise InputError("--bracket simulates as many sentences as -n says, which is 0")
    found, name = Run.find(run, data_dir=data_dir), f"likelihood-{options['split']}"
    ais = AISSettings(**{name: options.pop(name) for name in ("n_steps", "n_chains", "start", "n_leapfrog")})
    settings = LikelihoodSettings(ais=ais, n_bracket=options["n_ais"] if bracket else 0, **options)
    with joined(settings.device) as processes:
        work = partial(compute, found, settings, processes=processes)
        make_report(work, found, name, output, as_json=as_json, processes=processes)

"""`lebm-text likelihood`: log p(x) of held-out sentences under a trained model, and what its latent vector carries."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.processes import joined
from lebm_text.reports.likelihood import AISSettings, LikelihoodSettings, compute
from lebm_text.run import Run

from .console import progress, report_file, show_report
from .options import MAX_SEED, data_dir_option, device_option, json_option, report_option, run_option, split_option

__all__ = ["command"]
_option, _n = partial(click.option, show_default=True), click.IntRange
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
@click.option("--importance-n", "n_importance", type=_n(0), help=_OTHERS)
@_option("--importance-samples", "n_samples", type=_n(2, 10_000_000), default=2000, help="Of each sentence.")
@click.option("--bracket", is_flag=True, help="Also bound -n simulated sentences from both sides.")
@_option("--partition-steps", type=_n(2, 1_000_000), default=200, help="For log Z.")
@_option("--partition-chains", type=_n(2, 1 << 20), default=4096, help="For log Z.")
@_option("--seed", type=_n(0, MAX_SEED - 1), default=1)
@device_option
@json_option
@report_option("likelihood-SPLIT")
def command(run: Path | None, data_dir: Path | None, output: Path | None, **options: Any) -> None:
    """Estimate log p(x) of held-out sentences under a run's density: temperature 1, no dropout, no training noise.

    AIS gives a stochastic lower bound, importance sampling an estimate where its effective sample size is at least 100.
    Neither is given unless the estimates of log Z agree to 0.02 nat. Sentences are taken in one fixed order, so that
    all models see the same ones. Of a language model log p(x) is exact. Several processes share the sentences and find
    the same: torchrun --nproc-per-node N -m -- lebm_text likelihood ...
    """
    as_json, bracket = options.pop("as_json"), options.pop("bracket")
    if bracket and not options["n_ais"]:
        raise InputError("--bracket simulates as many sentences as -n says, which is 0")
    file = report_file(found := Run.find(run, data_dir=data_dir), f"likelihood-{options['split']}", output)
    ais = AISSettings(**{name: options.pop(name) for name in ("n_steps", "n_chains", "start", "n_leapfrog")})
    settings = LikelihoodSettings(ais=ais, n_bracket=options["n_ais"] if bracket else 0, **options)
    with joined(settings.device) as processes, progress(quiet=as_json or not processes.first) as on_progress:
        report = compute(found, settings, on_progress, processes)
        if processes.first:
            show_report(report, found, file, as_json=as_json)

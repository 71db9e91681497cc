"""`lebm-text trajectories`: the chains that draw z from the learned prior, watched step by step."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text.errors import InputError

from .latent import find_latent_run, publish, report_file, report_option, run_corpus, sources
from .options import MAX_SEED, data_dir_option, device_option, json_option
from .sampling import progress, run_option

if TYPE_CHECKING:
    from lebm_text.model import LatentEBM
    from lebm_text.reports.trajectories import Chains
    from lm_eval.protocol import Evaluator

__all__ = ["command"]

_CURVE_POINTS = 200  # of the long run, in the report


@click.command("trajectories")
@run_option
@data_dir_option
@click.option("-n", "n", type=click.IntRange(2), default=2000, show_default=True, help="Chains.")
@click.option("--shown", type=click.IntRange(0), default=4, show_default=True, help="Chains whose sentences are shown.")
@click.option(
    "--long",
    "factor",
    type=click.IntRange(10, 10_000),
    default=50,
    show_default=True,
    help="How many times longer the long run is.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=1, show_default=True)
@device_option
@json_option
@report_option("trajectories")
def command(
    run: Path | None,
    data_dir: Path | None,
    n: int,
    shown: int,
    factor: int,
    seed: int,
    device: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Follow the Langevin chains from N(0, I) under the learned prior, and far beyond their usual end.

    f, log density, norm and gradient norm at every step; sentences decoded along the chains with the same decoding
    noise, and their FPPL and RPPL by 5-gram judges; and whether f stays constant in a long run. Chain i is that of
    sentence i of `lebm-text generate` with the same seed.
    """
    began = time.monotonic()
    run = find_latent_run(run)

    from lebm_text.model import LatentEBM
    from lebm_text.reports.trajectories import decoding_steps, follow, long_run, statements
    from lebm_text.reports.trajectory_pictures import plot_trajectories

    from .evaluation import run_evaluator

    file = report_file(run, "trajectories", output)
    corpus = run_corpus(run, data_dir)
    model = LatentEBM.from_pretrained(run, device=device)
    if model.config.model.prior == "gaussian":
        raise InputError(f"the prior of {run} is Gaussian: it is sampled exactly, there is no chain to follow")
    evaluator = run_evaluator(run, corpus, seed=seed)
    chain = model.config.prior
    n_long = factor * chain.n_steps
    looked = [*decoding_steps(chain.n_steps), n_long]
    with progress(n_long, "steps", quiet=as_json) as on_step:
        chains = follow(
            model.model.prior, n, n_steps=n_long, at=looked, seed=seed, device=model.device, on_step=on_step
        )
    texts = _decode(model, chains, seed, quiet=as_json)
    long = long_run(chains.neg_energy, chain.n_steps)
    judged = _judge(evaluator, texts)
    report: dict[str, Any] = {
        "metric": "trajectories",
        **sources(f"trajectories(n={n},long={factor})|lm:{evaluator.spec.lm}", model, run, seed=seed),
        "chain": asdict(chain),
        "n_chains": n,
        "n_long": n_long,
        "bands": {name: band[: chain.n_steps + 1].tolist() for name, band in chains.bands.items()},
        "long": asdict(long) | {"curve": _curve(chains, n_long)},
        "judged": judged,
        "real": _real(evaluator, judged[0]),
        "statements": [*statements(long, chain.n_steps, n_long), *_quality(judged, chain.n_steps, n_long)],
        "sentences": [
            {"chain": i, "decode": decode, "step": step, "f": float(chains.neg_energy[step, i]), "text": sentences[i]}
            for i in range(min(shown, n))
            for (decode, step), sentences in texts.items()
        ],
    }
    report["sha256"] |= {split: corpus.splits[split].sha256 for split in ("train", "test")}
    report["seconds"] = time.monotonic() - began
    publish(report, file, {"": partial(plot_trajectories, report)}, _lines(report), as_json=as_json)


def _decode(model: LatentEBM, chains: Chains, seed: int, *, quiet: bool) -> dict[tuple[str, int], list[str]]:
    """Sentences of every chain by decoding and step; a chain's decoding noise is the same at all steps."""
    from lebm_text.generation.decoding import DecodeSettings

    texts = {}
    with progress(2 * len(chains.states), "texts decoded", quiet=quiet) as say:
        for decode in ("sample", "greedy"):
            for step, z in sorted(chains.states.items()):
                texts[decode, step] = model.decode(z, DecodeSettings(decode), seed=seed)
                say(len(texts))
    return texts


def _judge(evaluator: Evaluator, texts: dict[tuple[str, int], list[str]]) -> list[dict[str, Any]]:
    from lm_eval.texts import Samples

    rows = []
    for (decode, step), sentences in texts.items():
        samples = Samples(sentences, f"step={step},decode={decode}")
        row: dict[str, Any] = {"decode": decode, "step": step, "n_sentences": len(sentences)}
        for result in (evaluator.fppl(samples), evaluator.rppl(samples)):
            figures = {name: getattr(result, name) for name in ("ppl", "ci95", "n_tokens", "signature")}
            row[result.metric] = figures | result.extra
        rows.append(row)
    return rows


def _real(evaluator: Evaluator, row: dict[str, Any]) -> dict[str, Any]:
    """FPPL of the held-out text; RPPL of as many real training sentences as there are chains, where they are fewer."""
    real = {"ppl": evaluator.real_score.ppl, "ci95": evaluator.real_score.ci95}
    fewer = row["rppl"].get("real_ppl_at_n")
    return {"fppl": real, "rppl": real if fewer is None else {"ppl": fewer}}


def _curve(chains: Chains, n_long: int) -> dict[str, Any]:
    """Bands of f and of the norm along the long run, thinned."""
    steps = list(range(0, n_long + 1, max(1, n_long // _CURVE_POINTS)))
    return {"steps": steps} | {name: chains.bands[name][steps].tolist() for name in ("neg_energy", "norm")}


def _quality(judged: list[dict[str, Any]], n_short: int, n_long: int) -> list[str]:
    """What FPPL at the chain's start, at the short run's end and at the long run's say of each other.

    Not RPPL: its interval is over held-out sentences alone, and does not cover the choice of samples.
    """
    by_place = {(row["decode"], row["step"]): row for row in judged}
    said = []
    for decode in ("sample", "greedy"):
        for first, last, where in ((0, n_short, "the short run"), (n_short, n_long, "the rest of the long run")):
            before, after = by_place[decode, first]["fppl"], by_place[decode, last]["fppl"]
            apart = after["ci95"][1] < before["ci95"][0] or before["ci95"][1] < after["ci95"][0]
            change = "changes no more than its 95 % intervals allow"
            if apart:
                change = "falls" if after["ppl"] < before["ppl"] else "rises"
            said.append(
                f"FPPL (decode={decode}) {change} in {where}: {_ppl(before)} at step {first:,}, "
                f"{_ppl(after)} at step {last:,}"
            )
    return said


def _ppl(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['ppl']:.2f} ({low:.2f} to {high:.2f})"


def _lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    n_steps = report["chain"]["n_steps"]
    titles = {"neg_energy": "f", "logdensity": "f + log p0", "norm": "‖z‖", "gradient_norm": "‖∇‖"}
    lines = [f"{report['n_chains']:,} chains, median (5 % to 95 %) at each step"]
    lines.append(f"{'step':>6}" + "".join(f"{title:>28}" for title in titles.values()))
    for step in sorted({row["step"] for row in report["judged"]} & set(range(n_steps + 1))):
        bands = (report["bands"][name][step] for name in titles)
        cells = "".join(f"{f'{median:.2f} ({low:.2f} to {high:.2f})':>28}" for low, median, high in bands)
        lines.append(f"{step:>6}{cells}")
    lines += [f"{'step':>6} {'decode':>8}{'FPPL':>26}{'RPPL':>26}"]
    for row in report["judged"]:
        lines.append(f"{row['step']:>6} {row['decode']:>8}{_ppl(row['fppl']):>26}{_ppl(row['rppl']):>26}")
    for metric, real in report["real"].items():
        lines.append(f"real text: {metric.upper()} {_ppl(real) if 'ci95' in real else format(real['ppl'], '.2f')}")
    lines.append("mean f in parts of the long run:")
    lines += [
        f"  steps {first:>6,} to {last:>6,}: {mean['value']:.4f} ± {mean['standard_error']:.4f}"
        for first, last, mean in report["long"]["windows"]
    ]
    lines += report["statements"]
    for row in report["sentences"]:
        lines.append(f"chain {row['chain']} {row['decode']:>6} step {row['step']:>5} f {row['f']:6.2f}  {row['text']}")
    return lines

"""`lebm-text likelihood`: log p(x) of held-out sentences under a trained model, and what its latent vector carries."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text import __version__
from lebm_text.errors import InputError

from .command_line import command_line
from .options import MAX_SEED, data_dir_option, device_option, json_option
from .sampling import find_run, progress, run_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from lebm_text.config import Config
    from lebm_text.likelihood.report import Sentences, Settings
    from lebm_text.text.corpora import Corpus
    from lebm_text.text.tokenizers import Tokenizer

__all__ = ["command"]

ORDER_SEED = 0  # of the order in which sentences are taken: the same ones for all models


@click.command("likelihood")
@run_option
@click.option("--split", type=click.Choice(["test", "valid"]), default="test", show_default=True)
@data_dir_option
@click.option("-n", "n", type=click.IntRange(0), default=200, show_default=True, help="Sentences bounded by AIS.")
@click.option("--ais-steps", type=click.IntRange(2, 1_000_000), default=500, show_default=True)
@click.option("--ais-chains", type=click.IntRange(1, 4096), default=8, show_default=True, help="Of each sentence.")
@click.option(
    "--ais-start",
    type=click.Choice(["prior", "proposal"]),
    default="prior",
    show_default=True,
    help="Anneal from N(0, I), or from the Gaussian fitted for importance sampling.",
)
@click.option(
    "--leapfrog",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Leapfrog steps of a proposal; 1 is MALA.",
)
@click.option(
    "--importance-n",
    type=click.IntRange(0),
    help="Sentences by importance sampling, at most all.  [default: as many as by AIS]",
)
@click.option(
    "--importance-samples",
    type=click.IntRange(2, 10_000_000),
    default=2000,
    show_default=True,
    help="Of each sentence.",
)
@click.option("--bracket", is_flag=True, help="Also bound -n simulated sentences from both sides.")
@click.option("--partition-steps", type=click.IntRange(2, 1_000_000), default=200, show_default=True, help="For log Z.")
@click.option("--partition-chains", type=click.IntRange(2, 1 << 20), default=4096, show_default=True, help="For log Z.")
@click.option("--seed", type=click.IntRange(0, MAX_SEED - 1), default=1, show_default=True)
@device_option
@json_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report as JSON.  [default: likelihood-SPLIT.json in the run's eval/]",
)
def command(
    run: Path | None,
    split: str,
    data_dir: Path | None,
    n: int,
    ais_steps: int,
    ais_chains: int,
    ais_start: str,
    leapfrog: int,
    importance_n: int | None,
    importance_samples: int,
    bracket: bool,
    partition_steps: int,
    partition_chains: int,
    seed: int,
    device: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Estimate log p(x) of held-out sentences under a run's density: temperature 1, no dropout, no training noise.

    AIS gives a stochastic lower bound, importance sampling an estimate where its effective sample size is at
    least 100. Neither is given unless the estimates of log Z agree to 0.02 nat. Sentences are taken in one
    fixed order, so that all models see the same ones. Of a language model log p(x) is exact. Several processes
    share the sentences and find the same: torchrun --nproc-per-node N -m -- lebm_text likelihood ...
    """
    began = time.monotonic()
    if bracket and not n:
        raise InputError("--bracket simulates as many sentences as -n says, which is 0")
    run = find_run(run)

    from lebm_text.config import Config
    from lebm_text.likelihood.report import Settings, exact_report, likelihood_report
    from lebm_text.likelihood.sentences import AISSettings
    from lebm_text.model import LatentEBM
    from lebm_text.processes import joined
    from lebm_text.store import atomic_write_json, check_writable, read_json
    from lebm_text.text.corpora import find_again

    if output is not None:
        check_writable(output)
    config = Config.from_dict(read_json(run / "config.json"))
    exact = config.model.latent_dim == 0
    if exact and bracket:
        raise InputError(
            f"{run} is a language model (model.latent_dim = 0): its likelihood is exact, without --bracket"
        )
    corpus = find_again(read_json(run / "env.json")["corpus"], data_dir=data_dir)
    processes = click.get_current_context().with_resource(joined(device))
    model = LatentEBM.from_pretrained(run, device=device)
    text, described = _read(corpus, split, config, model.tokenizer)
    settings = Settings(
        n_ais=n,
        n_importance=n if importance_n is None else importance_n,
        ais=AISSettings(ais_steps, ais_chains, ais_start, leapfrog),
        n_samples=importance_samples,
        n_bracket=n if bracket else 0,
        partition_steps=partition_steps,
        partition_chains=partition_chains,
        seed=seed,
    )

    def show(total: int, what: str) -> AbstractContextManager[Callable[[int], None]]:
        return progress(total, what, quiet=as_json or not processes.first)

    figures = exact_report(model, text, n, show) if exact else likelihood_report(model, text, settings, show, processes)
    if not processes.first:
        return
    report: dict[str, Any] = {
        "metric": "likelihood",
        "command": command_line(run),
        "signature": _signature(corpus.name, split, model.tokenizer.kind, None if exact else settings),
        "corpus": described,
        **figures,
        "versions": _versions(),
        "seconds": time.monotonic() - began,
    }
    if output is None:
        (run / "eval").mkdir(exist_ok=True)
        output = run / "eval" / f"likelihood-{split}.json"
    atomic_write_json(output, report)
    if as_json:
        click.echo(json.dumps(report))
        return
    for line in _lines(report):
        click.echo(line)
    click.echo(f"report: {output}", err=True)


def _read(corpus: Corpus, split: str, config: Config, tokenizer: Tokenizer) -> tuple[Sentences, dict[str, object]]:
    """The split in its fixed order, without sentences that the model's greatest length excludes."""
    import numpy as np

    from lebm_text.likelihood.report import Sentences
    from lebm_text.text.batching import EncodedCorpus
    from lebm_text.text.encoding import pack

    lines = list(corpus.splits[split].sentences())
    order = np.random.Generator(np.random.PCG64(ORDER_SEED)).permutation(len(lines))
    sample = [(lines[i], ids) for i in order if len(ids := tokenizer.encode(lines[i])) <= config.text.max_length]
    if not sample:
        raise InputError(f"no {split} sentence of {corpus.name} has at most {config.text.max_length} tokens")
    kept = [line for line, _ in sample]
    encoded = EncodedCorpus(*pack((ids for _, ids in sample), tokenizer.eos_id), pad_id=tokenizer.pad_id)
    words = np.array([len(line.split()) + 1 for line in kept])
    n_bytes = np.array([len(line.encode()) + 1 for line in kept])
    described = {
        "name": corpus.name,
        "split": split,
        "sha256": corpus.splits[split].sha256,
        "n_sentences": len(kept),
        "n_left_out": len(lines) - len(kept),
        "n_tokens": len(encoded.tokens),
        "n_unk": int((encoded.tokens == tokenizer.unk_id).sum()),
    }
    return Sentences(encoded, words, n_bytes if tokenizer.kind == "sentencepiece" else None), described


def _signature(corpus: str, split: str, tokenizer: str, settings: Settings | None) -> str:
    """`settings`: of the estimates; None where log p(x) is exact."""
    how, seed = "exact", ""
    if settings is not None:
        ais = settings.ais
        kernel = "mala" if ais.n_leapfrog == 1 else f"hmc{ais.n_leapfrog}"
        how = (
            f"lower:ais({ais.n_steps}x{ais.n_chains},{kernel},from={ais.start},n={settings.n_ais})"
            f"|importance(K={settings.n_samples},n={settings.n_importance})"
        )
        seed = f"|seed:{settings.seed}"
    return (
        f"log_p|density:p_theta,T=1,dropout=0|{how}|test:{corpus}-{split}|tokens:{tokenizer}|eos:yes|unk:counted"
        f"{seed}|v:{__version__}"
    )


def _versions() -> dict[str, str]:
    import numpy
    import torch

    return {"lebm-text": __version__, "torch": str(torch.__version__), "numpy": str(numpy.__version__)}


def _lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    if "exact_of_all" in report:
        some, whole = report["exact"], report["exact_of_all"]
        lines = [] if some is None else [f"log p(x), exact ({some['n_sentences']} sentences): {_figures(some)}"]
        return [*lines, f"all {whole['n_sentences']} sentences: {_figures(whole)}", report["signature"]]
    return [*_estimated(report), report["signature"]]


def _estimated(report: dict[str, Any]) -> list[str]:
    log_z, gap, corpus = report["log_z"], report["chain_gap"], report["corpus"]
    plain = log_z["importance"]
    lines = [
        f"log Z: forward {_pm(log_z['forward'])}, reverse {_pm(log_z['reverse'])}"
        + ("" if plain is None else f", importance sampling {_pm(plain)}")
        + f" (acceptance {log_z['acceptance']:.2f})",
        f"f of the generating chain less f of the density: {_pm(gap)}",
    ]
    if corpus["n_left_out"]:
        lines.append(f"{corpus['n_left_out']} sentences longer than the model's greatest length left out")
    if (ais := report["ais"]) is not None:
        lines += [
            f"log p(x) from below, by AIS ({ais['n_sentences']} sentences): {_figures(ais)}",
            f"  acceptance {_spread(ais['acceptance'])}; ess of {ais['settings']['n_chains']} {_spread(ais['ess'])}",
        ]
    if (importance := report["importance"]) is not None:
        some = importance["of_reliable"]
        lines += [
            f"log p(x) by importance sampling: {importance['n_reliable']} of {importance['n_sentences']} sentences "
            f"reach an effective sample size of {importance['min_ess']:g}",
            f"  ess {_spread(importance['ess'])}",
        ]
        if some is not None:
            lines.append(f"  these alone: {_figures(some)}")
        if (same := importance["same_sentences"]) is not None:
            lines.append(
                f"  above the AIS bound of the same sentences by {same['importance_minus_ais']:.3f} nat "
                f"on average, {same['largest']:.2f} at most"
            )
    if (latent := report["latent"]) is not None and latent["information"] is not None:
        units = latent["active_units"]
        lines += [
            f"reconstruction nll {_pm(latent['reconstruction_nll'])}, information {_pm(latent['information'])} nat"
            + (" (active units need 8 chains)" if units is None else f", active units {units}")
        ]
    if (kl := report.get("encoder_kl")) is not None:
        lines.append(f"KL of the encoder's q(z|x) from the prior: {_pm(kl)} nat")
    if (both := report["bracket"]) is not None and both["n_sentences"] > 1:
        lines.append(
            f"simulated sentences ({both['n_sentences']}): log p(x) between {both['lower']:.3f} and "
            f"{both['upper']:.3f}, gap {_pm(both['gap'])}, at most {both['largest_gap']:.2f}"
        )
    return lines


def _figures(figures: dict[str, Any]) -> str:
    def error(name: str) -> str:
        return "" if figures[name] is None else f" ± {figures[name]:.3f}"

    text = (
        f"nll {figures['nll']:.3f}{error('nll_standard_error')}, "
        f"perplexity {figures['perplexity']:.3f}{error('perplexity_standard_error')}"
    )
    if figures["bits_per_byte"] is not None:
        text += f", bits a byte {figures['bits_per_byte']:.4f}{error('bits_per_byte_standard_error')}"
    sampling = figures["nll_sampling_error"]
    return text + ("" if sampling is None else f" (from sampling z: {sampling:.3f} of nll)")


def _spread(values: dict[str, float]) -> str:
    return f"{values['median']:.2f} (median), {values['min']:.2f} (least)"


def _pm(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.4f} ± {estimate['standard_error']:.4f}"

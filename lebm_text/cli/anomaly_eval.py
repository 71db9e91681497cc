"""The work of `lebm-text anomaly eval`: all systems on all texts, areas, comparisons, table and picture."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, read_json

from .anomaly_systems import NORMAL, SystemScores, baselines, find_runs
from .anomaly_table import table_lines
from .anomaly_texts import Anomalies, Choice, read_anomalies
from .command_line import command_line
from .evaluation_rows import versions
from .latent import report_file

if TYPE_CHECKING:
    from lebm_text.reports.anomaly import Contrast, Curves, Measured
    from lebm_text.text.corpora import Corpus

    from .anomaly_systems import Run

__all__ = ["Request", "evaluate"]


@dataclass(frozen=True)
class Request:
    """What was asked for, as the options of the command name it."""

    corpus: str
    data_dir: Path | None
    runs: tuple[Path, ...]
    anomalous: tuple[str, ...]
    swaps: tuple[float, ...]
    replacements: tuple[float, ...]
    split: str
    n: int | None
    draws: int
    steps: int | None
    seed: int
    precision: str
    rare_words: int | None
    resamples: int
    device: str
    as_json: bool
    output: Path | None


def evaluate(request: Request) -> None:
    """Score, measure, compare; print the table or the report, and write report and pictures."""
    began = time.monotonic()
    from lebm_text.reports.anomaly import Contrast
    from lebm_text.reports.anomaly_picture import plot_anomaly
    from lebm_text.reports.drawing import picture_formats
    from lebm_text.reports.needs import need_sklearn
    from lebm_text.text.corpora import find_corpus

    need_sklearn("areas under curves")
    runs = find_runs(request.runs)
    corpus = find_corpus(request.corpus, data_dir=request.data_dir)
    output = _output(request, corpus)
    normal, sets = _texts(request, corpus, runs)
    warnings = _warnings(runs, corpus)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    rare_words = _rare_words(request, corpus)
    texts = {NORMAL: normal, **{each.name: each.sentences for each in sets}}
    systems = _systems(request, corpus, runs, texts, rare_words)
    reports, pictures, shares = [], {}, {}
    for each in sets:
        rows = list(range(len(normal))) if each.of is None else each.of
        contrast = Contrast(
            len(rows), len(each.sentences), n_resamples=request.resamples, paired=each.of is not None, seed=request.seed
        )
        report, pictures[each.name] = _contrast(contrast, each, rows, systems)
        shares[each.name] = contrast.share
        reports.append(report | {"signature": _signature(request, corpus, report)})
    result: dict[str, Any] = {
        "metric": "anomaly",
        "command": command_line(),
        "corpus": corpus.describe(),
        "split": request.split,
        "runs": [run.describe() for run in runs],
        "draws": request.draws,
        "steps": request.steps,
        "rare_words": rare_words,
        "precision": request.precision,
        "seed": request.seed,
        "resamples": request.resamples,
        "warnings": warnings,
        "contrasts": reports,
        "versions": versions(),
        "seconds": time.monotonic() - began,
    }
    atomic_write_json(output, result)
    drawn = [output.with_suffix(suffix) for suffix in (".png", ".svg")] if picture_formats() else []
    if drawn:
        plot_anomaly(pictures, shares, drawn)
    if request.as_json:
        click.echo(json.dumps(result))
        return
    for report in reports:
        for line in table_lines(report):
            click.echo(line)
    click.echo(f"report: {output}", err=True)
    if drawn:
        click.echo(f"pictures: {', '.join(map(str, drawn))}", err=True)
    else:
        click.echo("no picture: pictures need matplotlib, pip install 'lebm-text[viz]'", err=True)


def _output(request: Request, corpus: Corpus) -> Path:
    """Where the report goes. Raises InputError if it cannot."""
    if request.output is None and not request.runs:
        raise InputError("without a --run the report has no place of its own; say where with -o FILE")
    return report_file(request.runs[0] if request.runs else Path(), f"anomaly-{corpus.name}", request.output)


def _warnings(runs: Sequence[Run], corpus: Corpus) -> list[str]:
    """Of runs that were trained on another text than that of the corpus, perhaps on the anomalies."""
    names = {run.label: run.foreign_text(corpus.splits["train"].sha256) for run in runs}
    return [
        f"{label} was trained on {name}, which is not the training text of {corpus.name}: it may know the anomalies"
        for label, name in names.items()
        if name is not None
    ]


def _texts(request: Request, corpus: Corpus, runs: Sequence[Run]) -> tuple[list[str], list[Anomalies]]:
    from lebm_text.reports.corruption import Corruption
    from lebm_text.reports.holdout import ANOMALIES
    from lebm_text.text.tokenizers import load_tokenizer

    readers = [(load_tokenizer(run.directory), run.config.text.max_length) for run in runs]
    choice = Choice(
        request.n,
        request.seed,
        lambda sentence: all(len(tokenizer.encode(sentence)) <= longest for tokenizer, longest in readers),
    )
    spoilt = [Corruption("swap", strength) for strength in request.swaps]
    spoilt += [Corruption("replace", strength) for strength in request.replacements]
    own = corpus.splits["test"].path.with_name(ANOMALIES)
    sources = [*([str(own)] if own.is_file() else []), *request.anomalous]
    sets = [read_anomalies(source, request.data_dir) for source in sources]
    if not sets and not spoilt:
        raise InputError(
            f"{corpus.name} has no {ANOMALIES} (lebm-text anomaly prepare makes one): say what is anomalous "
            "with --anomalous, --swap or --replace"
        )
    normal = choice.of(list(corpus.splits[request.split].sentences()), f"{corpus.name} {request.split}")
    sets = [Anomalies(each.name, choice.of(each.sentences, each.name), each.sha256) for each in sets]
    sets += [choice.spoilt(normal, corruption, corpus) for corruption in spoilt]
    names = [NORMAL, *(each.name for each in sets)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two kinds of anomalies have the name {twice.pop()!r}; rename a file or give one of them")
    return normal, sets


def _systems(
    request: Request, corpus: Corpus, runs: Sequence[Run], texts: Mapping[str, Sequence[str]], rare_words: int | None
) -> list[SystemScores]:
    from lebm_text.reports.scores import ScoreSettings

    scored = []
    for run in runs:
        settings = ScoreSettings(request.draws, request.steps if run.has_chain else None, seed=request.seed)
        scored.append(
            run.score(texts, settings, device=request.device, precision=request.precision, quiet=request.as_json)
        )
    length, unknown, ngram = baselines(corpus.name, list(corpus.splits["train"].sentences()), texts)
    judged = [*scored, ngram]
    if rare_words is not None:  # of a run with a smaller vocabulary it is not known how many words its <unk> stands for
        priced = [*(run.knows_all_words for run in runs), True]
        judged = [
            each.with_price(unknown.values[unknown.main], math.log(rare_words)) if known else each
            for each, known in zip(judged, priced, strict=True)
        ]
    return [*judged, unknown, length]


def _rare_words(request: Request, corpus: Corpus) -> int | None:
    """How many words `<unk>` stands for, as asked for or as `anomaly prepare` counted them; None: not known."""
    protocol = corpus.splits["test"].path.with_name("protocol.json")
    if request.rare_words is not None or not protocol.is_file():
        return request.rare_words
    n = read_json(protocol).get("n_rare_words")
    if not (n is None or (isinstance(n, int) and n >= 0)):
        raise InputError(f"{protocol} is damaged: n_rare_words should be a whole number, got {n!r}")
    return n or None


def _contrast(
    contrast: Contrast, anomalies: Anomalies, rows: Sequence[int], systems: Sequence[SystemScores]
) -> tuple[dict[str, Any], dict[str, Curves]]:
    """Every score's figures, the models against the baselines, and the curves of each system's main score."""
    results, measured, curves = [], {}, {}
    for system in systems:
        for (score, a_token), values in system.columns().items():
            both = values[NORMAL][rows], values[anomalies.name]
            found = contrast.measure(*both)
            row: dict[str, Any] = {"system": system.label, "score": score, "per_token": a_token}
            for name in ("auroc", "auprc"):
                row |= {name: getattr(found, name).value, f"{name}_ci95": getattr(found, name).ci95}
            results.append(row)
            if score in (system.main, system.priced):
                measured[system.label, score == system.priced, a_token] = found
            if score == system.main and not a_token:
                curves[f"{system.label} {score}"] = contrast.curves(*both)
    return {
        "anomalies": anomalies.name,
        "anomalies_sha256": anomalies.sha256,
        "n_normal": len(rows),
        "n_anomalous": len(anomalies.sentences),
        "share": contrast.share,
        "results": results,
        "comparisons": _comparisons(systems, measured),
        "curves": {label: curve.record() for label, curve in curves.items()},
    }, curves


def _comparisons(
    systems: Sequence[SystemScores], measured: Mapping[tuple[str, bool, bool], Measured]
) -> list[dict[str, Any]]:
    """AUROC of each model's main score less that of each baseline's: `<unk>` priced or not, whole or a token.

    Where a baseline has no such score, its plain one takes part.
    """
    from lebm_text.reports.anomaly import difference, verdict

    compared = []
    for model, other, priced, a_token in product(
        [system for system in systems if system.is_model],
        [system for system in systems if not system.is_model],
        (False, True),
        (False, True),
    ):
        if priced and model.priced is None:
            continue
        forms = [(other.label, priced, a_token), (other.label, False, a_token), (other.label, False, False)]
        rival = next(measured[form] for form in forms if form in measured)
        value, ci95 = difference(measured[model.label, priced, a_token].auroc, rival.auroc)
        compared.append(
            {
                "model": model.label,
                "score": model.priced if priced else model.main,
                "baseline": other.label,
                "per_token": a_token,
                "auroc_difference": value,
                "ci95": ci95,
                "model_is": verdict(ci95),
            }
        )
    return compared


def _signature(request: Request, corpus: Corpus, report: Mapping[str, Any]) -> str:
    steps = "run" if request.steps is None else request.steps
    return (
        f"AUROC,AUPRC|positive:{report['anomalies']}(n={report['n_anomalous']})"
        f"|negative:{corpus.name}-{request.split}(n={report['n_normal']})|z:p(z|x),draws={request.draws},steps={steps}"
        f"|eos:yes|bootstrap:{request.resamples}|seed:{request.seed}|v:{__version__}"
    )

"""The results of an experiment as Markdown: tables, a picture, and what is needed to check and reproduce them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text.checks import to_plain
from lebm_text.errors import InputError
from lebm_text.metrics import figures_of
from lebm_text.reports.drawing import legend, listed, panels, picture_formats, save_pictures
from lebm_text.reports.frontier import label_axes
from lebm_text.reports.grids import markdown_table
from lebm_text.store import atomic_write_json, atomic_write_text
from lm_eval.protocol import METRICS

from .figures import JUDGES
from .plan import Experiment
from .results import Results, gather
from .runner import LOG
from .statistics import GREEDY, Figures, RowComparison, SeedInterval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["markdown", "plot_frontiers", "write_table"]

_MISSING = "–"
_KEYS = 3  # columns of the table that identify the row
_TEXT = {"test": "Test", "valid": "Validation"}
_BEHIND = {  # diagnostics of a likelihood: header → key
    "perplexity of all sentences": "perplexity_of_all",
    "log Z": "log_z",
    "E_chain[f] − E_p[f]": "chain_gap",
    "KL(q‖p)": "encoder_kl",
    "chains' effective number": "chain_ess",
}


def write_table(experiment: Experiment, root: Path, command: str) -> Results:
    """Write the results so far to results.md, results.json, frontiers.png and frontiers.svg, and return them.

    results.md quotes the `command` that writes it. Raises InputError if no step has been done.
    """
    if not (root / LOG).is_file():
        raise InputError(f"nothing has been done yet: there is no {root / LOG}")
    results = gather(experiment, root)
    atomic_write_json(root / "results.json", to_plain(results.record()))
    atomic_write_text(root / "results.md", markdown(results, command))
    models = {
        row.label: {decoding: (found["fppl"].value, found["rppl"].value) for decoding, found in row.kn5.items()}
        for row in results.rows.values()
        if row.kn5
    }
    if models and picture_formats():
        real = results.real["kn5"]
        plot_frontiers(models, (real["ppl"], real.get("rppl_at_n", real["ppl"])), root / "frontiers")
    return results


def plot_frontiers(
    models: Mapping[str, Mapping[str, tuple[float, float]]], real: tuple[float, float], stem: Path
) -> None:
    """Draw the frontiers of several models under one judge, in two panels: without and with greedy decoding.

    Args:
        models: name → decoding ("T=1", …, "greedy") → (FPPL, RPPL). Temperatures are joined in order; greedy decoding,
            which may lie far away, is a separate point.
        real: FPPL and RPPL of real text, the latter from as many sentences as there are samples.
        stem: the files are `stem`.png and `stem`.svg.

    Raises:
        InputError: matplotlib is missing.
    """
    figure, (close, whole) = panels(["sampled, by temperature", "greedy decoding, too (hollow)"], size=(6.5, 5))
    _draw_models(close, models, real, greedy=False)
    legend(close)
    _draw_models(whole, models, real, greedy=True)
    save_pictures(figure, stem)


def _draw_models(
    axes: Axes, models: Mapping[str, Mapping[str, tuple[float, float]]], real: tuple[float, float], *, greedy: bool
) -> None:
    axes.plot(*real, "*", color="black", markersize=12, label="real text")
    for index, (name, points) in enumerate(models.items()):
        drawn = {float(decoding[2:]): point for decoding, point in points.items() if decoding.startswith("T=")}
        curve = [drawn[temperature] for temperature in sorted(drawn)]
        color, marker = f"C{index}", "osD^vPX"[index % 7]
        if curve:
            axes.plot(*zip(*curve, strict=True), marker=marker, color=color, label=listed(name))
        if greedy and "greedy" in points:
            axes.plot(*points["greedy"], marker=marker, color=color, markerfacecolor="none", linestyle="none")
    label_axes(axes)


def markdown(results: Results, command: str) -> str:
    """Return the results as a Markdown document, which quotes the `command` that writes it."""
    parts = [f"# {results.title}", _head(results, command), _main(results)]
    if any(row.kn5 for row in results.rows.values()):
        parts.append(_frontiers(results))
    if "meaning" in results.real:
        parts.append(_meaning(results))
    if "variety" in results.real:
        parts.append(_variety(results))
    if any(row.likelihood for row in results.rows.values()):
        parts.append(_likelihoods(results))
    if samplers := [text for text in results.known if _is_sampler(text)]:
        parts.append(_distances(results, samplers))
    parts += [_comparison(results, comparison) for comparison in results.comparisons if comparison.ratios]
    if results.tuning:
        parts.append(_tuning(results))
    parts += [_cost(results), _signatures(results)]
    return "\n\n".join(parts) + "\n"


def _head(results: Results, command: str) -> str:
    lines = [f"Corpus {results.corpus}. Made by:", "", f"    {command}", ""]
    for environment in results.environments:
        git = environment["git"]
        commit = "no git" if git is None else git["commit"][:12] + (" with changes" if git["changed"] else "")
        lines.append(
            f"Trained with lebm-text {environment['lebm_text']} ({commit}), torch {environment['packages']['torch']}, "
            f"on {environment['device_name']}, {environment['threads']} thread(s) per run, {environment['precision']}."
        )
    if results.missing:
        lines += ["", f"Missing or out of date: {', '.join(results.missing)}."]
    return "\n".join(lines)


def _main(results: Results) -> str:
    header = ["row", "seeds", "epochs", "FPPL, KN5", "RPPL, KN5", "FPPL, LSTM", "RPPL, LSTM", "distinct, greedy"]
    header += ["log p(x): nll", "perplexity", "reconstruction nll", "information", "active units"]
    lines = [_real_row(results, len(header))]
    for text, figures in results.known.items():
        if _is_sampler(text):
            kn5 = [f"{figures[metric]:.2f}" if metric in figures else _MISSING for metric in METRICS]
            cells = [text, *[_MISSING] * (_KEYS - 1), *kn5]
            lines.append(cells + [_MISSING] * (len(header) - len(cells)))
    for row in results.rows.values():
        likelihood, greedy = row.likelihood, row.kn5.get(GREEDY, {})
        seeds = ", ".join(map(str, row.seeds)) or _MISSING
        cells = [row.label, seeds, _value(row.cost["epochs"], 1)]
        cells += [_value(row.judged(judge).get("T=1", {}).get(metric), 2) for judge in JUDGES for metric in METRICS]
        cells.append(_share(greedy.get("distinct")))
        cells += [_value(likelihood.get(key), 2) for key in ("nll", "perplexity", "reconstruction_nll", "information")]
        cells.append(_value(likelihood.get("active_units"), 1))
        lines.append(cells)
    note = (
        f"{_TEXT[results.split]} text; samples at T = 1 unless the column says greedy. Values are means over seeds "
        "with 95 % intervals (Student's t; perplexities in logarithms); figures of one seed have none. nll is in nats "
        "per sentence. It and perplexity are exact for a language model, else the stochastic bounds of `lebm-text "
        "likelihood`; for one seed their intervals are over the sentences, which are the same for all rows."
    )
    known = [i for i in range(len(header)) if i < _KEYS or any(line[i] != _MISSING for line in lines)]
    shown = markdown_table([header[i] for i in known], [[line[i] for i in known] for line in lines])
    return f"## Main table\n\n{shown}\n\n{note}"


def _real_row(results: Results, width: int) -> list[str]:
    cells = ["real text", _MISSING, _MISSING]
    for judge in JUDGES:
        if not (real := results.real.get(judge)):
            cells += [_MISSING, _MISSING]
            continue
        of_all = f"{real['ppl']:.2f}"
        with_all = f"{of_all} from all"  # training sentences, where samples are fewer
        cells += [of_all, f"{real['rppl_at_n']:.2f} ({with_all})" if "rppl_at_n" in real else with_all]
    return cells + [_MISSING] * (width - len(cells))


def _frontiers(results: Results) -> str:
    decodings = list(dict.fromkeys(decoding for row in results.rows.values() for decoding in row.kn5))
    lines = []
    for judge in JUDGES:
        for row in results.rows.values():
            for metric in METRICS if row.judged(judge) else ():
                figures = [row.judged(judge).get(decoding, {}).get(metric) for decoding in decodings]
                lines.append([row.label, f"{metric.upper()}, {judge.upper()}", *(_value(each, 2) for each in figures)])
    table = markdown_table(["row", "", *decodings], lines)
    picture = "\n\n![FPPL against RPPL of all rows](frontiers.png)" if picture_formats() else ""
    return f"## By decoding\n\n{table}{picture}"


def _meaning(results: Results) -> str:
    rows = {row.label: row.meaning for row in results.rows.values() if row.meaning}
    names = {"frechet": "Fréchet distance", "precision": "precision", "recall": "recall"}
    table = _by_decoding(results.real["meaning"], rows, names, (1, 3, 3))
    return (
        f"## Sentence embeddings\n\n{table}\n\nThe samples' "
        "embeddings are compared with those of held-out text. The row of real text has training text in place of "
        "samples and shows what is within reach. A low Fréchet distance (× 1000) means that the samples are about the "
        "same things, and as often. Precision is the share of samples near some real sentence, recall the share of "
        "real sentences near some sample."
    )


def _variety(results: Results) -> str:
    rows = {row.label: row.variety for row in results.rows.values() if row.variety}
    names = {"self_bleu": "self-BLEU", "in_train": "4-grams of train"}
    table = _by_decoding(results.real["variety"], rows, names, (1, 3))
    return (
        f"## Diversity and copying\n\n{table}\n\nValues near those of real "
        "text are good. A high self-BLEU means that samples are alike; a high share of 4-grams found in the training "
        "text means that samples are pieced together from it."
    )


def _by_decoding(
    real: Mapping[str, float],
    rows: Mapping[str, Mapping[str, Figures]],
    names: Mapping[str, str],
    digits: Sequence[int],
) -> str:
    decodings = list(dict.fromkeys(decoding for row in rows.values() for decoding in row))
    at = "T=1" if "T=1" in decodings else decodings[0]  # the column for real text, which has no decoding
    lines = []
    for (name, header), places in zip(names.items(), digits, strict=True):
        of_real = f"{real[name]:.{places}f}" if name in real else _MISSING
        cells = [of_real if decoding == at else _MISSING for decoding in decodings]
        lines.append(["real text", header, *cells])
        for label, figures in rows.items():
            cells = [_value(figures.get(decoding, {}).get(name), places) for decoding in decodings]
            lines.append([label, header, *cells])
    return markdown_table(["row", "", *decodings], lines)


def _likelihoods(results: Results) -> str:
    lines = [
        [row.label, *(_value(row.likelihood.get(key), 2) for key in _BEHIND.values())]
        for row in results.rows.values()
        if row.likelihood
    ]
    return (
        f"## Details of the likelihoods\n\n{markdown_table(['row', *_BEHIND], lines)}\n\nThe perplexity of all "
        "sentences is exact; only a language model has it. E_chain[f] − E_p[f] is how far f of the chain that "
        "generates lies from f of the density. KL is known where q(z|x) has a density. The effective number of a "
        "sentence's annealed chains is a median: the lower it is, the looser is the bound."
    )


def _is_sampler(text: str) -> bool:
    return text.endswith("-gram samples")


def _distances(results: Results, samplers: Sequence[str]) -> str:
    lines = [
        [row.label, *(_value(results.distances[text][name], 3) for text in samplers)]
        for name, row in results.rows.items()
    ]
    return (
        f"## Compared with n-gram samplers\n\n{markdown_table(['row', *samplers], lines)}\n\nRPPL of the row, "
        "interpolated between temperatures to the FPPL of the n-gram samples, divided by their RPPL. Below 1 the row "
        "is better; a dash means that it does not reach that FPPL. The judge is an n-gram model too, which favours "
        "these samples."
    )


def _comparison(results: Results, comparison: RowComparison) -> str:
    first, second = (results.rows[name].label for name in (comparison.first, comparison.second))
    ratios = comparison.ratios
    names = {"fppl": "FPPL"}
    for key, name in {"rppl": "RPPL", "frechet": "Fréchet distance"}.items():
        at = {"at_second": f"{name} at the FPPL of {second}", "at_first": f"{name} at the FPPL of {first}"}
        names |= {key: name, **{f"{key}_{which}": text for which, text in at.items()}}
    known = {key for ratio in ratios.values() for key in ratio}
    lines = [
        [name, *(_value(ratio.get(key), 3) for ratio in ratios.values())] for key, name in names.items() if key in known
    ]
    pairs = max(ratio.n for ratio in next(iter(ratios.values())).values() if ratio is not None)
    of_seeds = f"seed by seed ({pairs} pairs), with 95 % intervals" if pairs > 1 else "of one seed"
    judge = comparison.judge.upper()
    return (
        f"## {first} / {second}, {judge}\n\n{markdown_table(['ratio', *ratios], lines)}\n\nRatios of {judge} figures, "
        f"{of_seeds}; below 1 the first row is better. At equal FPPL: one row is at the temperature of the column, the "
        "other is interpolated between temperatures to the same FPPL; a dash means that it does not reach it. "
        "Frontiers curve below the straight lines between their points, so each of these two ratios flatters the row "
        "that is not interpolated, the more so the fewer temperatures were judged."
    )


def _tuning(results: Results) -> str:
    lines = []
    for name, choice in results.tuning.items():
        for number, trial in enumerate(choice.trials, 1):
            changed = ", ".join(f"{key}={value}" for key, value in trial.settings.items())
            mark = "**chosen**" if number == choice.chosen else ""
            figures = [f"{figure:.2f}" for figure in (trial.fppl, trial.rppl, trial.score)]
            lines.append([name, changed, f"{trial.epochs:g}", f"{trial.seconds / 60:.1f}", *figures, mark])
    header = ["row", "settings of the trial", "epochs", "minutes", "FPPL", "RPPL", "score", ""]
    places = ", ".join(dict.fromkeys(filter(None, (choice.source for choice in results.tuning.values()))))
    elsewhere = f" These choices and their figures come from another experiment: {places}." if places else ""
    return (
        f"## Tuning\n\n{markdown_table(header, lines)}\n\nOn validation text, by KN5, with the same number of trials "
        "for every row. The score is the lowest √(FPPL·RPPL) along the frontier over temperatures, where an FPPL below "
        "that of real text counts as real text's. FPPL and RPPL are those of that point; results.json has all points. "
        f"The trial with the lowest score is chosen.{elsewhere}"
    )


def _cost(results: Results) -> str:
    rows = results.rows.values()
    lines = [[row.label, _value(row.cost["epochs"], 1), _value(row.cost["minutes"], 1)] for row in rows]
    total = sum(figures_of(step).get("seconds", 0.0) for step in results.log) / 3600
    trials = sum(trial.seconds for choice in results.tuning.values() for trial in choice.trials) / 3600
    return (
        f"## Training time\n\n{markdown_table(['row', 'epochs', 'minutes of updates per run'], lines)}\n\nMinutes "
        "grow with what else the machine did meanwhile: compare only those of runs that shared it alike. Updates of "
        f"all trials: {trials:.1f} h. All steps, one after the other: {total:.1f} h."
    )


def _signatures(results: Results) -> str:
    """List the signatures, with one line for all that differ only in decoding and seed; results.json has all."""
    own = re.compile(r"decode=(?:[^()]|\([^()]*\))*|(?<=\|seed:)\d+")  # with parentheses in z=posterior(train)
    kinds = dict.fromkeys(own.sub("…", signature) for signature in results.signatures)
    return "## Signatures\n\n" + "\n".join(f"- `{kind}`" for kind in kinds)


def _value(interval: SeedInterval | None, digits: int) -> str:
    if interval is None:
        return _MISSING
    value, low, high = interval.value, interval.low, interval.high
    if low is None or high is None or low == high:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _share(interval: SeedInterval | None) -> str:
    return _MISSING if interval is None else f"{100 * interval.value:.0f} %"

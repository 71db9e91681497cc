"""Reports of `fppl`, `rppl` and `evaluate` for people: tables on stdout, warnings on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

__all__ = ["show_frontier", "show_report"]

_WIDTHS = (29, 8, 9, 19, 9, 7, 7, 9)
_HEADINGS = ("95 %", "excl. OOV", "OOV", "ratio", "bits/byte")
_FRONTIER_WIDTHS = (26, 8, 9, 7, 9, 7, 6, 6, 6, 6, 6)


def show_report(report: dict[str, Any]) -> None:
    """Samples, real text and calibration by every judge; then the texts' look, signatures and warnings."""
    results = report["results"]
    _line(_WIDTHS, "text", "judge", report["metric"].upper(), *_HEADINGS)
    for row in results:
        excluding = "none" if row["ppl_excluding_oov"] is None else f"{row['ppl_excluding_oov']:.2f}"
        _line(
            _WIDTHS,
            f"samples{_made(row, results)}",
            _judge(row, results),
            f"{row['ppl']:.2f}",
            _interval(row["ci95"]),
            excluding,
            f"{row['n_oov']:,}",
            f"{row['ratio']:.3f}",
            f"{row['bits_per_byte']:.3f}",
        )
    for row in _one_each(results, "judge", "judge_seed"):
        figures = (
            f"{row['real_ppl']:.2f}",
            _interval(row["real_ci95"]),
            "",
            "",
            "",
            f"{row['real_bits_per_byte']:.3f}",
        )
        _line(_WIDTHS, "real data (train → held out)", _judge(row, results), *figures)
    for row in results:
        if "real_ppl_at_n" in row["extra"]:
            label = f"real data, {row['samples']['n_sentences']:,} sentences"
            _line(_WIDTHS, label, row["judge"], f"{row['extra']['real_ppl_at_n']:.2f}")
            break
    for row in report["calibration"]:
        _line(_WIDTHS, row["text"], row["judge"], f"{row['ppl']:.2f}", "", "", "", f"{row['ratio']:.3f}")
    _show_spread(report)
    _show_texts(results)
    _show_sources(report)


def show_frontier(report: dict[str, Any]) -> None:
    """A row a point with both figures and what the samples look like; then signatures and warnings."""
    results, points = report["results"], report["points"]
    headings = ("FPPL", "ratio", "RPPL", "ratio", "words", "empty", "cut", "dupl.", "copied")
    _line(_FRONTIER_WIDTHS, "decoding", "judge", *headings)
    looks = {row["text"]: row["samples"] for row in results}
    for point in points:
        look = looks[point["text"]]
        cut = look["truncated_rate"]
        _line(
            _FRONTIER_WIDTHS,
            _made(point, points).removeprefix(", ") or "samples",
            _judge(point, points),
            f"{point['fppl']:.2f}",
            f"{point['fppl_ratio']:.3f}",
            f"{point['rppl']:.2f}",
            f"{point['rppl_ratio']:.3f}",
            f"{look['mean_length']:.1f}",
            f"{look['empty_rate']:.1%}",
            "" if cut is None else f"{cut:.1%}",
            f"{look['duplicate_rate']:.1%}",
            f"{look['in_train_rate']:.1%}",
        )
    for real in report["real"]:
        figures = (f"{real['ppl']:.2f}", "1.000") * 2
        words = f"{results[0]['real']['mean_length']:.1f}"
        _line(_FRONTIER_WIDTHS, "real data", _judge(real, points), *figures, words)
        if "rppl_at_n" in real:
            at_n, ratio = f"{real['rppl_at_n']:.2f}", f"{real['rppl_at_n'] / real['ppl']:.3f}"
            label = f"real data, {results[0]['samples']['n_sentences']:,} sentences"
            _line(_FRONTIER_WIDTHS, label, _judge(real, points), "", "", at_n, ratio)
    _show_spread(report)
    _show_sources(report)


def _show_texts(results: Sequence[dict[str, Any]]) -> None:
    for row in _one_each(results, "text"):
        look, real, train = row["samples"], row["real"], row["train"]
        click.echo(f"\n{look['path']}: {look['n_sentences']:,} sentences")
        click.echo(
            f"words a sentence (mean, 5/25/50/75/95 % points): {_lengths(look)} (train {_lengths(train)}, held out "
            f"{_lengths(real)}), distance to train {look['length_distance']:.2f}"
        )
        cut = "cut off unknown" if look["truncated_rate"] is None else f"{look['truncated_rate']:.1%} cut off"
        shares = {"duplicate_rate": "duplicates", "in_train_rate": "verbatim in train", "unk_rate": "with <unk>"}
        beside = [f"{look[key]:.1%} {name} (real {real[key]:.1%})" for key, name in shares.items()]
        click.echo(", ".join([f"{look['empty_rate']:.1%} empty", cut, *beside]))
        if "diversity" in row:
            _show_diversity(row["diversity"])


def _show_sources(report: dict[str, Any]) -> None:
    """How judges were trained, signatures, hashes, and what to be wary of."""
    results = report["results"]
    click.echo("")
    for row in _one_each(results, "judge", "judge_seed"):
        for what, training in (("", row["training"]), (" of real text", row["real_training"])):
            if training is not None and (what or row["metric"] == "rppl"):
                click.echo(f"judge {_judge(row, results)}{what}: {_training(training)}")
    for row in results:
        click.echo(row["signature"])
    for name, digest in report["sha256"].items():
        click.echo(f"sha256 {name}: {digest}")
    concerned: dict[str, list[dict[str, Any]]] = {}
    for row in results:
        for warning in row["warnings"]:
            concerned.setdefault(warning, []).append(row)
    for warning, rows in concerned.items():
        metrics = {row["metric"] for row in rows}
        everywhere = len(rows) == sum(row["metric"] in metrics for row in results)
        where = "" if everywhere else "; ".join(dict.fromkeys(_name(row, results) for row in rows)) + ": "
        click.echo(f"warning: {where}{warning}", err=True)


def _show_spread(report: dict[str, Any]) -> None:
    for row in report["spread"]:
        label = f"{row['metric'].upper()}{_made(row, [])} by {row['judge']}"
        for name, what in (("ppl", label), ("real_ppl", f"real data by {row['judge']}")):
            figure = row[name]
            deviations = [
                f"sd {figure[f'sd_over_{kind}_seeds']:.2f} over {figure[f'n_{kind}_seeds']} {kind} seeds"
                for kind in ("judge", "sample")
                if figure[f"sd_over_{kind}_seeds"] is not None
            ]
            if deviations:
                click.echo(f"{what}: mean {figure['mean']:.2f}, {', '.join(deviations)}")


def _show_diversity(values: dict[str, Any]) -> None:
    shares, real = ("/".join(f"{share:.3f}" for share in values[key]) for key in ("distinct_n", "real_distinct_n"))
    click.echo(
        f"distinct-1..4 {shares} (real {real}), seq-rep-4 {values['sequence_repetition_4']:.3f} "
        f"(real {values['real_sequence_repetition_4']:.3f}), self-BLEU {values['self_bleu']['score']:.1f} "
        f"(real {values['real_self_bleu']['score']:.1f}), BLEU {values['bleu']['score']:.1f} "
        f"(real {values['real_bleu']['score']:.1f})"
    )
    for line in (values["signature"], values["self_bleu"]["signature"], values["bleu"]["signature"]):
        click.echo(line)


def _training(report: dict[str, Any]) -> str:
    kept = ", from the cache" if report["cached"] else ""
    return (
        f"{report['n_epochs']} epochs in {report['seconds'] / 60:.1f} min, {report['precision']}, "
        f"validation perplexity {report['valid_ppl']:.2f}{kept}"
    )


def _made(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """`, T = 0.8, seed 2`: how a row's samples were decoded, the seed where `rows` have several."""
    parts = []
    if row.get("decode") == "greedy":
        parts.append("greedy")
    elif "temperature" in row:
        parts.append(f"T = {row['temperature']:g}")
    if len({other.get("seed") for other in rows}) > 1:
        parts.append(f"seed {row['seed']}")
    return "".join(f", {part}" for part in parts)


def _name(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Which of `rows` this is, as short as they allow."""
    several_judges = len({other["judge"] for other in rows}) > 1
    return f"{_made(row, rows)}, {_judge(row, rows) if several_judges else ''}".strip(", ") or row["text"]


def _judge(row: dict[str, Any], rows: Iterable[dict[str, Any]]) -> str:
    """`lstm`, or `lstm #2` where `rows` have several seeds of it."""
    several = len({other["judge_seed"] for other in rows if other["judge"] == row["judge"]}) > 1
    return f"{row['judge']} #{row['judge_seed']}" if several else str(row["judge"])


def _one_each(rows: Iterable[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """The first row of every combination of `keys`."""
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        first.setdefault(tuple(row[key] for key in keys), row)
    return list(first.values())


def _lengths(look: dict[str, Any]) -> str:
    return f"{look['mean_length']:.1f} " + "/".join(f"{point:g}" for point in look["length_quantiles"])


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _line(widths: Sequence[int], *cells: str) -> None:
    """One row of a table, the last cells may be missing: two columns to the left, figures to the right."""
    padded = [f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(cells)]
    click.echo(" ".join(padded).rstrip())

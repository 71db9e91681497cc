"""A report of `fppl` or `rppl` for people."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["show_report"]


def show_report(report: dict[str, Any]) -> None:
    """The report for people: a table, the texts' look, signatures; warnings go to stderr."""
    metric = report["metric"].upper()
    click.echo(f"{'text':<28} {metric:>9} {'95 %':>19} {'excl. OOV':>9} {'OOV':>7} {'ratio':>7}")
    for row in report["results"]:
        low, high = row["ci95"]
        excluding = "none" if row["ppl_excluding_oov"] is None else f"{row['ppl_excluding_oov']:.2f}"
        label = f"samples, T = {row['temperature']:g}" if "temperature" in row else "samples"
        click.echo(
            f"{label:<28} {row['ppl']:>9.2f} {f'{low:.2f} to {high:.2f}':>19} "
            f"{excluding:>9} {row['n_oov']:>7,} {row['ratio']:>7.3f}"
        )
    first = report["results"][0]
    low, high = first["real_ci95"]
    click.echo(f"{'real data (train → held out)':<28} {first['real_ppl']:>9.2f} {f'{low:.2f} to {high:.2f}':>19}")
    if "real_ppl_at_n" in first["extra"]:
        click.echo(f"{'real data, as many sentences':<28} {first['extra']['real_ppl_at_n']:>9.2f}")
    for row in report["calibration"]:
        click.echo(f"{row['text']:<28} {row['ppl']:>9.2f} {'':>19} {'':>9} {'':>7} {row['ratio']:>7.3f}")
    for row in report["results"]:
        look, real = row["samples"], row["real"]
        click.echo(
            f"\n{look['path']}: {look['n_sentences']:,} sentences of {look['mean_length']:.1f} words "
            f"(real: {real['mean_length']:.1f}), {look['empty_rate']:.1%} empty, "
            f"{look['duplicate_rate']:.1%} duplicates (real: {real['duplicate_rate']:.1%}), "
            f"{look['in_train_rate']:.1%} verbatim in train (real: {real['in_train_rate']:.1%})"
        )
        if "diversity" in row:
            click.echo(_diversity_line(row["diversity"]))
        click.echo(row["signature"])
        for warning in row["warnings"]:
            click.echo(f"warning: {warning}", err=True)
    for name, digest in report["sha256"].items():
        click.echo(f"sha256 {name}: {digest}")


def _diversity_line(values: dict[str, Any]) -> str:
    shares = "/".join(f"{share:.3f}" for share in values["distinct_n"])
    return (
        f"distinct-1..4 {shares}, seq-rep-4 {values['sequence_repetition_4']:.3f}, "
        f"self-BLEU {values['self_bleu']['score']:.1f} (real: {values['real_self_bleu']['score']:.1f}), "
        f"BLEU {values['bleu']['score']:.1f}"
    )

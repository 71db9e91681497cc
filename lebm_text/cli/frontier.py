"""The work of `lebm-text evaluate`: every decoding judged both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.store import check_writable

from .evaluation import Request, prepare, write_report
from .evaluation_table import show_frontier
from .sample_files import GREEDY, Decoding

__all__ = ["evaluate"]

_TEMPERATURES = (1.0, 0.9, 0.8, 0.6)
_METRICS = ("fppl", "rppl")


def evaluate(options: Mapping[str, Any], *, greedy: bool, picture: Path | None) -> None:
    """Judge, then print, write and draw. Without matplotlib the picture alone is missing, and a hint says so."""
    from lebm_text.reports.drawing import picture_formats
    from lebm_text.reports.frontier import plot_frontier

    asked = dict(options)
    if asked["lm"] is None and asked["protocol"] == "default":
        asked["lm"] = "kn5"  # an LSTM for every point would take hours
    request = Request(**asked)
    formats = picture_formats()
    if picture is not None:
        check_writable(picture)
        if formats and picture.suffix[1:].lower() not in formats:
            raise InputError(f"cannot draw {picture}: the suffix must be one of {', '.join(sorted(formats))}")
    decodings = [Decoding(temperature=temperature) for temperature in request.temperatures or _TEMPERATURES]
    setting = prepare(request, [*decodings, *([GREEDY] if greedy else [])])
    results = setting.results(_METRICS)
    if not setting.peers.first:
        return
    report = setting.report("frontier", results)
    report["points"] = _points(results)
    report["real"] = _real(results)
    picture = picture or setting.default_file("frontier", ".png")
    if picture is not None and formats:
        plot_frontier(report["points"], report["real"], picture)
    file = write_report(report, setting)
    if request.as_json:
        click.echo(json.dumps(report))
    else:
        show_frontier(report)
    if picture is not None and not formats:
        click.echo(f"{picture} was not drawn: pictures need matplotlib, pip install 'lebm-text[viz]'", err=True)
    elif not request.as_json:
        for what, where in (("report", file), ("picture", picture)):
            if where is not None:
                click.echo(f"{what}: {where}", err=True)


def _points(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """FPPL and RPPL of a text by a judge side by side."""
    points: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in results:
        names = ("text", "judge", "judge_seed", "decode", "temperature", "seed")
        key = (row["text"], row["judge"], row["judge_seed"])
        point = points.setdefault(key, {name: row[name] for name in names if name in row})
        point |= {row["metric"]: row["ppl"], f"{row['metric']}_ratio": row["ratio"]}
    return list(points.values())


def _real(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The real-data row of every judge: for real text both perplexities are the same number.

    `rppl_at_n`: of as many real sentences as there are samples, where these are fewer.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in results:
        real = rows.setdefault((row["judge"], row["judge_seed"]), {"judge": row["judge"]})
        real |= {"judge_seed": row["judge_seed"], "ppl": row["real_ppl"], "ci95": row["real_ci95"]}
        if "real_ppl_at_n" in row["extra"]:
            real["rppl_at_n"] = row["extra"]["real_ppl_at_n"]
    return list(rows.values())

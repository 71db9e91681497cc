"""A contrast of `lebm-text anomaly eval` for people: its scores, and where the models stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["table_lines"]


def table_lines(report: Mapping[str, Any]) -> list[str]:
    """The table of a contrast, and in words where the models stand."""
    lines = [
        f"{report['anomalies']}: {report['n_anomalous']:,} anomalies among {report['n_normal']:,} normal sentences "
        f"(chance: AUROC 0.5, AUPRC {report['share']:.3f})"
    ]
    head = ("system", "score", "AUROC", "95 %", "AUPRC", "95 %")
    rows = [
        (
            row["system"],
            row["score"] + (" a token" if row["per_token"] else ""),
            *(part for name in ("auroc", "auprc") for part in (f"{row[name]:.3f}", _interval(row[f"{name}_ci95"]))),
        )
        for row in report["results"]
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    for compared in report["comparisons"]:
        what = "a token" if compared["per_token"] else "whole"
        lines.append(
            f"{compared['model']} {compared['score']} ({what}) against {compared['baseline']}: {compared['model_is']} "
            f"(AUROC {compared['auroc_difference']:+.3f} {_interval(compared['ci95'])})"
        )
    return [*lines, report["signature"], ""]


def _interval(ci95: Sequence[float]) -> str:
    return f"[{ci95[0]:.3f}, {ci95[1]:.3f}]"

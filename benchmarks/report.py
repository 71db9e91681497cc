"""Output of figures: rows of a table, or one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["COLUMNS", "Report", "as_text", "table"]

Report = dict[str, Any]

# Columns of a row, in the order of the table; see docs/performance.md.
COLUMNS = (
    "batch",
    "precision",
    "baseline",
    "baseline_autograd",
    "ours",
    "ratio",
    "ratio_autograd",
    "peak_share",
    "grad_error",
    "grad_cosine",
    "nll_bias",
    "nll_error",
    "baseline_memory",
    "ours_memory",
    "memory_ratio",
)


def as_text(report: Report, columns: Sequence[str] = COLUMNS) -> str:
    """Format the rows with these columns, further tables if there are any, then everything else."""
    tables = ("results", "ablation", "epochs", "ngram")
    rows = report["results"]
    named = ("benchmark",) if "benchmark" in rows[0] else ()
    parts = [table(rows, (*named, *columns))]
    parts += [table(report[name], tuple(report[name][0])) for name in tables[1:] if name in report]
    parts.append("\n".join(f"{key}: {json.dumps(value)}" for key, value in report.items() if key not in tables))
    return "\n\n".join(parts)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Format rows as aligned text, with a dash for missing values."""
    cells = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)

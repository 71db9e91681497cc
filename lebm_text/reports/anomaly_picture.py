"""ROC curves and precision over recall of anomaly scores: a row of panels a contrast, a line a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .anomaly import Curves
from .drawing import new_figure

__all__ = ["plot_anomaly"]

_STYLES = ("-", "--", "-.", ":")


def plot_anomaly(
    contrasts: Mapping[str, Mapping[str, Curves]], shares: Mapping[str, float], paths: Sequence[Path]
) -> None:
    """Draw contrast → system → curves to each of `paths`, whose suffixes decide the formats.

    Args:
        shares: contrast → share of anomalies, the precision of a score that knows nothing.

    Raises:
        InputError: matplotlib is missing.
    """
    figure = new_figure(10, 4.6 * len(contrasts))
    rows = figure.subplots(len(contrasts), 2, squeeze=False)
    for (roc, precision), (name, systems) in zip(rows, contrasts.items(), strict=True):
        for number, (label, curves) in enumerate(systems.items()):
            style = {"color": f"C{number % 10}", "linestyle": _STYLES[number % 4], "linewidth": 1.3, "label": label}
            roc.plot(curves.false_positive_rate, curves.true_positive_rate, **style)
            precision.step(curves.recall, curves.precision, where="post", **style)
        roc.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        precision.axhline(shares[name], color="0.6", linewidth=0.8)
        roc.set_title(f"{name}: ROC", fontsize="medium")
        roc.set_xlabel("normal sentences above the threshold")
        roc.set_ylabel("anomalies above the threshold")
        precision.set_title(f"{name}: precision over recall", fontsize="medium")
        precision.set_xlabel("recall of anomalies")
        precision.set_ylabel("precision")
        precision.set_ylim(0, 1.02)
        roc.legend(fontsize="small", loc="lower right")
        for axes in (roc, precision):
            axes.grid(alpha=0.3)
    for path in paths:
        figure.savefig(path)

"""The curves of one or several runs, from their metrics.jsonl: is z in use, do the phases stay together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lebm_text.errors import InputError
from lebm_text.reports.drawing import new_figure
from lebm_text.training.metrics import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PANELS", "plot_curves"]

# title → (keys of metrics.jsonl and their labels, logarithmic axis)
PANELS: dict[str, tuple[Mapping[str, str], bool]] = {
    "training NLL, nats a token": ({"nll_posterior": "own z", "nll_shuffled": "another's z"}, False),
    "validation perplexity": (
        {"valid_ppl_posterior": "posterior z", "valid_ppl_prior": "prior z", "valid_ppl": "language model"},
        True,
    ),
    "energy gap f(z⁺) − f(z⁻), nats": ({"gap": ""}, False),
    "norms": ({"norm_positive": "‖z⁺‖", "norm_negative": "‖z⁻‖"}, False),
    "std(z⁺) / std(z⁻)": ({"std_ratio": ""}, False),
    "largest curvature × s²/4": ({"curvature_posterior": "posterior", "curvature_prior": "prior"}, True),
}
_STYLES = ("-", "--", "-.")


def plot_curves(runs: Mapping[str, Path], path: Path) -> None:
    """Draw `PANELS` for run directories, by label, over epochs; the suffix of `path` decides the format.

    Raises:
        InputError: a directory without metrics, or matplotlib is missing.
    """
    records = {label: read_metrics(run / "metrics.jsonl") for label, run in runs.items()}
    figure = new_figure(12, 6.5)
    for axes, (title, (keys, logarithmic)) in zip(figure.subplots(2, 3).flat, PANELS.items(), strict=True):
        for number, (label, lines) in enumerate(records.items()):
            _draw(axes, lines, keys, label if len(records) > 1 else "", f"C{number}")
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if logarithmic:
            axes.set_yscale("log")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize="small")
    try:
        figure.savefig(path)
    except ValueError as error:
        raise InputError(f"cannot draw {path}: {error}") from None


def _draw(axes: Axes, records: Sequence[Mapping[str, Any]], keys: Mapping[str, str], label: str, colour: str) -> None:
    for (key, name), style in zip(keys.items(), _STYLES, strict=False):
        points = [(record["epoch"], record[key]) for record in records if key in record]
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, label=" ".join(filter(None, (label, name))))

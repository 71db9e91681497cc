"""Training curves of one or more runs, from their metrics.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Group

from lebm_text.environment import versions
from lebm_text.errors import InputError
from lebm_text.metrics import figures_of
from lebm_text.run import Run
from lebm_text.store import sha256_file

from .base import Report, different_runs, new_table
from .drawing import legend, listed, logarithmic, panels, save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PANELS", "Curves", "Panel", "compute", "draw"]


@dataclass(frozen=True)
class Panel:
    """A panel of the picture.

    Attributes:
        keys: key of metrics.jsonl → label of its line.
        levels: label → height of a horizontal reference line.
        logarithmic: whether the vertical axis is logarithmic.
        changing: leave out lines that are constant.
    """

    title: str
    keys: Mapping[str, str]
    levels: Mapping[str, float] = field(default_factory=dict)
    logarithmic: bool = False
    changing: bool = False


PANELS = (
    Panel(
        "validation perplexity (lower is better)",
        {
            "valid_ppl_posterior": "posterior z",
            "valid_ppl_prior": "prior z",
            "valid_ppl_null": "without z",
            "valid_ppl_bound": "bound on the model's",
            "valid_ppl": "language model",
        },
        logarithmic=True,
    ),
    Panel(
        "training NLL, nats per token (lower is better)",
        {"nll_token": "with dropout", "nll_posterior": "own z", "nll_shuffled": "another's z", "nll_prior": "prior z"},
    ),
    Panel("energy gap f(z⁺) − f(z⁻), nats (near 0 is good)", {"gap": ""}),
    Panel("energy f, nats", {"f_positive": "f(z⁺)", "f_negative": "f(z⁻)"}),
    Panel("norms", {"norm_positive": "‖z⁺‖", "norm_negative": "‖z⁻‖"}),
    Panel("std(z⁺) / std(z⁻)", {"std_ratio": ""}, {"equally wide": 1.0}),
    Panel(
        "largest curvature × s²/4",
        {"curvature_posterior": "posterior", "curvature_prior": "prior"},
        {"unstable above": 1.0},
        logarithmic=True,
    ),
    Panel("KL(q‖p0), nats per sentence", {"kl": "training", "valid_kl": "validation"}),
    Panel(
        "settings that move",
        {"likelihood_weight": "likelihood weight γ", "kl_weight": "KL weight β", "noise_scale": "noise scale"},
        changing=True,
    ),
    Panel("learning rate", {"learning_rate": ""}),
    Panel("KN5 RPPL that selects the weights (lower is better)", {"valid_kn5": ""}),
    Panel("gradient norms", {"grad_generator": "generator", "grad_encoder": "encoder", "grad_prior": "prior"}),
    Panel("tokens per second", {"tokens_per_second": ""}),
)
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))  # one for each key of the largest panel
_TABLE = {
    "valid_ppl_posterior": "perplexity, posterior z",
    "valid_ppl_shuffled": "another's z",
    "valid_ppl_prior": "prior z",
    "valid_ppl_null": "without z",
    "valid_ppl_bound": "bound",
    "valid_ppl": "perplexity",
    "valid_kl": "KL, nats",
    "valid_kn5": "RPPL, KN5",
}


@dataclass(frozen=True, kw_only=True)
class Curves(Report):
    """Training curves: label of a run → key of metrics.jsonl → points (epoch, value)."""

    kind: ClassVar[str] = "curves"

    runs: dict[str, dict[str, list[tuple[float, float]]]]

    def table(self) -> Group:
        """Return for each run a table of the validation metrics after each epoch."""
        tables = []
        for label, curves in self.runs.items():
            columns = {key: dict(curves[key]) for key in _TABLE if key in curves}
            table = new_table(f"validation of {label}", "epoch", *(_TABLE[key] for key in columns))
            for epoch in sorted({epoch for column in columns.values() for epoch in column}):
                values = (f"{column[epoch]:.4g}" if epoch in column else "" for column in columns.values())
                table.add_row(f"{epoch:g}", *values)
            tables += [table] if columns else []
        return Group(*tables)

    def figure(self) -> Figure | None:
        """Return a picture of the `PANELS` that have data; None if there are none."""
        shown = [(panel, lines) for panel in PANELS if (lines := list(self._lines(panel)))]
        if not shown:
            return None
        figure, axes = panels([panel.title for panel, _ in shown], columns=3)
        for axis, (panel, lines) in zip(axes, shown, strict=True):
            for label, points, colour, dashes in lines:
                axis.plot(*zip(*points, strict=True), label=listed(label), color=colour, linestyle=dashes)
            for label, level in panel.levels.items():
                axis.axhline(level, color="0.5", linewidth=0.8, linestyle=":", label=label)
            if panel.logarithmic:
                logarithmic(axis.yaxis)
            axis.set_xlabel("epoch")
            legend(axis)
        return figure

    def _lines(self, panel: Panel) -> Iterator[tuple[str, list[tuple[float, float]], str, Any]]:
        """Yield label, points, colour and dashes of each line; runs differ in colour, keys in dashes."""
        names = [Path(run).name or run for run in self.runs]  # whole paths may be wider than the panel
        names = names if len(set(names)) == len(names) else list(self.runs)
        for number, (run, curves) in enumerate(zip(names, self.runs.values(), strict=True)):
            for i, ((key, name), dashes) in enumerate(zip(panel.keys.items(), _DASHES, strict=False)):
                points = curves.get(key, [])
                values = {value for _, value in points}
                if values <= {0.0} or (panel.changing and len(values) == 1):
                    continue  # the energy of a Gaussian prior, or a constant setting
                single = len(self.runs) == 1
                colour = f"C{i if single else number}"
                label = name if single else " ".join(filter(None, (run, name)))
                yield label, points, colour, dashes


def compute(runs: Iterable[Run]) -> Curves:
    """Return the training curves of runs, labelled by path; a single run is labelled by name.

    Raises:
        InputError: there is no run, or one has no metrics, or damaged ones, or is given twice.
    """
    if not (runs := different_runs(runs)):
        raise InputError("there is no run to draw the curves of; give at least one")
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for run in runs:
        records = run.metrics()
        if not records:
            raise InputError(f"{run.metrics_file} does not exist or is empty")
        curves = found.setdefault(run.name if len(runs) == 1 else str(run), {})
        for record in map(figures_of, records):
            for key, value in record.items() if "epoch" in record else ():
                curves.setdefault(key, []).append((record["epoch"], value))
    return Curves(
        runs=found,
        sha256={f"metrics of {label}": sha256_file(run.metrics_file) for label, run in zip(found, runs, strict=True)},
        versions=versions(),
    )


def draw(curves: Curves, path: Path) -> None:
    """Write the picture of training curves; the suffix of `path` determines its format.

    Raises:
        InputError: the format is not known, there is nothing to draw, or matplotlib is missing.
    """
    figure = curves.figure()
    if figure is None:
        raise InputError(f"there is nothing to draw: {', '.join(curves.runs)} has none of the figures of a curve yet")
    save_picture(figure, path)

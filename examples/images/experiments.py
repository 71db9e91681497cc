"""The two tables: three models by their samples and reconstructions, and digits that a model has never seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev

import torch
from dataset import Images
from learning import MODELS, Learned
from measures import Features, anomaly_scores, average_precision, draw, fid, squared_error
from pictures import Transition, transition

__all__ = ["HELD_OUT", "N_SAMPLES", "Learner", "Table", "anomalies", "comparison", "distances"]

N_SAMPLES = 2000
HELD_OUT = (1, 4, 5, 7, 9)  # digits, as in the paper
FRECHET, ERROR, FID = "Fréchet distance, own classifier", "reconstruction error", "FID"

Learner = Callable[[str, Images, int], Learned]  # model, training images, seed


@dataclass
class Table:
    """Values by row and column, one per seed."""

    title: str
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, row: str, figures: Mapping[str, float]) -> None:
        """Add the figures of one seed."""
        for column, value in figures.items():
            self.values.setdefault(row, {}).setdefault(column, []).append(value)

    def markdown(self) -> str:
        """Return mean ± standard deviation over seeds as a Markdown table."""
        columns = list(dict.fromkeys(column for row in self.values.values() for column in row))
        lines = [f"| {self.title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for row, cells in self.values.items():
            lines.append(f"| {row} | {' | '.join(_cell(cells.get(column, [])) for column in columns)} |")
        return "\n".join(lines) + "\n"


def _cell(values: list[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}" if values else ""


def comparison(
    learner: Learner, train: Images, test: Images, features: Features, *, n_seeds: int, with_fid: bool = False
) -> tuple[Table, Learned]:
    """Return a table of the three models over seeds, and the first model with an energy-based prior."""
    table, models = Table("model"), []
    table.add("real training images", {FRECHET: features.distance(train.batch(slice(N_SAMPLES)).pixels)})
    for seed in range(1, n_seeds + 1):
        for name in MODELS:
            learned = learner(name, train, seed)
            samples = draw(learned, N_SAMPLES, seed=seed)
            figures = {FRECHET: features.distance(samples), ERROR: squared_error(learned, test, seed=seed)}
            if with_fid:
                figures[FID] = fid(test.batch().pixels, samples)
            if learned.model.prior.chain is not None:
                models.append(learned)
                seen = transition(learned, N_SAMPLES, seed=seed)
                table.add(f"{name}, z from p0 instead", {FRECHET: distances(learned, seen, features, [0])[0]})
            table.add(name, figures)
    return table, models[0]


@torch.no_grad()
def distances(learned: Learned, seen: Transition, features: Features, steps: list[int]) -> dict[int, float]:
    """Return the Fréchet distance of the decoded chains by step."""
    return {step: features.distance(learned.decode(seen.z[step])) for step in steps}


def anomalies(learner: Learner, train: Images, test: Images, *, n_seeds: int) -> Table:
    """Return the AUPRC of each digit under models trained without it, among all test images, over seeds."""
    table = Table("digit left out")
    for digit in HELD_OUT:
        is_anomaly = test.labels == digit
        table.add(str(digit), {"share of the test images": float(is_anomaly.float().mean())})
        for seed in range(1, n_seeds + 1):
            for name in ("LEBM", "VAE"):
                scores = anomaly_scores(learner(name, train.where(train.labels != digit), seed), test, seed=seed)
                table.add(str(digit), {name: average_precision(scores, is_anomaly)})
    return table

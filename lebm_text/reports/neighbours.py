r"""Report on the sentences of a corpus whose posterior means are nearest to the posterior means of given sentences.

cosine distance 1 − a·b / (‖a‖ ‖b‖),   Euclidean distance ‖a − b‖
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Group, RenderableType
from rich.text import Text
from torch import Tensor

from lebm_text.checks import MAX_DRAWS, one_of, setting, whole
from lebm_text.errors import InputError
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lebm_text.text.reading import listed
from lebm_text.text.registry import SPLITS
from lebm_text.text.unknown import warn_of_unknown
from lebm_text.torch_state import own_state

from .base import Report, Settings, new_table, origin, settled
from .posterior import kept_posterior_means, posterior_means, seed_apart, shuffled

__all__ = ["METRICS", "Nearest", "Neighbour", "Neighbours", "NeighboursSettings", "Query", "compute", "nearest"]

logger = logging.getLogger(__name__)

METRICS = ("cosine", "euclidean")
_AT_ONCE = 256  # queries whose distances to the whole corpus are in memory at the same time


@dataclass(frozen=True)
class NeighboursSettings(Settings):
    """How nearest sentences are searched.

    Attributes:
        k: number of neighbours of each query.
        metric: one of `METRICS`.
        split: the split of the run's corpus that is searched.
        n: maximum number of different sentences to search, drawn at random; None: all.
        draws: M, posterior draws per sentence, which estimate its posterior mean.
    """

    k: int = setting(5, whole, 1)
    metric: str = setting("cosine", one_of, METRICS)
    split: str = setting("test", one_of, SPLITS)
    n: int | None = setting(500, whole, 1)
    draws: int = setting(4, whole, 1, MAX_DRAWS)


@dataclass(frozen=True)
class Neighbour:
    """A sentence of the corpus and its distance from the query."""

    distance: float
    sentence: str


@dataclass(frozen=True)
class Query:
    """A given sentence, its neighbours, nearest first, and the mean distance of all searched sentences."""

    input: str
    neighbours: list[Neighbour]
    mean_distance: float


@dataclass(frozen=True, kw_only=True)
class Neighbours(Report):
    """The neighbours of each query among `n_sentences` sentences."""

    kind: ClassVar[str] = "neighbours"

    signature: str
    n_sentences: int
    queries: list[Query]

    def table(self) -> Group:
        """Return a table for each query."""
        parts: list[RenderableType] = []
        for query in self.queries:
            table = new_table(None, "distance", texts=["sentence"])
            for row in query.neighbours:
                table.add_row(f"{row.distance:.3f}", row.sentence)
            table.add_row(f"{query.mean_distance:.3f}", f"on average, {self.n_sentences:,} sentences", style="dim")
            parts += [Text(query.input), table]
        return Group(*parts)


class Nearest(NamedTuple):
    """Nearest rows of a corpus for Q queries.

    Attributes:
        rows: indices of the nearest rows (Q, k), nearest first.
        distance: their distances (Q, k).
        mean: mean distance of all rows (Q,).
    """

    rows: Tensor
    distance: Tensor
    mean: Tensor

    def among(self, sentences: Sequence[str]) -> list[list[Neighbour]]:
        """Return the neighbours of each query; rows are positions in `sentences`, even in a pandas Series."""
        sentences = list(sentences)
        columns = zip(self.distance.tolist(), self.rows.tolist(), strict=True)
        return [[Neighbour(d, sentences[row]) for d, row in zip(*each, strict=True)] for each in columns]


@own_state(grad=True)
def compute(
    run: Run, queries: Iterable[str], settings: NeighboursSettings | None = None, on_progress: Progress = silent
) -> Neighbours:
    """Find the nearest sentences of the run's corpus for each query.

    Sentences that occur several times in the split are found once. Posterior means are kept in the cache.

    Raises:
        InputError: the run is a language model, there is no query or one is too long, or all sentences of the split
            are too long.
    """
    settings, queries = settled(settings, NeighboursSettings, run), list(listed(queries))
    if not queries:
        raise InputError("there are no sentences to find neighbours of; give at least one")
    run.config.require_latent(run)
    corpus = run.corpus()
    split, n_draws = corpus.splits[settings.split], settings.draws
    model = run.model(device=settings.device)
    model.require_fitting(queries)
    warn_of_unknown(model.tokenizer, queries)
    usable = model.fitting(list(dict.fromkeys(split.sentences())))
    if not usable:
        raise InputError(f"{corpus.name} {settings.split} has no sentence that fits the model")
    lines = shuffled(usable, settings.seed)[: settings.n]
    if len(lines) < len(usable):
        logger.info(f"searching {len(lines):,} of {len(usable):,} different sentences; -n says how many")
    places = posterior_means(model, queries, n_draws=n_draws, seed=seed_apart(settings.seed), on_progress=on_progress)

    def log_nearest(means: Tensor) -> None:
        (near,) = nearest(places[:1], means, 1, settings.metric).among(lines)[0]
        logger.info(f"nearest among the first {len(means):,}: {near.sentence} ({near.distance:.3f})")

    means = kept_posterior_means(
        run, model, lines, n_draws=n_draws, seed=settings.seed, on_progress=on_progress, on_first=log_nearest
    )
    found = nearest(places, means, settings.k, settings.metric)
    what = (
        f"neighbours(k={settings.k},{settings.metric},M={n_draws},n={len(lines)})|text:{corpus.name}-{settings.split}"
    )
    return Neighbours(
        n_sentences=len(lines),
        queries=list(map(Query, queries, found.among(lines), found.mean.tolist())),
        **origin(model, run, what, settings.seed, {settings.split: split.sha256}),
    )


def nearest(queries: Tensor, corpus: Tensor, k: int, metric: str) -> Nearest:
    """Return the k rows of `corpus` (N, D), or all if k > N, that are nearest to each row of `queries` (Q, D).

    Raises:
        InputError: `metric` is not one of `METRICS`, or k is less than 1.
    """
    one_of("metric", metric, METRICS)
    k = whole("k", k, 1)
    if metric == "cosine":
        queries, corpus = F.normalize(queries, dim=1), F.normalize(corpus, dim=1)
    found: list[tuple[Tensor, ...]] = []
    for start in range(0, max(1, len(queries)), _AT_ONCE):  # at least once, even without queries
        block = queries[start : start + _AT_ONCE]
        distance = 1 - block @ corpus.T if metric == "cosine" else torch.cdist(block, corpus)
        value, rows = distance.topk(min(k, len(corpus)), largest=False)
        found.append((rows, value, distance.mean(1)))
    return Nearest(*(torch.cat(column) for column in zip(*found, strict=True)))

"""Nearest rows, against a search by hand."""

from __future__ import annotations

import pytest
import torch

from lebm_text.reports import neighbours
from lebm_text.reports.neighbours import nearest

from ..toy import normal


@pytest.mark.parametrize("metric", neighbours.METRICS)
def test_the_nearest_are_found_in_order(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", 2)
    queries, corpus = normal(5, 3, seed=1), normal(20, 3, seed=2)
    found = nearest(queries, corpus, 4, metric)
    for i, query in enumerate(queries):
        if metric == "cosine":
            distance = torch.stack([1 - query @ row / (query.norm() * row.norm()) for row in corpus])
        else:
            distance = torch.stack([(query - row).norm() for row in corpus])
        assert found.rows[i].tolist() == distance.argsort()[:4].tolist()
        torch.testing.assert_close(found.distance[i], distance.sort().values[:4])
        torch.testing.assert_close(found.mean[i], distance.mean())


def test_only_the_direction_counts_for_the_cosine() -> None:
    corpus = torch.tensor([[10.0, 1.0], [0.0, 1.0]])
    query = torch.tensor([[0.4, 0.1]])
    assert nearest(query, corpus, 1, "cosine").rows.item() == 0
    assert nearest(query, corpus, 1, "euclidean").rows.item() == 1


def test_a_small_corpus_has_few_neighbours() -> None:
    assert nearest(normal(2, 3), normal(3, 3), 9, "cosine").rows.shape == (2, 3)

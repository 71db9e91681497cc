"""Settings of reports: from Python, one line refuses what the command line refuses."""

from __future__ import annotations

from typing import Any

import pytest

from lebm_text.checks import Checked
from lebm_text.errors import InputError
from lebm_text.likelihood.sentences import AISSettings
from lebm_text.reports.anomaly import AnomalySettings
from lebm_text.reports.directions import DirectionsSettings
from lebm_text.reports.embedding import EmbeddingSettings
from lebm_text.reports.frontier import FrontierSettings
from lebm_text.reports.interpolation import InterpolationSettings
from lebm_text.reports.likelihood import LikelihoodSettings
from lebm_text.reports.neighbours import NeighboursSettings
from lebm_text.reports.perplexity import PerplexitySettings
from lebm_text.reports.reconstruction import ReconstructionSettings
from lebm_text.reports.scores import ScoreSettings
from lebm_text.reports.trajectories import TrajectoriesSettings
from lebm_text.reports.views import ViewsSettings

WITH_SPLITS: list[type[Checked]] = [AnomalySettings, DirectionsSettings, LikelihoodSettings, NeighboursSettings]
WITH_SPLITS += [ViewsSettings, EmbeddingSettings, FrontierSettings, PerplexitySettings]

REFUSED: list[tuple[type[Checked], str, Any, str]] = [
    *((settings, "split", "foo", "split must be .*test.*, got 'foo'") for settings in WITH_SPLITS),
    *((settings, "seed", -1, "seed must be >= 0, got -1") for settings in (ViewsSettings, ReconstructionSettings)),
    (ViewsSettings, "n", 0, "n must be >= 3, got 0"),
    (ViewsSettings, "n", "many", "n must be a whole number or none, got 'many'"),
    (NeighboursSettings, "n", 0, "n must be >= 1, got 0"),
    (NeighboursSettings, "metric", "foo", "metric must be cosine or euclidean, got 'foo'"),
    (ScoreSettings, "n_draws", 0, "n_draws must be >= 1, got 0"),
    (ScoreSettings, "bound", "yes", "bound must be an object or none, got 'yes'"),
    (AnomalySettings, "n_draws", 0, "n_draws must be >= 1, got 0"),
    (AnomalySettings, "resamples", 0, "resamples must be >= 20, got 0"),
    (AnomalySettings, "swaps", (0.2, 2.0), "swaps must lie in .*, got 2.0"),
    (AnomalySettings, "anomalous", "a.txt", "anomalous must be a list, got 'a.txt'"),
    (AnomalySettings, "precision", "fp8", "precision must be fp32 or bf16 or auto, got 'fp8'"),
    (TrajectoriesSettings, "factor", 0, "factor must be >= 10, got 0"),
    (DirectionsSettings, "held_out", 0, "held_out must be >= 2, got 0"),
    (DirectionsSettings, "repeats", 0, "repeats must be >= 1, got 0"),
    (DirectionsSettings, "sizes", (10, 1), "sizes must be >= 2, got 1"),
    (InterpolationSettings, "n", 3.5, "n must be a whole number, got 3.5"),
    (InterpolationSettings, "paths", ("curly",), "paths must be straight or spherical, got 'curly'"),
    (InterpolationSettings, "paths", (), "paths must have at least one of straight, spherical"),
    (LikelihoodSettings, "n_samples", 1, "n_samples must be >= 2, got 1"),
    (AISSettings, "start", "q", "start must be prior or proposal, got 'q'"),
    (ReconstructionSettings, "max_length", 0, "max_length must be >= 1, got 0"),
    (EmbeddingSettings, "k", 0, "k must be >= 1, got 0"),
    (PerplexitySettings, "temperatures", 0.8, "temperatures must be a list of numbers, got 0.8"),
    (PerplexitySettings, "temperatures", (0.0,), "temperatures must lie in .*, got 0.0"),
    (PerplexitySettings, "seeds", (1, -1), "seeds must be >= 0, got -1"),
    (PerplexitySettings, "n", 0, "n must be >= 1, got 0"),
    (PerplexitySettings, "metric", "ppl", "metric must be fppl or rppl, got 'ppl'"),
    (PerplexitySettings, "judge_seeds", 0, "judge_seeds must be >= 1, got 0"),
    (PerplexitySettings, "ngram_backend", "x", "ngram_backend must be numpy or lmplz, got 'x'"),
    (FrontierSettings, "protocol", "other", "protocol must be default or arae or lebm, got 'other'"),
    (FrontierSettings, "latents", "prior", "latents must be posterior or long, got 'prior'"),
]


@pytest.mark.parametrize(("settings", "name", "value", "message"), REFUSED)
def test_what_a_report_cannot_do_is_refused_in_one_line(
    settings: type[Checked], name: str, value: object, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        settings(**{name: value})


def test_what_is_meant_is_taken() -> None:
    found = DirectionsSettings(label_dir="labels", sizes=[10, 20])  # type: ignore[arg-type]
    assert found == DirectionsSettings(label_dir=found.label_dir, sizes=(10, 20))
    assert found.label_dir is not None
    assert found.label_dir.name == "labels"
    assert ScoreSettings(bound=AISSettings(n_chains=1)).bound == AISSettings(n_chains=1)

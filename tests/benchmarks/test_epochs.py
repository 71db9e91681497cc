"""Minutes of an epoch: the seconds of a few batches, scaled by their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import epochs

from ..lebm_text.toy import text_corpus


def test_an_epoch_is_as_long_as_its_tokens_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[int] = []

    def parts(*_: object) -> dict[str, object]:
        return dict.fromkeys(("update", "posterior", "prior", "baseline"))

    def interleaved(contestants: Mapping[str, int], repetitions: int) -> dict[str, float]:
        assert repetitions == 3
        tokens.append(contestants["update"])
        return {part: tokens[-1] * rate for part, rate in RATES.items()}

    monkeypatch.setattr(epochs, "_parts", parts)
    monkeypatch.setattr(epochs, "_on", lambda batch, run: batch.n_tokens)
    monkeypatch.setattr(epochs, "interleaved", interleaved)
    found = epochs.epoch_of("quick", text_corpus(tmp_path / "toy"), repetitions=3, smoke=True)
    assert len(tokens) == epochs.N_BATCHES
    assert found["minutes"] == pytest.approx(0.5 * found["tokens"] / 60)
    assert found["baseline_minutes"] == pytest.approx(2.0 * found["tokens"] / 60)
    assert (found["ratio"], found["posterior_share"], found["prior_share"]) == pytest.approx((4.0, 0.6, 0.3))
    assert found["rest_share"] == pytest.approx(0.1)


RATES = {"update": 0.5, "posterior": 0.3, "prior": 0.15, "baseline": 2.0}  # seconds a token

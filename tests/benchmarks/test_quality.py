"""The plain trainer and ours are one algorithm: from the same start they differ by rounding alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import quality
from benchmarks.trained import corpus_of

from ..lebm_text.toy import write_text_corpus


def test_updates_agree_with_the_plain_trainer(tmp_path: Path) -> None:
    corpus = corpus_of(str(write_text_corpus(tmp_path / "tiny")), None, None)
    plain, single, half = quality.measure(corpus, 4, smoke=True)["results"]
    assert plain["training"] == "baseline_autograd"
    assert plain["largest_difference"] == 0
    assert plain["last_nll"] < plain["first_nll"]
    # float32 has 24 bits and bfloat16 has 8: sums of a few updates stay within some hundred units of each.
    assert single["largest_difference"] < 1e-5
    assert 0 < half["largest_difference"] < 1e-2
    for name in ("valid_nll_posterior", "valid_nll_prior"):
        assert single[name] == pytest.approx(plain[name], abs=1e-5)
        assert half[name] == pytest.approx(plain[name], abs=1e-2)

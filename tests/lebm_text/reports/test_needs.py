"""Missing packages are named with the way to get them."""

from __future__ import annotations

import sys

import pytest

from lebm_text.errors import InputError
from lebm_text.reports.drawing import new_figure
from lebm_text.reports.needs import need_sklearn


@pytest.mark.parametrize("missing", ["sklearn.linear_model", "sklearn.metrics"])
def test_scikit_learn(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"scores need scikit-learn: pip install 'lebm-text\[analysis\]'"):
        need_sklearn("scores")


def test_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'lebm-text\[viz\]'"):
        new_figure(1, 1)

"""`lm_eval` is also the import name of another distribution: it is recognised, and refused in one line."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

import lm_eval
from lebm_text.errors import InputError
from lebm_text.reports.base import check_judges


@pytest.fixture(autouse=True)
def _looked_for_again() -> Iterator[None]:
    lm_eval.foreign_provider.cache_clear()
    yield
    lm_eval.foreign_provider.cache_clear()


def test_marker() -> None:
    assert lm_eval.PROVIDER == "lebm-text"
    check_judges()


@pytest.mark.parametrize("names", [["lm-eval"], ["lebm-text", "lm_eval"], ["lm_eval", "Lebm-Text"]])
def test_other_distribution_is_seen(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval, "packages_distributions", lambda: {"lm_eval": names})
    assert lm_eval.foreign_provider() in ("lm-eval", "lm_eval")
    with pytest.raises(InputError, match="same import name"):
        check_judges()


@pytest.mark.parametrize("names", [[], ["lebm-text"], ["lebm-text", "lebm-text"]])
def test_own_distribution_is_no_other(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval, "packages_distributions", lambda: {"lm_eval": names})
    assert lm_eval.foreign_provider() is None


def test_other_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", types.ModuleType("lm_eval"))
    with pytest.raises(InputError, match="different environments"):
        check_judges()

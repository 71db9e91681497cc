"""What the tests of the package share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lebm_text.reports import drawing
from lebm_text.training import monitor

from .brief import measure_briefly


@pytest.fixture(scope="session", autouse=True)
def _brief_measurements() -> Iterator[None]:
    """Before any fixture of a wider scope than a test trains."""
    before = monitor.chain_gap, monitor.largest_curvature
    measure_briefly()
    yield
    monitor.chain_gap, monitor.largest_curvature = before


@pytest.fixture
def whole_measurements(_brief_measurements: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test of what is measured."""
    for name in ("chain_gap", "largest_curvature"):
        monkeypatch.setattr(monitor, name, getattr(monitor, name).func)


@pytest.fixture(autouse=True)
def _blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """To draw a report's pictures takes a second; only tests that look at them, marked `pictures`, wait for it."""
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr(drawing, "_drawn", lambda _figure, suffix, _options: suffix.encode())

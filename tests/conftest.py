"""What all tests share: none needs the network, and those marked `gpu` are skipped without a CUDA device."""

from __future__ import annotations

import hypothesis
import pytest

# A busy machine is no failure, and examples that failed are not kept in the working directory.
hypothesis.settings.register_profile("lebm-text", deadline=None, database=None)
hypothesis.settings.load_profile("lebm-text")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Settings of the user's shell that the program reads must not change what a test sees, nor tests his cache."""
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("LEBM_TEXT_DATA", "LEBM_TEXT_RUNS", "FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):  # servers of tests are on this machine
        monkeypatch.setenv(name, "*")

"""What all tests share: none needs the network, and those marked `gpu` are skipped without a CUDA device."""

from __future__ import annotations

import os

import pytest

# Before anything imports `datasets` or `huggingface_hub`: a test that would reach for a hub fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not on_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the user's shell that the program reads must not change what a test sees."""
    for name in ("LEBM_TEXT_DATA", "LEBM_TEXT_RUNS", "FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

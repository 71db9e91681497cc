"""What tests of whole runs share."""

from __future__ import annotations

import pytest

from lebm_text.text.corpora import Corpus

from ..toy import text_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sixteen training sentences."""
    return text_corpus(tmp_path_factory.mktemp("text") / "toy", n_train=16)

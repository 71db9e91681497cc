"""A tiny run with a corpus that has labels: what the page is tried on."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lebm_text.run import Run
from lebm_text.text.corpora import find_corpus

from ..tiny import WORDS, tiny_model


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An untrained model with the record of a corpus of its six words, which has labels."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    draw = random.Random(1)
    for split in ("train", "valid", "test"):
        lines = [" ".join(draw.choices(WORDS, k=4)) for _ in range(30)]
        (corpus / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
        (corpus / f"{split}.label").write_text("".join(f"{'good' if 'cat' in line else 'bad'}\n" for line in lines))
    tiny_model().save_pretrained(tmp_path / "run")
    described = find_corpus(str(corpus)).describe()
    (tmp_path / "run" / "env.json").write_text(json.dumps({"corpus": described}))
    return Run(tmp_path / "run")

"""What each of several processes does in their test: `python -m tests.lebm_text.one_of_several DIRECTORY CORPUS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from lebm_text.config import Config
from lebm_text.generation.generate import Generation
from lebm_text.likelihood.sentences import AISSettings, ais_bounds
from lebm_text.model import LatentEBM
from lebm_text.processes import Processes, joined
from lebm_text.training import trainer
from lebm_text.training.train import train

from .brief import measure_briefly
from .toy import toy_config, toy_corpus

__all__ = ["BREAK", "CASES", "case", "figures", "runs"]

BREAK = 5  # updates before a run is continued by another number of processes

CASES: dict[str, dict[str, Any]] = {
    # In batches of 3, 25 sentences leave a last one of 1: fewer than there are processes. And prior steps so long that
    # they are halved: the curvature of p0 alone is 1, so that the level is 1.2² / 4.
    "chains": {"inference": {"persistent": True}, "training": {"batch_size": 3}, "prior": {"step_size": 1.2}},
    "encoder": {"inference": {"kind": "amortized", "free_bits": 0.5}},
    "local": {"inference": {"kind": "local", "n_steps": 4}},
    "language-model": {"model": {"latent_dim": 0, "dropout": 0.0}},
    "starting": {"model": {"z_dropout": 0.4}, "training": {"n_epochs": 2, "init": "lm", "init_epochs": 1}},
}


def case(name: str) -> Config:
    """The configuration of that name: one epoch, no dropout, whose masks do depend on the number of processes."""
    return toy_config({"model": {"dropout": 0.0}, "training": {"n_epochs": 1}}).merge(CASES[name])


def runs(directory: Path, corpus: Path) -> None:
    """Every case; one of them in part; and to its end what another number of processes has left in part."""
    with patch.object(trainer, "CHECK_EVERY", BREAK - 1):
        for name in CASES:
            train(corpus, config=case(name), out=directory / name, device="cpu")
        train(corpus, config=case("chains"), out=directory / "part", device="cpu", max_steps=BREAK)
        if (directory / "others-part").exists():
            train(out=directory / "others-part", resume=True, device="cpu")


def figures(run: Path, processes: Processes) -> dict[str, Any]:
    """Sentences of a trained model and bounds on its likelihood, in several batches."""
    model = LatentEBM.from_pretrained(run, device="cpu")
    drawn = Generation(model.model, model.tokenizer, model.config, 40, batch_size=8, processes=processes).all()
    corpus = toy_corpus([3, 2, 5], vocab_size=len(model.tokenizer))
    prior, generator = model.model.prior, model.model.generator
    settings = AISSettings(n_steps=2, n_chains=128, n_moves=1)  # two sentences a batch
    bounds = ais_bounds(prior, generator, corpus, np.arange(3), settings, seed=1, processes=processes)
    return {
        "sentences": drawn.sentences,
        "z": drawn.z.tolist(),
        "bounds": bounds.log_a.value.tolist(),
        "chains": bounds.z.tolist(),
    }


def _main(directory: Path, corpus: Path) -> None:
    measure_briefly()
    with joined("cpu") as processes:
        runs(directory, corpus)
        found = figures(directory / "chains", processes)
    if processes.first:
        (directory / "figures.json").write_text(json.dumps(found))


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))

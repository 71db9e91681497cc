"""Train a model, write samples and judge them: the first commands of the README, from Python."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from tiny_text import write

from lebm_text import reports, train
from lebm_text.generation.samples import write_samples
from lebm_text.reports.perplexity import PerplexitySettings

SETTINGS = {
    "model": {"latent_dim": 8, "embedding_dim": 32, "hidden_dim": 32},
    "inference.n_steps": 5,
    "prior.n_steps": 10,
    "training": {"n_epochs": 6, "batch_size": 32, "learning_rate": 0.01, "n_threads": 1},
}


def progress(stage: str, done: int, total: int) -> None:
    """Print when a stage is done; by default the library prints nothing."""
    if done == total:
        print(f"{stage}: {total:,} done")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        text, out = write(Path(name) / "text"), Path(name) / "run"
        run = train(text, out=out, overrides=SETTINGS, max_steps=50, device="cpu", on_progress=progress)
        run = train(out=out, resume=True, device="cpu", on_progress=progress)  # continues as if never interrupted
        print({key: round(value, 3) for key, value in run.metrics()[-1].items()})

        samples = run.model(device="cpu").generate(200, temperature=0.8)
        write_samples(run.sample_file("cool.txt"), samples, run)
        print(*samples.sentences[:3], sep="\n")

        settings = PerplexitySettings(lm="kn5", n=200, temperatures=(0.8,), device="cpu")
        report = reports.perplexity.compute(run, settings)
        report.save(run.report_file("fppl"))
        Console(width=140).print(report.table())


if __name__ == "__main__":
    main()

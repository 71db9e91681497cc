r"""The method on images: samples, the path from p0 to p_α, a table of three models, and anomalies.

    python examples/images -o out                     # scikit-learn's digits, which need no download
    python examples/images -o out --data mnist        # or svhn, cifar10, celeba, through the package datasets

Experiments 1, 3, 4 and 5 of Pang et al. (NeurIPS 2020) on the toolkit's own priors, chains and trainer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from dataset import SOURCES, Images, load
from experiments import N_SAMPLES, anomalies, comparison, distances
from learning import SETTINGS, Learned, learn
from measures import Features, draw, fid_metric, reconstruct
from pictures import animate, draw_transition, save_grid, transition

from lebm_text.errors import InputError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(prog="examples/images", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="for pictures and tables")
    parser.add_argument("--data", choices=("digits", *SOURCES), default="digits")
    parser.add_argument("--seeds", type=int, default=3, help="models of each kind in both tables (default: 3)")
    parser.add_argument("--updates", type=int, help="of each model (default: by the data)")
    parser.add_argument("--fid", action="store_true", help="FID, too, by torchmetrics and its Inception weights")
    if torch.cuda.is_available():
        parser.add_argument("--precision", choices=[*PRECISIONS], default="fp32", help="bf16 is timed beside fp32")
    given = parser.parse_args()
    for name in ("seeds", "updates"):
        if (value := getattr(given, name)) is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"-o must be a directory, and {given.out} is none")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        run(given)
    except (InputError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


def run(given: argparse.Namespace) -> None:
    """Train the models and write the results."""
    started, device = time.process_time(), "cuda" if torch.cuda.is_available() else "cpu"
    settings = SETTINGS[given.data]
    settings = replace(settings, n_updates=given.updates or settings.n_updates)
    precision = getattr(given, "precision", "fp32")

    def learner(name: str, images: Images, seed: int) -> Learned:
        say(f"{name}, seed {seed}, {len(images):,} images")
        return learn(name, images, settings, seed=seed, device=device, dtype=PRECISIONS[precision])

    if given.fid:
        fid_metric()  # refused before any training
    train, test = load(given.data)
    features = Features.learn(train, test)
    table, learned = comparison(learner, train, test, features, n_seeds=given.seeds, with_fid=given.fid)
    tables = {"models": table}
    draw_pictures(learned, test.batch(slice(64), device).pixels, features, given.out)
    if given.data in ("digits", "mnist"):
        tables["anomalies"] = anomalies(learner, train, test, n_seeds=given.seeds)
    text = "\n".join(each.markdown() for each in tables.values())
    (given.out / "results.md").write_text(text, encoding="utf-8")
    record = {
        "data": given.data,
        "settings": asdict(settings),
        "seeds": given.seeds,
        "device": device,
        "precision": precision,
        "classifier_accuracy": features.accuracy,
        "cpu_seconds": time.process_time() - started,
        **{name: each.values for name, each in tables.items()},
    }
    if precision != "fp32":
        # The first update of each initialises libraries, the second is measured.
        record["seconds_per_update"] = {
            name: learn("LEBM", train, replace(settings, n_updates=50), seed=1, device=device, dtype=dtype).seconds
            for name, dtype in [*PRECISIONS.items()] * 2
        }
        print(*(f"{name}: {1e3 * each:.1f} ms per update" for name, each in record["seconds_per_update"].items()))
    (given.out / "results.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(text)
    print(f"{record['cpu_seconds']:.0f} CPU seconds; pictures and tables are in {given.out}")


def draw_pictures(learned: Learned, real: torch.Tensor, features: Features, out: Path) -> None:
    """Write samples, reconstructions next to the images, and the path from p0 to p_α."""
    save_grid(draw(learned, 64, seed=1), 8, out / "samples.png")
    save_grid(torch.stack([real, reconstruct(learned, real, seed=1)], 1).flatten(0, 1), 16, out / "reconstructions.png")
    seen = transition(learned, N_SAMPLES, seed=1)
    n_steps = len(seen.z) - 1
    steps = sorted({round(i * n_steps / 10) for i in range(11)})
    draw_transition(learned, seen, distances(learned, seen, features, steps), out / "transition.png")
    animate(learned, seen, out / "transition.gif")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

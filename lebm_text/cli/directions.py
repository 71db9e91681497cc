"""`lebm-text directions`: the direction of the latent space that stands for an attribute of labelled sentences."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text.errors import InputError
from lebm_text.store import sha256_file

from .labelled import choose, label_file, labelled_split, positive_label
from .latent import draws_option, find_latent_run, publish, report_file, report_option, run_corpus, sources
from .options import MAX_SEED, data_dir_option, device_option, json_option
from .posterior_files import kept_posterior_means
from .sampling import run_option

if TYPE_CHECKING:
    from lebm_text.model import LatentEBM
    from lebm_text.reports.directions import Labels, Probe, Scores
    from lebm_text.text.labels import Labelled

__all__ = ["command"]

_SIZES = (10, 100, 1000, 10_000)
_SHIFTS = (-4.0, -2.0, 0.0, 2.0, 4.0)


@click.command("directions")
@run_option
@data_dir_option
@click.option(
    "--labels",
    "label_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of train.label and of that of the split, a label a line.  [default: beside the text]",
)
@click.option("--positive", metavar="LABEL", help="The label of the attribute.  [default: the later of two]")
@click.option("--split", type=click.Choice(["valid", "test"]), default="valid", show_default=True)
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(2),
    multiple=True,
    help="Labelled sentences to learn from; repeatable.  [default: 10, 100, 1000, 10000 as far as there are]",
)
@click.option("--repeats", type=click.IntRange(1, 1000), default=10, show_default=True, help="Draws of each size.")
@click.option("--held-out", type=click.IntRange(2), default=2000, show_default=True, help="Sentences to test on.")
@click.option("--moved", type=click.IntRange(2), default=200, show_default=True, help="Sentences to move.")
@click.option("--shown", type=click.IntRange(0), default=4, show_default=True, help="Of these to show.")
@draws_option
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=1, show_default=True)
@device_option
@json_option
@report_option("directions")
def command(
    run: Path | None,
    data_dir: Path | None,
    label_dir: Path | None,
    positive: str | None,
    split: str,
    sizes: tuple[int, ...],
    repeats: int,
    held_out: int,
    moved: int,
    shown: int,
    draws: int,
    seed: int,
    device: str,
    as_json: bool,
    output: Path | None,
) -> None:
    """Find the direction of an attribute, say how well it tells sentences apart, and move sentences along it.

    The corpus needs train.label and valid.label beside train.txt and valid.txt (a label a line, an empty one where
    there is none), or in the directory --labels. A linear probe of posterior means learns from 10, 100, … labelled
    sentences; the majority class and a bag of words from the same labels stand beside it. Moved sentences are judged
    by a bag-of-words classifier, beside a move as far in a random direction.
    """
    run = find_latent_run(run)

    from lebm_text.model import LatentEBM
    from lebm_text.reports.directions import accuracy_by_size, bag_of_words, fit_probe, plot_directions
    from lebm_text.reports.needs import need_sklearn

    need_sklearn("attribute directions")
    import numpy as np

    file = report_file(run, "directions", output)
    corpus = run_corpus(run, data_dir)
    labelled = {name: labelled_split(corpus, name, label_dir) for name in ("train", split)}
    positive = positive_label(labelled["train"], positive)
    model = LatentEBM.from_pretrained(run, device=device)
    sizes = tuple(sorted(set(sizes)))
    longest = max(sizes, default=_SIZES[-1])
    chosen = {
        name: choose(model, labelled[name], n, seed) for name, n in (("train", longest), (split, max(held_out, moved)))
    }
    train, tests = chosen["train"], chosen[split]
    if len(train) < max(sizes, default=2):
        raise InputError(f"{corpus.name} train has {len(train):,} labelled sentences, fewer than --size {longest:,}")
    for name, rows in chosen.items():
        if len({row.label == positive for row in rows}) < 2:
            raise InputError(f"the {len(rows):,} labelled sentences of {corpus.name} {name} are all of one class")
    sizes = sizes or tuple(size for size in _SIZES if size <= len(train)) or (len(train),)
    truth = {name: np.array([row.label == positive for row in rows]) for name, rows in chosen.items()}
    texts = {name: [row.sentence for row in rows] for name, rows in chosen.items()}
    means = {
        name: kept_posterior_means(model, run, sentences, n_draws=draws, seed=seed, quiet=as_json)
        for name, sentences in texts.items()
    }
    n = min(held_out, len(tests))
    features = {
        "probe": (means["train"].numpy(), means[split][:n].numpy()),
        "bag_of_words": bag_of_words(texts["train"], texts[split][:n]),
    }
    scores = {
        name: accuracy_by_size((learned, truth["train"]), (tested, truth[split][:n]), sizes, repeats, seed=seed)
        for name, (learned, tested) in features.items()
    }
    probe = fit_probe(means["train"], truth["train"])
    share = float(truth[split][:n].mean())
    facts = f"directions(M={draws},repeats={repeats})|text:{corpus.name}-{split}|positive:{positive}"
    report: dict[str, Any] = {
        "metric": "directions",
        **sources(facts, model, run, seed=seed, packages=["scikit-learn"]),
        "positive": positive,
        "n_labelled": {name: len(rows) for name, rows in labelled.items()},
        "n_held_out": n,
        "majority": max(share, 1 - share),
        "accuracy": [
            {"n": size} | {name: _scores(rows[i], n) for name, rows in scores.items()} for i, size in enumerate(sizes)
        ],
        "direction": probe.direction.tolist(),
        "scale": probe.scale,
        **_moved(model, probe, tests[:moved], texts["train"], truth["train"], shown=shown, seed=seed),
    }
    for name in chosen:
        report["sha256"] |= {
            name: corpus.splits[name].sha256,
            f"{name}.label": sha256_file(label_file(corpus, name, label_dir)),
        }
    publish(report, file, {"": partial(plot_directions, report)}, _lines(report), as_json=as_json)


def _scores(scores: Scores, n: int) -> dict[str, Any]:
    """`standard_error`: from the n held-out sentences; `spread`: over the draws of labelled ones."""
    mean = scores.mean
    error = math.sqrt(mean * (1 - mean) / n)
    return {"mean": mean, "spread": scores.spread, "standard_error": error, "draws": scores.accuracy}


def _moved(
    model: LatentEBM,
    probe: Probe,
    rows: list[Labelled],
    train: list[str],
    truth: Labels,
    *,
    shown: int,
    seed: int,
) -> dict[str, Any]:
    """Sentences moved along the direction and along a random one, and the share that is then taken for positive."""
    from lebm_text.reports.directions import classify, move, other_direction

    z = model.infer([row.sentence for row in rows], seed=seed)
    steps = {"attribute": probe.direction, "random": other_direction(probe.direction, seed=seed)}
    texts = {name: move(model, z, probe.scale * step, _SHIFTS) for name, step in steps.items()}
    verdicts = iter(classify(train, truth, [text for moved in texts.values() for text in moved]))
    shares = {
        name: [{"shift": shift} | _share(float(next(verdicts).mean()), len(rows)) for shift in _SHIFTS]
        for name in texts
    }
    sentences = [
        {
            "input": row.sentence,
            "label": row.label,
            "moved": [{"shift": s, "sentence": text[i]} for s, text in zip(_SHIFTS, texts["attribute"], strict=True)],
        }
        for i, row in enumerate(rows[:shown])
    ]
    return {"moved": shares, "sentences": sentences}


def _share(share: float, n: int) -> dict[str, float]:
    return {"share_positive": share, "standard_error": math.sqrt(share * (1 - share) / n)}


def _lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    lines = [
        f"accuracy on {report['n_held_out']:,} held-out sentences; majority class {report['majority']:.3f}",
        f"{'labels':>8}{'probe of posterior means':>28}{'bag of words':>22}",
    ]
    for row in report["accuracy"]:
        cells = (_accuracy(row[name]) for name in ("probe", "bag_of_words"))
        lines.append("{:>8,}{:>28}{:>22}".format(row["n"], *cells))
    lines.append(f"moved by so many standard deviations: share that a bag of words takes for {report['positive']!r}")
    for name, rows in report["moved"].items():
        shares = (f"{row['shift']:+.0f}: {row['share_positive']:.2f} ± {row['standard_error']:.2f}" for row in rows)
        lines.append(f"{name:>10}  " + "  ".join(shares))
    for row in report["sentences"]:
        lines.append(f"{row['label']:>6}  {row['input']}")
        lines += [f"{moved['shift']:+6.0f}  {moved['sentence']}" for moved in row["moved"]]
    return lines


def _accuracy(scores: dict[str, Any]) -> str:
    return f"{scores['mean']:.3f}" + ("" if scores["spread"] is None else f" ± {scores['spread']:.3f}")

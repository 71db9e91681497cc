"""The parts of a report: a result with its texts' look, the spread over seeds, calibration, versions."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import TYPE_CHECKING, Any

from lebm_text import __version__

if TYPE_CHECKING:
    from lebm_text.processes import Processes
    from lm_eval.protocol import Evaluator, JudgeResult
    from lm_eval.texts import RealText

    from .sample_files import SampleFile

__all__ = ["Look", "calibrate", "cost", "record", "spreads", "versions"]

_PACKAGES = ("numpy", "torch", "ufal-kenlm", "kenlm", "sacrebleu")


@dataclass(frozen=True)
class Look:
    """What samples, held-out text and training text look like, ready for JSON; `diversity` if it was asked for.

    Lengths are measured against the training text, which the generator has learned from: some corpora hold out
    sentences of another length.
    """

    samples: dict[str, Any]
    real: dict[str, Any]
    train: dict[str, Any]
    diversity: dict[str, Any] | None

    @classmethod
    def of_all(cls, texts: Iterable[SampleFile], real: RealText, *, diversity_seed: int | None) -> Iterator[Look]:
        """Count and compare; `diversity_seed` asks for the costlier part and draws what it samples."""
        from lm_eval import diversity

        held_out, train = (asdict(diversity.summarise(text, real.train)) for text in (real.held_out, real.train))
        for text in texts:
            sentences = text.samples.sentences
            summary = diversity.summarise(sentences, real.train, truncated_rate=text.truncated_rate)
            distance = diversity.length_distance(sentences, real.train)
            compared = None
            if diversity_seed is not None:
                compared = asdict(diversity.compare(sentences, real.held_out, real.train, seed=diversity_seed))
            samples = {"path": str(text.path), **asdict(summary), "length_distance": distance}
            yield cls(samples, held_out, train, compared)


def record(text: SampleFile, result: JudgeResult, look: Look) -> dict[str, Any]:
    """One result, ready for JSON, with how the samples were made and what they look like beside it."""
    row = asdict(result)
    row["signature"] += f"|v:{__version__}"
    row |= {"text": text.label, **text.made, "samples": look.samples, "real": look.real, "train": look.train}
    if look.diversity is not None:
        row["diversity"] = look.diversity
    return row


def spreads(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviations of each figure that has several seeds: one a metric, judge and decoding."""
    from lm_eval.perplexity import spread

    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in results:
        key = (row["metric"], row["judge"], row.get("decode"), row.get("temperature"))
        groups.setdefault(key, []).append(row)
    found = []
    for (metric, judge, decode, temperature), rows in groups.items():
        if len(rows) > 1:
            seeds = [(row.get("seed"), row["judge_seed"]) for row in rows]
            figures = {
                name: asdict(spread({seed: row[name] for seed, row in zip(seeds, rows, strict=True)}))
                for name in ("ppl", "ratio")
            }
            figures["real_ppl"] = asdict(spread({(None, row["judge_seed"]): row["real_ppl"] for row in rows}))
            made = {"decode": decode, "temperature": temperature}
            made = {name: value for name, value in made.items() if value is not None}
            found.append({"metric": metric, "judge": judge, **made, **figures})
    return found


def cost(metric: str, evaluator: Evaluator) -> float:
    """What a judgement takes, in no unit: RPPL trains a judge of its own, and an LSTM takes longer than counts do."""
    return 2 * (metric == "rppl") + (not evaluator.spec.cheap)


def calibrate(
    evaluators: Sequence[Evaluator], metric: str, real: RealText, n: int, seed: int, peers: Processes
) -> list[dict[str, Any]]:
    """The metric of texts of known quality, `n` sentences each, the work shared with the `peers`.

    RPPL trains a judge for every text: where there is a judge that learns in seconds, it alone does so.
    """
    from lm_eval.calibration import calibration_texts
    from lm_eval.texts import Samples

    chosen = [evaluator for evaluator in evaluators if evaluator.spec.seed in (None, 1)]
    if metric == "rppl":
        chosen = [evaluator for evaluator in chosen if evaluator.spec.cheap] or chosen
    texts = [Samples(sentences, label) for label, sentences in calibration_texts(real.train, n, seed)]
    units = list(product(texts, chosen))
    results: list[JudgeResult] = peers.each(
        [partial(getattr(evaluator, metric), text) for text, evaluator in units],
        [cost(metric, evaluator) for _, evaluator in units],
    )
    rows = []
    for (text, _), result in zip(units, results, strict=True):
        figures = {"ppl": result.ppl, "ratio": result.ratio, "signature": result.signature}
        rows.append({"text": text.decoding, "judge": result.judge, **figures})
    return rows


def versions() -> dict[str, str]:
    """Of this program, Python, and the packages that the figures depend on."""
    found = {"lebm-text": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found

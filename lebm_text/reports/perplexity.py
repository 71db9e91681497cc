"""Report on forward or reverse perplexity of samples, real text and texts of known quality under one or more judges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar

from rich.console import Group

from lebm_text.checks import one_of, setting
from lebm_text.environment import versions
from lebm_text.processes import ALONE, Processes
from lebm_text.progress import Progress, silent
from lm_eval.coverage import Coverage
from lm_eval.diversity import Diversity, SampleSummary
from lm_eval.protocol import METRICS
from lm_eval.texts import Samples, calibration_texts

from .base import format_interval, new_table, settled
from .judged import OUTSIDE, Judged, JudgedText, decoding_of, judge_of, listing, name_of, one_each, outside
from .judging import JudgeSettings, Judging, prepare, spreads
from .texts import RealSource, SampleSource

__all__ = ["KnownText", "Perplexity", "PerplexitySettings", "compute"]


@dataclass(frozen=True)
class PerplexitySettings(JudgeSettings):
    """Settings of a perplexity report, besides `JudgeSettings`.

    Attributes:
        metric: fppl: a judge trained on real text scores the samples; rppl: one trained on samples scores real text.
        diversity: also compute BLEU, self-BLEU, distinct-n, repetition and the share of n-grams found in the training
            text.
        calibrate: also judge texts of known quality.
    """

    metric: str = setting("fppl", one_of, tuple(METRICS))
    diversity: bool = False
    calibrate: bool = False


@dataclass(frozen=True)
class KnownText:
    """The perplexity of a text of known quality."""

    text: str
    judge: str
    ppl: float
    ratio: float
    signature: str
    coverage: Coverage | None = None


@dataclass(frozen=True, kw_only=True)
class Perplexity(Judged):
    """FPPL or RPPL of each text under each judge, and of texts of known quality if they were requested."""

    kind: ClassVar[str] = "perplexity"

    metric: str
    calibration: list[KnownText] = field(default_factory=list)

    def table(self) -> Group:
        """Return a table of samples, real text and calibration texts, and lines that describe samples and judges."""
        headings = ("judge", self.metric.upper(), "95 %", OUTSIDE, "excl. OOV", "OOV", "ratio", "bits/byte")
        title = f"{self.metric.upper()} on {self.corpus.name}, {self.corpus.split}"
        table = new_table(title, "text", *headings, keys=2)
        for row in self.results:
            decoding = decoding_of(row, self.results)
            table.add_row(
                decoding if name_of(row.text) else listing("samples", decoding),
                judge_of(row, self.results),
                f"{row.ppl:.2f}",
                format_interval(*row.ci95),
                outside(row.coverage),
                "none" if row.ppl_excluding_oov is None else f"{row.ppl_excluding_oov:.2f}",
                f"{row.n_oov:,}",
                f"{row.ratio:.3f}",
                f"{row.bits_per_byte:.3f}",
            )
        for row in one_each(self.results, "judge", "judge_seed"):
            figures = f"{row.real_ppl:.2f}", format_interval(*row.real_ci95), outside(row.real_coverage)
            bits = f"{row.real_bits_per_byte:.3f}"
            label = "real data (train → held out)"
            table.add_row(label, judge_of(row, self.results), *figures, "", "", "", bits)
        for row in self.results:
            if "real_ppl_at_n" in row.extra:
                label = f"real data, {row.samples.n_sentences:,} sentences"
                table.add_row(label, row.judge, f"{row.extra['real_ppl_at_n']:.2f}")
                break
        for known in self.calibration:
            cells = f"{known.ppl:.2f}", "", outside(known.coverage), "", "", f"{known.ratio:.3f}"
            table.add_row(known.text, known.judge, *cells)
        samples = (line for row in one_each(self.results, "text") for line in _sample_lines(row))
        return self.described(table, lines=samples)


def compute(
    source: SampleSource,
    settings: PerplexitySettings | None = None,
    on_progress: Progress = silent,
    processes: Processes = ALONE,
    *,
    corpus: RealSource = None,
) -> Perplexity:
    """Compute the perplexity of the samples of a run, or of other texts.

    Args:
        source: a run, whose missing samples are generated, the path of a text file, a list of sentences, or several
            such texts by their names, with as many sentences each.
        settings: None: the defaults.
        on_progress: called with the progress.
        processes: share the judging; all of them get the report.
        corpus: the real text; required if `source` is not a run.

    Raises:
        InputError: a text is missing or cannot be read, arguments contradict each other, or several texts differ in
            their number of sentences or have a name that a report needs for something else.
    """
    settings = settled(settings, PerplexitySettings)
    judging = prepare(source, settings, on_progress, processes, corpus)
    results = judging.results([settings.metric], with_diversity=settings.diversity)
    return Perplexity(
        metric=settings.metric,
        corpus=judging.corpus,
        results=results,
        spread=spreads(results),
        calibration=_calibrate(judging, settings.metric) if settings.calibrate else [],
        sha256=judging.sha256,
        versions=versions(),
    )


def _calibrate(judging: Judging, metric: str) -> list[KnownText]:
    """Compute the metric of texts of known quality, with as many sentences each as there are samples.

    RPPL trains a judge for every text, so that only judges that train in seconds are used, if there are any.
    """
    judges = [evaluator for evaluator in judging.evaluators if evaluator.spec.seed in (None, 1)]
    if metric == "rppl":
        judges = [evaluator for evaluator in judges if evaluator.spec.cheap] or judges
    n = len(judging.texts[0].sentences)
    texts = [Samples(text, label) for label, text in calibration_texts(judging.real.train, n, judging.seed)]
    results = judging.judge(texts, judges, [metric], "texts of known quality")
    return [
        KnownText(text.decoding, result.judge, result.ppl, result.ratio, result.signature, result.coverage)
        for (text, _), result in zip(product(texts, judges), results, strict=True)
    ]


def _sample_lines(row: JudgedText) -> list[str]:
    text, real = row.samples, row.real
    cut = "cut off unknown" if text.truncated_rate is None else f"{text.truncated_rate:.1%} cut off"
    return [
        f"\n{text.path or name_of(row.text) or 'samples'}: {text.n_sentences:,} sentences",
        f"words per sentence (mean, 5/25/50/75/95 % points): {_lengths(text)} (train {_lengths(row.train)}, held out "
        f"{_lengths(real)}), distance to train {text.length_distance:.2f}",
        f"{text.empty_rate:.1%} empty, {cut}, {text.duplicate_rate:.1%} duplicates (real {real.duplicate_rate:.1%}), "
        f"{text.in_train_rate:.1%} verbatim in train (real {real.in_train_rate:.1%}), "
        f"{text.unk_rate:.1%} with <unk> (real {real.unk_rate:.1%})",
        *([] if row.diversity is None else _diversity_lines(row.diversity)),
    ]


def _diversity_lines(found: Diversity) -> list[str]:
    lines = [
        f"distinct-1..4 {_shares(found.distinct_n)} (real {_shares(found.real_distinct_n)}), "
        f"seq-rep-4 {found.sequence_repetition_4:.3f} (real {found.real_sequence_repetition_4:.3f}), "
        f"self-BLEU {found.self_bleu.score:.1f} (real {found.real_self_bleu.score:.1f}), "
        f"BLEU {found.bleu.score:.1f} (real {found.real_bleu.score:.1f})"
    ]
    if found.in_train:
        shares, real = _shares(found.in_train.values()), _shares(found.real_in_train.values())
        lines.append(f"{'/'.join(found.in_train)}-grams that stand in train {shares} (real {real})")
    return lines


def _shares(values: Iterable[float]) -> str:
    return "/".join(f"{share:.3f}" for share in values)


def _lengths(text: SampleSummary) -> str:
    return f"{text.mean_length:.1f} " + "/".join(f"{point:g}" for point in text.length_quantiles)

"""Report on FPPL against RPPL of a run over several decodings, or of other texts, compared with real text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Group

from lebm_text.checks import MAX_GUIDANCE, MAX_PRIOR_TEMPERATURE, in_range, one_of, setting
from lebm_text.environment import versions
from lebm_text.errors import InputError
from lebm_text.generation.samples import Decoding
from lebm_text.processes import ALONE, Processes
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lm_eval.diversity import Diversity
from lm_eval.embedding import EmbeddingScore
from lm_eval.encoders import SentenceEncoder
from lm_eval.protocol import METRICS
from lm_eval.texts import RealText

from .base import Interval, new_table, settled
from .drawing import hover, legend, listed, logarithmic, panels
from .embedding import encoder_for, score_texts, sizes_of
from .judged import HEADROOM, OUTSIDE, Decoded, Judged, JudgedText, decoding_of, judge_of, name_of, one_each, outside
from .judging import JudgeSettings, Judging, prepare, spreads
from .texts import RealSource, SampleSource

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Frontier", "FrontierSettings", "Point", "RealPoint", "compute", "label_axes"]

_TEMPERATURES = (1.0, 0.9, 0.8, 0.6)
_NO_SAMPLER = (
    "Rows marked (no sampler) are not the model's samples: z⁺ of training text is what a perfect prior would give, "
    "and a longer chain shows what the prior's own leaves."
)
_FED = (
    "FED, precision and recall: {} beside held-out text in the space of a sentence encoder; "
    "in the row of real data, training text."
)


@dataclass(frozen=True)
class FrontierSettings(JudgeSettings):
    """Settings of a frontier, besides `JudgeSettings`.

    By default temperatures are 1, 0.9, 0.8 and 0.6, and `lm` is kn5 under the default protocol.

    Attributes:
        greedy: also judge greedy decoding.
        prior_temperature: for all points; see `LatentEBM.generate`.
        guidance: for all points; see `LatentEBM.generate`.
        oracle: also judge what a better prior would give: sentences decoded from z⁺ of training text, and from the end
            of a prior chain ten times as long.
        latents: `posterior` or `long`: judge only this part of `oracle`, instead of samples of the model.
        fed: also compute embedding scores, of at most 3,000 sentences of each text; see `lebm_text.reports.embedding`.
        diversity: also compute BLEU, self-BLEU, distinct-n, repetition and the share of n-grams found in the training
            text.
    """

    greedy: bool = True
    prior_temperature: float = setting(1.0, in_range, 0.0, MAX_PRIOR_TEMPERATURE, open_start=True)
    guidance: float = setting(1.0, in_range, 0.0, MAX_GUIDANCE)
    oracle: bool = False
    latents: str | None = setting(None, one_of, tuple(HEADROOM))
    fed: bool = False
    diversity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lm is None and self.protocol == "default":
            object.__setattr__(self, "lm", "kn5")  # an LSTM for every point would take hours

    def decodings(self, run: Run) -> list[Decoding]:
        """Return the decodings that are judged: of samples of the model, and those of `oracle` or `latents`.

        Raises:
            InputError: the model does not support `prior_temperature` or `guidance`, there is no z for `oracle` or
                `latents`, or `latents` is `long` and the prior has no chain.
        """
        if (self.prior_temperature, self.guidance) != (1, 1):
            from lebm_text.generation.guidance import check_guidance
            from lebm_text.generation.latents import PriorLatents

            model = run.model(device="cpu").model
            check_guidance(model.generator, self.guidance)
            PriorLatents(model.prior, model.generator, self.prior_temperature)
        ways = [("sample", temperature) for temperature in self.temperatures or _TEMPERATURES]
        ways += [("greedy", 1.0)] if self.greedy else []
        own = [Decoding(*way, self.prior_temperature, self.guidance) for way in ways] if self.latents is None else []
        return [*own, *(self._headroom(run) if self.oracle or self.latents is not None else ())]

    def _headroom(self, run: Run) -> list[Decoding]:
        """Return the decodings of `oracle` or `latents` at every temperature."""
        run.config.require_latent(run)
        kinds = {"posterior": 1.0}  # kind → prior temperature, which the posterior does not have
        if run.model(device="cpu").model.prior.chain is not None:
            kinds["long"] = self.prior_temperature
        elif self.latents == "long":
            raise InputError(f"the prior of {run} is drawn from without a chain, so there is none to make longer")
        kinds = {kind: prior for kind, prior in kinds.items() if self.latents in (None, kind)}
        pairs = product(kinds.items(), self.temperatures or _TEMPERATURES)
        return [Decoding("sample", t, prior, self.guidance, kind) for (kind, prior), t in pairs]


@dataclass(frozen=True, kw_only=True)
class Point(Decoded):
    """FPPL and RPPL of a text under one judge, and their ratios to the perplexity of real text."""

    judge: str
    judge_seed: int | None
    fppl: float
    fppl_ratio: float
    rppl: float
    rppl_ratio: float


@dataclass(frozen=True, kw_only=True)
class RealPoint:
    """Perplexity of real text under one judge; its FPPL and RPPL are the same number.

    `rppl_at_n` is the RPPL of as many real training sentences as there are samples, if these are fewer.
    """

    judge: str
    judge_seed: int | None = None
    ppl: float
    ci95: Interval
    rppl_at_n: float | None = None


@dataclass(frozen=True, kw_only=True)
class Frontier(Judged):
    """FPPL and RPPL of each decoding or text under each judge, and those of real text.

    Attributes:
        headroom: points that are not samples of the model, but show what a better prior would give.
        meaning: label of a text → its embedding scores, if they were requested.
        real_meaning: embedding scores of real training text.
    """

    kind: ClassVar[str] = "frontier"

    points: list[Point]
    real: list[RealPoint]
    headroom: list[Point] = field(default_factory=list)
    meaning: dict[str, EmbeddingScore] = field(default_factory=dict)
    real_meaning: EmbeddingScore | None = None

    @property
    def every(self) -> list[Point]:
        """All points: `points`, then `headroom`."""
        return [*self.points, *self.headroom]

    def table(self) -> Group:
        """Return a table of the points, a table describing the samples, and lines on spread and training of judges."""
        title = f"FPPL and RPPL on {self.corpus.name}, {self.corpus.split}"
        further = ("FED", "precision", "recall") if self.real_meaning else ()
        what = "text" if any(name_of(point.text) for point in self.points) else "decoding"
        figures = new_table(title, what, "judge", "FPPL", "ratio", "RPPL", "ratio", OUTSIDE, *further, keys=2)
        coverages = {row.text: row.coverage for row in self.results}
        for point in self.every:
            pairs = ((point.fppl, point.fppl_ratio), (point.rppl, point.rppl_ratio))
            cells = [cell for ppl, ratio in pairs for cell in (f"{ppl:.2f}", f"{ratio:.3f}")]
            share = outside(coverages[point.text])
            meaning = _meaning(self.meaning.get(point.text))
            figures.add_row(self._decoding(point), judge_of(point, self.every), *cells, share, *meaning)
        for real in self.real:
            judge, ppl = judge_of(real, self.real), f"{real.ppl:.2f}"
            share = outside(self.results[0].real_coverage)
            figures.add_row("real data", judge, ppl, "1.000", ppl, "1.000", share, *_meaning(self.real_meaning))
            if real.rppl_at_n is not None:
                cells = ["", "", f"{real.rppl_at_n:.2f}", f"{real.rppl_at_n / real.ppl:.3f}"]
                figures.add_row(f"real data, {self.results[0].samples.n_sentences:,} sentences", judge, *cells)
        varied = ("self-BLEU", "4-grams of train") if any(row.diversity for row in self.results) else ()
        columns = (what, "words", "empty", "cut", "dupl.", "copied", *varied)
        described = new_table("what the samples look like", *columns)
        points = {point.text: point for point in self.every}
        for row in one_each(self.results, "text"):
            summary = row.samples
            rates = (summary.empty_rate, summary.truncated_rate, summary.duplicate_rate, summary.in_train_rate)
            cells = ["" if rate is None else f"{rate:.1%}" for rate in rates]
            cells += _variety(row.diversity)
            described.add_row(self._decoding(points[row.text]), f"{summary.mean_length:.1f}", *cells)
        of_real = ["", "", "", "", *_variety(self.results[0].diversity, of_real=True)] if varied else []
        described.add_row("real data", f"{self.results[0].real.mean_length:.1f}", *of_real)
        lines = [_NO_SAMPLER] if self.headroom else []
        lines += [] if self.real_meaning is None else [_FED.format(sizes_of(self.meaning.values(), self.real_meaning))]
        return self.described(figures, described, lines=lines)

    def _decoding(self, point: Point) -> str:
        return decoding_of(point, self.every) or "samples"

    def figure(self) -> Figure:
        """Return a picture with a panel for each judge; means over seeds are joined in order of temperature."""
        judges = list(dict.fromkeys(point.judge for point in self.every))
        figure, axes = panels([f"judge: {judge} (near real text is good)" for judge in judges], size=(6, 5))
        for panel, judge in zip(axes, judges, strict=True):
            _draw_real(panel, [row for row in self.real if row.judge == judge])
            _draw_headroom(panel, [point for point in self.headroom if point.judge == judge])
            points = [point for point in self.points if point.judge == judge]
            _draw_texts(panel, [point for point in points if name_of(point.text)])
            _draw_points(panel, [point for point in points if not name_of(point.text)])
            label_axes(panel)
        return figure


def compute(
    source: SampleSource,
    settings: FrontierSettings | None = None,
    on_progress: Progress = silent,
    processes: Processes = ALONE,
    *,
    corpus: RealSource = None,
) -> Frontier:
    """Compute FPPL and RPPL of a run decoded at several temperatures and greedily; each other text is one point.

    Arguments and exceptions are as for `lebm_text.reports.perplexity.compute`.
    """
    settings = settled(settings, FrontierSettings)
    if not isinstance(source, Run):
        if (settings.prior_temperature, settings.guidance) != (1, 1):
            raise InputError("prior_temperature and guidance are for a run; a given text is judged as it is")
        if settings.oracle or settings.latents is not None:
            asked = "oracle" if settings.latents is None else f"latents = {settings.latents}"
            raise InputError(
                f"{asked} is for a run, whose model makes other sentences; a given text is judged as it is"
            )
    encoder: SentenceEncoder | None = None

    def check(real: RealText, n_samples: int) -> None:
        nonlocal encoder  # loaded before minutes of work, in case it is missing
        if settings.fed:
            encoder = encoder_for(real, n_samples, device=settings.device)

    judging = prepare(source, settings, on_progress, processes, corpus, check)
    results = judging.results(METRICS, with_diversity=settings.diversity)
    pairs = list(zip(results[::2], results[1::2], strict=True))
    points = [_point(*pair) for pair in pairs]
    meaning, real_meaning = ({}, None) if encoder is None else _meanings(judging, encoder)
    return Frontier(
        corpus=judging.corpus,
        results=results,
        spread=spreads(results),
        points=[point for point in points if point.latents is None],
        headroom=[point for point in points if point.latents is not None],
        real=[_real(row) for row in one_each([row for _, row in pairs], "judge", "judge_seed")],
        meaning=meaning,
        real_meaning=real_meaning,
        sha256=judging.sha256,
        versions=versions(*(("sentence-transformers", "transformers", "mauve-text") if settings.fed else ())),
    )


def _meanings(judging: Judging, encoder: SentenceEncoder) -> tuple[dict[str, EmbeddingScore], EmbeddingScore]:
    """Return embedding scores by text, and those of real training text; the first process computes them."""
    processes, texts, split = judging.processes, judging.texts, judging.corpus.split
    found = None
    if processes.first:
        found = score_texts(texts, judging.real, split, encoder, seed=judging.seed, on_progress=judging.on_progress)
    scores, real = processes.every(found)[0] or ([], None)
    assert real is not None
    return {text.label: score for text, score in zip(texts, scores, strict=True)}, real


def _meaning(score: EmbeddingScore | None) -> list[str]:
    """Return the table cells of embedding scores; none without scores."""
    return [] if score is None else [f"{score.frechet:.1f}", f"{score.precision:.3f}", f"{score.recall:.3f}"]


def _variety(found: Diversity | None, *, of_real: bool = False) -> list[str]:
    """Return the table cells of diversity; none if it was not computed."""
    if found is None:
        return []
    bleu, in_train = (found.real_self_bleu, found.real_in_train) if of_real else (found.self_bleu, found.in_train)
    return [f"{bleu.score:.1f}", f"{in_train['4']:.3f}" if "4" in in_train else ""]


def _point(forward: JudgedText, reverse: JudgedText) -> Point:
    names = ("judge", "judge_seed", *(each.name for each in fields(Decoded)))
    same = {name: getattr(forward, name) for name in names}
    return Point(**same, fppl=forward.ppl, fppl_ratio=forward.ratio, rppl=reverse.ppl, rppl_ratio=reverse.ratio)


def _real(row: JudgedText) -> RealPoint:
    at_n = row.extra.get("real_ppl_at_n")
    return RealPoint(judge=row.judge, judge_seed=row.judge_seed, ppl=row.real_ppl, ci95=row.real_ci95, rppl_at_n=at_n)


def _draw_real(axes: Axes, rows: Sequence[RealPoint]) -> None:
    """Draw a star at the perplexities of real text, and a hollow star for the RPPL of as many real sentences."""
    real = fmean(row.ppl for row in rows)
    stars = {"real text": (real, real, "C3")}
    fewer = [row.rppl_at_n for row in rows if row.rppl_at_n is not None]
    if fewer:
        stars["real text, as many sentences"] = (real, fmean(fewer), "none")
    for label, (x, y, fill) in stars.items():
        (star,) = axes.plot(x, y, "*", color="C3", markerfacecolor=fill, markersize=12)
        hover(star, [label])
        axes.annotate(label, (x, y), textcoords="offset points", xytext=(6, 4), fontsize="small", color="C3")
        axes.axhline(y, color="C3", linewidth=0.5)
    axes.axvline(real, color="C3", linewidth=0.5)


def _draw_points(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the points of a model: seeds are faint, their means solid and joined in order of temperature."""
    groups = _by_decoding(points)
    means = {label: _mean(group) for label, group in groups.items()}
    drawn = [mean for label, mean in means.items() if label.startswith("T")]
    if drawn:
        axes.plot(*zip(*drawn, strict=True), color="C0", linewidth=1)
    for label, group in groups.items():
        if len(group) > 1:
            axes.plot(*zip(*group, strict=True), ".", color="C0", alpha=0.4)
        (mark,) = axes.plot(*means[label], "s" if label.startswith("greedy") else "o", color="C0")
        hover(mark, [label])
        axes.annotate(label, means[label], textcoords="offset points", xytext=(6, 4), fontsize="small")


def _draw_texts(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the points of several texts, each in a colour of its own; those of several judges' seeds at their mean."""
    for number, text in enumerate(dict.fromkeys(point.text for point in points)):
        own = [point for point in points if point.text == text]
        place, name = _mean([(point.fppl, point.rppl) for point in own]), decoding_of(own[0])
        style: dict[str, Any] = {"color": f"C{number + (number > 2)}", "label": listed(name)}  # C3 is real text
        (mark,) = axes.plot(*place, "osDv^<>P"[number % 8], **style)
        hover(mark, [name])
    if points:
        legend(axes)


def _draw_headroom(axes: Axes, points: Sequence[Point]) -> None:
    """Draw points that are not samples of the model, with hollow marks and a dashed line for each kind."""
    for number, kind in enumerate(dict.fromkeys(point.latents for point in points), 1):
        groups = _by_decoding([point for point in points if point.latents == kind])
        style: dict[str, Any] = {"color": f"C{number}", "linestyle": "--", "linewidth": 1, "marker": "D"}
        means = zip(*map(_mean, groups.values()), strict=True)
        label = next(iter(groups)).split(", ")[-1]
        (line,) = axes.plot(*means, markerfacecolor="none", label=label, **style)
        hover(line, list(groups))
    if points:
        legend(axes)


def _by_decoding(points: Sequence[Point]) -> dict[str, list[tuple[float, float]]]:
    """Return (FPPL, RPPL) of each seed by name of the decoding, greedy first, then in order of temperature."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for point in sorted(points, key=lambda point: point.temperature or 0.0):
        name = decoding_of(point) or "samples"
        groups.setdefault(name, []).append((point.fppl, point.rppl))
    return groups


def _mean(group: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(x for x, _ in group), fmean(y for _, y in group)


def label_axes(axes: Axes) -> None:
    """Label the axes, and make them logarithmic; call it after everything is drawn."""
    axes.margins(0.15)
    logarithmic(axes.xaxis, axes.yaxis)
    axes.set_xlabel("FPPL (fluency; left of real text is no win)")
    axes.set_ylabel("RPPL (coverage and quality; lower is better)")

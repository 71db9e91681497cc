"""Report on the chains that sample the prior, step by step: f, densities and norms, and the sentences decoded from z.

The sentences of a chain are decoded with the same noise at every step, and judged by FPPL and RPPL of 5-gram models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group

from lebm_text.checks import setting, whole
from lebm_text.generation.settings import DecodeSettings
from lebm_text.judges import check_judges
from lebm_text.model import LatentEBM
from lebm_text.progress import Progress, counter, silent
from lebm_text.run import Run
from lebm_text.sections import MAX_STEPS, PriorConfig
from lebm_text.torch_state import own_state
from lm_eval.protocol import Evaluator, JudgeResult
from lm_eval.texts import Reference, Samples

from .base import Interval, Report, Settings, format_interval, new_table, origin, settled
from .chains import QUANTITIES, Band, LongRun, chain_of, decoding_steps, describe_long_run, follow, long_run
from .drawing import legend, logarithmic, panels
from .texts import real_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ChainSentence", "JudgedStep", "StepPerplexity", "Trajectories", "TrajectoriesSettings", "compute", "walk"]

_DECODINGS = ("sample", "greedy")


@dataclass(frozen=True)
class TrajectoriesSettings(Settings):
    """Number and length of chains.

    Attributes:
        n: number of chains; chain i is that of sentence i of `generate` with the same seed.
        shown: number of chains whose sentences are kept.
        factor: length of the long run, as a multiple of the short run.
    """

    n: int = setting(2000, whole, 2, 1_000_000)
    shown: int = setting(4, whole, 0)
    factor: int = setting(50, whole, 10, 10_000)


@dataclass(frozen=True)
class StepPerplexity:
    """FPPL or RPPL of decoded sentences; `real_ppl_at_n` is the RPPL of as many real training sentences, if known."""

    ppl: float
    ci95: Interval
    n_tokens: int
    signature: str
    real_ppl_at_n: float | None = None


@dataclass(frozen=True)
class JudgedStep:
    """FPPL and RPPL of the sentences of all chains at a step."""

    decode: str
    step: int
    n_sentences: int
    fppl: StepPerplexity
    rppl: StepPerplexity


@dataclass(frozen=True)
class RealPerplexity:
    """The perplexity of real text; the RPPL of a subset of the training sentences has no confidence interval."""

    ppl: float
    ci95: Interval | None = None


@dataclass(frozen=True)
class ChainSentence:
    """The sentence decoded from the z of a chain at a step, and f(z) in nats."""

    chain: int
    decode: str
    step: int
    f: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Trajectories(Report):
    """Results on the chains of the prior.

    Attributes:
        n_long: number of steps of the long run.
        bands: quantity → its band at each step of the short run.
        real: metric → perplexity of real text.
        statements: results of the long run and of the judges in words.
        sentences: decoded sentences of some chains.
    """

    kind: ClassVar[str] = "trajectories"

    signature: str
    chain: PriorConfig
    n_chains: int
    n_long: int
    bands: dict[str, list[Band]]
    long: LongRun
    judged: list[JudgedStep]
    real: dict[str, RealPerplexity]
    statements: list[str]
    sentences: list[ChainSentence]
    seconds: float

    def table(self) -> Group:
        """Return tables of quantities and perplexities by step, of f in the long run, and of sentences."""
        steps = new_table(f"{self.n_chains:,} chains, median (5 % to 95 %) at each step", "step", *QUANTITIES.values())
        for step in sorted({row.step for row in self.judged} - {self.n_long}):
            bands = (self.bands[name][step] for name in QUANTITIES)
            steps.add_row(f"{step}", *(_figure(median, (low, high)) for low, median, high in bands))
        judged = new_table("decoded sentences, with 95 % intervals", "step", "decode", "FPPL", "RPPL", keys=2)
        for row in self.judged:
            judged.add_row(f"{row.step:,}", row.decode, *(_figure(p.ppl, p.ci95) for p in (row.fppl, row.rppl)))
        real = (self.real[name] for name in ("fppl", "rppl"))
        judged.add_row("real text", "", *(_figure(each.ppl, each.ci95) for each in real))
        windows = new_table("f in parts of the long run", "steps", "mean f")
        for part in self.long.windows:
            windows.add_row(f"{part.first:,} to {part.last:,}", str(part.mean))
        sentences = new_table("sentences along single chains", "chain", "decode", "step", "f", texts=["sentence"])
        for each in self.sentences:
            sentences.add_row(f"{each.chain}", each.decode, f"{each.step:,}", f"{each.f:.2f}", each.text)
        return Group(steps, judged, windows, *self.statements, *([sentences] if self.sentences else []))

    def figure(self) -> Figure:
        """Return a picture of the bands of the short run, f in the long run, and FPPL and RPPL along the chain."""
        titles = ["f(z) in the long run, nats", "FPPL along the chain (near real is good)", "RPPL (lower is better)"]
        figure, axes = panels([*QUANTITIES.values(), *titles], columns=4)
        for panel, name in zip(axes, QUANTITIES, strict=False):
            _draw_band(panel, range(len(self.bands[name])), self.bands[name])
        self._draw_long_run(axes[4])
        for panel, metric in zip(axes[5:], ("fppl", "rppl"), strict=True):
            self._draw_judged(panel, metric)
        for panel in (axes[0], *axes[4:]):
            legend(panel)
        return figure

    def _draw_long_run(self, panel: Axes) -> None:
        _draw_band(panel, self.long.curve.steps, self.long.curve.neg_energy)
        windows = self.long.windows
        middles, means = [(part.first + part.last) / 2 for part in windows], [part.mean for part in windows]
        errors = [2 * mean.standard_error for mean in means]
        label = "mean ± 2 standard errors"
        panel.errorbar(middles, [mean.value for mean in means], yerr=errors, fmt="k.", label=label)

    def _draw_judged(self, panel: Axes, metric: str) -> None:
        """Draw FPPL or RPPL at equidistant steps, the last one the end of the long run, with 95 % intervals."""
        for number, decode in enumerate(_DECODINGS):
            rows = [row for row in self.judged if row.decode == decode]
            found: list[StepPerplexity] = [getattr(row, metric) for row in rows]
            errors = [[p.ppl - p.ci95[0] for p in found], [p.ci95[1] - p.ppl for p in found]]
            ppl, places = [p.ppl for p in found], range(len(rows))
            panel.errorbar(places, ppl, errors, fmt="o-", markersize=3, color=f"C{number}", label=f"decode={decode}")
            panel.set_xticks(places, [f"{row.step:,}" for row in rows])
        panel.axhline(self.real[metric].ppl, color="C3", linewidth=0.8, label="real text")
        logarithmic(panel.yaxis)
        panel.set_xlabel("step, not to scale")


@own_state(grad=True)
def compute(run: Run, settings: TrajectoriesSettings | None = None, on_progress: Progress = silent) -> Trajectories:
    """Follow chains of the prior, decode them with the same noise at several steps, and judge the sentences.

    Raises:
        InputError: the run is a language model, its prior has no chain, or a chain reached values that are not finite.
    """
    began, settings = time.monotonic(), settled(settings, TrajectoriesSettings, run)
    run.config.require_latent(run)
    corpus = run.corpus()
    model = run.model(device=settings.device)
    prior, n, seed = model.model.prior, settings.n, settings.seed
    n_short = chain_of(prior).n_steps  # of the prior itself: a plug-in may have a chain that no setting describes
    n_long = settings.factor * n_short
    steps = [*decoding_steps(n_short), n_long]
    check_judges()
    evaluator = Evaluator(Reference(real_text(corpus, "test", lowercase=run.config.text.lowercase)), seed=seed)
    on_step = counter(on_progress, "steps of the chains", n_long)
    chains = follow(prior, n, n_steps=n_long, at=steps, seed=seed, device=model.device, on_step=on_step)
    texts: dict[tuple[str, int], list[str]] = {}
    judged: list[JudgedStep] = []
    for decode in _DECODINGS:
        for step in steps:
            on_progress("texts decoded and judged", len(texts), len(_DECODINGS) * len(steps))
            texts[decode, step] = model.decode(chains.states[step], DecodeSettings(decode), seed=seed)
            judged.append(_judge(evaluator, decode, step, texts[decode, step]))
    long = long_run(chains, n_short)
    real, fewer = RealPerplexity(evaluator.real_score.ppl, evaluator.real_score.ci95), judged[0].rppl.real_ppl_at_n
    what = f"trajectories(n={n},long={settings.factor})|lm:{evaluator.spec.lm}"
    return Trajectories(
        chain=model.config.prior,
        n_chains=n,
        n_long=n_long,
        bands={name: band[: n_short + 1] for name, band in chains.bands.items()},
        long=long,
        judged=judged,
        real={"fppl": real, "rppl": real if fewer is None else RealPerplexity(fewer)},
        statements=[*describe_long_run(long, n_short, n_long), *_describe_fppl(judged, n_short, n_long)],
        sentences=[
            ChainSentence(i, decode, step, float(chains.neg_energy[step, i]), sentences[i])
            for i in range(min(settings.shown, n))
            for (decode, step), sentences in texts.items()
        ],
        seconds=time.monotonic() - began,
        **origin(model, run, what, seed, {split: corpus.splits[split].sha256 for split in ("train", "test")}),
    )


def walk(model: LatentEBM, n_steps: int, settings: DecodeSettings, *, seed: int) -> list[ChainSentence]:
    """Follow one chain of the prior, and decode its z at each step from 0 to `n_steps` with the same noise.

    Up to the prior's own number of steps, it is the chain of the first sentence of `generate` with this seed.

    Raises:
        InputError: as raised by `follow`, or `n_steps` is less than 1.
    """
    steps = range(whole("n_steps", n_steps, 1, MAX_STEPS) + 1)
    prior = model.model.prior
    chains = follow(prior, 1, n_steps=n_steps, at=steps, seed=seed, device=model.device)
    texts = (model.decode(chains.states[step], settings, seed=seed)[0] for step in steps)
    f = chains.neg_energy[:, 0].tolist()
    return [ChainSentence(0, settings.decode, step, f[step], text) for step, text in zip(steps, texts, strict=True)]


def _describe_fppl(judged: Sequence[JudgedStep], n_short: int, n_long: int) -> list[str]:
    """Describe in words how FPPL changes in the short run and in the rest of the long run.

    RPPL is left out: its interval is over held-out sentences, and does not include the randomness of the samples.
    """
    found = {(row.decode, row.step): row.fppl for row in judged}
    lines = []
    for decode in _DECODINGS:
        for first, last, where in ((0, n_short, "the short run"), (n_short, n_long, "the rest of the long run")):
            before, after = found[decode, first], found[decode, last]
            change = "changes no more than its 95 % intervals allow"
            if after.ci95[1] < before.ci95[0] or before.ci95[1] < after.ci95[0]:
                change = "falls" if after.ppl < before.ppl else "rises"
            lines.append(
                f"FPPL (decode={decode}) {change} in {where}: {_figure(before.ppl, before.ci95)} at step {first:,}, "
                f"{_figure(after.ppl, after.ci95)} at step {last:,}"
            )
    return lines


def _judge(evaluator: Evaluator, decode: str, step: int, sentences: Sequence[str]) -> JudgedStep:
    def plain(result: JudgeResult) -> StepPerplexity:
        at_n = result.extra.get("real_ppl_at_n")
        return StepPerplexity(result.ppl, result.ci95, result.n_tokens, result.signature, at_n)

    samples = Samples(sentences, f"step={step},decode={decode}")
    return JudgedStep(decode, step, len(sentences), plain(evaluator.fppl(samples)), plain(evaluator.rppl(samples)))


def _figure(value: float, interval: Interval | None) -> str:
    return f"{value:.2f}" + ("" if interval is None else f" ({format_interval(*interval)})")


def _draw_band(panel: Axes, steps: Sequence[int], band: Sequence[Band]) -> None:
    low, median, high = zip(*band, strict=True)
    panel.fill_between(steps, low, high, alpha=0.25, linewidth=0, label="5 to 95 % of chains")
    panel.plot(steps, median, label="median")
    panel.set_xlabel("step")

r"""The figures that a run reports, and its warnings.

Figures of every update are averaged over the interval between two reports. They stay on the device until they are
needed, so that updates do not wait for each other. `probe` measures more expensive ones once per interval, on the
current batch. `Watchdog` turns reports into warnings of collapse and divergence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from lebm_text.inference.base import Inference
from lebm_text.models.base import Chain, Generator, LogDensity, Prior
from lebm_text.processes import Processes, Share
from lebm_text.random import Rng, draw_normal
from lebm_text.samplers.hmc import adapted, evaluate, hmc
from lebm_text.samplers.langevin import gradient

__all__ = ["Averages", "Monitor", "Update", "Watchdog", "chain_gap", "largest_curvature", "probe", "spread"]

MOST_WAITING = 256  # updates whose figures are kept on the device
_RADIUS = 0.1  # of the central differences of a gradient


@dataclass(frozen=True)
class Update:
    """Values drawn and computed in one update, detached; only for this process's rows if several share the batch.

    Attributes:
        step: its number.
        share: the rows.
        z_positive: (b, D) z⁺.
        z_negative: (b, D) z⁻.
        start: (b, D) initial states of the chains of z⁻.
        log_likelihood: (b,) log p(x|z⁺) in nats.
        inference: figures of the inference, means over rows.
        norms: of the gradients, before clipping.
    """

    step: int
    share: Share
    z_positive: Tensor
    z_negative: Tensor
    start: Tensor
    log_likelihood: Tensor
    inference: Mapping[str, Tensor | float]
    norms: Mapping[str, Tensor]


class Monitor:
    """Collects the figures of updates, and reads them from the device when they are needed.

    Args:
        prior: whose f is reported.
        processes: that share each batch; each figure is a sum of their parts.
    """

    def __init__(self, prior: Prior, processes: Processes) -> None:
        self.prior, self.processes, self.averages = prior, processes, Averages()
        self._waiting: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, update: Update, probed: Mapping[str, Tensor]) -> None:
        """Add the figures of one update, and the `probed` ones."""
        figures = {**self._figures(update), **probed}
        self._waiting.append((update.step, tuple(figures), torch.stack([*figures.values()])))
        if len(self._waiting) == MOST_WAITING:
            self.collect()

    def collect(self) -> None:
        """Read pending figures. Raises FloatingPointError, with the first step at which one was not finite."""
        waiting, self._waiting = self._waiting, []
        for names, group in groupby(waiting, key=lambda entry: entry[1]):
            steps, rows = zip(*((step, values) for step, _, values in group), strict=True)
            table = torch.stack(rows)
            self.processes.sum_(table)
            for step, values in zip(steps, table.tolist(), strict=True):
                figures: dict[str, float] = {}
                for name, value in zip(names, values, strict=True):
                    figures[name] = value
                    if name == "f_negative":
                        figures["gap"] = figures["f_positive"] - value
                if bad := [name for name, value in figures.items() if not math.isfinite(value)]:
                    listing = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                    raise FloatingPointError(f"non-finite {' and '.join(bad)} at step {step} ({listing})")
                self.averages.add(figures)

    def flush(self) -> dict[str, float]:
        """Return the means since the last flush."""
        self.collect()
        return self.averages.flush()

    @torch.no_grad()
    def _figures(self, update: Update) -> dict[str, Tensor]:
        """Return this process's part of each figure, () in float64."""
        share, z, z_negative = update.share, update.z_positive, update.z_negative
        rows, equals = share.of_rows, share.of_equals
        parts: dict[str, tuple[Tensor | float, float]] = {}
        if z.shape[1]:
            parts["f_positive"] = self.prior.neg_energy(z).mean(), rows
            parts["f_negative"] = self.prior.neg_energy(z_negative).mean(), rows
            parts["norm_positive"], parts["norm_negative"] = (_mean_norm(z), rows), (_mean_norm(z_negative), rows)
            everyones = {"positive": share.gather(z), "negative": share.gather(z_negative)}
            if len(everyones["positive"]) > 1:
                parts |= {f"std_{name}": (spread(each), equals) for name, each in everyones.items()}
        parts |= {name: (value, rows) for name, value in update.inference.items()}
        if z.shape[1]:
            parts["move_negative"] = _mean_norm(z_negative - update.start), rows
        nll = -update.log_likelihood.sum().double() / share.batch.n_tokens
        parts["nll_token"] = nll, share.of_tokens
        parts |= {name: (norm, equals) for name, norm in update.norms.items()}
        return {name: _scalar(value, nll) * weight for name, (value, weight) in parts.items()}


class Averages:
    """Means of figures over an interval of updates, as plain numbers that a checkpoint can store."""

    def __init__(self, sums: Mapping[str, Sequence[float]] | None = None) -> None:
        self.sums = {name: (float(total), int(count)) for name, (total, count) in (sums or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        """Add the figures of one update; they may differ between updates."""
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def flush(self) -> dict[str, float]:
        """Return the means since the last flush."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def spread(z: Tensor) -> Tensor:
    """Return the root mean square over dimensions of the standard deviation over a batch of at least two, (B, D)."""
    return z.var(0).mean().sqrt()


@torch.no_grad()
def probe(
    update: Update, infer: Inference, prior: Prior, generator: Generator, *, rng: torch.Generator
) -> dict[str, Tensor]:
    """Return more expensive figures of the current batch, () in float64, under the parameters before the update.

    They are −log p(x|z) per token with z⁺, with z⁺ of another sentence (if there is one) and with z from the prior; the
    curvature of each chain's target, times s²/4; and the distance of the prior chain's draws from the prior.

    Args:
        update: values of the update.
        infer: drew z⁺.
        prior, generator: p_α(z) and p_β(x|z).
        rng: draws the noise.
    """
    share, likelihood = update.share, generator.likelihood(update.share.batch)
    n_rows, n_tokens = len(share.batch.lengths), share.batch.n_tokens
    z_all = share.gather(update.z_positive)
    candidates = {"posterior": update.z_positive, "prior": update.z_negative}
    if len(z_all) > 1:
        candidates["shuffled"] = share.rows(z_all.roll(1, 0))
    figures = {
        f"nll_{name}": -likelihood(z).mean().double() * (n_rows / n_tokens) * share.of_tokens
        for name, z in candidates.items()
    }
    noise = share.rng(rng)
    for name, chain, logdensity, at in (
        ("posterior", infer.chain, infer.target(prior, likelihood), update.z_positive),
        ("prior", prior.chain, prior.logdensity, update.z_negative),
    ):
        if chain is not None:
            curvature = share.largest(largest_curvature(logdensity, at, rng=noise)).double()
            figures[f"curvature_{name}"] = curvature * (chain.largest_step**2 / 4) * share.of_equals
    if prior.chain is not None:
        figures["chain_gap"] = chain_gap(prior, prior.chain, rng=rng).double() * share.of_equals
    return figures


def chain_gap(prior: Prior, chain: Chain, *, rng: torch.Generator, n: int = 256, n_proposals: int = 60) -> Tensor:
    """Return E_chain[f] − E_{p_α}[f] in nats, (): n chains, before and after Metropolis-adjusted steps.

    These leave p_α invariant at any step size. The first half of them finds the size, the second is averaged. A part of
    p_α that neither reaches goes unnoticed.

    Args:
        prior: p_α.
        chain: that of the prior.
        rng: draws the noise.
        n: number of chains.
        n_proposals: adjusted steps.
    """
    start = prior.sample(n, rng)
    state, size = evaluate([prior.logdensity], start.unsqueeze(1)), start.new_full((1,), chain.largest_step)
    total, kept = start.new_zeros(()), n_proposals // 2
    for i in range(n_proposals):
        state, acceptance = hmc([prior.logdensity], [1.0], state, step_size=size, n_steps=1, rng=rng)
        if i < n_proposals - kept:
            size = adapted(size, acceptance)
        else:
            total += prior.neg_energy(state.z).mean() / kept
    return prior.neg_energy(start).mean() - total


def largest_curvature(logdensity: LogDensity, z: Tensor, *, rng: Rng, n_iterations: int = 6) -> Tensor:
    """Return the largest |eigenvalue| of the Hessian of −log density over the rows of z (B, D).

    Power iteration on each row, Hessian-vector products by central differences of the gradient. A
    Langevin step of size s is unstable where the curvature exceeds 4/s².

    Args:
        logdensity: (B, D) → (B,) in nats.
        z: (B, D).
        rng: draws the initial vectors.
        n_iterations: of the power iteration.
    """
    direction = draw_normal(rng, z.shape, z.device)
    curvature = z.new_zeros(z.shape[0])
    for _ in range(n_iterations):
        direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-30)
        step = _RADIUS * direction
        direction = (gradient(logdensity, z + step) - gradient(logdensity, z - step)) / (2 * _RADIUS)
        curvature = direction.norm(dim=1)
    return curvature.max()


class Watchdog:
    """Warnings for signs of collapse and of divergence, given when a sign begins, not at every report.

    Each sign is a number that is 1 at its threshold; it ends when it has fallen to 1/2. z counts as ignored if
    its own z makes a token less than 1 % more probable than another sentence's does; a step as too long if curvature ×
    s²/4 reaches 1/2, half-way to instability; the phases as apart if the energy gap reaches D nats, or one
    spreads twice as wide as the other; f as fitted to the chain instead of its density if their means of f differ
    by 1/2 nat, four standard errors of the probe's if f has a standard deviation of 1.8 nats, as on E2E; training
    as diverged if the perplexity of held-out sentences, with their own z, is a tenth above that of uniform guessing,
    which a text of equally frequent words may just reach.
    """

    def __init__(self, latent_dim: int, active: Sequence[str] = ()) -> None:
        self.latent_dim = latent_dim
        self.active = set(active)

    def check(self, report: Mapping[str, float]) -> dict[str, str]:
        """Return a warning for each sign that begins in a report; `active` has all that have not ended.

        The report's keys are those of metrics.jsonl; missing ones are not checked.
        """
        levels = self._levels(report)
        begun = [name for name, level in levels.items() if level >= 1 and name not in self.active]
        going_on = {name for name in self.active if levels.get(name, 1.0) > 0.5}
        self.active = going_on | set(begun)
        return {name: _WARNINGS[name].format(**report) for name in begun}

    def _levels(self, report: Mapping[str, float]) -> dict[str, float]:
        levels = {}
        if "nll_shuffled" in report:
            gain = math.expm1(min(report["nll_shuffled"] - report["nll_posterior"], 1.0))
            levels["collapse"] = 0.01 / max(gain, 1e-9)
        if "curvature" in report:
            levels["curvature"] = report["curvature"] / 0.5
        if "chain_gap" in report:
            levels["chain_gap"] = abs(report["chain_gap"]) / 0.5
        if "gap" in report:
            levels["gap"] = abs(report["gap"]) / self.latent_dim
        if "std_ratio" in report:
            levels["spread"] = abs(math.log2(max(report["std_ratio"], 1e-9)))
        if "uniform_ppl" in report:
            perplexity = report.get("valid_ppl_posterior", report.get("valid_ppl", 0.0))
            levels["divergence"] = perplexity / (1.1 * report["uniform_ppl"])
        return levels


_WARNINGS = {
    "collapse": "z is ignored: another sentence's z explains a sentence as well as its own "
    "(raise inference.likelihood_weight, or with an encoder inference.free_bits, or lower inference.kl_weight)",
    "curvature": "a Langevin step is close to instability: curvature x s^2/4 = {curvature:.2f}, unstable above 1 "
    "(usual with the defaults; should validation get worse, a smaller inference.step_size)",
    "chain_gap": "the prior's chain is not where its density is: their means of f differ by {chain_gap:.2f} nats, so f "
    "comes to fit the chain, not exp(f) p0 (more and smaller prior steps, or a lower training.prior_learning_rate)",
    "gap": "the phases drift apart: f(z+) - f(z-) = {gap:.1f} nats (more prior steps, or a lower "
    "training.prior_learning_rate)",
    "divergence": "validation perplexity is above that of guessing at random: {uniform_ppl:,.0f}, the "
    "vocabulary's size. Training diverged (start anew with a lower training.learning_rate or inference.step_size)",
    "spread": "the posterior's z spread {std_ratio:.2f} times as wide as the prior's",
}


def _mean_norm(z: Tensor) -> Tensor:
    norm: Tensor = z.norm(dim=-1)
    return norm.mean()


def _scalar(value: Tensor | float, like: Tensor) -> Tensor:
    """Convert to () like `like`; a number is moved to the device without synchronisation."""
    return value.to(like.dtype) if isinstance(value, Tensor) else torch.full_like(like, value)

r"""How the prior's chain affects what is learned: an energy-based prior fitted to a mixture in the plane.

    f rises where data are and falls where K0 Langevin steps from p0 end;  p_α = exp(f) p0 / Z

In the plane KL(data‖p_α) is a sum over a grid. The components of the mixture are narrower than a step is long, so no f
makes a chain of that step match them: f grows without end, unless the step is halved when it becomes too long for f, as
in training.

    python examples/learning_a_density.py [UPDATES RATE]      # 20000 3e-4: as in docs/training.md, in half an hour
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from lebm_text.build import prior_chain
from lebm_text.models.priors import EBMPrior, base_log_prob
from lebm_text.sections import PriorConfig
from lebm_text.training.monitor import chain_gap, largest_curvature
from lebm_text.training.trainer import CHECK_EVERY, LONG_STEP, prior_loss

CENTRES, WIDTH, WEIGHTS = torch.tensor([[0.8, 0.0], [-0.47, 0.65], [-0.46, -0.65]]), 0.35, (0.5, 0.3, 0.2)
BATCH, HIDDEN = 32, 24
LINE = torch.linspace(-5, 5, 201)
GRID, CELL = torch.cartesian_prod(LINE, LINE), float(LINE[1] - LINE[0]) ** 2


def log_mixture(z: Tensor) -> Tensor:
    """Return the log density of the data, (..., 2) → (...)."""
    parts = base_log_prob((z.unsqueeze(-2) - CENTRES) / WIDTH) - 2 * math.log(WIDTH)
    return (parts + torch.tensor(WEIGHTS).log()).logsumexp(-1)


@torch.no_grad()
def divergence(prior: EBMPrior) -> float:
    """Return KL(data‖p_α) in nats."""
    wanted, found = log_mixture(GRID).double(), prior.logdensity(GRID).double()
    found -= found.logsumexp(0) + math.log(CELL)
    return float((wanted.exp() * (wanted - found)).sum() * CELL)


def learn(
    n_updates: int, learning_rate: float, reports: range, *, halve: bool, seed: int = 1
) -> Iterator[tuple[int, int, float, float]]:
    """Yield update, steps of the chain, KL(data‖p_α) and E_chain[f] − E_{p_α}[f] at each of the reports."""
    rng, probe = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    settings, halvings = PriorConfig(n_steps=40, step_size=0.5), 0
    prior = EBMPrior(2, hidden_dim=HIDDEN, chain=prior_chain(settings), rng=rng)
    optimizer = torch.optim.Adam(prior.parameters(), lr=learning_rate, weight_decay=1e-3)
    for update in range(1, n_updates + 1):
        part = torch.multinomial(torch.tensor(WEIGHTS), BATCH, replacement=True, generator=rng)
        data = CENTRES[part] + WIDTH * torch.randn(BATCH, 2, generator=rng)
        drawn = prior.sample(BATCH, rng)
        optimizer.zero_grad()
        prior_loss(prior, data, drawn, BATCH).backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        assert prior.chain is not None
        if halve and update % CHECK_EVERY == 0:
            curvature = largest_curvature(prior.logdensity, drawn, rng=probe)
            if float(curvature) * prior.chain.largest_step**2 / 4 >= LONG_STEP:
                halvings += 1
                prior.chain = prior_chain(settings.finer(halvings))
        if update in reports:
            gap = chain_gap(prior, prior.chain, rng=probe).detach()
            yield update, prior.chain.n_steps, divergence(prior), float(gap)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("updates", nargs="?", type=int, default=160)
    parser.add_argument("rate", nargs="?", type=float, default=1e-2)
    given = parser.parse_args()
    n_updates, rate = given.updates, given.rate
    if n_updates < 4 or not rate > 0:
        parser.error(f"there must be at least 4 updates, and a rate above 0, got {n_updates} and {rate:g}")
    reports = range(n_updates // 4, n_updates + 1, n_updates // 4)
    print("step of the chain      updates  K0  KL(data‖p_α)  E_chain[f] − E_p[f]")
    for halve in (False, True):
        for update, n_steps, kl, gap in learn(n_updates, rate, reports, halve=halve):
            kind = "halved where needed" if halve else "0.5 throughout"
            print(f"{kind:20s}  {update:8d}  {n_steps:2d}  {kl:12.3f}  {gap:19.2f}", flush=True)


if __name__ == "__main__":
    main()

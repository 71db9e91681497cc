r"""What short-run learning converges to: the sampler matches the data, exp(f) p0 need not.

    at convergence E_data[∇_α f] = E_sampler[∇_α f];  p_α = exp(f) p0 / Z is matched only if the chain reaches it

The data are those of `learning_a_density.py`, instead of posterior draws. In the plane p_α is a sum over a grid.

    python examples/short_run_in_the_plane.py [UPDATES [PICTURE.png]]      # 400: as in docs/explanation/short-run.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from learning_a_density import CENTRES, GRID, LINE, WEIGHTS, WIDTH, divergence, log_mixture
from torch import Tensor

from lebm_text.build import prior_chain
from lebm_text.errors import InputError
from lebm_text.models.priors import EBMPrior
from lebm_text.reports.drawing import check_picture, new_figure, panels, save_picture
from lebm_text.sections import PriorConfig
from lebm_text.store import check_writable
from lebm_text.training.trainer import prior_loss

CHAINS = ((5, 0.3), (10, 0.3), (160, 0.1))
BATCH, DRAWN, SHOWN = 1024, 20_000, 1500


def draw_data(n: int, rng: torch.Generator) -> Tensor:
    """Draw (n, 2) points of the mixture."""
    part = torch.multinomial(torch.tensor(WEIGHTS), n, replacement=True, generator=rng)
    return CENTRES[part] + WIDTH * torch.randn(n, 2, generator=rng)


def learn(n_steps: int, step_size: float, n_updates: int) -> EBMPrior:
    """Train a prior with data as positive phase and the ends of chains of these steps as negative phase."""
    rng = torch.Generator().manual_seed(1)
    chain = prior_chain(PriorConfig(n_steps=n_steps, step_size=step_size))
    prior = EBMPrior(2, hidden_dim=64, chain=chain, rng=rng)
    optimizer = torch.optim.Adam(prior.parameters(), lr=5e-3)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, n_updates)
    for _ in range(n_updates):
        optimizer.zero_grad()
        prior_loss(prior, draw_data(BATCH, rng), prior.sample(BATCH, rng), BATCH).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        falling.step()
    return prior


@torch.no_grad()
def density_of(prior: EBMPrior) -> Tensor:
    """Return p_α on the grid, summing to 1."""
    return prior.logdensity(GRID).double().softmax(0)


def moments(z: Tensor, weights: Tensor | None = None) -> list[float]:
    """Return means, standard deviations and correlation of points (n, 2)."""
    share = torch.full((len(z),), 1 / len(z), dtype=torch.float64) if weights is None else weights
    mean = share @ z.double()
    covariance = (share.unsqueeze(1) * (z - mean)).T @ (z - mean)
    std = covariance.diagonal().sqrt()
    return [*mean.tolist(), *std.tolist(), float(covariance[0, 1] / std.prod())]


def draw(columns: list[tuple[str, Tensor, Tensor]], path: Path) -> None:
    """Plot points above the corresponding density: those of the data, then of each chain."""
    names = [name for name, _, _ in columns]
    titles = [*names, "density of the data", *(f"exp(f) p0, {name}" for name in names[1:])]
    figure, axes = panels(titles, columns=len(columns))
    for upper, lower, (_, points, density) in zip(axes, axes[len(columns) :], columns, strict=False):
        upper.plot(*points[:SHOWN].T.tolist(), ".", markersize=2, alpha=0.5)
        lower.pcolormesh(LINE.numpy(), LINE.numpy(), density.reshape(len(LINE), -1).T.numpy(), cmap="viridis")
        lower.grid(False)
        for panel in (upper, lower):
            panel.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal")
    save_picture(figure, path, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("updates", nargs="?", type=int, default=10)
    parser.add_argument("picture", nargs="?", type=Path, metavar="PICTURE.png")
    given = parser.parse_args()
    if given.updates < 1:
        parser.error(f"there must be at least one update, got {given.updates}")
    try:
        if given.picture is not None:
            check_picture(given.picture)
            check_writable(given.picture, make_directory=True)
            new_figure(1, 1)  # matplotlib is there
    except InputError as error:
        parser.error(str(error))
    rng = torch.Generator().manual_seed(5)
    data = draw_data(DRAWN, rng)
    columns = [("data", data, log_mixture(GRID).softmax(0))]
    print(f"{'':28s}  mean          std           correlation  KL(data‖p_α)")

    def show(name: str, figures: list[float], kl: str = "") -> None:
        print(
            f"{name:28s} {'{:6.3f} {:6.3f} {:6.3f} {:6.3f}  {:10.3f}'.format(*figures)} {kl:>13s}".rstrip(), flush=True
        )

    show("data", moments(data))
    for n_steps, step_size in CHAINS:
        name, prior = f"{n_steps} steps of {step_size}", learn(n_steps, step_size, given.updates)
        ends, density = prior.sample(DRAWN, rng).detach(), density_of(prior)
        show(f"{name}: ends", moments(ends))
        show(f"{name}: exp(f) p0", moments(GRID, density), f"{divergence(prior):.3f}")
        columns.append((name, ends, density))
    if given.picture is not None:
        draw(columns, given.picture)


if __name__ == "__main__":
    main()

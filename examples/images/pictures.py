"""Grids of images, and the path of the prior's chains from p0 to p_α as a picture and as an animation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from learning import Learned
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from lebm_text.random import draw_normal, stream
from lebm_text.reports.drawing import new_figure, save_picture

__all__ = ["Transition", "animate", "draw_transition", "save_grid", "tiled", "transition"]

GAP = 2  # pixels between images of a grid
WIDEST = 600  # maximum width of an animation in pixels


def tiled(pixels: Tensor, columns: int, *, enlarged: int = 1) -> NDArray[np.uint8]:
    """Arrange (N, C, H, W) in [−1, 1] as one image (height, width, 3), row by row, on white."""
    n, _, height, width = pixels.shape
    rows = -(-n // columns)
    values = ((pixels.cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    images = values.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy().repeat(enlarged, 1).repeat(enlarged, 2)
    high, wide = height * enlarged + GAP, width * enlarged + GAP
    grid = np.full((rows * high + GAP, columns * wide + GAP, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * high + GAP, i % columns * wide + GAP
        grid[top : top + high - GAP, left : left + wide - GAP] = image
    return grid


def save_grid(pixels: Tensor, columns: int, path: Path) -> None:
    """Save images (N, C, H, W) as a PNG."""
    Image.fromarray(tiled(pixels, columns, enlarged=max(1, 32 // pixels.shape[2]))).save(path)


@dataclass(frozen=True)
class Transition:
    """Recorded chains of the prior.

    Attributes:
        z: (K + 1, N, D) before each step and at the end.
        energy: (K + 1, N) −f(z) in nats.
    """

    z: Tensor
    energy: Tensor


@torch.no_grad()
def transition(learned: Learned, n: int, *, seed: int) -> Transition:
    """Run N chains from p0, as `prior.sample` does."""
    prior, rng, states = learned.model.prior, stream(seed, "transition"), []
    assert prior.chain is not None
    start = draw_normal(rng, (n, prior.latent_dim), learned.model.generator.device)
    end = prior.chain.run(prior.logdensity, start, rng=rng, callback=lambda step, z, grad: states.append(z))
    z = torch.stack([*states, end])
    return Transition(z, -prior.neg_energy(z).cpu())


def draw_transition(learned: Learned, seen: Transition, distances: dict[int, float], path: Path) -> None:
    """Plot samples, decoded states of some chains, the energy of all (median and 80 % range), and their distances.

    Args:
        learned: the model.
        seen: its chains.
        distances: Fréchet distance by step.
        path: the picture.
    """
    steps, n_chains = [*distances], 8
    samples = learned.decode(seen.z[-1, n_chains : n_chains + 64])
    pixels = learned.decode(seen.z[steps, :n_chains].transpose(0, 1).flatten(0, 1))
    figure = new_figure(9, 5.5)
    (grid, images), (energy, distance) = figure.subplots(2, 2, height_ratios=(3, 1), width_ratios=(8, len(steps)))
    title = f"From p0 to p_α in {len(seen.z) - 1} Langevin steps: a chain a row"
    for panel, name, shown, columns in ((grid, "Samples", samples, 8), (images, title, pixels, len(steps))):
        panel.imshow(tiled(shown, columns, enlarged=max(1, 32 // shown.shape[2])))
        panel.set_axis_off()
        panel.set_title(name, fontsize="medium")
    low, middle, high = seen.energy.quantile(torch.tensor([0.1, 0.5, 0.9]), dim=1).numpy()
    energy.fill_between(range(len(low)), low, high, alpha=0.25, linewidth=0)
    energy.plot(middle)
    energy.set_ylabel("−f(z), nats")
    distance.plot(steps, list(distances.values()), marker=".")
    distance.set_ylabel("Fréchet distance")
    distance.set_ylim(bottom=0)
    for panel in (energy, distance):
        panel.set_xlabel("step")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
        panel.margins(x=0.01)
    save_picture(figure, path, dpi=90)


def animate(learned: Learned, seen: Transition, path: Path, *, columns: int = 8, n_frames: int = 30) -> None:
    """Save a GIF of 64 chains over their steps, with their mean energy plotted below."""
    n_steps, curve = len(seen.z) - 1, seen.energy.mean(1)
    height = 80
    frames = []
    for step in np.linspace(0, n_steps, min(n_frames, n_steps + 1)).round().astype(int):
        pixels = learned.decode(seen.z[step, : columns**2])
        grid = tiled(pixels, columns, enlarged=max(1, WIDEST // (columns * pixels.shape[3]) // 2))
        frame = Image.new("RGB", (grid.shape[1], grid.shape[0] + height), "white")
        frame.paste(Image.fromarray(grid))
        depth = (curve.max() - curve) / (curve.max() - curve.min()).clamp_min(1e-9) * (height - 30)
        scaled = depth + grid.shape[0] + 20
        points = [(5 + (frame.width - 10) * i / max(n_steps, 1), float(y)) for i, y in enumerate(scaled[: step + 1])]
        pen = ImageDraw.Draw(frame)
        pen.text((5, grid.shape[0] + 3), f"step {step} of {n_steps}, mean -f(z) = {curve[step]:.1f} nats", "black")
        if len(points) > 1:
            pen.line(points, fill="black", width=2)
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100] * (len(frames) - 1) + [2000], loop=0)

"""Views: axes of greatest variance, sets that are what their names say, a picture with all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lebm_text.reports.views import _principal_axes, plot_view, view

from ..tiny import tiny_model
from ..toy import normal

SENTENCES = ["the cat sees a dog", "a dog", "the dog", "a cat"] * 5


def test_axes_are_those_of_greatest_variance() -> None:
    z = normal(4000, 3) * torch.tensor([1.0, 5.0, 2.0]) + torch.tensor([7.0, 0.0, 0.0])
    axes, centre, (first, second) = _principal_axes(z)
    torch.testing.assert_close(axes, torch.tensor([[0.0, 1, 0], [0, 0, 1]]).double(), atol=0.05, rtol=0)
    assert float(centre[0]) == pytest.approx(7, abs=0.1)
    assert (first, second) == pytest.approx((25 / 30, 4 / 30), abs=0.02)


def test_sets_are_what_their_names_say() -> None:
    model = tiny_model()
    found = view(model, SENTENCES, seed=3)
    assert list(found.clouds) == ["p0", "prior", "posterior"]
    z = {"prior": model.generate(20, seed=3).z, "posterior": model.infer(SENTENCES, seed=2**63 - 1 - 3)}
    for name, values in z.items():
        cloud = found.clouds[name]
        torch.testing.assert_close(cloud.norm, values.norm(dim=1))
        torch.testing.assert_close(cloud.neg_energy, model.model.prior.neg_energy(values).detach())
        assert cloud.variance == pytest.approx(float(values.var(0).mean()))
    pooled = torch.cat([cloud.coordinates for cloud in found.clouds.values()])
    torch.testing.assert_close(pooled.mean(0), torch.zeros(2).double(), atol=1e-9, rtol=0)


def test_a_gaussian_prior_is_p0() -> None:
    assert list(view(tiny_model(prior="gaussian"), SENTENCES, seed=1).clouds) == ["p0", "posterior"]


def test_picture_names_every_set(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = view(tiny_model(), SENTENCES, seed=1)
    png, svg = plot_view(found.clouds, found.explained, tmp_path / "v")
    assert png.read_bytes().startswith(b"\x89PNG")
    for name in ("p0", "prior", "posterior"):
        assert f"<!-- {name} -->" in svg.read_text()

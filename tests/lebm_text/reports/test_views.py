"""Views: axes of greatest variance, sets that are what their names say, a picture with all of them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from lebm_text.model import LatentEBM
from lebm_text.reports import load
from lebm_text.reports.posterior import posterior_means
from lebm_text.reports.views import Views, _principal_axes, view

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
    clouds, _ = view(model, SENTENCES, seed=3)
    assert list(clouds) == ["p0", "prior", "posterior"]
    z = {"prior": model.generate(20, seed=3).z, "posterior": model.infer(SENTENCES, seed=2**63 - 1 - 3)}
    for name, values in z.items():
        cloud = clouds[name]
        torch.testing.assert_close(torch.tensor(cloud.norms), values.norm(dim=1))
        f = model.model.prior.neg_energy(values).detach()
        torch.testing.assert_close(torch.tensor(cloud.neg_energies), f)
        assert cloud.f.value == pytest.approx(float(f.mean()), abs=1e-6)
        assert cloud.variance == pytest.approx(float(values.var(0).mean()))
    pooled = torch.tensor([point for cloud in clouds.values() for point in cloud.coordinates]).double()
    torch.testing.assert_close(pooled.mean(0), torch.zeros(2).double(), atol=1e-5, rtol=0)


def test_a_gaussian_prior_is_p0() -> None:
    clouds, _ = view(tiny_model(prior="gaussian"), SENTENCES, seed=1)
    assert list(clouds) == ["p0", "posterior"]


def report() -> Views:
    clouds, explained = view(tiny_model(), SENTENCES, seed=1)
    return Views(signature="views", n=20, explained=explained, clouds=clouds, sha256={}, versions={})


def test_picture_names_every_set() -> None:
    pytest.importorskip("matplotlib")
    figure = report().figure()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["p0", "prior", "posterior"]


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    report().save(tmp_path / "views.json")
    assert load(tmp_path / "views.json") == report()


def test_a_corpus_is_read_without_a_warning_about_unknown_words(caplog: pytest.LogCaptureFixture) -> None:
    view(tiny_model(), ["a zzz", "dog", "the yyy"], seed=1)
    posterior_means(tiny_model(), ["a zzz"], n_draws=2, seed=1)
    assert not caplog.messages


def test_what_needs_no_sentence_is_said_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    model = tiny_model()
    clouds, _ = view(model, SENTENCES, seed=3)
    monkeypatch.setattr(LatentEBM, "infer", stop)
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.INFO):
        view(model, SENTENCES, seed=3)
    wanted = [f"{name}: mean f {clouds[name].f} nats, mean ‖z‖ {clouds[name].norm}" for name in ("p0", "prior")]
    assert caplog.messages == wanted

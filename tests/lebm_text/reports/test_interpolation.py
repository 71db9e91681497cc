"""Paths: their ends, their norms and angles; and the figures beside each point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lebm_text.reports.drawing import hover_texts
from lebm_text.reports.interpolation import PATHS, Interpolation, interpolate, path
from lebm_text.text.batching import EncodedCorpus

from ..tiny import tiny_model
from ..toy import gap, normal

A, B = "the cat sees a dog", "a dog"


@given(seed=st.integers(0, 10_000), n=st.integers(2, 9), kind=st.sampled_from(PATHS))
def test_a_path_goes_from_end_to_end(seed: int, n: int, kind: str) -> None:
    a, b = normal(2, 5, seed=seed)
    z = path(a, b, n, kind)
    assert z.shape == (n, 5)
    assert gap(z[0], a) < 1e-9
    assert gap(z[-1], b) < 1e-9


def test_the_sphere_is_gone_along_evenly_and_the_line_cuts_through_it() -> None:
    a, b = normal(2, 8, seed=1)
    b = b * a.norm() / b.norm()
    sphere, line = path(a, b, 5, "spherical"), path(a, b, 5, "straight")
    assert gap(sphere.norm(dim=1), a.norm().expand(5)) < 1e-9
    cosines = torch.nn.functional.cosine_similarity(sphere[1:], sphere[:-1])
    assert gap(cosines, cosines[:1].expand(4)) < 1e-9
    assert gap(line[2], (a + b) / 2) < 1e-12
    assert line[2].norm() < a.norm() - 0.1


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0])
def test_ends_on_one_line_have_one_path(factor: float) -> None:
    a = normal(4)
    assert gap(path(a, factor * a, 4, "spherical"), path(a, factor * a, 4, "straight")) < 1e-12


def test_figures_belong_to_the_points() -> None:
    model = tiny_model()
    points = interpolate(model, (A, B), 4, "straight", seed=2)
    a, b = model.infer([A, B], seed=2)
    z = path(a, b, 4, "straight")
    assert [point.sentence for point in points] == model.decode(z)
    for sentence, found in zip((A, B), ("log_likelihood_a", "log_likelihood_b"), strict=True):
        corpus = EncodedCorpus(*model.tokenizer.encode_many([sentence] * 4), pad_id=model.tokenizer.pad_id)
        expected = model.model.generator.log_likelihood(corpus.batch(np.arange(4)), z)
        assert gap(torch.tensor([getattr(point, found) for point in points]), expected) < 1e-4
    assert gap(torch.tensor([point.neg_energy for point in points]), model.model.prior.neg_energy(z)) < 1e-6
    assert [point.t for point in points] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert points[2].norm == pytest.approx(float(z[2].norm()))


@pytest.mark.parametrize(("n", "kind", "message"), [(3.5, "straight", "n must be a"), (2, "curly", "path must be")])
def test_no_number_of_points_and_no_path_are_refused(n: int, kind: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_model().interpolate(A, B, n, path=kind)


def test_the_picture_has_every_path_and_its_sentences() -> None:
    pytest.importorskip("matplotlib")
    paths = {kind: interpolate(tiny_model(), (A, B), 3, kind, seed=1) for kind in PATHS}
    report = Interpolation(signature="", a=A, b=B, paths=paths, sha256={}, versions={})
    assert Interpolation.from_json(report.to_json()) == report
    for panel in report.figure().axes:
        texts = {line.get_label(): hover_texts(line) for line in panel.lines}
        assert texts == {kind: [point.sentence for point in points] for kind, points in paths.items()}
    for panel, figure in zip(report.figure().axes, ("neg_energy", "log_likelihood_a", "log_likelihood_b"), strict=True):
        for line, points in zip(panel.lines, paths.values(), strict=True):
            assert np.asarray(line.get_xydata()) == pytest.approx(
                np.asarray([(point.t, getattr(point, figure)) for point in points])
            )

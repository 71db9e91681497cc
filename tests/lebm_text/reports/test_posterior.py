"""Posterior means: of the draws that inference gives, whatever other sentences are asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from lebm_text.errors import InputError
from lebm_text.model import LatentEBM
from lebm_text.reports import posterior
from lebm_text.reports.interpolation import interpolate
from lebm_text.reports.posterior import kept_posterior_means, posterior_means, shuffled
from lebm_text.reports.views import view
from lebm_text.run import Run

from ..tiny import tiny_model

SENTENCES = ["the cat sees a dog", "a dog", "", "the dog sees the cat"]


def test_means_are_of_separate_draws_and_do_not_depend_on_what_follows() -> None:
    model = tiny_model()
    done: list[tuple[str, int, int]] = []
    means = posterior_means(model, SENTENCES, n_draws=3, seed=1, on_progress=lambda *progress: done.append(progress))
    assert done[-1] == ("posterior draws", 12, 12)
    draws = model.infer([sentence for sentence in SENTENCES for _ in range(3)], seed=1).view(4, 3, -1)
    torch.testing.assert_close(means, draws.mean(1))
    assert float(draws.var(1).min()) > 0
    torch.testing.assert_close(posterior_means(model, SENTENCES[:2], n_draws=3, seed=1), means[:2])
    assert not torch.equal(posterior_means(model, SENTENCES, n_draws=3, seed=2), means)


def test_what_is_not_finite_is_refused_in_one_line() -> None:
    """It ended in a traceback of a decomposition or of scikit-learn, or in distances of nan."""
    model = tiny_model()
    with torch.no_grad():
        for weight in model.model.generator.parameters():
            weight.mul_(1e20)
    for call in (
        lambda: model.infer(SENTENCES),
        lambda: model.reconstruct(SENTENCES),
        lambda: posterior_means(model, SENTENCES, n_draws=1, seed=1),
        lambda: view(model, SENTENCES, seed=1),
        lambda: interpolate(model, (SENTENCES[0], SENTENCES[1]), 3, "straight", seed=1),
    ):
        with pytest.raises(InputError, match="a latent vector is not finite: "):
            call()


def test_a_prior_whose_chain_leaves_the_finite_numbers_generates_nothing() -> None:
    """Sampling ended in a traceback of an index that does not exist, and greedy decoding gave sentences of `<unk>`."""
    model = tiny_model()
    with torch.no_grad():
        for weight in model.model.prior.parameters():
            weight.mul_(1e25)
    for decode in ("sample", "greedy"):
        with pytest.raises(InputError, match="a latent vector is not finite: "):
            model.generate(2, decode=decode)


def test_long_sentences_are_left_out() -> None:
    assert tiny_model().fitting(["a", "a " * 9, "dog"]) == ["a", "dog"]


def test_order_depends_on_the_seed() -> None:
    assert sorted(shuffled(range(50), 1)) == list(range(50))
    assert shuffled(range(50), 1) != shuffled(range(50), 2)


def test_what_an_interrupt_leaves_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(posterior, "PART", 2)
    model = tiny_model()
    model.save_pretrained(tmp_path / "run")
    run, infer, calls, interrupted = Run(tmp_path / "run"), LatentEBM.infer, list[int](), list[bool]()

    def counted(self: LatentEBM, sentences: list[str], **how: Any) -> torch.Tensor:
        calls.append(len(sentences))
        if calls == [6, 6] and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return infer(self, sentences, **how)

    monkeypatch.setattr(LatentEBM, "infer", counted)
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.INFO):
        kept_posterior_means(run, model, SENTENCES, n_draws=3, seed=1)
    assert "the places of 2 of 4 sentences are in the cache; the same command goes on from there" in caplog.text
    means = kept_posterior_means(run, model, SENTENCES, n_draws=3, seed=1)
    assert calls == [6, 6, 6]  # the first part is not computed again
    torch.testing.assert_close(means, posterior_means(model, SENTENCES, n_draws=3, seed=1))
    calls.clear()
    monkeypatch.setattr(posterior, "code_sha256", lambda: "other code")
    kept_posterior_means(run, model, SENTENCES, n_draws=3, seed=1)
    assert len(calls) == 2  # changed code may infer otherwise


def test_the_first_of_several_parts_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    model = tiny_model()
    model.save_pretrained(tmp_path / "run")
    handed: list[torch.Tensor] = []
    for part, n in ((2, 1), (4, 0)):  # one part is all
        monkeypatch.setattr(posterior, "PART", part)
        means = kept_posterior_means(
            Run(tmp_path / "run"), model, SENTENCES[:4], n_draws=1, seed=1, on_first=handed.append
        )
        assert len(handed) == n
        assert all(torch.equal(first, means[:2]) for first in handed)
        handed.clear()

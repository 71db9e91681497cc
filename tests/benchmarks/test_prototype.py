"""The prototype learns the same model: its numbers are those of the generator and of the plain one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.baseline import PlainGenerator
from benchmarks.prototype import PrototypeTrainer
from lebm_text.inference.short_run import ShortRun
from lebm_text.samplers.langevin import gradient

from ..lebm_text.recording import record_on_cpu, trace
from ..lebm_text.toy import gap, normal, toy_batch, toy_config, toy_generator, toy_prior

LENGTHS = (5, 4, 4, 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_same_gradient_in_z(dtype: torch.dtype, tolerance: float) -> None:
    """Of log p_α(z) + γ log p(x|z), which its chain follows, to the rounding of its operands."""
    generator, prior, batch = toy_generator(dtype=torch.float32), toy_prior(dtype=torch.float32), toy_batch(LENGTHS)
    config = toy_config({"inference": {"likelihood_weight": 3.0}})
    trainer = PrototypeTrainer(PlainGenerator.like(generator), prior, config, dtype=dtype)
    z = normal(len(LENGTHS), 3).float()
    target = ShortRun(1, 0.3, likelihood_weight=3.0).target(prior, generator.likelihood(batch))
    wanted = gradient(target, z)
    scale = float(wanted.abs().max())
    assert gap(trainer.slope(batch.tokens, batch.lengths)(z), wanted) < tolerance * scale
    one = toy_batch((1,))  # padding counts for nothing
    alone = trainer.slope(one.tokens, one.lengths)(z[3:])
    padded = trainer.slope(torch.nn.functional.pad(one.tokens, (0, 3)), one.lengths)(z[3:])
    assert gap(alone, padded) < tolerance * scale


def test_same_log_likelihood_and_gradients_of_the_weights() -> None:
    plain, batch, z = PlainGenerator.like(toy_generator(dtype=torch.float32)), toy_batch(LENGTHS), normal(4, 3).float()
    trainer = PrototypeTrainer(plain, toy_prior(dtype=torch.float32), toy_config(), dtype=torch.float32)
    found = trainer.log_likelihood(batch.tokens, batch.lengths, z)
    wanted = plain.log_likelihood(batch, z)
    assert gap(found, wanted) < 1e-4
    weights = list(plain.parameters())
    pairs = zip(*(torch.autograd.grad(value.sum(), weights) for value in (found, wanted)), strict=True)
    assert max(gap(ours, theirs) for ours, theirs in pairs) < 1e-4


def test_update_moves_both_models_and_learns() -> None:
    prior = toy_prior(dtype=torch.float32)
    plain = PlainGenerator.like(toy_generator(dtype=torch.float32))
    parameters = [*plain.parameters(), *list(prior.parameters())[:-1]]  # f's last bias is the same in both phases
    before = [p.detach().clone() for p in parameters]
    trainer = PrototypeTrainer(plain, prior, toy_config({"training": {"learning_rate": 0.01}}), dtype=torch.float32)
    batch = toy_batch((6,) * 30)
    first, *_, last = [float(trainer.update(batch)) for _ in range(30)]
    assert not any(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert last < 0.9 * first


def test_the_host_reads_nothing_of_an_update_so_that_it_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the optimisers, which on a CPU read how many steps they have made."""
    record_on_cpu(monkeypatch, lambda *recorded: replace(trace(*recorded), replay=lambda: None))
    plain = PlainGenerator.like(toy_generator(dtype=torch.float32))
    trainer = PrototypeTrainer(plain, toy_prior(dtype=torch.float32), toy_config(), dtype=torch.float32)
    trainer.optimizers = ()
    for lengths in (LENGTHS, (5, 2, 2, 2), (4, 3, 1, 1)):
        assert float(trainer.update(toy_batch(lengths))) > 0
    assert len(trainer.recordings.kept) == 2 and not trainer.recordings.failed

"""Recorded chains: the numbers of unrecorded ones, one recording for each shape, valid through all updates."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lebm_text import cuda_graphs
from lebm_text.config import Config
from lebm_text.cuda_graphs import Replay, captured, recordings_of
from lebm_text.inference import recorded
from lebm_text.inference.short_run import LangevinChain, ShortRun
from lebm_text.models.classes import ClassPrior
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior
from lebm_text.random import KeyedRng, RowsRng, draw_normal
from lebm_text.samplers.langevin import gradient
from lebm_text.text.batching import PaddedBatch
from lebm_text.training.trainer import Trainer

from ..recording import NoLook, record_on_cpu, trace
from ..toy import (
    BOS,
    LATENT,
    VOCABULARY,
    gap,
    normal,
    seeded,
    toy_batch,
    toy_config,
    toy_generator,
    toy_model,
    toy_prior,
    toy_transformer,
)

SHORT, LONG = [4, 3, 2, 2, 1], [7, 5, 5, 2, 1]
CUDA = torch.device("cuda")


BOTH = pytest.mark.parametrize("build", [toy_generator, toy_transformer], ids=["lstm", "transformer"])


def _modules(build: Any = toy_generator) -> tuple[EBMPrior, Any]:
    return toy_prior(dtype=torch.float32), build(dtype=torch.float32)


def _square(x: Tensor) -> Tensor:
    return x * x


def _kept(module: torch.nn.Module) -> int:
    return len(recordings_of(module).kept)


@pytest.mark.parametrize("noise_scale", [1.0, 0.6])
@pytest.mark.parametrize("step_size", [0.3, [0.5, 0.4, 0.2]])
@BOTH
def test_chains_end_where_unrecorded_ones_do(
    build: Any, noise_scale: float, step_size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch draws its own numbers; the second one of a shape replays what the first one recorded."""
    (prior, generator), infer = _modules(build), ShortRun(3, step_size, noise_scale, likelihood_weight=2.5)
    batches = [toy_batch(lengths, seed=seed) for seed, lengths in enumerate((LONG, SHORT, LONG, SHORT, [6] * 17))]
    wanted = [infer(batch, prior, generator, rng=seeded(i)).z for i, batch in enumerate(batches)]
    record_on_cpu(monkeypatch)
    for i, batch in enumerate(batches):
        assert gap(infer(batch, prior, generator, rng=seeded(i)).z, wanted[i]) < 1e-5
        assert _kept(generator) == (1, 2, 2, 2, 3)[i]


def test_a_recording_holds_when_weights_move_and_the_likelihood_s_weight_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (prior, generator), batch = _modules(), toy_batch(LONG)
    ends: dict[bool, list[Tensor]] = {}
    for recording in (False, True):
        prior, generator = _modules()
        if recording:
            record_on_cpu(monkeypatch)
        ends[recording] = []
        for factor, weight in ((1.0, 1.0), (1.2, 1.0), (1.0, 3.0)):
            with torch.no_grad():
                for parameter in (*prior.parameters(), *generator.parameters()):
                    parameter.mul_(factor)
            ends[recording].append(ShortRun(4, 0.3, 1.0, weight)(batch, prior, generator, rng=seeded(1)).z)
    assert _kept(generator) == 1
    assert max(gap(found, wanted) for found, wanted in zip(ends[True], ends[False], strict=True)) < 1e-5
    assert min(gap(ends[True][i], ends[True][0]) for i in (1, 2)) > 1e-2


def test_a_moved_parameter_is_recorded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording knows where it reads; what lies there after a parameter has gone elsewhere is anybody's."""
    (prior, generator), batch, infer = _modules(), toy_batch(LONG), ShortRun(2, 0.3)
    record_on_cpu(monkeypatch)
    before = infer(batch, prior, generator, rng=seeded(1)).z
    generator.embedding = torch.nn.Parameter(generator.embedding.detach() * 2)
    found = infer(batch, prior, generator, rng=seeded(1)).z
    monkeypatch.undo()
    assert gap(found, infer(batch, prior, generator, rng=seeded(1)).z) < 1e-5 < gap(found, before)


def test_the_prior_s_chain_is_recorded_by_its_steps_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halving its step doubles their number: another recording. Rows share one up to the next padded number."""
    wanted, found = ([], [])  # type: tuple[list[Tensor], list[Tensor]]
    record_on_cpu(monkeypatch)
    for draws in (found, wanted):
        prior = toy_prior(dtype=torch.float32)
        for recordings, chain in ((2, LangevinChain(6, 0.4)), (4, LangevinChain(6, 0.3)), (6, LangevinChain(12, 0.2))):
            prior.chain = chain
            draws += [prior.sample(n, seeded(n)) for n in (17, 18, 40, 17)]
            assert draws is wanted or _kept(prior) == recordings
        monkeypatch.undo()
    assert max(gap(one, other) for one, other in zip(found, wanted, strict=True)) < 1e-5


@pytest.mark.parametrize("limits", [(4, 1 << 20), (64, 5 * 2 * LATENT)], ids=["steps", "noise"])
def test_a_long_chain_is_several_recordings(limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 11 steps: 4 + 4 + 3, at most 4 or, for the size of their noise, 5 at once: two different ones."""
    prior, chain = toy_prior(dtype=torch.float32), LangevinChain(11, 0.4, 0.8)
    wanted = chain.run(prior.logdensity, normal(2, LATENT).float(), rng=seeded(3))
    record_on_cpu(monkeypatch)
    monkeypatch.setattr(recorded, "STEPS_AT_ONCE", limits[0])
    monkeypatch.setattr(recorded, "NOISE_AT_ONCE", limits[1])
    assert gap(chain.run(prior.logdensity, normal(2, LATENT).float(), rng=seeded(3)), wanted) < 1e-5
    assert _kept(prior) == 2


@pytest.mark.parametrize("n_steps", [5, 10, 14, 20, 40])
def test_equal_parts_of_a_chain_share_a_recording(n_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, chain = toy_prior(dtype=torch.float32), LangevinChain(n_steps, 0.2)
    wanted = chain.run(prior.logdensity, normal(2, LATENT).float(), rng=seeded(3))
    seen: list[int] = []

    def record(function: Any, given: tuple[Tensor, ...], pool: object) -> Replay:
        seen.append(len(given[1]))  # the noise
        return trace(function, given, pool)

    record_on_cpu(monkeypatch, record)
    assert gap(chain.run(prior.logdensity, normal(2, LATENT).float(), rng=seeded(3)), wanted) < 1e-5
    assert seen in ([5], [7], [10])


def test_streams_are_drawn_from_as_by_an_unrecorded_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """By sentence, or of some rows of a larger batch; what a stream gives next is the same, too."""
    (prior, generator), batch, infer = _modules(), toy_batch(LONG), ShortRun(3, 0.3)
    streams: list[Callable[[], Any]] = [
        lambda: KeyedRng(1, range(5)),
        lambda: RowsRng(seeded(2), torch.tensor([0, 2, 3, 6, 7]), 9),
        lambda: seeded(4),
    ]
    wanted = []
    for make in streams:
        rng = make()
        wanted.append((infer(batch, prior, generator, rng=rng).z, draw_normal(rng, (5, 2))))
    record_on_cpu(monkeypatch)
    for make, (z, further) in zip(streams, wanted, strict=True):
        rng = make()
        assert gap(infer(batch, prior, generator, rng=rng).z, z) < 1e-5
        assert torch.equal(draw_normal(rng, (5, 2)), further)


def test_persistent_chains_and_axes_before_the_last_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    (prior, generator), batch = _modules(), toy_batch(LONG)
    z, memory = normal(2, 4, LATENT).float(), normal(5, LATENT).float()
    wanted = LangevinChain(3, 0.4).run(prior.logdensity, z, rng=seeded(5))
    kept, starts = ([memory.clone(), memory.clone()], [])
    for i in range(2):
        starts.append(ShortRun(3, 0.3, memory=kept[i])(batch, prior, generator, rng=seeded(6)).start)
        record_on_cpu(monkeypatch)
    assert gap(LangevinChain(3, 0.4).run(prior.logdensity, z, rng=seeded(5)), wanted) < 1e-5
    assert gap(kept[0], kept[1]) < 1e-5 < gap(kept[0], memory)
    assert torch.equal(*starts)


def test_who_looks_at_the_steps_has_them_run_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, seen = toy_prior(dtype=torch.float32), []
    z, chain = normal(3, LATENT).float(), LangevinChain(5, 0.4)
    wanted = chain.run(prior.logdensity, z, rng=seeded(5))
    record_on_cpu(monkeypatch)
    assert gap(chain.run(prior.logdensity, z, rng=seeded(5), callback=lambda *step: seen.append(step)), wanted) < 1e-5
    assert [step for step, _, _ in seen] == [*range(5)]
    assert all(gap(grad, gradient(prior.logdensity, at)) < 1e-5 for _, at, grad in seen)
    assert _kept(prior) == 0


def test_another_generator_s_chain_is_recorded_for_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not know of padding."""

    class Other(LSTMGenerator):
        padded_likelihood = None  # type: ignore[assignment]

    prior, batch, infer = toy_prior(dtype=torch.float32), toy_batch(LONG), ShortRun(5, 0.3)
    sizes: dict[str, Any] = {"latent_dim": LATENT, "embedding_dim": 5, "hidden_dim": 6, "init_range": 0.8}
    other = Other(VOCABULARY, bos_id=BOS, rng=seeded(), **sizes)
    wanted = infer(batch, prior, toy_generator(dtype=torch.float32), rng=seeded(3)).z
    record_on_cpu(monkeypatch)
    assert gap(infer(batch, prior, other, rng=seeded(3)).z, wanted) < 1e-5
    assert _kept(other) == 0


def test_labels_of_one_batch_are_not_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the gradient is recorded, for this batch."""
    prior = ClassPrior(LATENT, labels=("a", "b"), hidden_dim=5, init_range=1.0, rng=seeded(1))
    generator, batch, infer = toy_generator(dtype=torch.float32), toy_batch(LONG), ShortRun(5, 0.3)
    given = [prior.given(torch.full((len(LONG),), number)) for number in (0, 1)]
    wanted = [infer(batch, each, generator, rng=seeded(3)).z for each in given]
    assert gap(*wanted) > 1e-2
    record_on_cpu(monkeypatch)
    for each, z in zip(given, wanted, strict=True):
        assert gap(infer(batch, each, generator, rng=seeded(3)).z, z) < 1e-5
    assert _kept(generator) == 0


def test_recordings_end_with_their_module(monkeypatch: pytest.MonkeyPatch) -> None:
    record_on_cpu(monkeypatch, lambda function, given, pool: Replay(given, given[0].clone(), lambda: None))
    prior, generator = _modules()
    ShortRun(2, 0.3)(toy_batch(LONG), prior, generator, rng=seeded())
    recordings, module = weakref.ref(recordings_of(generator)), weakref.ref(generator)
    assert len(recordings_of(generator).kept) == 1
    del generator
    gc.collect()
    assert module() is None and recordings() is None


def test_a_failed_recording_warns_once_and_the_chains_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    (prior, generator), infer = _modules(), ShortRun(5, 0.3)
    wanted = [infer(toy_batch(lengths), prior, generator, rng=seeded(3)).z for lengths in (LONG, SHORT)]

    def refuse(function: object, given: object, pool: object) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing")

    record_on_cpu(monkeypatch, refuse)
    with pytest.warns(UserWarning, match=r"no CUDA graph.*not permitted") as caught:
        found = [infer(toy_batch(lengths), prior, generator, rng=seeded(3)).z for lengths in (LONG, SHORT)]
        assert captured(_square, torch.zeros(2)) is _square
        assert captured(_square, torch.zeros(3)) is _square  # not tried again
    assert len(caught) == 2  # of the chains, and of this one
    assert max(gap(one, other) for one, other in zip(found, wanted, strict=True)) < 1e-5


def test_a_cpu_records_nothing() -> None:
    prior, generator = _modules()
    ShortRun(5, 0.3)(toy_batch(LONG), prior, generator, rng=seeded())
    prior.sample(4, seeded())
    assert _kept(prior) == _kept(generator) == 0


@pytest.mark.parametrize("kind", ["short_run", "transformer", "no_latent"])
def test_no_update_waits_for_its_results(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"model": {"dropout": 0.3}, "training": {"precision": "fp32"}}
    if kind == "no_latent":
        changes["model"] |= {"latent_dim": 0, "prior": "gaussian"}
        changes["inference"] = {"kind": kind}
    if kind == "transformer":
        changes["model"] |= {"generator": kind, "embedding_dim": 8, "hidden_dim": 8, "n_heads": 2}
    config = Config().merge(changes) if kind == "no_latent" else toy_config(changes)
    model = toy_model(config)
    trainer = Trainer(model, config, n_sentences=5, mean_batch_size=5)
    record_on_cpu(monkeypatch)
    for step in (1, 2):
        with NoLook():  # type: ignore[no-untyped-call]
            trainer.update(toy_batch(LONG), epoch=0.0, step=step)
        if step == 1 and kind != "no_latent":
            monkeypatch.setattr(cuda_graphs, "_record", None)  # the second update replays what there is
    assert trainer.monitor.flush()["nll_token"] > 0
    with pytest.raises(AssertionError, match="in an update"), NoLook():  # type: ignore[no-untyped-call]
        float(torch.ones(()))


class _OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on tensors of the host and of a device together, for which a number is sent or awaited."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if len({leaf.device for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}) > 1:
            raise AssertionError(f"{func} on two devices")
        return result


@BOTH
def test_what_is_recorded_stays_on_its_device(build: Any) -> None:
    """On torch's device without data, as on any but a CPU: a recording would not bear a copy from the host."""
    prior, generator = _modules(build)
    prior.to("meta")
    generator.to("meta")
    batch = PaddedBatch(*(tensor.to("meta") for tensor in vars(toy_batch(LONG).padded()).values()))
    z, noise, weight = (torch.empty(shape, device="meta") for shape in ((5, LATENT), (2, 5, LATENT), ()))

    def make(tokens: Tensor, lengths: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
        tangent = generator.padded_likelihood(PaddedBatch(tokens, lengths)).tangent
        return lambda z: prior.logdensity(z) + weight * tangent(z)

    with _OneDevice():  # type: ignore[no-untyped-call]
        assert recorded._steps(make, (0.3, 0.2), z, noise, batch.tokens, batch.lengths, weight).shape == z.shape
        torch.autograd.backward(generator.log_likelihood(batch, z).sum())
    with pytest.raises(AssertionError, match="two devices"), _OneDevice():  # type: ignore[no-untyped-call]
        z.mul(torch.ones(()))

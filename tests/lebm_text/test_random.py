"""Noise: each item's own stream, whatever stands beside it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.random import KeyedRng, draw_normal, draw_uniform, stream

from .toy import seeded

seeds = st.integers(0, 2**63 - 1)


@given(seed=seeds, indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True), data=st.data())
def test_draws_do_not_depend_on_neighbours(seed: int, indices: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(indices))))[: data.draw(st.integers(1, len(indices)))]
    everyone, some = KeyedRng(seed, tuple(indices)), KeyedRng(seed, tuple(indices[i] for i in order))
    for draw, shape in ((draw_normal, (3,)), (draw_uniform, ()), (draw_normal, (2, 2)), (draw_uniform, (1,))):
        whole = draw(everyone, (len(indices), *shape))
        part = draw(some, (len(order), *shape))
        assert torch.equal(part, whole[order])


@given(seed=seeds, index=st.integers(0, 2**40))
def test_near_keys_are_different_streams(seed: int, index: int) -> None:
    keys = [(seed, index), (seed, index + 1), (seed + 1, index), (index, seed + 2)]
    draws = [tuple(KeyedRng(s, (i,)).normal((1, 4)).flatten().tolist()) for s, i in dict.fromkeys(keys)]
    assert len(set(draws)) == len(set(keys))


def test_draws_follow_one_another() -> None:
    rng, once = KeyedRng(3, (0, 1)), KeyedRng(3, (0, 1))
    first, second = rng.normal((2, 4)), rng.normal((2, 4))
    assert not torch.equal(first, second)
    assert torch.equal(once.normal((2, 4)), first)


@pytest.mark.parametrize("shape", [(), (3, 2), (1,)])
def test_first_axis_must_be_the_items(shape: tuple[int, ...]) -> None:
    rng = KeyedRng(0, (1, 2))
    for draw in (rng.normal, rng.uniform):
        with pytest.raises(ValueError, match="2 items"):
            draw(shape)


def test_streams_together_are_standard_noise() -> None:
    """First draws of 4000 neighbouring streams: moments within 4 standard errors."""
    rng, n = KeyedRng(7, tuple(range(4000))), 4000
    normal, uniform = rng.normal((n, 1)).double(), rng.uniform((n, 1)).double()
    assert abs(float(normal.mean())) < 4 / math.sqrt(n)
    assert abs(float(normal.var()) - 1) < 4 * math.sqrt(2 / n)
    neighbours = float((normal[1:] * normal[:-1]).mean())
    assert abs(neighbours) < 4 / math.sqrt(n)
    assert 0 <= float(uniform.min()) <= float(uniform.max()) < 1
    assert abs(float(uniform.mean()) - 0.5) < 4 / math.sqrt(12 * n)


def test_a_torch_generator_is_used_as_it_is() -> None:
    assert torch.equal(draw_normal(seeded(4), (2, 3)), torch.randn(2, 3, generator=seeded(4)))
    assert torch.equal(draw_uniform(seeded(4), (2, 3)), torch.rand(2, 3, generator=seeded(4)))


def test_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    draw_normal(seeded(), (3,))
    draw_uniform(KeyedRng(1, (1,)), (1, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_has_a_stream_for_each_purpose() -> None:
    keys = [(1, "chains"), (1, "dropout"), (2, "chains"), (2, "dropout")]
    draws = {tuple(torch.randn(4, generator=stream(seed, purpose)).tolist()) for seed, purpose in keys}
    assert len(draws) == len(keys)
    assert torch.equal(torch.randn(4, generator=stream(5, "a")), torch.randn(4, generator=stream(5, "a")))

"""Noise: each item's own stream, whatever stands beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.random import KeyedRng, _philox, draw_normal, draw_uniform, stream

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


def test_words_are_those_of_the_published_generator() -> None:
    """The known answers of Random123 for Philox4x32-10."""
    zeros = _philox(0, np.zeros(1, dtype=np.uint64), 0, range(1))
    assert [f"{word:08x}" for word in zeros[0]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    index, position = np.array([0x0370734413198A2E], dtype=np.uint64), 0x243F6A88
    pi = _philox(0x299F31D0A4093822, index, 0x85A308D3, range(position, position + 1))
    assert [f"{word:08x}" for word in pi[0]] == ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"]


@pytest.mark.parametrize("pair", [(68319, 48078), (103773, 23305), (127938, 98307), (0, 2**32), (5, 2**62 + 5)])
def test_no_two_of_many_sentences_share_a_stream(pair: tuple[int, int]) -> None:
    """Of the first three pairs the keys were equal modulo 2^32 once, as 121 of a million sentences' were."""
    for draw in (draw_normal, draw_uniform):
        first, second = draw(KeyedRng(1, pair), (2, 8))
        assert not (first == second).any()


def test_first_words_of_many_keys_are_no_more_alike_than_chance_has_it() -> None:
    """Of 2 × 10^5 keys 5 pairs would share their first 64 bits if there were 2^32 streams; chance has 10^-9."""
    indices = np.arange(100_000, dtype=np.uint64)
    words = np.concatenate([_philox(seed, indices, kind, range(1)) for seed, kind in ((1, 0), (2**32 + 1, 1))])
    assert len(np.unique(words[:, 0] << np.uint64(32) | words[:, 1])) == len(words)


def test_what_is_drawn_does_not_depend_on_how_it_is_asked_for() -> None:
    once, often = KeyedRng(3, (0, 9)), KeyedRng(3, (0, 9))
    for draw in (draw_normal, draw_uniform):
        parts = [draw(often, (2, n)) for n in (1, 300, 0, 7, 512, 3)]
        assert torch.equal(torch.cat(parts, dim=1), draw(once, (2, 823)))


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


def test_a_long_stream_is_standard_noise() -> None:
    """Moments, tails and neighbours of 2 × 10^5 draws, within 4 standard errors."""
    rng, n = KeyedRng(11, (3,)), 200_000
    z, u = rng.normal((1, n))[0].double(), rng.uniform((1, n))[0].double()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((z**power).mean()) - moment) < 4 * math.sqrt(variance / n)
    for level in (1.0, 2.0, 3.0):
        p = math.erfc(level / math.sqrt(2))
        assert abs(float((z.abs() > level).double().mean()) - p) < 4 * math.sqrt(p * (1 - p) / n)
    for lag in (1, 2, 3, 128, 256):
        assert abs(float((z[lag:] * z[:-lag]).mean())) < 4 / math.sqrt(n - lag)
        assert abs(float(((z[lag:] ** 2 - 1) * (z[:-lag] ** 2 - 1)).mean())) < 4 * 2 / math.sqrt(n - lag)
    counts = torch.histc(u, 20, 0, 1)
    assert float(((counts - n / 20) ** 2 / (n / 20)).sum()) < 19 + 4 * math.sqrt(2 * 19)


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

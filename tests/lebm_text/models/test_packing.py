"""The packed layout: every token once, no padding, copies side by side."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.models.packing import Packing

CPU = torch.device("cpu")
falling = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(lambda lengths: sorted(lengths, reverse=True))


@given(lengths=falling)
def test_every_token_is_packed_once_time_by_time(lengths: list[int]) -> None:
    packing = Packing.of(torch.tensor(lengths), CPU)
    places = list(zip(packing.time.tolist(), packing.row.tolist(), strict=True))
    assert places == [(t, b) for t in range(lengths[0]) for b, length in enumerate(lengths) if t < length]
    assert list(packing.batch_sizes) == [sum(t < length for length in lengths) for t in range(lengths[0])]


@given(lengths=falling)
def test_pack_and_sum_agree_with_a_mask(lengths: list[int]) -> None:
    packing = Packing.of(torch.tensor(lengths), CPU)
    padded = torch.arange(float(len(lengths) * lengths[0])).view(len(lengths), -1)
    wanted = torch.stack([row[:n].sum() for row, n in zip(padded, lengths, strict=True)])
    assert torch.equal(packing.sum_by_row(packing.pack(padded)), wanted)


@given(lengths=falling, copies=st.integers(1, 4))
def test_copies_stand_side_by_side(lengths: list[int], copies: int) -> None:
    once = Packing.of(torch.tensor(lengths), CPU)
    repeated = once.repeat(copies)
    direct = Packing.of(torch.tensor(lengths).repeat_interleave(copies), CPU)
    assert repeated.batch_sizes == direct.batch_sizes
    assert torch.equal(repeated.row, direct.row)
    assert torch.equal(repeated.time, direct.time)
    values = torch.arange(float(len(direct.row)))
    assert torch.equal(repeated.sum_by_row(values), direct.sum_by_row(values))


@pytest.mark.parametrize("lengths", [[], [0], [3, 0], [2, 3], [-1]])
def test_lengths_that_are_no_batch_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="longest first"):
        Packing.of(torch.tensor(lengths, dtype=torch.int64), CPU)

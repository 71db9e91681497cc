"""Where tokens stand: packed, every one once; padded, in a shape that the sentences do not change."""

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


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=7), copies=st.integers(1, 3))
def test_padded_sums_leave_out_what_is_beyond_a_row(lengths: list[int], copies: int) -> None:
    packing = Packing.padded(torch.tensor(lengths), 6)
    values = torch.arange(1.0, 1 + 6 * len(lengths)).view(len(lengths), 6)
    wanted = torch.stack([row[:n].sum() for row, n in zip(values, lengths, strict=True)])
    assert torch.equal(packing.sum_by_row(packing.pack(values)), wanted)
    packed = packing.pack(values).repeat_interleave(copies)
    packed[~packing.repeat(copies).inside] = torch.nan  # type: ignore[operator]
    assert torch.equal(packing.repeat(copies).sum_by_row(packed), wanted.repeat_interleave(copies))


def test_a_padded_shape_does_not_depend_on_the_sentences() -> None:
    one, other = (Packing.padded(torch.tensor(lengths), 4) for lengths in ([4, 2, 0], [1, 1, 3]))
    assert one.batch_sizes == other.batch_sizes == (3, 3, 3, 3)
    assert torch.equal(one.row, other.row) and torch.equal(one.time, other.time)
    assert one.inside is not None and other.inside is not None
    assert one.inside.sum() == 6 and other.inside.sum() == 5

"""Batches: they partition the corpus, keep their limits, come in an order of (seed, epoch) alone, and ahead of use."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lebm_text.text import batching
from lebm_text.text.batching import BatchPlan, EncodedCorpus, padded_rows, prefetch
from lebm_text.text.encoding import map_encoded, write_encoded

from ..toy import EOS, VOCABULARY, toy_corpus

SECONDS = 60.0  # for what takes a moment, on a busy machine, too

many_lengths = st.lists(st.integers(1, 30), min_size=1, max_size=80)
plans = st.builds(
    lambda lengths, size, tokens, seed: BatchPlan(toy_corpus(lengths), size, tokens, seed),
    many_lengths,
    st.integers(1, 20),
    st.integers(1, 100),
    st.integers(0, 2**63 - 1),
)


@given(plan=plans, epoch=st.integers(0, 1000))
def test_batches_partition_the_corpus(plan: BatchPlan, epoch: int) -> None:
    batches = plan.epoch(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(plan.corpus)))
    assert len(batches) == plan.n_batches
    assert np.isclose(plan.mean_batch_size * len(batches), len(plan.corpus))


@given(plan=plans, epoch=st.integers(0, 3))
def test_limits_are_kept(plan: BatchPlan, epoch: int) -> None:
    lengths = plan.corpus.lengths
    for index in plan.epoch(epoch):
        assert 1 <= len(index) <= plan.batch_size
        # A sentence longer than the limit has a batch of its own.
        assert len(index) == 1 or len(index) * lengths[index].max() <= plan.batch_tokens


@given(plan=plans)
def test_batches_are_as_large_as_the_limits_let_them(plan: BatchPlan) -> None:
    """In the order of lengths, no batch could take the next sentence, too."""
    lengths = plan.corpus.lengths
    batches = sorted((lengths[index] for index in plan.epoch(0)), key=lambda rows: (rows.max(), rows.min()))
    for rows, following in itertools.pairwise(batches):
        more = len(rows) + 1
        assert more > plan.batch_size or more * following.min() > plan.batch_tokens or rows.max() == following.max()


def test_order_depends_on_seed_and_epoch_alone() -> None:
    corpus = toy_corpus([3, 4, 5, 6, 7] * 8)

    def order(seed: int, *epochs: int) -> list[list[int]]:
        plan = BatchPlan(corpus, 4, 100, seed)
        for epoch in epochs[:-1]:
            plan.epoch(epoch)
        return [index.tolist() for index in plan.epoch(epochs[-1])]

    assert order(1, 3) == order(1, 0, 1, 2, 3) == order(1, 3, 3)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_order_is_that_of_every_earlier_version() -> None:
    """A run that is resumed after an upgrade must see the sentences that are left, and each once."""
    plan = BatchPlan(toy_corpus([3, 1, 2, 2, 4, 1, 3, 2]), 3, 8, 5)
    assert [index.tolist() for index in plan.epoch(0)] == [[1, 5, 2], [4], [6, 0], [3, 7]]
    assert [index.tolist() for index in plan.epoch(7)] == [[1, 5, 7], [0, 6], [4], [3, 2]]


def test_a_long_order_is_that_of_every_earlier_version_too() -> None:
    """A sort that swaps equal lengths does so only in many; then another numpy or processor would be another run."""
    lengths = [2, 5, 3, 2, 4] * 200
    shuffled = np.arange(len(lengths))
    np.random.Generator(np.random.PCG64([5, 7])).shuffle(shuffled)
    wanted = sorted(shuffled.tolist(), key=lengths.__getitem__)
    batches = BatchPlan(toy_corpus(lengths), 100, 1000, 5).epoch(7)
    cuts = sorted((index.tolist() for index in batches), key=lambda rows: wanted.index(rows[0]))
    assert [row for rows in cuts for row in rows] == wanted


@pytest.mark.parametrize("longest", [254, 255, 256, 257, 65_535, 65_536, 65_537])
def test_lengths_and_places_of_any_size_are_told_apart(longest: int) -> None:
    """They are held in few bytes: neither they nor their products may be cut off."""
    lengths = [longest, longest - 1, *[2] * 300, longest - 2]
    limit = 2 * longest
    sizes = [0]
    for length in sorted(lengths):
        if sizes[-1] and (sizes[-1] + 1) * length > limit:
            sizes.append(0)
        sizes[-1] += 1
    batches = BatchPlan(toy_corpus(lengths), 1000, limit, 1).epoch(0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert sorted(len(index) for index in batches) == sorted(sizes)


def test_equals_meet_by_chance_and_lengths_come_in_no_order() -> None:
    plan = BatchPlan(toy_corpus([2, 3, 4, 5] * 50), 10, 1000, 1)
    first, second = plan.epoch(0), plan.epoch(1)
    assert {frozenset(index.tolist()) for index in first}.isdisjoint(frozenset(index.tolist()) for index in second)
    longest = [int(plan.corpus.lengths[index].max()) for index in first]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


@given(lengths=many_lengths, data=st.data())
def test_a_batch_holds_its_sentences_longest_first(lengths: list[int], data: st.DataObject) -> None:
    corpus = toy_corpus(lengths)
    index = np.array(data.draw(st.permutations(range(len(lengths))))[: data.draw(st.integers(1, len(lengths)))])
    batch = corpus.batch(index)
    assert sorted(batch.index.tolist()) == sorted(index.tolist())
    assert batch.lengths.tolist() == sorted((lengths[i] for i in index), reverse=True)
    assert batch.tokens.dtype == torch.int64
    assert batch.tokens.shape == (len(index), max(lengths[i] for i in index))
    assert batch.n_tokens == sum(lengths[i] for i in index)
    for row, length, i in zip(batch.tokens.tolist(), batch.lengths.tolist(), batch.index.tolist(), strict=True):
        assert row[:length] == corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]].tolist()
        assert row[length - 1] == EOS
        assert set(row[length:]) <= {corpus.pad_id}


def test_a_mapped_corpus_gives_the_same_batches(tmp_path: Path) -> None:
    corpus = toy_corpus([5, 3, 300, 2, 6, 1, 3])
    rows = [corpus.tokens[i : j - 1].tolist() for i, j in itertools.pairwise(corpus.offsets)]
    write_encoded(tmp_path, lambda start: rows[start:], EOS, VOCABULARY)
    found = map_encoded(tmp_path)
    assert found is not None
    mapped = EncodedCorpus(*found)
    assert mapped.tokens.dtype == np.uint16
    for index in BatchPlan(corpus, 3, 1000, 1).epoch(0):
        one, two = corpus.batch(index), mapped.batch(index)
        assert torch.equal(one.tokens, two.tokens)
        assert one.tokens.dtype == two.tokens.dtype
        assert torch.equal(one.lengths, two.lengths)
        assert torch.equal(one.index, two.index)


def test_a_batch_on_the_cpu_is_not_copied() -> None:
    batch = toy_corpus([2, 3]).batch(np.arange(2))
    assert batch.to(torch.device("cpu")).tokens.data_ptr() == batch.tokens.data_ptr()


@pytest.mark.gpu
def test_a_batch_on_a_gpu_is_the_same() -> None:
    batch = toy_corpus([2, 3, 9, 4]).batch(np.arange(4))
    moved = batch.to(torch.device("cuda"))
    assert moved.tokens.device.type == "cuda"
    assert moved.lengths.device.type == moved.index.device.type == "cpu"
    assert torch.equal(moved.tokens.cpu(), batch.tokens)


@given(plan=plans)
def test_no_batch_is_larger_than_the_largest(plan: BatchPlan) -> None:
    def padded(index: np.ndarray) -> int:
        return len(index) * int(plan.corpus.lengths[index].max())

    assert padded(plan.largest()) == max(padded(index) for index in plan.epoch(3))


@given(lengths=many_lengths)
def test_a_padded_batch_holds_the_sentences_and_nothing_else(lengths: list[int]) -> None:
    batch = toy_corpus(lengths).batch(np.arange(len(lengths)))
    padded, (n, longest) = batch.padded(), batch.tokens.shape
    assert padded.tokens.shape[1] % 4 == 0 and 0 <= padded.tokens.shape[1] - longest < 4
    assert torch.equal(padded.tokens[:n, :longest], batch.tokens)
    assert torch.equal(padded.lengths[:n], batch.lengths)
    assert not padded.lengths[n:].any()


def test_padded_rows_are_few_and_hardly_more() -> None:
    """A ninth more at the worst, powers of two exactly; up to 1,024 rows there are 64 of them."""
    sizes = [padded_rows(n) for n in range(1, 1025)]
    assert all(n <= size <= max(n * 9 / 8, 1) for n, size in enumerate(sizes, 1))
    assert sizes == sorted(sizes) and len(set(sizes)) == 16 + 6 * 8
    assert all(padded_rows(2**k) == 2**k for k in range(12))
    assert all(padded_rows(size) == size for size in sizes)


def test_equal_lengths_keep_their_order() -> None:
    assert toy_corpus([2, 3, 2, 3]).batch(np.array([2, 3, 0, 1])).index.tolist() == [3, 1, 2, 0]
    many = toy_corpus([2, 3] * 200).batch(np.arange(400)).index.tolist()
    assert many == [*range(1, 400, 2), *range(0, 400, 2)]


def test_selected_sentences_are_a_batch_of_their_own() -> None:
    corpus = toy_corpus([7, 5, 5, 2])
    found, wanted = corpus.batch(np.arange(4)).select(torch.tensor([1, 3])), corpus.batch(np.array([1, 3]))
    assert torch.equal(found.tokens, wanted.tokens)  # no wider than the longest of them
    assert torch.equal(found.lengths, wanted.lengths) and torch.equal(found.index, wanted.index)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    assert _threads() == []
    yield
    assert _threads() == []


@pytest.mark.parametrize("n", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("ahead", [0, 1, 2, 100])
def test_results_are_those_of_map(n: int, ahead: int) -> None:
    assert list(prefetch(lambda i: i * i, range(n), ahead=ahead)) == [i * i for i in range(n)]


def test_so_many_are_made_ahead_and_no_more_and_none_before_the_first_is_asked_for() -> None:
    made: list[int] = []
    third = threading.Event()

    def make(i: int) -> int:
        made.append(i)
        if len(made) == 3:
            third.set()
        return i

    with closing(prefetch(make, itertools.count(), ahead=2)) as results:
        assert made == []
        assert next(results) == 0
        assert third.wait(SECONDS)  # while nobody asks
        assert made == [0, 1, 2]


def test_work_is_done_in_one_other_thread() -> None:
    names = list(prefetch(lambda _: threading.current_thread().name, range(20)))
    assert len(set(names)) == 1
    assert threading.current_thread().name not in names


def test_an_error_comes_in_the_place_of_its_result() -> None:
    results = prefetch(lambda i: 6 // (2 - i), range(5))
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert _threads() == []
    assert list(results) == []


def test_an_error_of_the_items_comes_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(prefetch(lambda i: i, items()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_left_early_the_thread_ends_and_what_is_waiting_is_not_made(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    class Watched(ThreadPoolExecutor):
        """The second result is not finished before the others are called off, however long that takes."""

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            go_on.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(batching, "ThreadPoolExecutor", Watched)

    def make(i: int) -> int:
        made.append(i)
        if i == 1:
            begun.set()
            assert go_on.wait(SECONDS)
        return i

    def use() -> None:
        with closing(prefetch(make, range(100), ahead=5)) as results:
            assert next(results) == 0
            assert begun.wait(SECONDS)
            raise error

    with pytest.raises(error):
        use()
    assert made == [0, 1]

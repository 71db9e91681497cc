"""Every decoder keeps the same contract; each rule for the next id is exact."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.generation.decoding import DRAWS, Decoded, decode, filter_logits, sample
from lebm_text.generation.settings import DecodeSettings

PAD, BOS, EOS, N_IDS = 0, 2, 3, 7


@dataclass(frozen=True)
class Rows:
    """The state of the toy model: which sentence each row belongs to, and the sum of the ids it has read."""

    row: Tensor
    total: Tensor

    def select(self, rows: Tensor) -> Rows:
        return Rows(self.row[rows], self.total[rows])

    def join(self, other: Rows) -> Rows:
        return Rows(torch.cat([self.row, other.row]), torch.cat([self.total, other.total]))


def _start(n: int) -> Rows:
    return Rows(torch.arange(n), torch.zeros(n, dtype=torch.long))


def _tables(n: int, seed: int = 0, eos: float = 0.0) -> Tensor:
    """Logits (n, N_IDS sum of the ids read modulo N_IDS, N_IDS next): a law of its own for each sentence."""
    tables = torch.randn(n, N_IDS, N_IDS, generator=torch.Generator().manual_seed(seed)) * 1.5
    tables[..., EOS] += eos
    return tables


def _stepper(tables: Tensor) -> Any:
    def step(tokens: Tensor, state: Rows) -> tuple[Tensor, Rows]:
        assert tokens.shape == state.row.shape
        total = state.total + tokens
        return tables[state.row, total % N_IDS], Rows(state.row, total)

    return step


def _run(
    tables: Tensor, settings: DecodeSettings, *, max_length: int = 12, seed: int = 5, at_once: int | None = None
) -> Decoded:
    n = len(tables)
    rng = torch.Generator().manual_seed(seed)
    return decode(
        _stepper(tables),
        _start(n),
        n,
        settings,
        bos_id=BOS,
        eos_id=EOS,
        forbidden=(PAD, BOS),
        max_length=max_length,
        uniforms=lambda k: torch.rand(n, k, generator=rng),
        at_once=at_once,
    )


DECODERS = [
    DecodeSettings(),
    DecodeSettings(temperature=0.3),
    DecodeSettings(top_k=2),
    DecodeSettings(top_p=0.6),
    DecodeSettings(temperature=2.0, top_k=4, top_p=0.9),
    DecodeSettings("greedy"),
    DecodeSettings("beam", beam_size=1),
    DecodeSettings("beam", beam_size=4),
    DecodeSettings("beam", beam_size=3, length_penalty=0.0),
]
EVERY = pytest.mark.parametrize("settings", DECODERS, ids=DecodeSettings.describe)


@EVERY
def test_output_is_one_sentence_a_row_without_special_ids(settings: DecodeSettings) -> None:
    # Pad and bos are by far the most probable ids: only the ban keeps them out.
    tables = _tables(40, eos=0.5)
    tables[..., [PAD, BOS]] += 9.0
    found = _run(tables, settings)
    assert len(found.ids) == len(found.truncated) == 40
    assert {i for ids in found.ids for i in ids}.isdisjoint({PAD, BOS, EOS})


@EVERY
def test_truncated_says_exactly_which_sentences_were_cut(settings: DecodeSettings) -> None:
    tables = _tables(6)
    tables[:3, :, EOS] = -100.0  # never end
    tables[3:, :, EOS] = 100.0  # end at once
    found = _run(tables, settings, max_length=4)
    assert found.truncated == [True] * 3 + [False] * 3
    assert [len(ids) for ids in found.ids] == [4, 4, 4, 0, 0, 0]


@pytest.mark.parametrize("max_length", [DRAWS - 1, DRAWS, 2 * DRAWS, 2 * DRAWS + 1])
@pytest.mark.parametrize("settings", [DecodeSettings(), DecodeSettings("greedy")], ids=DecodeSettings.describe)
def test_sentences_longer_than_the_room_at_first_are_whole(settings: DecodeSettings, max_length: int) -> None:
    tables = _tables(4)
    tables[:3, :, EOS] = -100.0  # never end
    tables[3:, :, EOS] = 100.0  # ends at once
    found = _run(tables, settings, max_length=max_length)
    assert [len(ids) for ids in found.ids] == [max_length] * 3 + [0]
    assert found.truncated == [True] * 3 + [False]
    assert EOS not in itertools.chain(*found.ids)


@pytest.mark.parametrize("settings", [DecodeSettings(), DecodeSettings("greedy")], ids=DecodeSettings.describe)
def test_room_is_taken_for_sentences_and_not_for_the_maximum_length(settings: DecodeSettings) -> None:
    tables = _tables(9)
    tables[..., 3 * BOS % N_IDS, EOS] = 100.0
    tables[..., EOS] += 3.0
    usual = _run(tables, settings, max_length=500)
    assert not any(usual.truncated)
    assert _run(tables, settings, max_length=10**15) == usual


@EVERY
def test_sentence_of_exactly_max_length_is_whole(settings: DecodeSettings) -> None:
    # 4, 5, end, with certainty; the sums are 2, 6, 11.
    tables = torch.zeros(1, N_IDS, N_IDS)
    tables[0, [2, 6, 4]] = -torch.inf
    tables[0, 2, 4] = tables[0, 6, 5] = tables[0, 11 % N_IDS, EOS] = 0.0
    assert _run(tables, settings, max_length=2) == Decoded([[4, 5]], [False])
    assert _run(tables, settings, max_length=1) == Decoded([[4]], [True])


@EVERY
def test_sentence_does_not_depend_on_its_neighbours(settings: DecodeSettings) -> None:
    tables = _tables(9, eos=0.3)
    together = _run(tables, settings)
    uniforms = torch.rand(9, DRAWS, generator=torch.Generator().manual_seed(5))
    assert len(set(map(len, together.ids))) > 1  # rows leave the batch at different times
    for row in range(9):
        alone = decode(
            _stepper(tables[row : row + 1]),
            _start(1),
            1,
            settings,
            bos_id=BOS,
            eos_id=EOS,
            forbidden=(PAD, BOS),
            max_length=12,
            uniforms=lambda _, row=row: uniforms[row : row + 1],  # type: ignore[misc]
        )
        assert alone.ids == [together.ids[row]]
        assert alone.truncated == [together.truncated[row]]


@EVERY
def test_sentences_that_begin_where_others_ended_are_the_same(settings: DecodeSettings) -> None:
    tables = _tables(23, eos=0.3)
    tables[7, :, EOS] = -100.0  # one that occupies its row for the longest time
    together = _run(tables, settings)
    for at_once in (1, 4, 22, 100):
        assert _run(tables, settings, at_once=at_once) == together


def test_no_more_rows_than_asked_for_and_no_row_idle_while_sentences_wait() -> None:
    tables, seen = _tables(40, eos=0.5), []
    step = _stepper(tables)

    def counted(tokens: Tensor, state: Rows) -> tuple[Tensor, Rows]:
        seen.append(len(tokens))
        return step(tokens, state)  # type: ignore[no-any-return]

    ids = {"bos_id": BOS, "eos_id": EOS, "forbidden": (PAD, BOS), "max_length": 12}
    found = decode(counted, _start(40), 40, DecodeSettings("greedy"), at_once=8, **ids)  # type: ignore[arg-type]
    n_steps = sum(len(sentence) + (not cut) for sentence, cut in zip(found.ids, found.truncated, strict=True))
    n_steps += sum(found.truncated)
    assert sum(seen) == n_steps
    full = seen.index(next(n for n in seen if n < 8))
    assert sum(seen[full:]) < 8 * 13  # once rows are fewer nobody waits: what is left are the last 8 sentences


@EVERY
def test_no_sentences_and_no_room(settings: DecodeSettings) -> None:
    assert _run(_tables(0), settings) == Decoded([], [])
    with pytest.raises(InputError, match="max_length"):
        _run(_tables(1), settings, max_length=0)


@EVERY
def test_description_tells_settings_apart(settings: DecodeSettings) -> None:
    assert settings.describe().startswith(f"decode={settings.decode}")
    assert sum(other.describe() == settings.describe() for other in DECODERS) == 1


@pytest.mark.parametrize("settings", [DecodeSettings(top_k=1), DecodeSettings(top_p=1e-6)])
def test_sampling_from_one_id_is_greedy(settings: DecodeSettings) -> None:
    tables = _tables(30)
    assert _run(tables, settings) == _run(tables, DecodeSettings("greedy"))
    assert _run(tables, DecodeSettings(temperature=1e-30)) == _run(tables, DecodeSettings("greedy"))
    assert _run(tables, DecodeSettings()) != _run(tables, DecodeSettings("greedy"))


def test_beam_of_one_is_greedy() -> None:
    tables = _tables(30)
    greedy = _run(tables, DecodeSettings("greedy"))
    assert _run(tables, DecodeSettings("beam", beam_size=1)) == greedy
    assert _run(tables, DecodeSettings("beam", beam_size=4)) != greedy


def _log_probability(table: Tensor, ids: tuple[int, ...]) -> float:
    allowed = table.clone()
    allowed[:, [PAD, BOS]] = -torch.inf
    logs = allowed.log_softmax(-1)
    sums = itertools.accumulate((BOS, *ids))
    return sum(float(logs[total % N_IDS, following]) for total, following in zip(sums, (*ids, EOS), strict=True))


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
def test_wide_beam_finds_the_best_of_all_sentences(length_penalty: float) -> None:
    tables = _tables(5, seed=3)
    words = (1, 4, 5, 6)
    candidates = [ids for n in range(4) for ids in itertools.product(words, repeat=n)]
    # Wide enough to hold every hypothesis, so that nothing is pruned and nothing stops early.
    settings = DecodeSettings("beam", beam_size=len(candidates) + 1, length_penalty=length_penalty)
    found = _run(tables, settings, max_length=3)
    for row, table in enumerate(tables):
        best = max(candidates, key=lambda ids: _log_probability(table, ids) / (len(ids) + 1) ** length_penalty)
        assert tuple(found.ids[row]) == best


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_where_nothing_may_go_on_all_hypotheses_can_end(max_length: int, length_penalty: float) -> None:
    """The best of all sentences by enumeration, though going on is likelier; nothing is pruned before the last step."""
    tables = _tables(40, seed=9, eos=-3.0)
    words = (1, 4, 5, 6)
    size = (len(words) + 1) * len(words) ** (max_length - 1)
    found = _run(tables, DecodeSettings("beam", beam_size=size, length_penalty=length_penalty), max_length=max_length)
    candidates = [ids for n in range(max_length + 1) for ids in itertools.product(words, repeat=n)]
    for table, ids, cut in zip(tables, found.ids, found.truncated, strict=True):

        def score(ids: tuple[int, ...], table: Tensor = table) -> float:
            return float(_log_probability(table, ids) / (len(ids) + 1) ** length_penalty)

        assert score(tuple(ids)) == pytest.approx(max(map(score, candidates)), rel=1e-5)
        following = table[sum((BOS, *ids)) % N_IDS].clone()
        following[[PAD, BOS]] = -torch.inf
        assert cut == (len(ids) == max_length and int(following.argmax()) != EOS)
    assert any(found.truncated)


def test_a_sentence_that_cannot_end_is_the_likeliest_beginning() -> None:
    found = _run(_tables(5, eos=-math.inf), DecodeSettings("beam", beam_size=3), max_length=4)
    assert found.truncated == [True] * 5
    assert [len(ids) for ids in found.ids] == [4] * 5


def test_a_beam_stops_where_nothing_can_go_on() -> None:
    """The first of two sentences can only end, after one word; the model is not asked about it again."""
    tables, seen = torch.zeros(2, N_IDS, N_IDS), []
    tables[0, [2, 6]] = -torch.inf
    tables[0, 2, 4] = tables[0, 6, EOS] = 0.0  # the sums are 2 and 6
    tables[1, :, EOS] = -100.0
    step = _stepper(tables)

    def watched(tokens: Tensor, state: Rows) -> tuple[Tensor, Rows]:
        seen.append(state.row.tolist())
        return step(tokens, state)  # type: ignore[no-any-return]

    ids = {"bos_id": BOS, "eos_id": EOS, "forbidden": (PAD, BOS), "max_length": 5}
    found = decode(watched, _start(2), 2, DecodeSettings("beam", beam_size=2), **ids)  # type: ignore[arg-type]
    assert found.ids[0] == [4]
    assert found.truncated == [False, True]
    assert seen == [[0, 0, 1, 1]] * 2 + [[1, 1]] * 4


def test_length_penalty_lengthens() -> None:
    tables = _tables(60, seed=1, eos=1.0)
    lengths = [
        sum(map(len, _run(tables, DecodeSettings("beam", length_penalty=penalty)).ids)) for penalty in (0.0, 1.0)
    ]
    assert lengths[0] < lengths[1]


def test_sample_is_the_inverse_cdf_with_extra_axes() -> None:
    logits = torch.tensor([0.1, 0.2, 0.0, 0.7]).log()
    uniforms = torch.tensor([[0.0, 0.09], [0.11, 0.29], [0.31, 0.9999999]])
    assert sample(logits.expand(3, 2, 4), uniforms).tolist() == [[0, 0], [1, 1], [3, 3]]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1 - 2**-24, 1 - 2**-53]))
def test_sample_never_picks_the_impossible(seed: int, uniform: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 50, generator=rng) * 5
    impossible = torch.rand(4, 50, generator=rng) < 0.8
    impossible[:, 25] = False
    picked = sample(logits.masked_fill(impossible, -torch.inf), torch.full((4,), uniform, dtype=torch.float64))
    assert not impossible.gather(1, picked.unsqueeze(1)).any()


@pytest.mark.parametrize("n_ids", [5, 128, 300])
@pytest.mark.parametrize("shift", [300.0, -300.0, 95.0, -100.0])
def test_logits_beyond_the_range_of_the_exponential_draw_the_same_ids(n_ids: int, shift: float) -> None:
    """In float32 and at either order in memory; a neighbour of common size is not touched.

    At −100 no weight is 0 yet, but each is a few units of the smallest number there is.
    """
    logits = torch.randn(3, n_ids, generator=torch.Generator().manual_seed(2)).round(decimals=1)
    moved = logits + torch.tensor([[0.0], [shift], [0.0]])
    for uniform in torch.linspace(0.01, 0.99, 50):
        uniforms = uniform.expand(3)
        wanted = sample(logits.double(), uniforms)
        assert torch.equal(sample(moved, uniforms), wanted)
        assert torch.equal(sample(moved.t().contiguous().t(), uniforms), wanted)


def test_sample_frequencies_are_the_softmax() -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0], [1.0, 1.0, -3.0, 0.2]])
    n = 20_000
    uniforms = torch.rand(2, n, generator=torch.Generator().manual_seed(0))
    picked = sample(logits.unsqueeze(1).expand(2, n, 4), uniforms)
    for row, p in enumerate(logits.softmax(-1)):
        counts = torch.bincount(picked[row], minlength=4) / n
        assert ((counts - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_temperature_is_a_power_of_the_probabilities() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    powered = logits.softmax(-1) ** (1 / 0.7)
    expected = powered / powered.sum(-1, keepdim=True)
    assert torch.allclose(filter_logits(logits, temperature=0.7).softmax(-1), expected)


def test_top_k_and_top_p_by_hand() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()

    def kept(**options: Any) -> list[int]:
        return filter_logits(logits, **options).isfinite().nonzero().squeeze(-1).tolist()

    assert kept() == [0, 1, 2, 3]
    assert [kept(top_k=k) for k in (1, 2, 3, 4, 9)] == [[1], [1, 3], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert [kept(top_p=p) for p in (0.01, 0.39, 0.45, 0.75, 0.95)] == [
        [1],
        [1],
        [1, 3],
        [1, 2, 3],
        [0, 1, 2, 3],
    ]
    # The nucleus is taken of what top_k left: 0.4 / 0.7 alone reaches 0.55.
    assert kept(top_k=2, top_p=0.55) == [1]


@pytest.mark.parametrize(("top_p", "n"), [(0.25, 1), (0.5, 2), (0.75, 3), (0.76, 4)])
def test_a_nucleus_whose_mass_is_top_p_exactly_is_enough(top_p: float, n: int) -> None:
    """Four ids of a quarter each, which binary numbers hold exactly."""
    assert int(filter_logits(torch.zeros(4), top_p=top_p).isfinite().sum()) == n


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.1, 3.0),
    st.integers(0, 8),
    st.floats(0.05, 1.0),
    st.sampled_from([(), (1,), (4,), (2, 3)]),
)
def test_filters_treat_each_row_by_itself_whatever_the_leading_axes(
    seed: int, temperature: float, top_k: int, top_p: float, shape: tuple[int, ...]
) -> None:
    logits = torch.randn(*shape, 6, generator=torch.Generator().manual_seed(seed))
    options: Any = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    together = filter_logits(logits, **options)
    assert together.shape == logits.shape
    assert not together.isnan().any()
    rows = [filter_logits(row, **options) for row in logits.reshape(-1, 6)]
    assert torch.equal(together.reshape(-1, 6), torch.stack(rows))
    assert together.isfinite().any(-1).all()
    if top_k:
        assert (together.isfinite().sum(-1) <= top_k).all()


def test_equal_logits_keep_exactly_k() -> None:
    assert filter_logits(torch.zeros(2, 5), top_k=3).isfinite().sum(-1).tolist() == [3, 3]


@pytest.mark.parametrize(
    "options",
    [
        {"decode": "best"},
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": math.nan},
        {"beam_size": 0},
        {"beam_size": 1001},
        {"length_penalty": -1.0},
        {"decode": "greedy", "temperature": 0.5},
        {"decode": "beam", "top_k": 3},
        {"beam_size": 4},
        {"decode": "greedy", "length_penalty": 0.5},
    ],
)
def test_nonsense_is_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as error:
        DecodeSettings(**options)
    assert "\n" not in str(error.value)


def test_sampling_without_uniforms_is_refused() -> None:
    with pytest.raises(ValueError, match="uniforms"):
        decode(_stepper(_tables(1)), _start(1), 1, DecodeSettings(), bos_id=BOS, eos_id=EOS, max_length=3)

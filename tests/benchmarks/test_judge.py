"""The plain judge that ours is timed against is the same model: with one softmax, the same NLL."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.baseline import _torch_order
from benchmarks.judge import PlainJudge, recipe_of, update_work, zipf_batch
from benchmarks.sizes import FULL, SMOKE
from lebm_text.models.packing import Packing
from lebm_text.text.batching import EncodedCorpus
from lm_eval.judges import RECIPES
from lm_eval.lstm import LSTMNetwork


@pytest.mark.parametrize("tied", [True, False])
def test_plain_judge_computes_the_same(tied: bool) -> None:
    recipe = replace(recipe_of(SMOKE), shortlist=None, tied=tied)
    ours = LSTMNetwork(20, recipe, "fp32", rng=torch.Generator().manual_seed(0))
    plain = PlainJudge(20, recipe).eval()
    values = {
        "embedding.weight": ours.embedding,
        "lstm.weight_ih_l0": _torch_order(ours.token_weight),
        "lstm.weight_hh_l0": _torch_order(ours.recurrent_weight),
        "lstm.bias_ih_l0": _torch_order(ours.gate_bias),
        "lstm.bias_hh_l0": torch.zeros_like(ours.gate_bias),
        "output.weight": ours.embedding if ours.output_weight is None else ours.output_weight,
        "output.bias": ours.output_bias,
    }
    plain.load_state_dict(values)
    batch = EncodedCorpus(np.array([5, 3, 0, 7, 0, 0], dtype=np.int32), np.array([0, 3, 5, 6])).batch(np.arange(3))
    expected = -ours.log_probs(batch, Packing.of(batch.lengths, torch.device("cpu"))).sum()
    torch.testing.assert_close(plain.nll(batch), expected)


def test_words_follow_zipf() -> None:
    batch = zipf_batch(FULL.vocab_size, 128, FULL.length)
    assert batch.tokens.shape == (128, FULL.length)
    assert (batch.tokens == 0).sum() == 128
    rare = float((batch.tokens >= 2000).double().mean())
    assert 0.1 < rare < 0.3


def test_full_sizes_take_the_default_recipe() -> None:
    assert recipe_of(replace(FULL)) == RECIPES["default"]
    assert recipe_of(replace(SMOKE)).hidden_dim == SMOKE.width


def test_two_levels_are_less_work() -> None:
    one_level = 6 * (FULL.vocab_size + 8 * recipe_of(FULL).hidden_dim) * recipe_of(FULL).hidden_dim
    assert update_work(FULL, 128) < one_level / 1.5

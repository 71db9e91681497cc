"""Guidance: the formula, what it is at 0 and at 1, and models that have no null vector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lebm_text.errors import InputError
from lebm_text.generation.guidance import guided
from lebm_text.generation.settings import DecodeSettings
from lebm_text.model import LatentEBM

from ..tiny import tiny_model
from ..toy import gap, normal, toy_generator


def taught(**model: Any) -> LatentEBM:
    """A model with a null vector."""
    found = tiny_model(z_dropout=0.1, **model)
    found.model.generator.null_latent.data += torch.tensor([2.0, -1.0, 0.5, 1.0])  # type: ignore[attr-defined]
    return found


def test_logits_are_drawn_away_from_those_of_the_null_vector() -> None:
    generator, z, null = toy_generator(), normal(4, 3), normal(3, seed=5)
    generator.null_latent = nn.Parameter(null)
    step, state = guided(generator, z, 2.5)
    kept = torch.tensor([2, 0])
    state, tokens = state.select(kept).join(state.select(torch.tensor([1]))), torch.tensor([2, 2, 2])
    given, without = generator.start(z[[2, 0, 1]]), generator.start(null.expand(3, -1))
    for _ in range(3):
        logits, state = step(tokens, state)
        (conditional, given), (plain, without) = generator.step(tokens, given), generator.step(tokens, without)
        assert gap(logits, plain + 2.5 * (conditional - plain)) < 1e-12
        tokens = logits.argmax(-1)


def test_weight_0_is_the_null_vector_alone_and_1_the_model_itself() -> None:
    model = taught()
    plain = model.generate(40)
    assert model.generate(40, guidance=1).sentences == tiny_model().generate(40).sentences == plain.sentences
    null = model.model.generator.null_latent.detach().expand(40, -1)  # type: ignore[attr-defined]
    of_null = model.decode(null, DecodeSettings())
    found = model.generate(40, guidance=0.0)
    assert found.sentences == of_null != plain.sentences
    assert torch.equal(found.z, plain.z)
    assert found.signature == plain.signature.replace("T=1)", "T=1,guidance=0)")
    assert found.settings == plain.settings | {"guidance": 0.0}
    assert "guidance" not in plain.settings


@pytest.mark.parametrize("decode", ["sample", "greedy", "beam"])
def test_every_decoder_is_guided_the_same_for_every_batch_size(decode: str) -> None:
    model = taught()
    found = model.generate(23, guidance=3.0, decode=decode)
    assert found.sentences == model.generate(23, guidance=3.0, decode=decode, batch_size=4).sentences
    assert found.sentences != model.generate(23, decode=decode).sentences


def test_both_knobs_stand_in_the_signature() -> None:
    found = taught().generate(2, prior_temperature=0.5, guidance=2)
    assert found.signature.startswith("samples(n=2,decode=sample,T=1,prior_T=0.5,guidance=2)|prior:")


@pytest.mark.parametrize("value", [-0.1, 101, float("inf"), "much"])
def test_values_out_of_range_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="guidance must"):
        taught().generate(1, guidance=value)


@pytest.mark.parametrize("latent_dim", [4, 0])
def test_models_without_a_null_vector_are_refused_with_what_to_do(latent_dim: int) -> None:
    with pytest.raises(InputError, match=r"train one with model\.z_dropout"):
        tiny_model(latent_dim=latent_dim).generate(1, guidance=2.0)

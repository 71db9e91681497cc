"""The network: its probabilities are those of the textbook and sum to one; its vocabulary is closed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lebm_text.models.packing import Packing
from lebm_text.text.batching import Batch
from lm_eval.judges import LSTMRecipe
from lm_eval.lstm import LSTMNetwork, OutputVocabulary, _drop, _mask, score_text

from .lstm_reference import token_nll

WORDS = [f"w{i}" for i in range(30)]
VOCABULARY = OutputVocabulary(["<unk>", *WORDS])
TINY = LSTMRecipe("tiny", 8, 8, shortlist=10)
TEXT = ["w0 w3 w29 w12", "", "w5", "w28 <unk> w1 w1 w20 w2 w0", "never-seen"]
RECIPES = {
    "two levels": TINY,
    "one level": replace(TINY, shortlist=None),
    "shortlist of all": replace(TINY, shortlist=32),
    "one rare word": replace(TINY, shortlist=31),
    "untied": replace(TINY, embedding_dim=5, tied=False),
}


def network(recipe: LSTMRecipe = TINY, precision: str = "fp32", seed: int = 1) -> LSTMNetwork:
    """With weights so large that every part of the network matters."""
    made = LSTMNetwork(len(VOCABULARY), recipe, precision, rng=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(seed))
    return made


def test_weights_begin_small_and_forget_gates_open() -> None:
    recipe = replace(TINY, embedding_dim=5, hidden_dim=16, tied=False)
    made = LSTMNetwork(len(VOCABULARY), recipe, "fp32", rng=torch.Generator().manual_seed(1))
    ranges = {"embedding": 0.1, "output_weight": 0.1, "token_weight": 0.25, "recurrent_weight": 0.25}  # 1/√16
    for name, most in ranges.items():
        assert 0.9 * most < float(made.get_parameter(name).detach().abs().max()) <= most, name
    assert made.gate_bias.tolist() == [0.0] * 16 + [1.0] * 16 + [0.0] * 32  # i, f, o, g
    assert not made.output_bias.any()


@pytest.mark.parametrize(("double", "error"), [(True, 1e-12), (False, 1e-5)])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_scores_are_those_of_the_textbook(recipe: LSTMRecipe, double: bool, error: float) -> None:
    model, text = network(recipe), VOCABULARY.encode(TEXT)
    scores = score_text(model.double() if double else model, text)
    for i, (start, end) in enumerate(zip(text.offsets, text.offsets[1:], strict=False)):
        nll = token_nll(model, text.tokens[start:end].tolist())
        assert scores.n_tokens[i] == len(nll)
        np.testing.assert_allclose(scores.nll[i], nll.sum(), rtol=error)
        np.testing.assert_allclose(scores.nll_eos[i], nll[-1], rtol=error)


def test_a_long_line_is_read_in_pieces_and_loses_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece begins as a line does, so that the memory that a line needs does not grow with it."""
    line = " ".join(WORDS[i % 30] for i in range(11))
    texts = ["w7 w8", line, "", line]
    model = network().double()
    widths: list[int] = []
    whole = score_text(model, VOCABULARY.encode(texts), torch.arange(len(VOCABULARY)) != 5)
    log_probs = model.log_probs

    def watched(batch: Batch, packing: Packing) -> torch.Tensor:
        widths.append(batch.tokens.shape[1])
        return log_probs(batch, packing)

    monkeypatch.setattr(model, "log_probs", watched)
    monkeypatch.setattr("lm_eval.lstm.LONGEST", 5)
    encoded = VOCABULARY.encode(texts)
    found = score_text(model, encoded, torch.arange(len(VOCABULARY)) != 5)
    assert max(widths) == 5
    ids = encoded.tokens[encoded.offsets[1] : encoded.offsets[2]].tolist()
    parts = [token_nll(model, ids[start : start + 5]) for start in (0, 5, 10)]
    assert sum(map(len, parts)) == 12
    for i in (1, 3):
        np.testing.assert_allclose(found.nll[i], sum(part.sum() for part in parts), rtol=1e-12)
        np.testing.assert_allclose(found.nll_eos[i], parts[2][-1], rtol=1e-12)
    for i in (0, 2):
        np.testing.assert_allclose(found.nll[i], whole.nll[i], rtol=1e-12)
    assert (found.n_tokens.tolist(), found.n_oov.tolist()) == (whole.n_tokens.tolist(), whole.n_oov.tolist())
    assert found.n_oov[1] == 1


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-5), ("bf16", 0.02)])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_probabilities_of_the_next_token_sum_to_one(recipe: LSTMRecipe, precision: str, error: float) -> None:
    model, start = network(recipe, precision), "w3 w25"
    words = score_text(model, VOCABULARY.encode([f"{start} {word}" for word in ("<unk>", *WORDS)]))
    ends = score_text(model, VOCABULARY.encode([start]))
    nll_start = ends.nll[0] - ends.nll_eos[0]
    total = np.exp(nll_start - (words.nll - words.nll_eos)).sum() + np.exp(-ends.nll_eos[0])
    assert total == pytest.approx(1.0, abs=error)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_starts_from_the_unigrams_of_a_text(recipe: LSTMRecipe) -> None:
    model = network(recipe)
    counts = np.arange(len(VOCABULARY))[::-1].copy()
    model.start_from(counts)
    with torch.no_grad():
        (model.embedding if model.output_weight is None else model.output_weight).zero_()
    text = VOCABULARY.encode(TEXT)
    expected = -np.log((counts + 1) / (counts + 1).sum())[text.tokens].sum()
    assert score_text(model, text).nll.sum() == pytest.approx(expected, rel=1e-5)


def test_sentences_do_not_touch_one_another() -> None:
    model = network()
    together = score_text(model, VOCABULARY.encode(TEXT)).nll
    alone = [score_text(model, VOCABULARY.encode([sentence])).nll[0] for sentence in TEXT]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_dropout_comes_from_the_given_generator_alone() -> None:
    model, batch = network(), VOCABULARY.encode(TEXT).batch(np.arange(5))
    packing = Packing.of(batch.lengths, torch.device("cpu"))

    def draw(seed: int | None) -> torch.Tensor:
        rng = None if seed is None else torch.Generator().manual_seed(seed)
        return model.log_probs(batch, packing, rng=rng).detach()

    state = torch.get_rng_state()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert not torch.equal(draw(1), draw(None))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.4, 0.9])
def test_dropout_keeps_the_mean_and_drops_the_rate(rate: float) -> None:
    values = torch.full((301, 333), 2.0)
    dropped = _drop(values, rate, _mask(301, 333, rate, torch.Generator().manual_seed(0)))
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.006)
    assert float(dropped.mean()) == pytest.approx(2.0, rel=0.03)
    assert len(set(dropped.flatten().tolist())) == (1 if rate == 0 else 2)
    columns, rows = (dropped == 0).float().mean(0), (dropped == 0).float().mean(1)
    assert float((columns - rate).abs().max()) < 0.15
    assert float((rows - rate).abs().max()) < 0.15


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_padded_batch_has_the_nll_and_the_gradients_of_the_packed_one(recipe: LSTMRecipe, rate: float) -> None:
    """Also with empty rows and columns, and whichever tokens dropout keeps."""
    model = network(replace(recipe, input_dropout=rate, output_dropout=rate / 2)).double()
    text = ["w28 w0 <unk> w20 w12 w0", *TEXT[:3] * 6][:17]
    batch = VOCABULARY.encode(text).batch(np.arange(17))
    padded, packing = batch.padded(), Packing.of(batch.lengths, torch.device("cpu"))
    assert padded.tokens.shape == (18, 8) and batch.tokens.shape == (17, 7)
    masks = model.dropout_masks(padded.tokens.numel(), torch.Generator().manual_seed(1)) if rate else ()
    inside = Packing.padded(padded.lengths, 8).inside
    assert inside is not None
    kept = [mask[inside] for mask in masks]
    n_rare = int((batch.tokens >= model.n_first).sum())
    wanted = -model._log_probs(batch.tokens, packing, kept, n_rare).sum()
    values = [wanted, model.padded_nll(padded, masks)]
    parameters = list(model.parameters())
    assert values[1].item() == pytest.approx(values[0].item(), rel=1e-12)
    for one, other in zip(*(torch.autograd.grad(value, parameters) for value in values), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert not rate or values[0].item() != pytest.approx(-model.log_probs(batch, packing).sum().item(), rel=1e-3)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_gradients_are_those_of_the_scores(recipe: LSTMRecipe) -> None:
    model, batch = network(recipe).double(), VOCABULARY.encode(TEXT).batch(np.arange(5))
    packing = Packing.of(batch.lengths, torch.device("cpu"))
    model.log_probs(batch, packing).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        direction, size, values = parameter.grad / parameter.grad.norm(), 1e-6, []
        with torch.no_grad():
            for step in (size, -2 * size):
                parameter.add_(direction, alpha=step)
                values.append(float(model.log_probs(batch, packing).sum()))
            parameter.add_(direction, alpha=size)
        slope = (values[0] - values[1]) / (2 * size)
        assert slope == pytest.approx(float(parameter.grad.norm()), rel=1e-6), name


def test_vocabulary_is_closed() -> None:
    assert VOCABULARY.types[:3] == ("</s>", "<oov>", "w0")
    assert len(VOCABULARY) == len(WORDS) + 2
    text = VOCABULARY.encode(["w0 <unk>", "", "<oov>\tother  w1"])
    assert text.tokens.tolist() == [2, 1, 0, 0, 1, 1, 3, 0]
    assert text.lengths.tolist() == [3, 1, 4]
    assert len(VOCABULARY.encode([])) == 0


def test_vocabulary_without_unk_gets_it() -> None:
    assert OutputVocabulary(["a", "b", "a"]).types == ("</s>", "<oov>", "a", "b")

"""The transformer p(x|z): equal to one written out word by word, in values and gradients, however it is computed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lebm_text.errors import InputError
from lebm_text.models import transformer
from lebm_text.models.attention import without_cudnn_attention
from lebm_text.models.modules import dropout
from lebm_text.models.transformer import N_PREFIX, SLOWEST, TransformerGenerator

from ..toy import BOS, LATENT, by_steps, gap, normal, seeded, toy_batch, toy_transformer

LENGTHS = (7, 5, 5, 2, 1)


def plain(generator: TransformerGenerator, words: list[int], z: Tensor) -> Tensor:
    """log p(x|z) of one sentence: each position attends to those before it, one dot product at a time."""
    width, heads = generator.embedding.shape[1], generator.n_heads
    size = width // heads

    def rotated(x: Tensor, place: int) -> Tensor:
        turned = []
        for i in range(size // 2):
            angle = place * SLOWEST ** (-i / (size // 2))
            pair = torch.complex(x[i], x[i + size // 2]) * torch.polar(
                torch.ones(()).double(), torch.tensor(angle, dtype=torch.float64)
            )
            turned.append(pair)
        return torch.stack([p.real for p in turned] + [p.imag for p in turned])

    prefix = (generator.prefix.weight @ z + generator.prefix.bias).view(N_PREFIX, width)
    h = [*prefix, *(generator.embedding[word] for word in [BOS, *words[:-1]])]
    for layer in generator.layers:
        h = [each + layer.latent @ z for each in h]
        read = [layer.attention_in(layer.attention_norm(each)).view(3, heads, size) for each in h]
        for t in range(len(h)):
            parts = []
            for head in range(heads):
                q = rotated(read[t][0, head], t)
                weights = [q @ rotated(read[s][1, head], s) / math.sqrt(size) for s in range(t + 1)]
                shares = torch.stack(weights).softmax(0)
                parts.append(sum(share * read[s][2, head] for s, share in enumerate(shares)))
            h[t] = h[t] + layer.attention_out(torch.cat(parts))
        h = [each + layer.narrow(F.gelu(layer.widen(layer.between_norm(each)))) for each in h]
    output = generator.embedding if generator.output_weight is None else generator.output_weight
    logits = [output @ generator.norm(each) + generator.output_bias for each in h[N_PREFIX:]]
    return sum((one.log_softmax(0)[word] for one, word in zip(logits, words, strict=True)), torch.zeros(()).double())


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"latent_dim": 0}], ids=["untied", "tied", "no z"])
def test_likelihoods_and_gradients_are_those_of_the_one_written_out(options: dict[str, Any]) -> None:
    generator, batch, lengths = toy_transformer(**options), toy_batch((4, 2, 1)), (4, 2, 1)
    z, pull = normal(3, generator.latent_dim).requires_grad_(), normal(3, seed=5)
    rows = zip(batch.tokens.tolist(), lengths, z, strict=True)
    wanted = torch.stack([plain(generator, row[:n], one) for row, n, one in rows])
    found = generator.log_likelihood(batch, z)
    assert gap(found, wanted) < 1e-12
    assert gap(generator.likelihood(batch)(z), wanted) < 1e-12
    leaves = [z, *generator.parameters()]
    theirs = torch.autograd.grad((wanted * pull).sum(), leaves, allow_unused=True)
    for mine, other in zip(torch.autograd.grad((found * pull).sum(), leaves, allow_unused=True), theirs, strict=True):
        assert (mine is None) == (other is None)
        assert mine is None or other is None or torch.allclose(mine, other, rtol=1e-10, atol=1e-11)
    if generator.latent_dim:
        (in_chain,) = torch.autograd.grad((generator.likelihood(batch)(z) * pull).sum(), z)
        assert theirs[0] is not None
        assert gap(in_chain, theirs[0]) < 1e-12


@pytest.mark.parametrize("axes", [(1,), (4,), (2, 3)])
def test_leading_axes_are_independent_sets_of_z(axes: tuple[int, ...]) -> None:
    generator, batch, z = toy_transformer(), toy_batch(LENGTHS), normal(*axes, len(LENGTHS), LATENT)
    found = generator.likelihood(batch)(z)
    wanted = torch.stack([generator.log_likelihood(batch, some) for some in z.flatten(0, -3)]).view(found.shape)
    assert gap(found, wanted) < 1e-12


@pytest.mark.parametrize("axes", [(), (2,)])
def test_a_padded_likelihood_and_its_tangent_are_those_of_the_packed(axes: tuple[int, ...]) -> None:
    """Rows without a sentence have nothing to say, whatever their z."""
    generator, batch = toy_transformer(), toy_batch([*LENGTHS, *[1] * 12])
    z = normal(*axes, 18, LATENT).requires_grad_()
    wanted = F.pad(generator.likelihood(batch)(z[..., :17, :]), (0, 1))
    found = generator.padded_likelihood(batch.padded())
    assert gap(found(z), wanted) < 1e-12
    gradients = [torch.autograd.grad(value.sum(), z)[0] for value in (wanted, found(z), found.tangent(z))]
    assert max(gap(gradients[0], other) for other in gradients[1:]) < 1e-12
    assert bool(gradients[0][..., :17, :].all()) and not gradients[0][..., 17, :].any()


def test_step_by_step_is_the_same_distribution() -> None:
    generator, batch, z = toy_transformer(), toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    assert gap(by_steps(generator, batch, z), generator.log_likelihood(batch, z)) < 1e-12


def test_rows_of_different_ages_go_on_side_by_side() -> None:
    generator, z = toy_transformer(), normal(5, LATENT)
    _, young = generator.step(torch.full((5,), BOS), generator.start(z))
    _, old = generator.step(torch.tensor([4, 5, 6, 7, 8]), young)
    tokens = torch.tensor([3, 4, 5, 6, 7])
    of_young, of_old = generator.step(tokens, young)[0], generator.step(tokens, old)[0]
    assert gap(of_young, of_old) > 1e-3
    some, others = torch.tensor([1, 0, 0]), torch.tensor([3, 4])
    for first, then, wanted in ((young, old, (of_young, of_old)), (old, young, (of_old, of_young))):
        joined = first.select(some).join(then.select(others))
        read = torch.cat([torch.full((3,), 4), tokens[others]])
        found, state = generator.step(read, joined)
        assert gap(found[1:3], generator.step(torch.full((5,), 4), first)[0][[0, 0]]) < 1e-14
        assert gap(found[3:], wanted[1][others]) < 1e-14
        assert gap(found[0], generator.step(torch.full((5,), 4), first)[0][1]) < 1e-14
        assert state.length.max() == state.n_columns


def test_what_no_row_needs_is_not_kept() -> None:
    generator = toy_transformer()
    _, young = generator.step(torch.full((2,), BOS), generator.start(normal(2, LATENT)))
    _, old = generator.step(torch.tensor([4, 5]), young)
    assert old.join(young).select(torch.tensor([2, 3])).n_columns == N_PREFIX + 1
    assert old.select(torch.tensor([], dtype=torch.long)).n_columns == 0


def test_padding_never_changes_a_likelihood() -> None:
    generator, batch, z = toy_transformer(), toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    padding = torch.arange(batch.tokens.shape[1] + 3) >= batch.lengths[:, None]
    changed = dataclasses.replace(batch, tokens=F.pad(batch.tokens, (0, 3)).masked_fill(padding, 5))
    assert gap(generator.likelihood(changed)(z), generator.likelihood(batch)(z)) < 1e-12
    assert gap(generator.log_likelihood(changed, z), generator.log_likelihood(batch, z)) < 1e-12


def test_likelihood_of_changed_parameters_is_an_error() -> None:
    generator, batch, z = toy_transformer(), toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    likelihood = generator.likelihood(batch)
    likelihood(z)
    with torch.no_grad():
        generator.layers[0].latent[0] += 1
    with pytest.raises(RuntimeError, match="parameters changed"):
        likelihood(z)


def test_dropout_masks_follow_their_stream() -> None:
    generator, batch, z = toy_transformer(dropout=0.4), toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    before = torch.get_rng_state()
    first, again, other = (generator.log_likelihood(batch, z, rng=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert gap(first, other) > 1e-3
    assert torch.equal(torch.get_rng_state(), before)
    assert gap(generator.log_likelihood(batch, z), toy_transformer().log_likelihood(batch, z)) < 1e-12


def test_embeddings_both_outputs_of_each_layer_and_the_last_states_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    generator, batch = toy_transformer(dropout=0.3), toy_batch(LENGTHS)

    def watched(values: Tensor, rate: float, rng: torch.Generator | None) -> Tensor:
        assert rate == 0.3 and rng is not None
        shapes.append(tuple(values.shape))
        return dropout(values, rate, rng)

    monkeypatch.setattr("lebm_text.models.transformer.dropout", watched)
    generator.log_likelihood(batch, normal(len(LENGTHS), LATENT), rng=seeded())
    rows, width = batch.tokens.shape
    assert shapes == [(rows, width, 8), *[(rows, N_PREFIX + width, 8)] * 4, (batch.n_tokens, 8)]


def test_bfloat16_stays_close_to_float64() -> None:
    batch, z = toy_batch(LENGTHS), normal(len(LENGTHS), LATENT)
    wanted = toy_transformer().log_likelihood(batch, z)
    half = toy_transformer(dtype=torch.float32, compute_dtype=torch.bfloat16)
    for found in (half.log_likelihood(batch, z.float()), half.likelihood(batch)(z.float())):
        assert found.dtype == torch.float32
        error = (found.double() - wanted).detach().abs() / batch.lengths
        assert 0 < float(error.max()) < 0.1


def test_on_a_cpu_attention_is_float32_whatever_the_products_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 its gradient takes seven times as long there."""
    attention: Any = torch.nn.functional.scaled_dot_product_attention
    types: set[torch.dtype] = set()

    def seen(*tensors: torch.Tensor, **options: Any) -> Any:
        types.update(each.dtype for each in tensors)
        return attention(*tensors, **options)

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", seen)
    half = toy_transformer(dtype=torch.float32, compute_dtype=torch.bfloat16)
    batch, z = toy_batch((2, 1)), normal(2, LATENT).float()
    half.likelihood(batch)(z)
    by_steps(half, batch, z)
    assert types == {torch.float32}


def test_initial_parameters_come_from_the_stream() -> None:
    same, again, other = (toy_transformer(seed=s) for s in (1, 1, 2))
    assert all(map(torch.equal, same.parameters(), again.parameters()))
    assert gap(same.embedding, other.embedding) > 0
    assert float(same.embedding.detach().abs().max()) <= 0.5


def test_norms_begin_as_plain_ones_and_no_bias_but_that_of_the_prefix_is_drawn() -> None:
    generator = toy_transformer()
    for name, value in generator.named_parameters():
        if value.dim() > 1 or name == "prefix.bias":
            assert 0.2 < float(value.detach().abs().max()) <= 0.5, name
        else:
            assert set(value.tolist()) == {1.0 if name.endswith("norm.weight") else 0.0}, name
    assert generator.get_parameter("layers.0.widen.weight").shape == (4 * 8, 8)


@pytest.mark.parametrize("sizes", [{"embedding_dim": 6}, {"n_heads": 3}, {"n_heads": 8}])
def test_sizes_that_do_not_go_together_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"model.generator = transformer needs"):
        toy_transformer(**sizes)


def test_on_a_gpu_attention_is_not_cudnn_s(by_cudnn: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would build a plan for each length: neither of sentences at once nor word after word."""
    generator, batch, z = toy_transformer(), toy_batch((2, 1)), normal(2, LATENT)
    cuda = torch.device("cuda")
    for place, found in ((cuda, False), (torch.device("cpu"), True)):
        monkeypatch.setattr(transformer, "without_cudnn_attention", lambda _, to=place: without_cudnn_attention(to))
        by_cudnn.clear()
        generator.log_likelihood(batch, z)
        by_steps(generator, batch, z)
        assert set(by_cudnn) == {found}
    assert torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with without_cudnn_attention(cuda):
            pass
        assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)

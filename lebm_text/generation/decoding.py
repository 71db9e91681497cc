"""From the logits of an autoregressive model to sentences: greedy, ancestral sampling, beam search.

    sample: p_i ∝ exp(l_i / T), first restricted to the top k, then to the nucleus of mass p
            (Holtzman et al., 2020); id = min{i : p_1 + … + p_i > u}, u uniform on [0, 1)
    beam:   argmax over finished hypotheses of log p(x_1..x_n </s>) / (n + 1)^length_penalty

The uniforms are passed in: the caller decides what a sentence's randomness depends on. The module knows no
model, only a `step` callable and a state with `select`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from lebm_text.errors import InputError

from .settings import DecodeSettings

__all__ = ["Decoded", "DecoderState", "decode", "filter_logits", "sample"]

BLOCK = 128  # ids that `sample` sums at a time: about √V, so that both draws are small
DRAWS = 32  # uniform numbers drawn at a time for each sentence

S = TypeVar("S", bound="DecoderState")


class DecoderState(Protocol):
    """What a model carries from one step to the next, one row per sentence."""

    def select(self: S, rows: Tensor) -> S:
        """Return the state of the given rows, in their order; a row may occur more than once."""

    def join(self: S, other: S) -> S:
        """Return the rows of this state followed by those of `other`."""


Step = Callable[[Tensor, S], tuple[Tensor, S]]


@dataclass(frozen=True)
class Decoded:
    """Ids of each sentence without `<s>` and `</s>`, and whether it was cut at `max_length`."""

    ids: list[list[int]]
    truncated: list[bool]


def filter_logits(logits: Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Return the logits (…, V) of the distribution to sample: scaled, and −inf outside the top k and the nucleus.

    `top_k` keeps exactly k ids (which of equal ones at the border is not specified); the
    nucleus is the smallest set of most probable ids whose probability reaches `top_p`, never empty.

    Args:
        logits: (…, V) log-probabilities up to a constant.
        temperature: T, above 0.
        top_k: number of ids to keep; 0: all.
        top_p: probability of the nucleus; 1: no restriction.
    """
    if temperature != 1:
        # The largest logit becomes 0 before the division, so that a tiny T gives −inf for the others and never inf.
        logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    if 0 < top_k < logits.shape[-1]:
        values, ids = logits.topk(top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, ids, values)
    if top_p < 1:
        ordered, ids = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1, dtype=torch.float64) - probabilities
        outside = torch.zeros_like(ids, dtype=torch.bool).scatter(-1, ids, before >= top_p)
        logits = logits.masked_fill(outside, -torch.inf)
    return logits


def sample(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw ids (…) from softmax(logits), logits (…, V), by inverse CDF at `uniforms` (…) in [0, 1).

    First a block of ids is drawn, then an id of the block, so that sums over V need no double precision.
    """
    # Subtracting the maximum would cost two more passes. The plain exponential is safe unless a row leaves the range of
    # the type, which its sum reveals.
    weights = logits.exp()
    mass = _block_sums(weights)
    total = mass.sum(-1, keepdim=True)
    sound = (total > 1e-30) & (total < 1e30)
    if not bool(sound.all()):
        weights = (logits - logits.amax(dim=-1, keepdim=True).masked_fill_(sound, 0.0)).exp_()
        mass = _block_sums(weights)
    cdf = mass.cumsum(dim=-1, dtype=torch.float64)
    # A double below 1 times the total rounds to less than the total, so some block of positive mass lies beyond.
    target = uniforms.to(torch.float64).unsqueeze(-1) * cdf[..., -1:]
    block = torch.searchsorted(cdf, target, right=True)
    before = cdf.gather(-1, block) - mass.gather(-1, block)
    ids = block * BLOCK + torch.arange(BLOCK, device=block.device)
    beyond = ids >= weights.shape[-1]
    inner = weights.gather(-1, ids.masked_fill(beyond, 0)).masked_fill_(beyond, 0.0).cumsum(dim=-1, dtype=torch.float64)
    # The block's mass was rounded, so the rest of the target may exceed the block.
    last = inner[..., -1:]
    rest = (target - before).clamp_min(0.0).minimum(last.nextafter(torch.zeros_like(last)))
    return (block * BLOCK + torch.searchsorted(inner, rest, right=True)).squeeze(-1)


def _block_sums(weights: Tensor) -> Tensor:
    """Return sums of `BLOCK` neighbours, (…, V) → (…, blocks); the last block may hold fewer ids, or none."""
    # Logits are stored as (V, n): summing along the other axis would take ten times as long.
    ids_first = weights.movedim(-1, 0)
    whole = len(ids_first) // BLOCK * BLOCK
    blocks = ids_first[:whole].reshape(whole // BLOCK, BLOCK, *ids_first.shape[1:]).sum(1)
    return torch.cat([blocks, ids_first[whole:].sum(0, keepdim=True)]).movedim(0, -1).contiguous()


@torch.no_grad()
def decode(
    step: Step[S],
    state: S,
    n: int,
    settings: DecodeSettings,
    *,
    bos_id: int,
    eos_id: int,
    forbidden: Collection[int] = (),
    max_length: int,
    uniforms: Callable[[int], Tensor] | None = None,
    at_once: int | None = None,
    device: torch.device | str = "cpu",
) -> Decoded:
    """Decode n sentences, `at_once` (None: all) in parallel: when one has ended, the next one begins.

    Args:
        step: (tokens (N,), state of N rows) → (logits (N, V), new state); called with `bos_id` first. The logits are
            written to.
        state: of n rows.
        n: number of sentences.
        settings: how ids are chosen.
        bos_id, eos_id: ids of `<s>` and `</s>`.
        forbidden: ids that are never produced; the rest of the distribution is renormalised.
        max_length: in tokens without `</s>`; a sentence is truncated if it has that many and the next one
            would not be `</s>`.
        uniforms: for decode="sample": k → (n, k), the next k numbers in [0, 1) of each sentence, so that its draws
            are independent of other sentences and of when it begins.
        at_once: maximum number of rows of a step.
        device: of the ids.
    """
    if max_length < 1:
        raise InputError(f"max_length must be >= 1, got {max_length}")
    if n == 0:
        return Decoded([], [])
    banned = torch.tensor(sorted(forbidden), dtype=torch.long, device=device)

    def masked(tokens: Tensor, state: S) -> tuple[Tensor, S]:
        logits, state = step(tokens, state)
        return logits.index_fill_(-1, banned, -torch.inf), state

    first = torch.full((n,), bos_id, dtype=torch.long, device=device)
    at_once = min(at_once or n, n)
    if settings.decode == "beam":
        parts = [
            _beam_search(masked, state.select(rows), first[rows], settings, eos_id, max_length)
            for rows in torch.split(torch.arange(n, device=device), at_once)
        ]
        return Decoded([ids for part in parts for ids in part.ids], [cut for part in parts for cut in part.truncated])
    drawn = torch.empty(n, 0, device=device)

    def choose(logits: Tensor, sentences: Tensor, t: Tensor, latest: int) -> Tensor:
        nonlocal drawn
        if settings.decode == "greedy":
            return logits.argmax(dim=-1)
        if uniforms is None:
            raise ValueError("decode=sample needs uniforms")
        while latest >= drawn.shape[1]:
            drawn = torch.cat([drawn, uniforms(DRAWS).to(device)], dim=1)
        kept = filter_logits(logits, temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p)
        return sample(kept, drawn[sentences, t])

    return _one_path(masked, state, first, choose, eos_id, max_length, at_once)


def _one_path(
    step: Step[S],
    state: S,
    first: Tensor,
    choose: Callable[[Tensor, Tensor, Tensor, int], Tensor],
    eos_id: int,
    max_length: int,
    at_once: int,
) -> Decoded:
    n = len(first)
    out = torch.full((n, DRAWS), eos_id, dtype=torch.long, device=first.device)  # grows with the longest sentence
    order = torch.arange(n, device=first.device)
    alive, waiting = order[:at_once], at_once  # sentences in progress; the first that has not begun
    t, tokens, running = torch.zeros_like(alive), first[alive], state.select(alive)
    while len(alive):
        logits, running = step(tokens, running)
        latest = int(t.max())
        tokens = choose(logits, alive, t, latest)
        if latest >= out.shape[1]:
            out = torch.cat([out, torch.full_like(out, eos_id)], dim=1)
        out[alive, t] = tokens
        t = t + 1
        going = ((tokens != eos_id) & (t <= max_length)).nonzero().squeeze(-1)
        if n_ended := len(alive) - len(going):
            fresh = order[waiting : waiting + n_ended]
            waiting += len(fresh)
            alive, running = torch.cat([alive[going], fresh]), running.select(going)
            t, tokens = torch.cat([t[going], torch.zeros_like(fresh)]), torch.cat([tokens[going], first[fresh]])
            if len(fresh):
                running = running.join(state.select(fresh))
    rows = out.tolist()
    ids = [row[: row.index(eos_id)] if eos_id in row else row for row in rows]
    return Decoded([row[:max_length] for row in ids], [len(row) > max_length for row in ids])


def _beam_search(
    step: Step[S], state: S, first: Tensor, settings: DecodeSettings, eos_id: int, max_length: int
) -> Decoded:
    """Return the best finished hypothesis of each sentence, or the best unfinished one if none can end.

    A sentence is done when `beam_size` hypotheses have ended, each of them among the `beam_size` best of its step. At
    `max_length` every hypothesis must end, however much more probable another id is; one whose most probable id is
    not `</s>` is marked as truncated.
    """
    size, n, device = settings.beam_size, len(first), first.device
    best: list[tuple[float, list[int], bool]] = [(-inf, [], False)] * n  # score, ids, truncated
    n_ended = torch.zeros(n, dtype=torch.long, device=device)
    sentence = torch.arange(n, device=device)  # the sentence of each block of `size` rows
    scores = torch.full((n, size), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all beams are equal at first: only one may count
    paths = first.new_empty((n, size, 0))
    tokens = first.repeat_interleave(size)
    state = state.select(torch.arange(n, device=device).repeat_interleave(size))
    for t in range(max_length + 1):
        logits, state = step(tokens, state)
        n_ids = logits.shape[-1]
        totals = scores.unsqueeze(-1) + logits.float().log_softmax(dim=-1).view(len(sentence), size, n_ids)
        if t == max_length:
            final = totals[..., eos_id] / (t + 1) ** settings.length_penalty
            rather = (totals.argmax(dim=-1) != eos_id).tolist()
            for block, (row, beam) in enumerate(zip(sentence.tolist(), final.argmax(dim=1).tolist(), strict=True)):
                if (score := float(final[block, beam])) > best[row][0]:
                    best[row] = (score, paths[block, beam].tolist(), rather[block][beam])
                elif best[row][0] == -inf:
                    best[row] = (-inf, paths[block, 0].tolist(), True)
            break
        # Each beam has one candidate that ends, so the best 2·size include `size` that continue (or all there are).
        values, flat = totals.flatten(1).topk(min(2 * size, size * n_ids), dim=1)
        beams, ids = flat // n_ids, flat % n_ids
        ended = (ids == eos_id) & values.isfinite()
        for block, rank in ended[:, :size].nonzero().tolist():
            row = int(sentence[block])
            score = float(values[block, rank]) / (t + 1) ** settings.length_penalty
            n_ended[row] += 1
            if score > best[row][0]:
                best[row] = (score, paths[block, beams[block, rank]].tolist(), False)
        values = values.masked_fill(ids == eos_id, -torch.inf)
        scores, order = values.topk(size, dim=1)
        beams, ids = beams.gather(1, order), ids.gather(1, order)
        paths = torch.cat([paths.gather(1, beams.unsqueeze(-1).expand(-1, -1, t)), ids.unsqueeze(-1)], dim=-1)
        # A sentence also ends when no continuation is possible.
        going = ((n_ended[sentence] < size) & scores[:, 0].isfinite()).nonzero().squeeze(-1)
        if len(going) == 0:
            break
        rows = (torch.arange(len(sentence), device=device).unsqueeze(-1) * size + beams)[going].flatten()
        sentence, scores, paths, tokens = sentence[going], scores[going], paths[going], ids[going].flatten()
        state = state.select(rows)
    return Decoded([ids for _, ids, _ in best], [cut for _, _, cut in best])

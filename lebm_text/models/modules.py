"""Parts shared by networks: embeddings, affine maps, dropout and word dropout from a stream, constant parameters."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Affine", "Embedded", "constant", "drop_words", "dropout", "require_version", "version"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Embedded(nn.Module):
    """A network that reads tokens through `embedding`, with operands of matrix products in `compute_dtype`."""

    embedding: nn.Parameter
    compute_dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.embedding.device

    @property
    def operand_dtype(self) -> torch.dtype:
        """Type of matrix operands: a float64 module keeps its own."""
        return self.embedding.dtype if self.compute_dtype == torch.float32 else self.compute_dtype


class Affine(nn.Linear):
    """`nn.Linear` without initial values: these would come from torch's global stream, and warn of a width of 0."""

    def reset_parameters(self) -> None:
        """Do nothing: the generator's `initialise` sets the values."""


def dropout(values: Tensor, rate: float, rng: torch.Generator | None) -> Tensor:
    """Set values to 0 at `rate` and scale the others by 1/(1 − rate); without `rng` nothing changes.

    torch's own dropout takes no generator and would tie a resumed run to global state.
    """
    if rng is None or rate == 0:
        return values
    keep = 1.0 - rate
    mask = torch.empty(values.shape, device=values.device).bernoulli_(keep, generator=rng).div_(keep)
    return values * mask.to(values.dtype)


def drop_words(ids: Tensor, rate: float, unk_id: int, bos_id: int, rng: torch.Generator | None) -> Tensor:
    """Replace some of the input words by `<unk>` (Bowman et al., CoNLL 2016, section 3.1).

    A generator that cannot rely on the previous words depends more on z.

    Args:
        ids: (B, T).
        rate: probability of dropping a word.
        unk_id: id of `<unk>`.
        bos_id: id of `<s>`, which is never dropped.
        rng: draws which words; None: none is dropped.
    """
    if rng is None or rate == 0:
        return ids
    dropped = torch.empty(ids.shape, device=ids.device).bernoulli_(rate, generator=rng) > 0
    return ids.masked_fill(dropped & (ids != bos_id), unk_id)


def constant(module: ModuleT) -> ModuleT:
    """Return the module with its parameters as constants: they share memory and versions with it, without gradients."""
    fixed = copy.copy(module)
    fixed._parameters = {
        name: None if value is None else nn.Parameter(value, requires_grad=False)
        for name, value in module._parameters.items()
    }
    fixed._modules = {name: None if child is None else constant(child) for name, child in module._modules.items()}
    return fixed


def version(module: nn.Module) -> int:
    """Return a number that increases with every in-place change of a parameter."""
    return sum(parameter._version for parameter in module.parameters())


def require_version(generator: nn.Module, made: int) -> None:
    """Raise RuntimeError if the generator's `version` is no longer `made`, that at the call of `likelihood(batch)`."""
    if version(generator) != made:
        raise RuntimeError("the generator's parameters changed since likelihood(batch) was called")

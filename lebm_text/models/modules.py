"""What networks share: embeddings, affine maps without values of their own, dropout from a stream, constants."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Affine", "Embedded", "constant", "drop_words", "dropout", "require_version", "version"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Embedded(nn.Module):
    """A network that reads tokens by `embedding`, with operands of matrix products in `compute_dtype`."""

    embedding: nn.Parameter
    compute_dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.embedding.device

    @property
    def operand_dtype(self) -> torch.dtype:
        """The type of matrix operands: a float64 module keeps its own."""
        return self.embedding.dtype if self.compute_dtype == torch.float32 else self.compute_dtype


class Affine(nn.Linear):
    """`nn.Linear` draws its initial values from torch's global stream and warns of a width of 0; this one has none."""

    def reset_parameters(self) -> None:
        """Leave them to the generator's `initialise`."""


def dropout(values: Tensor, rate: float, rng: torch.Generator | None) -> Tensor:
    """Set values to 0 at `rate`, the others grow by 1/(1 − rate); without `rng` all stay as they are.

    torch's own dropout takes no generator and would tie a resumed run to global state.
    """
    if rng is None or rate == 0:
        return values
    keep = 1.0 - rate
    mask = torch.empty(values.shape, device=values.device).bernoulli_(keep, generator=rng).div_(keep)
    return values * mask.to(values.dtype)


def drop_words(ids: Tensor, rate: float, unk_id: int, bos_id: int, rng: torch.Generator | None) -> Tensor:
    """Put `<unk>` in the place of some of the words that are read (Bowman et al., CoNLL 2016, section 3.1).

    A generator that cannot rely on the words before has more need of z.

    Args:
        ids: (B, T).
        rate: the probability that a word is dropped; `bos_id`, that of `<s>`, never is.
        unk_id: of `<unk>`.
        rng: draws which; None: none is dropped.
    """
    if rng is None or rate == 0:
        return ids
    dropped = torch.empty(ids.shape, device=ids.device).bernoulli_(rate, generator=rng) > 0
    return ids.masked_fill(dropped & (ids != bos_id), unk_id)


def constant(module: ModuleT) -> ModuleT:
    """The same module, its parameters as constants: they share memory and versions with it, and get no gradient."""
    fixed = copy.copy(module)
    fixed._parameters = {
        name: None if value is None else nn.Parameter(value, requires_grad=False)
        for name, value in module._parameters.items()
    }
    fixed._modules = {name: None if child is None else constant(child) for name, child in module._modules.items()}
    return fixed


def version(module: nn.Module) -> int:
    """Rises with every change of a parameter in its place."""
    return sum(parameter._version for parameter in module.parameters())


def require_version(generator: nn.Module, made: int) -> None:
    """Raise RuntimeError if a generator's `version` is another one than when its `likelihood(batch)` was made."""
    if version(generator) != made:
        raise RuntimeError("the generator's parameters changed since likelihood(batch) was called")

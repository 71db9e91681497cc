"""What the rest of the program needs of a prior and of a generator: whatever class has it, is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lebm_text.random import Rng

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Batch", "Chain", "Generator", "LogDensity", "Prior", "null_latent"]

LogDensity = Callable[[Tensor], Tensor]


class Batch(Protocol):
    """B items x, such as sentences or images: what is asked of them where nobody knows what they are."""

    @property
    def lengths(self) -> Tensor:
        """(B,) on the CPU, how many tokens each has, or pixels."""

    @property
    def index(self) -> Tensor:
        """(B,) on the CPU, the items' places among all that are learned from."""

    @property
    def n_tokens(self) -> int:
        """The sum of `lengths`."""

    def select(self, rows: Tensor) -> Self:
        """Some rows, at least one, in a rising order."""


class Chain(Protocol):
    """A Markov chain on any log density, with its settings; `inference.short_run.LangevinChain` is one."""

    @property
    def n_steps(self) -> int:
        """K."""

    @property
    def noise_scale(self) -> float:
        """n, a standard deviation."""

    @property
    def largest_step(self) -> float:
        """The largest of its step sizes."""

    @property
    def distance(self) -> float:
        """Σ s²/2 over its steps: on p0, e^−distance of where it began is left."""

    def adapted(self, *, n_steps: int | None = None, noise_scale: float | None = None) -> Chain:
        """The same with other settings; the last step size holds for steps beyond."""

    def run(
        self,
        logdensity: LogDensity,
        z: Tensor,
        *,
        rng: Rng,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Where the chains that begin at z (..., D) end, detached.

        `callback` is called before each step with its number (0, 1, …), z and the gradient.
        """


@runtime_checkable
class Prior(Protocol):
    """p(z) on R^D, an `nn.Module`; whatever of its parameters requires gradients is learned.

    It is written as p0(z) exp(f(z)) / Z with p0 = N(0, I). A normalised density q has f = log q − log p0 and log Z = 0.
    """

    @property
    def latent_dim(self) -> int:
        """D."""

    @property
    def chain(self) -> Chain | None:
        """What `sample` runs from draws of p0; None where `sample` is exact."""

    def neg_energy(self, z: Tensor) -> Tensor:
        """f(z) in nats, (..., D) → (...)."""

    def logdensity(self, z: Tensor) -> Tensor:
        """f(z) + log p0(z) in nats, (..., D) → (...): log p(z) up to the constant log Z."""

    def sample(self, n: int, rng: Rng) -> Tensor:
        """n draws (n, D) in float32, on the module's device."""

    def log_z(self) -> float | None:
        """log Z in nats where it is known in closed form, else None."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Those of the module."""


@runtime_checkable
class Generator(Protocol):
    """p(x|z), an `nn.Module`. A batch holds B items of its kind: for text `lebm_text.text.batching.Batch`.

    One may have `padded_likelihood` as well, as `LSTMGenerator` does, which must then agree with `likelihood`: on a GPU
    a chain is recorded for all batches of a shape instead of for each batch.
    """

    @property
    def latent_dim(self) -> int:
        """D."""

    @property
    def bos_id(self) -> int:
        """The id that `step` reads first."""

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""

    def initialise(self, rng: torch.Generator) -> None:
        """Draw all parameters anew."""

    def likelihood(self, batch: Any) -> LogDensity:
        """log p(x|z) of one batch as a function of z, (..., B, D) → (..., B) in nats.

        What z does not touch is done once; parameters are constants, there is no dropout. Valid until they change.
        """

    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """log p(x|z) in nats, z (B, D) → (B,), differentiable in all; `rng` draws dropout masks, none without it."""

    def start(self, z: Tensor) -> Any:
        """The state before the first token, z (B, D): it has `select(rows)` and `join(other)` (`DecoderState`)."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits (B, V) of the ids after `tokens` (B,), which may be written to, and the next state; no gradients."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Those of the module."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """With their names; where a matrix reads z beside something else, z's columns are its last."""


def null_latent(generator: Generator) -> Tensor:
    """The z (D,) with which a generator is a language model: the one that z-dropout has taught it, else 0.

    `lebm_text.build` gives any generator a parameter of that name where it is trained with z-dropout.
    """
    learned: Tensor | None = getattr(generator, "null_latent", None)
    return next(generator.parameters()).new_zeros(generator.latent_dim) if learned is None else learned

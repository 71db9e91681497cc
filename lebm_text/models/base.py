"""The interfaces of priors and generators: any class with these members can be used as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from lebm_text.random import Rng

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Batch", "Chain", "Generator", "LogDensity", "Prior", "null_latent", "trainable"]

LogDensity = Callable[[Tensor], Tensor]


class Batch(Protocol):
    """B items x, such as sentences or images: the members used by code that works for any kind of item."""

    @property
    def lengths(self) -> Tensor:
        """(B,) on the CPU, the number of tokens or pixels of each."""

    @property
    def index(self) -> Tensor:
        """(B,) on the CPU, positions of the items in the training data."""

    @property
    def n_tokens(self) -> int:
        """Sum of `lengths`."""

    def select(self, rows: Tensor) -> Self:
        """Return the items at `rows`, at least one, in increasing order."""


class Chain(Protocol):
    """A Markov chain on any log density, with its settings; `inference.short_run.LangevinChain` is one."""

    @property
    def n_steps(self) -> int:
        """K, the number of steps."""

    @property
    def noise_scale(self) -> float:
        """n, a standard deviation."""

    @property
    def largest_step(self) -> float:
        """Largest of its step sizes."""

    @property
    def distance(self) -> float:
        """Σ s²/2 over its steps: on p0 a factor e^−distance of the start remains."""

    def adapted(self, *, n_steps: int | None = None, noise_scale: float | None = None) -> Chain:
        """Return the chain with other settings; the last step size is repeated for additional steps."""

    def run(
        self,
        logdensity: LogDensity,
        z: Tensor,
        *,
        rng: Rng,
        callback: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Run the chains and return their final states, (..., D), detached.

        Args:
            logdensity: (..., D) → (...), in nats; need not be normalised.
            z: (..., D) initial states.
            rng: draws the noise.
            callback: called before each step with its number (0, 1, …), z and the gradient.
        """


class Prior(Protocol):
    """p(z) on R^D, an `nn.Module`; its parameters that require gradients are trained.

    It is written as p0(z) exp(f(z)) / Z with p0 = N(0, I). A normalised density q has f = log q − log p0 and log Z = 0.
    """

    @property
    def latent_dim(self) -> int:
        """D, the dimension of z."""

    @property
    def chain(self) -> Chain | None:
        """The chain that `sample` runs from draws of p0; None if `sample` is exact."""

    def neg_energy(self, z: Tensor) -> Tensor:
        """Return f(z) in nats, (..., D) → (...)."""

    def logdensity(self, z: Tensor) -> Tensor:
        """Return f(z) + log p0(z) in nats, (..., D) → (...): log p(z) up to the constant log Z."""

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Return n draws (n, D) in float32, on the module's device."""

    def log_z(self) -> float | None:
        """Return log Z in nats if it is known in closed form, else None."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Parameters of the module."""


class Generator(Protocol):
    """p(x|z), an `nn.Module`. A batch holds B items of its kind: for text `lebm_text.text.batching.Batch`.

    A generator may also have `padded_likelihood`, which must agree with `likelihood`, as in `LSTMGenerator`: on a GPU
    a chain is then recorded once per batch shape instead of once per batch.
    """

    @property
    def latent_dim(self) -> int:
        """D, the dimension of z."""

    @property
    def bos_id(self) -> int:
        """The id that `step` reads first."""

    @property
    def device(self) -> torch.device:
        """Device of its parameters."""

    def initialise(self, rng: torch.Generator) -> None:
        """Draw all parameters anew."""

    def likelihood(self, batch: Any) -> LogDensity:
        """Return log p(x|z) of one batch as a function of z, (..., B, D) → (..., B) in nats.

        What does not depend on z is computed once; parameters are constants, without dropout. Valid until they change.
        """

    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Return log p(x|z) in nats, differentiable in z and the parameters.

        Args:
            batch: B items x.
            z: (B, D).
            rng: draws the dropout masks; without it there is no dropout.

        Returns:
            (B,)
        """

    def start(self, z: Tensor) -> Any:
        """Return the state before the first token, z (B, D), with `select(rows)` and `join(other)` (`DecoderState`)."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return logits (B, V) of the ids after `tokens` (B,), which may be written to, and the next state.

        Gradients are not computed.
        """

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Parameters of the module."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Parameters with names; in a matrix that reads z and another input, z's columns are the last ones."""


def null_latent(generator: Generator) -> Tensor:
    """Return the z (D,) with which a generator is a language model: the one learned by z-dropout, else 0.

    `lebm_text.build` adds a parameter `null_latent` to any generator that is trained with z-dropout.
    """
    learned: Tensor | None = getattr(generator, "null_latent", None)
    return next(generator.parameters()).new_zeros(generator.latent_dim) if learned is None else learned


def trainable(part: Prior | Generator | torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters that require gradients: these are trained."""
    return [parameter for parameter in part.parameters() if parameter.requires_grad]

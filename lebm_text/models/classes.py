r"""A prior with classes: symbols y coupled with the vector z.

    p_α(y, z) = exp(f(z, y)) p0(z) / Z(α),   f(z) = log Σ_y exp f(z, y),   p(y|z) = softmax_y f(z, y)

(Pang and Wu, "Latent Space Energy-Based Model of Symbol-Vector Coupling for Text Generation and Classification", ICML
2021.) Without labels this is the energy-based prior of f(z). Where y is known, f(z, y) = f(z) + log p(y|z)
replaces f(z): in the posterior, and in the prior's loss, which gains the cross-entropy −log p(y|z⁺).
Together this is maximum likelihood of p(x, y) where the label is known and of p(x) where it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.models.base import Chain, Prior
from lebm_text.models.priors import EBMPrior, base_log_prob
from lebm_text.random import Rng, draw_normal

__all__ = ["UNKNOWN", "ClassPrior", "Given", "class_of", "classes_of"]

UNKNOWN = -1  # label number of sentences without a label


class ClassPrior(EBMPrior):
    """f(z, ·) is the MLP of `EBMPrior` with one output per class.

    Args:
        labels: names of the classes, two or more.
        latent_dim, hidden_dim, energy_bound, init_range, chain, rng: as in `EBMPrior`; f(z, y) is bounded.

    Raises:
        InputError: no labels are given.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        labels: Sequence[str] | None,
        hidden_dim: int = 200,
        energy_bound: float = 0.0,
        init_range: float = 0.1,
        chain: Chain | None = None,
        rng: torch.Generator,
    ) -> None:
        if not labels:
            raise InputError("model.prior = classes needs the names of the classes, prior.labels")
        options = {"hidden_dim": hidden_dim, "energy_bound": energy_bound, "init_range": init_range, "rng": rng}
        super().__init__(latent_dim, chain=chain, n_outputs=len(labels), **options)  # type: ignore[arg-type]
        self.labels = tuple(labels)

    def neg_energy(self, z: Tensor) -> Tensor:
        """Return f(z) in nats, (..., D) → (...)."""
        return self.outputs(z).logsumexp(-1)

    def class_log_probs(self, z: Tensor) -> Tensor:
        """Return log p(y|z) in nats, (..., D) → (..., K)."""
        return self.outputs(z).log_softmax(-1)

    def given(self, labels: Tensor) -> Given:
        """Return the prior given class numbers, (B,) for each row or () for all; `UNKNOWN` for no label."""
        return Given(self, labels.to(next(self.parameters()).device))


@dataclass(frozen=True)
class Given:
    """p(z, y) as a function of z for given labels; it has the interface of a prior.

    It is not a module: a CUDA graph recorded for these labels must not be reused for others.
    """

    prior: ClassPrior
    labels: Tensor

    @property
    def latent_dim(self) -> int:
        """D, the dimension of z."""
        return self.prior.latent_dim

    @property
    def chain(self) -> Chain | None:
        """The chain of the prior."""
        return self.prior.chain

    def neg_energy(self, z: Tensor) -> Tensor:
        """Return f(z, y) in nats, or f(z) where y is unknown: (..., B, D) → (..., B)."""
        energies = self.prior.outputs(z)
        labels = self.labels.expand(z.shape[:-1])
        known = energies.gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        return torch.where(labels == UNKNOWN, energies.logsumexp(-1), known)

    def logdensity(self, z: Tensor) -> Tensor:
        """Return f(z, y) + log p0(z) in nats, (..., B, D) → (..., B)."""
        return self.neg_energy(z) + base_log_prob(z)

    def sample(self, n: int, rng: Rng) -> Tensor:
        """Return n draws (n, D) of z given each label, by the prior's chain."""
        if self.chain is None:
            raise ValueError("an energy-based prior without a chain cannot be sampled")
        return self.chain.run(self.logdensity, draw_normal(rng, (n, self.latent_dim), self.labels.device), rng=rng)

    def log_z(self) -> None:
        """Return None: log Z is unknown."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the prior."""
        return self.prior.parameters()


def classes_of(prior: Prior) -> ClassPrior:
    """Return `prior` if it has classes. Raises InputError if it has none."""
    if not hasattr(prior, "given"):
        raise InputError("this model has no classes; model.prior=classes trains one from sentences with labels")
    return prior  # type: ignore[return-value]


def class_of(prior: Prior, label: str) -> Given:
    """Return the prior given one label. Raises InputError if it has no such class."""
    classes = classes_of(prior)
    if label not in classes.labels:
        raise InputError(f"the model has no label {label!r}; its labels are: {', '.join(map(repr, classes.labels))}")
    return classes.given(torch.tensor(classes.labels.index(label)))

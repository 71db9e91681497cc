"""What a plug-in class must do, tried out: each mistake is one line that names it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.inference.base import InferenceResult, NoLatent
from lebm_text.models.base import Chain
from lebm_text.models.classes import ClassPrior
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior, GaussianPrior, base_log_prob
from lebm_text.random import Rng, draw_normal

from .toy import Mixture, plugged_model, toy_config

HERE = __name__
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Generating(Mixture):
    def sample(self, n: int, rng: Any) -> Tensor:
        return torch.randn(n, self.latent_dim, generator=rng)


class Global(Mixture):
    def sample(self, n: int, rng: Rng) -> Tensor:
        return torch.randn(n, self.latent_dim)


class Double(Mixture):
    def sample(self, n: int, rng: Rng) -> Tensor:
        return super().sample(n, rng).double()


class Three(Mixture):
    def sample(self, n: int, rng: Rng) -> Tensor:
        return draw_normal(rng, (3, self.latent_dim))


class Matrix(Mixture):
    """Of (n, D) alone."""

    def neg_energy(self, z: Tensor) -> Tensor:
        rows, _ = z.shape
        return super().neg_energy(z).view(rows)


class Tilted(Mixture):
    def neg_energy(self, z: Tensor) -> Tensor:
        return self.logdensity(z)


class Unlearned(Mixture):
    def neg_energy(self, z: Tensor) -> Tensor:
        return super().neg_energy(z).detach()


class Halved(LSTMGenerator):
    """What it learns by is not what it writes by."""

    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        return super().log_likelihood(batch, z, rng=rng) * 0.5

    def likelihood(self, batch: Any) -> Any:
        whole = super().likelihood(batch)
        return lambda z: whole(z) * 0.5


class Slow(LSTMGenerator):
    def likelihood(self, batch: Any) -> Any:
        whole = super().likelihood(batch)
        return lambda z: whole(z) - 1


class Positive(LSTMGenerator):
    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        return -super().log_likelihood(batch, z, rng=rng)


class Mixing(LSTMGenerator):
    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        value = super().log_likelihood(batch, z, rng=rng)
        return value.mean().expand_as(value)

    def likelihood(self, batch: Any) -> Any:
        whole = super().likelihood(batch)
        return lambda z: whole(z).mean(-1, keepdim=True).expand(z.shape[:-1])


class Dropping(LSTMGenerator):
    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        return super().log_likelihood(batch, nn.functional.dropout(z, 0.5), rng=rng)


class Normal(NoLatent):
    """z of N(0, I), whatever the sentence."""

    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Rng) -> InferenceResult:
        z = self.draw(rng, (len(batch.lengths), prior.latent_dim))
        return InferenceResult(z, z)

    def draw(self, rng: Any, shape: tuple[int, int]) -> Tensor:
        return draw_normal(rng, shape)


class Streaming(Normal):
    def draw(self, rng: Any, shape: tuple[int, int]) -> Tensor:
        return torch.randn(shape, generator=rng)


class Anywhere(Normal):
    def draw(self, rng: Any, shape: tuple[int, int]) -> Tensor:
        return torch.randn(shape)


class Square(Normal):
    def penalty(self, result: InferenceResult, prior: Any) -> Any:
        return torch.zeros(3, 7)


class Silent(Normal):
    def penalty(self, result: InferenceResult, prior: Any) -> Any:
        return None


class Counting(Normal):
    def figures(self, result: InferenceResult) -> Any:
        return {"step": 5.0}


class Bent(Normal):
    def figures(self, result: InferenceResult) -> Any:
        return {"curvature_posterior": 5.0}


class Guessing(Normal):
    def figures(self, result: InferenceResult) -> Any:
        return {"uniform_ppl": 5.0}


class Rows(Normal):
    def figures(self, result: InferenceResult) -> Any:
        return {"z": result.z}


class Wordy(Normal):
    def figures(self, result: InferenceResult) -> Any:
        return {"z": "well"}


class Forbidding(LSTMGenerator):
    """Never writes what begins a sentence, as decoding sees to anyhow."""

    def step(self, tokens: Tensor, state: Any) -> Any:
        logits, state = super().step(tokens, state)
        logits[:, self.bos_id] = -torch.inf
        return logits, state


class Waved(Normal):
    """Has a weight that knows no end."""

    def __init__(self, epoch: float) -> None:
        object.__setattr__(self, "weight", math.cos(epoch))


class Later(Normal):
    """Uses its encoder from the second epoch on."""

    class Encoder(nn.Linear):
        def __init__(self, latent_dim: int) -> None:
            super().__init__(1, latent_dim)

    def __init__(self, encoder: nn.Module, epoch: float) -> None:
        object.__setattr__(self, "given", (encoder, epoch))

    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Rng) -> InferenceResult:
        encoder, epoch = self.given  # type: ignore[attr-defined]
        z = super().__call__(batch, prior, generator, rng=rng).z
        z = z + encoder(torch.ones(len(z), 1)) if epoch >= 1 else z
        return InferenceResult(z, z)


class Counted(LSTMGenerator):
    calls: Tensor

    def initialise(self, rng: torch.Generator) -> None:
        super().initialise(rng)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        self.calls += 1
        return super().log_likelihood(batch, z, rng=rng)


class Elsewhere(Mixture):
    def sample(self, n: int, rng: Rng) -> Tensor:
        return torch.from_numpy(np.random.default_rng().standard_normal((n, self.latent_dim), np.float32))


class Unseeded(LSTMGenerator):
    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        noise = torch.Generator()
        noise.seed()
        return super().log_likelihood(batch, z + 100 * torch.randn(z.shape, generator=noise), rng=rng)


class Turned(LSTMGenerator):
    """The state is joined the wrong way round."""

    def start(self, z: Tensor) -> Any:
        return TurnedState(super().start(z))

    def step(self, tokens: Tensor, state: Any) -> Any:
        logits, new = super().step(tokens, state.of)
        return logits, type(state)(new)


class TurnedState:
    def __init__(self, of: Any) -> None:
        self.of = of

    def select(self, rows: Tensor) -> Any:
        return type(self)(self.of.select(rows))

    def join(self, other: Any) -> Any:
        return type(self)(other.of.join(self.of))


class FirstState(TurnedState):
    def select(self, rows: Tensor) -> Any:
        return type(self)(self.of.select(torch.arange(len(rows))))

    def join(self, other: Any) -> Any:
        return type(self)(self.of.join(other.of))


class Firsts(Turned):
    def start(self, z: Tensor) -> Any:
        return FirstState(LSTMGenerator.start(self, z))


class Carried(TurnedState):
    """Its cell alone is that of other sentences."""

    def join(self, other: Any) -> Any:
        joined = self.of.join(other.of)
        return type(self)(replace(joined, c=joined.c.flip(0)))


class Celled(Turned):
    def start(self, z: Tensor) -> Any:
        return Carried(LSTMGenerator.start(self, z))


class Placed(LSTMGenerator):
    """Knows eight places."""

    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        torch.zeros(8)[batch.tokens.shape[1] - 1]
        return super().log_likelihood(batch, z, rng=rng)


class Texted(LSTMGenerator):
    device = "cpu"  # type: ignore[assignment]


class Ascending(Normal):
    """Uphill from 0, without noise."""

    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Rng) -> InferenceResult:
        with torch.enable_grad():
            return self.climb(generator.likelihood(batch), torch.zeros(len(batch.lengths), prior.latent_dim))

    def climb(self, f: Any, z: Tensor) -> InferenceResult:
        for _ in range(3):
            z = z.detach().requires_grad_()
            z = z + 0.1 * torch.autograd.grad(f(z).sum(), z)[0]
        return InferenceResult(z.detach(), torch.zeros_like(z))


class Plain(Ascending):
    """As in most tutorials."""

    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Rng) -> InferenceResult:
        return self.climb(generator.likelihood(batch), torch.zeros(len(batch.lengths), prior.latent_dim))


class Swapped(Ascending):
    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Rng) -> InferenceResult:
        result = super().__call__(batch, prior, generator, rng=rng)
        return result._replace(z=result.z.flip(0))


class Alone(Ascending):
    def __call__(self, batch: Any, prior: Any, generator: Any, *, rng: Rng) -> Any:
        return super().__call__(batch, prior, generator, rng=rng).z


class Detached(Normal):
    class Encoder(nn.Linear):
        def __init__(self, latent_dim: int) -> None:
            super().__init__(1, latent_dim)

    def __init__(self, encoder: nn.Module) -> None:
        object.__setattr__(self, "encoder", encoder)


def _without_first(z: Tensor) -> Tensor:
    """z whose first number gets no gradient."""
    return torch.cat([z[..., :1].detach(), z[..., 1:]], dim=-1)


class Cut(EBMPrior):
    """Its chains feel the normal alone."""

    def neg_energy(self, z: Tensor) -> Tensor:
        return super().neg_energy(z.detach())


class CutFirst(EBMPrior):
    def neg_energy(self, z: Tensor) -> Tensor:
        return super().neg_energy(_without_first(z))


class CutOutside(EBMPrior):
    """f alone is in order."""

    def logdensity(self, z: Tensor) -> Tensor:
        return self.neg_energy(z.detach()) + base_log_prob(z)


class CutAll(Mixture):
    """One number has no gradient, that of the normal included."""

    def logdensity(self, z: Tensor) -> Tensor:
        return super().logdensity(_without_first(z))


class CutAtZero(Cut):
    """f is 0 before training."""

    def __init__(self, latent_dim: int, chain: Chain, rng: torch.Generator) -> None:
        super().__init__(latent_dim, chain=chain, rng=rng)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]


class Numb(LSTMGenerator):
    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        return super().log_likelihood(batch, z.detach(), rng=rng)


class NumbFirst(LSTMGenerator):
    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        return super().log_likelihood(batch, _without_first(z), rng=rng)


class DeafFirst(NumbFirst):
    def likelihood(self, batch: Any) -> Any:
        whole = super().likelihood(batch)
        return lambda z: whole(_without_first(z))


class Classes(ClassPrior):
    def __init__(self, latent_dim: int, chain: Chain, rng: torch.Generator) -> None:
        super().__init__(latent_dim, labels=("good", "bad"), chain=chain, rng=rng)


class Rectified(EBMPrior):
    """0 before training, with dead units afterwards."""

    def __init__(self, latent_dim: int, chain: Chain, rng: torch.Generator) -> None:
        super().__init__(latent_dim, chain=chain, rng=rng)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]

    def outputs(self, z: Tensor) -> Tensor:
        for layer in self.layers:
            z = layer(z).relu()
        return z


class Far(GaussianPrior):
    """Has an energy outside the places of the trial alone, and close to some of them."""

    def neg_energy(self, z: Tensor) -> Tensor:
        return -10 * (z - 2).relu().sum(-1)

    def logdensity(self, z: Tensor) -> Tensor:
        return base_log_prob(z) + self.neg_energy(z)


class Stepped(Far):
    def neg_energy(self, z: Tensor) -> Tensor:
        return (z.sign() + z.round()).sum(-1)


class Even(Far):
    """The same everywhere."""

    def logdensity(self, z: Tensor) -> Tensor:
        return 0 * z.sum(-1)

    def neg_energy(self, z: Tensor) -> Tensor:
        return -base_log_prob(z)


class Narrow(GaussianPrior):
    def logdensity(self, z: Tensor) -> Tensor:
        return -1e6 * z.square().sum(-1)

    def neg_energy(self, z: Tensor) -> Tensor:
        return self.logdensity(z) - base_log_prob(z)


class Half(Narrow):
    """Of 16 bits."""

    def logdensity(self, z: Tensor) -> Tensor:
        return base_log_prob(z.bfloat16())


class Rounded(Narrow):
    """Of 16 bits, with a gradient that is not rounded."""

    def logdensity(self, z: Tensor) -> Tensor:
        return base_log_prob(z).bfloat16().float()


class Inexact(GaussianPrior):
    """With a gradient of which a part is rounded to 16 bits."""

    def logdensity(self, z: Tensor) -> Tensor:
        return base_log_prob(torch.cat([z[..., :9].bfloat16(), z[..., 9:]], dim=-1))


class Scaled(Narrow):
    """Its scale may not be below 0."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.scale = nn.Parameter(torch.full((latent_dim,), 1e-3))

    def logdensity(self, z: Tensor) -> Tensor:
        normal = torch.distributions.Normal(torch.zeros_like(self.scale), self.scale, validate_args=True)
        return normal.log_prob(z).sum(-1)  # type: ignore[no-any-return, no-untyped-call]


class Unheard(LSTMGenerator):
    """Does not use z before training, and never the first number of it."""

    def initialise(self, rng: torch.Generator) -> None:
        super().initialise(rng)
        for each in (self.latent_weight, self.initial_h.weight, self.initial_c.weight):
            nn.init.zeros_(each)

    def log_likelihood(self, batch: Any, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        return super().log_likelihood(batch, self._seen(z), rng=rng)

    def likelihood(self, batch: Any) -> Any:
        whole = super().likelihood(batch)
        return lambda z: whole(self._seen(z))

    def start(self, z: Tensor) -> Any:
        return super().start(self._seen(z))

    def _seen(self, z: Tensor) -> Tensor:
        return torch.cat([0 * z[..., :1], z[..., 1:]], dim=-1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.prior=Cut", ": neg_energy depends on z, but its gradient is 0 or missing in 3 of 3 numbers of z"),
        ("model.prior=CutFirst", ": neg_energy depends on z, but its gradient is 0 or missing in 1 of 3 numbers of z"),
        ("model.prior=CutOutside", ": logdensity(z) - log N(z; 0, I) depends on z, but its gradient is 0 or missing"),
        ("model.prior=CutAll", ": logdensity depends on z, but its gradient is 0 or missing in 1 of 3 numbers of z"),
        ("model.prior=CutAtZero", ": neg_energy depends on z, but its gradient is 0 or missing in 3 of 3 numbers of z"),
        ("model.generator=Numb", ": log_likelihood depends on z, but its gradient is 0 or missing in 3 of 3 numbers"),
        ("model.generator=NumbFirst", ": log_likelihood depends on z, but its gradient is 0 or missing in 1 of 3 numb"),
        ("model.generator=DeafFirst", ": likelihood(batch) depends on z, but its gradient is 0 or missing in 1 of 3 n"),
        ("model.prior=Generating", "with a stream for each sentence (lebm_text.random.draw_normal): TypeError: "),
        ("model.prior=Global", ": sample(3, rng) draws from PyTorch's global stream; draw from rng"),
        ("model.prior=Double", ": sample(3, rng) must be float32, got float64"),
        ("model.prior=Three", ": sample(2, rng) must be a tensor of shape (2, "),
        ("model.prior=Matrix", ": neg_energy: ValueError: too many values to unpack"),
        ("model.prior=Tilted", ": neg_energy(z) must be logdensity(z) - log N(z; 0, I)"),
        ("model.prior=Unlearned", ": neg_energy is not differentiable in the parameters"),
        ("model.generator=Halved", ": what step gives, word after word, is not log_likelihood: ["),
        ("model.generator=Slow", ": likelihood(batch)(z) and log_likelihood(batch, z) differ: ["),
        ("model.generator=Positive", ": log_likelihood must not be above 0, got "),
        ("model.generator=Mixing", ": log_likelihood of a sentence depends on its neighbours in the batch: ["),
        ("model.generator=Dropping", ": log_likelihood draws from PyTorch's global stream"),
        ("model.prior=Elsewhere", ": sample(3, rng) differs with the same rng; draw all noise from it"),
        ("model.generator=Unseeded", ": log_likelihood differs with the same rng"),
        ("model.generator=Turned", ": join and select of its state change what step gives"),
        ("model.generator=Firsts", ": join and select of its state change what step gives"),
        ("model.generator=Celled", ": join and select of its state change what step gives"),
        ("model.generator=Placed", "of 10 words (the constructor may take text.max_length as longest): IndexError: "),
        ("model.generator=Texted", ": device must be a torch.device, as parameters have, got 'cpu'"),
        ("inference.kind=Plain", "as in validation (compute gradients in `with torch.enable_grad():`): RuntimeError: "),
        ("inference.kind=Waved", "Waved: epoch = inf, after the training: ValueError: "),
        ("inference.kind=Swapped", " gives a sentence the z of another one of the batch"),
        ("inference.kind=Alone", " must return an InferenceResult, got Tensor"),
        ("inference.kind=Streaming", "with a stream for each sentence (lebm_text.random.draw_normal): TypeError: "),
        ("inference.kind=Anywhere", "Anywhere draws from PyTorch's global stream; draw from rng"),
        ("inference.kind=Square", ": penalty: RuntimeError: "),
        ("inference.kind=Silent", ": penalty: RuntimeError: "),
        ("inference.kind=Counting", ": figures: 'step' is a name that metrics.jsonl has already"),
        ("inference.kind=Bent", ": figures: 'curvature_posterior' is a name that metrics.jsonl has already"),
        ("inference.kind=Guessing", ": figures: 'uniform_ppl' is a name that metrics.jsonl has already"),
        ("inference.kind=Rows", ": figures: z must be one finite number, got shape (2, "),
        ("inference.kind=Wordy", ": figures: z: TypeError: "),
        (
            "inference.kind=Detached",
            ": its Encoder: the loss is not differentiable in the parameters",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(setting: str, message: str) -> None:
    what, _, name = setting.partition("=")
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        _build(what, name)
    assert "\n" not in str(refused.value)
    assert f"{HERE}:{name}" in str(refused.value)


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("model.prior", "Mixture"),
        ("model.generator", "LSTMGenerator"),
        ("model.generator", "Forbidding"),
        ("inference.kind", "Normal"),
        ("inference.kind", "Ascending"),
        ("inference.kind", "Later"),
    ],
)
def test_what_does_its_part_is_left_as_it_was(what: str, name: str) -> None:
    """The parameters that the trial shakes come back to the bit, whichever part is tried."""
    tried, untried = _build(what, name).state_dict(), _build(what, name, tried=False).state_dict()
    assert tried.keys() == untried.keys()
    assert [key for key, value in tried.items() if not torch.equal(value, untried[key])] == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "setting",
    [
        "model.prior=lebm_text.models.priors:EBMPrior",
        "model.prior=lebm_text.models.priors:GaussianPrior",
        "model.generator=lebm_text.models.generator:LSTMGenerator",
        "model.generator=lebm_text.models.transformer:TransformerGenerator",
        "model.prior=new_prior:MixturePrior",
        "model.generator=new_generator:GRUGenerator",
        *(f"model.prior={HERE}:{name}" for name in ("Classes", "Rectified", "Far", "Stepped", "Even", "Narrow")),
        *(f"model.prior={HERE}:{name}" for name in ("Half", "Rounded", "Inexact", "Scaled")),
        f"model.generator={HERE}:Unheard",
    ],
)
def test_what_can_be_differentiated_passes(setting: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    model = [f"model.{size}=8" for size in ("embedding_dim", "hidden_dim")]
    for size, value in ((3, 0.5), (1, 0.1), (512, 0.01)):
        changed = [f"model.latent_dim={size}", f"model.init_range={value}", f"training.precision={precision}"]
        plugged_model(toy_config().override([setting, *model, *changed]))


@pytest.mark.parametrize(
    ("name", "width", "changes"),
    [
        ("Numb", 6, ["inference.kind=amortized"]),  # its encoder would learn nothing about the text
        ("Numb", 128, ["training.precision=bf16", "model.init_range=0.1"]),  # rounding hides what steps of z change
        ("DeafFirst", 64, ["model.init_range=0.5"]),  # bends too much with shaken parameters
    ],
)
def test_a_gradient_that_misses_z_is_seen_in_other_settings_too(name: str, width: int, changes: list[str]) -> None:
    changes = [*changes, f"model.embedding_dim={width}", f"model.hidden_dim={width}"]
    with pytest.raises(InputError, match=f"{name}: .* depends on z, but its gradient is 0 or missing"):
        plugged_model(toy_config().override([f"model.generator={HERE}:{name}", *changes]))


def test_buffers_are_left_as_they_were() -> None:
    assert _build("model.generator", "Counted").generator.calls == 0


def test_weights_are_loaded_without_a_trial() -> None:
    assert isinstance(_build("model.prior", "Tilted", tried=False).prior, Tilted)


def _build(what: str, name: str, *, tried: bool = True) -> Any:
    return plugged_model(toy_config().override([f"{what}={HERE}:{name}"]), tried=tried)

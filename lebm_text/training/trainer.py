r"""The training update: modules, optimisers and random streams, moved together.

Algorithm 1 of Pang et al. (NeurIPS 2020), with z⁺ from any inference method. Where q(z|x) has a density the
generator's loss is the negative evidence bound, −log p_β(x|z⁺) + β KL(q‖p_α), which also trains an encoder; with D = 0
it is −log p(x). The same holds for the epochs in which a generator starts as a language model, with the null vector
for z; nothing else is trained then.

A Langevin step s on a density of curvature c has the stationary variance 1 / (c (1 − c s²/4)), not 1 / c. The longer
the step, the steeper f must be to match z⁺ with it, and from c s²/4 = 1/2 on a steeper f makes z⁻ wider: what should
lower the loss drives f away. So the prior chain's step is halved earlier, and its number of steps doubled
(docs/training.md).

Both losses are sums over a batch divided by the corpus-average batch size. With batches cut by tokens, dividing by a
batch's own size would weight sentences by the size of their batch.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from lebm_text.build import LatentModel, build_inference, falling, prior_chain
from lebm_text.config import Config
from lebm_text.inference.base import Inference, NoLatent
from lebm_text.models.base import Batch, Prior, null_latent, trainable
from lebm_text.models.classes import classes_of
from lebm_text.processes import ALONE, Processes, Share
from lebm_text.random import Rng, draw_normal, draw_uniform, stream
from lebm_text.sections import MAX_STEPS, MOST_HALVINGS
from lebm_text.training.checkpoint import flatten, unflatten
from lebm_text.training.monitor import Monitor, Update, largest_curvature, probe
from lebm_text.transfer import send
from lebm_text.weights import JSON

__all__ = ["Adam", "Trainer", "generator_loss", "prior_loss"]

logger = logging.getLogger(__name__)

CHECK_EVERY = 100  # updates between two checks of the prior chain's step, independent of the reports
LONG_STEP = 0.25  # curvature × s²/4 from which the step is halved


class Trainer:
    """Makes updates, one batch at a time.

    Args:
        model: on its device.
        config: resolved.
        n_sentences: of the training corpus.
        mean_batch_size: corpus average, the divisor of both losses.
        processes: that share each batch; all keep the same state, except for the dropout streams.
        labels: (N,) numbers of the sentences' classes, for a prior that has `given`; see `models.classes`.
    """

    def __init__(
        self,
        model: LatentModel,
        config: Config,
        *,
        n_sentences: int,
        mean_batch_size: float,
        processes: Processes = ALONE,
        labels: Tensor | None = None,
    ) -> None:
        self.labels = labels
        self.model, self.config, self.mean_batch_size = model, config, mean_batch_size
        self.processes, self.monitor = processes, Monitor(model.prior, processes)
        self.device = model.generator.device
        settings = config.training
        self.noise = stream(settings.seed, "chains")
        self.dropout = stream(settings.seed, "dropout", self.device)
        # Epochs as an autoencoder or as a language model.
        self.pretrain_epochs = max(config.inference.pretrain_epochs, settings.init_epochs)
        self.pretraining = self.pretrain_epochs > 0
        self.diverged = torch.zeros((), device=self.device)  # 1 once a gradient was not finite
        self.optimizers = {"generator": Adam(trainable(model.generator), lr=settings.learning_rate, fused=True)}
        if model.encoder is not None:
            self.optimizers["encoder"] = Adam(model.encoder.parameters(), lr=settings.learning_rate, fused=True)
        if learned := trainable(model.prior):
            self.optimizers["prior"] = Adam(
                learned, lr=settings.prior_learning_rate, weight_decay=settings.prior_weight_decay, fused=True
            )
        self.halvings = 0  # of the prior chain's step
        self.memory: Tensor | None = None
        if config.inference.persistent:
            self.memory = draw_normal(self.noise, (n_sentences, config.model.latent_dim))

    def inference(self, epoch: float) -> Inference:
        """Return the inference method after `epoch` epochs; none while the generator is a language model."""
        since = epoch - self.config.training.init_epochs
        if since < 0:
            return NoLatent()
        return build_inference(self.config.inference, epoch=since, memory=self.memory, encoder=self.model.encoder)

    def record(self, largest: Batch) -> None:
        """Run the chains of the largest batch first, so that on a GPU the others' recordings fit into its memory."""
        if self.labels is not None:  # chains given labels are recorded batch by batch
            return
        infer = build_inference(self.config.inference, epoch=0.0, encoder=self.model.encoder)
        batch = self.processes.share(largest).batch
        infer(batch, self.model.prior, self.model.generator, rng=stream(self.config.training.seed, "recording"))

    def update(self, batch: Batch, *, epoch: float, step: int, report: bool = False) -> None:
        """Make one step of all optimisers: draw z⁺ and z⁻, compute the gradients of both losses, move the parameters.

        Figures are added to `monitor`. If a gradient is not finite, no parameter moves in this or any later update,
        and `monitor` raises FloatingPointError when it is read.

        Args:
            batch: on the device, whole even if several processes share it.
            epoch: epochs done, including the fraction of the current one.
            step: number of this update.
            report: also measure the more expensive figures.
        """
        if self.pretraining and epoch >= self.pretrain_epochs:
            self._end_pretraining()
        prior, generator, infer = self.model.prior, self.model.generator, self.inference(epoch)
        share = self.processes.share(batch)
        rng = share.rng(self.noise)

        given = prior
        if self.labels is not None:
            given = classes_of(prior).given(send(self.labels[share.batch.index], self.device))
        positive = infer(share.batch, given, generator, rng=rng)
        z_negative, start = self._negative_phase(positive.z, rng)
        has_z = positive.z.shape[1] > 0
        if self.memory is not None and has_z:  # also for the rows of other processes
            self.memory[batch.index] = share.gather(positive.z).to(self.memory.device)

        z, kept = self._drop_latents(positive.z, share, step)
        log_likelihood = generator.log_likelihood(share.batch, z, rng=self._dropout(step))
        loss = generator_loss(log_likelihood, self.mean_batch_size, kept * infer.penalty(positive, given))
        z_positive = positive.z.detach()
        norms = self._backward(loss, given, z_positive, z_negative, share)

        drawn = (z_positive, z_negative, start)
        seen = Update(step, share, *drawn, log_likelihood.detach(), infer.figures(positive), norms)
        # A separate stream: the frequency of reports must not change what is learned.
        probe_rng = stream(self.config.training.seed, "probe")
        probed = probe(seen, infer, prior, generator, rng=probe_rng) if report and has_z else {}
        self.monitor.add(seen, probed)
        if step % CHECK_EVERY == 0 and has_z:
            self._check_prior_chain(seen)
        self._step(epoch, norms)

    def learning_rate(self, epoch: float, name: str = "generator") -> float:
        """Return the learning rate of the update after `epoch` epochs."""
        settings, rate = self.config.training, float(self.optimizers[name].param_groups[0]["lr"])
        return rate * falling(settings.schedule, settings.schedule_start, epoch / settings.n_epochs)

    def end_epoch(self) -> None:
        """Decay the learning rates."""
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] *= self.config.training.learning_rate_decay

    def state(self) -> tuple[dict[str, Tensor], JSON]:
        """Return everything the next update depends on, except its batch: tensors and their JSON skeleton."""
        tree: dict[str, Any] = {
            "model": dict(self.model.state_dict()),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "noise": self.noise.get_state(),
            "dropout": self.dropout.get_state(),
            "memory": self.memory,
            "pretraining": self.pretraining,
            "halvings": self.halvings,
        }
        return flatten(tree, "trainer")

    def load_state(self, tensors: dict[str, Tensor], skeleton: JSON) -> None:
        """Restore what `state` returned."""
        tree = unflatten(skeleton, tensors)
        self.model.load_state_dict(tree["model"])
        for name, optimizer in self.optimizers.items():
            saved = tree["optimizers"][name]
            groups = [optimizer.state_dict()["param_groups"][0] | saved["param_groups"][0]]  # 0.1.0 saved only the rate
            optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
        self.noise.set_state(tree["noise"])
        if tree["dropout"].shape == self.dropout.get_state().shape:
            self.dropout.set_state(tree["dropout"])
        else:
            logger.warning("masks of dropout begin anew: this run was on another kind of device before")
        self.memory = tree["memory"]
        # Missing in checkpoints of earlier versions.
        self.pretraining = tree.get("pretraining", False)
        self._halve(tree.get("halvings", 0))

    def _end_pretraining(self) -> None:
        """Keep the encoder that the autoencoder has learned, and reinitialise its generator (Li et al., EMNLP 2019).

        A language model continues. Only z's weights, which no gradient has reached, get a new optimiser state:
        Adam divides by the root of a mean of squares, and after many zeros its first steps would be several times as
        long as the learning rate.
        """
        self.pretraining = False
        generator = self.model.generator
        if self.config.training.init_epochs:
            states = self.optimizers["generator"].state
            for parameter in [each for each, state in states.items() if not state["exp_avg_sq"].any()]:
                del states[parameter]
            return
        device, module = self.device, self.model.get_submodule("generator")
        module.cpu()  # the device of the stream: the same numbers for every device
        generator.initialise(stream(self.config.training.seed, "weights after pretraining"))
        module.to(device)
        if self.config.model.z_dropout:
            null_latent(generator).detach().zero_()
        rate = self.optimizers["generator"].param_groups[0]["lr"]
        self.optimizers["generator"] = Adam(trainable(generator), lr=rate, fused=True)

    def _drop_latents(self, z: Tensor, share: Share, step: int) -> tuple[Tensor, Tensor | float]:
        """Return the z (b, D) for the generator's update, and where it is z⁺ (b,), so that its KL counts.

        The null vector replaces it in a share `model.z_dropout` of sentences, and in all while there is no z yet. (Ho
        and Salimans, 2022, drop the condition of a diffusion model in this way.)
        """
        settings, generator = self.config, self.model.generator
        if not z.shape[1]:
            return null_latent(generator).expand(len(z), -1), 1.0
        if not settings.model.z_dropout:
            return z, 1.0
        # For the whole batch, with a stream per update: independent of the number of processes and of interruptions.
        rng = share.rng(stream(settings.training.seed, f"dropout of z {step}", self.device))
        kept = draw_uniform(rng, (len(z), 1), self.device) >= settings.model.z_dropout
        return torch.where(kept, z, null_latent(generator)), kept.squeeze(1)

    def _prior_learns(self, epoch: float) -> bool:
        settings = self.config.training
        return not self.pretraining and epoch - settings.init_epochs >= settings.prior_start_epoch

    def _negative_phase(self, z_positive: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Return z⁻ (b, D), detached, and the initial states of its chains; z⁻ twice if there is no chain or no z."""
        prior, (n, width) = self.model.prior, z_positive.shape
        if not width:
            return z_positive, z_positive
        if prior.chain is None:
            z = prior.sample(n, rng).detach()
            return z, z
        start = draw_normal(rng, (n, prior.latent_dim), self.device)
        return prior.chain.run(prior.logdensity, start, rng=rng), start

    def _check_prior_chain(self, seen: Update) -> None:
        """Halve the prior chain's step if it is the configured one and becomes too long for f."""
        prior, chain = self.model.prior, prior_chain(self.config.prior.finer(self.halvings))
        if prior.chain != chain or self.halvings == MOST_HALVINGS or 2 * chain.n_steps > MAX_STEPS:
            return
        rng = seen.share.rng(stream(self.config.training.seed, "prior chain"))
        curvature = seen.share.largest(largest_curvature(prior.logdensity, seen.z_negative, rng=rng))
        if (level := float(curvature) * chain.largest_step**2 / 4) >= LONG_STEP:
            self._halve(self.halvings + 1)
            if self.processes.first:
                logger.info(
                    "step %d: curvature x s^2/4 = %.2f of the prior chain; its %d steps become %d, half as long",
                    *(seen.step, level, chain.n_steps, 2 * chain.n_steps),
                )

    def _halve(self, times: int) -> None:
        """Use the configured prior chain with its step halved `times` times."""
        if times != self.halvings:
            self.halvings = times
            self.model.prior.chain = prior_chain(self.config.prior.finer(times))  # type: ignore[misc]

    def _dropout(self, step: int) -> torch.Generator:
        """Return the stream of dropout masks: on the first rank a continuing, saved one; on others one per update."""
        rank = self.processes.rank
        return stream(self.config.training.seed, f"dropout {rank} {step}", self.device) if rank else self.dropout

    def _backward(
        self, loss: Tensor, given: Prior, z_positive: Tensor, z_negative: Tensor, share: Share
    ) -> dict[str, Tensor]:
        """Fill the gradients, clipped. The encoder's gradient passes through f, but not into its parameters.

        Without a z only the generator has one.
        """
        moving = self.optimizers if z_positive.shape[1] else ("generator",)
        parameters = {name: _parameters(self.optimizers[name]) for name in moving}
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        inputs = [parameter for name, group in parameters.items() if name != "prior" for parameter in group]
        loss.backward(inputs=inputs)  # type: ignore[no-untyped-call]
        if "prior" in parameters:
            loss = prior_loss(self.model.prior, z_positive, z_negative, self.mean_batch_size, given)
            loss.backward()  # type: ignore[no-untyped-call]
        share.sum_gradients(parameter for group in parameters.values() for parameter in group)
        settings = self.config.training
        limits = {name: settings.prior_clip_norm if name == "prior" else settings.clip_norm for name in parameters}
        return {f"grad_{name}": clip_grad_norm_(group, limits[name]) for name, group in parameters.items()}

    def _step(self, epoch: float, norms: dict[str, Tensor]) -> None:
        """Move the parameters. `found_inf` makes a fused optimizer do nothing, without synchronisation."""
        finite = torch.stack([*norms.values()]).isfinite().all()
        self.diverged = self.diverged.masked_fill(~finite, 1.0)
        for name, optimizer in self.optimizers.items():
            if f"grad_{name}" in norms and (name != "prior" or self._prior_learns(epoch)):
                group, optimizer.found_inf = optimizer.param_groups[0], self.diverged
                rate, group["lr"] = group["lr"], self.learning_rate(epoch, name)
                optimizer.step()
                group["lr"] = rate  # as it is saved: the schedule depends only on the epoch


class Adam(torch.optim.Adam):
    """torch.optim.Adam without torch's compiler, whose import would add a third to the time until the first update.

    Its methods import the compiler only to exempt themselves from compilation.
    """

    found_inf: Tensor | None = None

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


def _parameters(optimizer: Adam) -> list[Tensor]:
    return list(optimizer.param_groups[0]["params"])


def generator_loss(log_likelihood: Tensor, mean_batch_size: float, penalty: Tensor | float = 0.0) -> Tensor:
    """Return −Σ_i [log p_β(x_i|z_i⁺) − penalty_i] / mean batch size, to be minimised.

    Args:
        log_likelihood: (B,) in nats.
        mean_batch_size: corpus average.
        penalty: (B,) from the inference (`Inference.penalty`): an encoder's KL, 0 for a chain.
    """
    return -(log_likelihood - penalty).sum() / mean_batch_size


def prior_loss(
    prior: Prior, z_positive: Tensor, z_negative: Tensor, mean_batch_size: float, given: Prior | None = None
) -> Tensor:
    """Return Σ_i [f(z_i⁻) − f(z_i⁺)] / mean batch size, whose gradient estimates −∂ log p_α(z⁺)/∂α.

    Args:
        prior: p_α.
        z_positive, z_negative: (B, D) z⁺ and z⁻.
        mean_batch_size: corpus average.
        given: the prior given labels of z⁺, whose f(z⁺, y) replaces f(z⁺), which adds −log p(y|z⁺); or None.
    """
    return (prior.neg_energy(z_negative) - (given or prior).neg_energy(z_positive)).sum() / mean_batch_size

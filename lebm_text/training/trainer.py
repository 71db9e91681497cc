"""One learner: modules, optimisers and random streams, and the update that moves them together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lebm_text.build import LatentModel, build_inference
from lebm_text.config import Config
from lebm_text.inference.base import Inference
from lebm_text.processes import ALONE, Processes, Share
from lebm_text.random import Rng, draw_normal, stream
from lebm_text.text.batching import Batch
from lebm_text.training.adam import Adam
from lebm_text.training.checkpoint import JSON, flatten, unflatten
from lebm_text.training.monitor import largest_curvature, require_finite, spread, z_usage
from lebm_text.training.objectives import generator_loss, prior_loss

__all__ = ["Trainer"]


class Trainer:
    """Algorithm 1 of Pang et al. (NeurIPS 2020), one batch at a time; z⁺ from whatever the inference is.

    Args:
        model: on its device.
        config: resolved.
        n_sentences: of the training corpus.
        mean_batch_size: corpus average, the divisor of both losses.
        processes: that share each batch; all keep the same state, but for the streams of dropout.
    """

    def __init__(
        self,
        model: LatentModel,
        config: Config,
        *,
        n_sentences: int,
        mean_batch_size: float,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.config, self.mean_batch_size = model, config, mean_batch_size
        self.processes = processes
        self.device = model.generator.device
        settings = config.training
        self.noise = stream(settings.seed, "chains")
        self.dropout = stream(settings.seed, "dropout", self.device)
        self.pretraining = config.inference.pretrain_epochs > 0
        self.optimizers = {"generator": Adam(model.generator.parameters(), lr=settings.learning_rate)}
        if model.encoder is not None:
            self.optimizers["encoder"] = Adam(model.encoder.parameters(), lr=settings.learning_rate)
        if learned := [parameter for parameter in model.prior.parameters() if parameter.requires_grad]:
            self.optimizers["prior"] = Adam(
                learned,
                lr=settings.prior_learning_rate,
                weight_decay=settings.prior_weight_decay,
            )
        self.memory: Tensor | None = None
        if config.inference.persistent:
            self.memory = draw_normal(self.noise, (n_sentences, config.model.latent_dim))

    def inference(self, epoch: float) -> Inference:
        """The way to z⁺ as it is after `epoch` epochs."""
        return build_inference(self.config.inference, epoch=epoch, memory=self.memory, encoder=self.model.encoder)

    def update(self, batch: Batch, *, epoch: float, step: int, probe: bool = False) -> dict[str, float]:
        """One step of all optimisers; returns what it saw, in nats and norms.

        Args:
            batch: on the device, whole, also where several processes share it.
            epoch: epochs done, with the fraction of the running one.
            step: number of this update, for messages.
            probe: add the dearer figures (`monitor`).

        Raises:
            FloatingPointError: a figure is not finite; the parameters are then as before the update.
        """
        if self.pretraining and epoch >= self.config.inference.pretrain_epochs:
            self._end_pretraining()
        infer = self.inference(epoch)
        share = self.processes.share(len(batch.lengths))
        own, rng = share.of(batch), share.rng(self.noise)
        positive = infer(own, self.model.prior, self.model.generator, rng=rng)
        z_negative, moved = self._negative_phase(len(own.lengths), rng)
        z_positive, by_row = positive.z.detach(), infer.figures(positive)
        figures: dict[str, float] = {}
        by_token: dict[str, float] = {}
        if self.config.model.latent_dim > 0:
            z_all = share.gather(z_positive)
            if self.memory is not None:  # of the rows of other processes, too
                self.memory[batch.index] = z_all.to(self.memory.device)
            figures |= self._phases(z_all, share.gather(z_negative))
            by_row["move_negative"] = moved
            if probe:
                others = share.rows(z_all.roll(1, 0)) if len(z_all) > 1 else None
                by_token, curvatures = self._probe(own, infer, share, z_positive, z_negative, others)
                figures |= share.maxima(curvatures)
        log_likelihood = self.model.generator.log_likelihood(own, positive.z, rng=self._dropout(step))
        by_token["nll_token"] = float(-log_likelihood.detach().sum()) / own.n_tokens
        figures |= share.means(by_row, len(own.lengths)) | share.means(by_token, own.n_tokens)
        penalty = infer.penalty(positive, self.model.prior)
        loss = generator_loss(log_likelihood, self.mean_batch_size, penalty)
        norms = self._backward(loss, z_positive, z_negative, share)
        require_finite(step, figures | norms)
        for name, optimizer in self.optimizers.items():
            if name != "prior" or self._prior_learns(epoch):
                optimizer.step()
        return figures | norms

    def end_epoch(self) -> None:
        """Decay the learning rates."""
        for optimizer in self.optimizers.values():
            optimizer.lr *= self.config.training.learning_rate_decay

    def state(self) -> tuple[dict[str, Tensor], JSON]:
        """All that the next update depends on, but for its batch: tensors and their JSON skeleton."""
        tree: dict[str, Any] = {
            "model": dict(self.model.state_dict()),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "noise": self.noise.get_state(),
            "dropout": self.dropout.get_state(),
            "memory": self.memory,
            "pretraining": self.pretraining,
        }
        return flatten(tree, "trainer")

    def load_state(self, tensors: dict[str, Tensor], skeleton: JSON) -> None:
        """The inverse of `state`."""
        tree = unflatten(skeleton, tensors)
        self.model.load_state_dict(tree["model"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(tree["optimizers"][name])
        self.noise.set_state(tree["noise"])
        self.dropout.set_state(tree["dropout"])
        self.memory = tree["memory"]
        self.pretraining = tree.get("pretraining", False)  # checkpoints of earlier versions do not say

    def _end_pretraining(self) -> None:
        """Keep the encoder that the autoencoder has learned, and begin its generator anew (Li et al., EMNLP 2019)."""
        self.pretraining = False
        generator = self.model.generator
        generator.initialise(stream(self.config.training.seed, "weights after pretraining"))
        self.optimizers["generator"] = Adam(generator.parameters(), lr=self.optimizers["generator"].lr)

    def _prior_learns(self, epoch: float) -> bool:
        return not self.pretraining and epoch >= self.config.training.prior_start_epoch

    def _negative_phase(self, n: int, rng: Rng) -> tuple[Tensor, float]:
        """z⁻ (n, D), a constant, and the mean way that its chains have come; 0 where the prior has none."""
        prior = self.model.prior
        if prior.chain is None:
            return prior.sample(n, rng).detach(), 0.0
        start = draw_normal(rng, (n, prior.latent_dim), self.device)
        z = prior.chain.run(prior.logdensity, start, rng=rng)
        return z, _mean_norm(z - start)

    def _phases(self, z_positive: Tensor, z_negative: Tensor) -> dict[str, float]:
        with torch.no_grad():
            f_positive = float(self.model.prior.neg_energy(z_positive).mean())
            f_negative = float(self.model.prior.neg_energy(z_negative).mean())
        figures = {
            "f_positive": f_positive,
            "f_negative": f_negative,
            "gap": f_positive - f_negative,
            "norm_positive": _mean_norm(z_positive),
            "norm_negative": _mean_norm(z_negative),
        }
        if len(z_positive) > 1:
            figures |= {"std_positive": spread(z_positive), "std_negative": spread(z_negative)}
        return figures

    def _probe(
        self, batch: Batch, infer: Inference, share: Share, z: Tensor, z_prior: Tensor, z_shuffled: Tensor | None
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The dearer figures of the own rows: nats a token, and curvatures."""
        likelihood, prior = self.model.generator.likelihood(batch), self.model.prior
        usage = z_usage(likelihood, z, z_prior, z_shuffled)
        per_token = len(batch.lengths) / batch.n_tokens
        # A stream of its own: how often a run reports must not change what it learns.
        rng = share.rng(stream(self.config.training.seed, "probe"))
        curvatures = {}
        for name, chain, logdensity, at in (
            ("posterior", infer.chain, infer.target(prior, likelihood), z),
            ("prior", prior.chain, prior.logdensity, z_prior),
        ):
            if chain is not None:
                curvature = largest_curvature(logdensity, at, rng=rng)
                curvatures[f"curvature_{name}"] = curvature * chain.largest_step**2 / 4
        return {f"nll_{name}": -value * per_token for name, value in usage.items()}, curvatures

    def _dropout(self, step: int) -> torch.Generator:
        """The masks' stream: of the first rank one that goes on, which is saved; of the others one an update."""
        rank = self.processes.rank
        return stream(self.config.training.seed, f"dropout {rank} {step}", self.device) if rank else self.dropout

    def _backward(self, loss: Tensor, z_positive: Tensor, z_negative: Tensor, share: Share) -> dict[str, float]:
        """Fill the gradients, clipped. That of an encoder's loss goes through f, but stops before its parameters."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        settings = self.config.training
        limits = {name: settings.clip_norm for name in self.optimizers if name != "prior"}
        loss.backward(inputs=[p for name in limits for p in self.optimizers[name].parameters])  # type: ignore[no-untyped-call]
        if "prior" in self.optimizers:
            limits["prior"] = settings.prior_clip_norm
            prior_loss(self.model.prior, z_positive, z_negative, self.mean_batch_size).backward()  # type: ignore[no-untyped-call]
        share.sum_gradients(p for optimizer in self.optimizers.values() for p in optimizer.parameters)
        return {f"grad_{name}": _clip(self.optimizers[name].parameters, limit) for name, limit in limits.items()}


def _clip(parameters: list[Tensor], limit: float) -> float:
    return float(torch.nn.utils.clip_grad_norm_(parameters, limit))


def _mean_norm(z: Tensor) -> float:
    return float(z.norm(dim=-1).mean())

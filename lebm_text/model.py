"""`LatentEBM`: a trained model with its tokenizer and configuration, ready for use.

p_θ(x, z) = p_β(x|z) exp(f_α(z)) p0(z) / Z(α)      (Pang et al., NeurIPS 2020)
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lebm_text.build import LatentModel, build_inference
from lebm_text.checks import MAX_SEED, whole
from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.generation.generate import Generated, Generation, decode_latents
from lebm_text.generation.latents import Latents, PriorLatents, given_latents, require_finite
from lebm_text.generation.settings import DecodeOptions, DecodeSettings, decode_settings
from lebm_text.models.classes import classes_of
from lebm_text.processes import ALONE, Processes
from lebm_text.random import KeyedRng
from lebm_text.run import Run
from lebm_text.run_files import CHECKPOINTS, METRICS
from lebm_text.sharing.hub import UNKNOWN_LICENCE, local_directory
from lebm_text.text.batching import Batch, EncodedCorpus
from lebm_text.text.reading import listed
from lebm_text.text.tokenizers import Tokenizer
from lebm_text.text.unknown import warn_of_unknown
from lebm_text.torch_state import own_state
from lebm_text.visible import shortened
from lebm_text.weights import load_model, save_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lebm_text.reports.interpolation import Point
    from lebm_text.reports.neighbours import Neighbour
    from lebm_text.reports.scores import ScoreSettings, SentenceScore

__all__ = ["LatentEBM"]


class LatentEBM:
    """The generator p(x|z), the prior on z, and the tokenizer and configuration that belong to them.

    Sentences are strings with blanks between tokens, as in the training text; words outside the vocabulary become
    `<unk>`, of which each call warns once by `logging` (see `quiet`), and the empty string is the empty sentence. All
    random operations take a `seed`; sentence i of a call depends only on (seed, i).
    """

    def __init__(self, config: Config, tokenizer: Tokenizer, model: LatentModel) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.model = model
        self._warns = True

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        *,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        trust_plugins: bool = False,
    ) -> LatentEBM:
        """Load a run directory, or any with config.json, a tokenizer and model.safetensors.

        Args:
            directory: or the name of a model on the Hugging Face Hub, `user/model`, which is cached.
            device: auto (a CUDA device if there is one), cpu, cuda, …
            precision: of matrix products: fp32, bf16 or auto; independent of that of the training, so that the same
                weights give the same sentences on machines with and without bf16.
            trust_plugins: import classes that config.json names as package.module:Class; so does
                LEBM_TEXT_TRUST_PLUGINS=1 in the environment. Those that an installed package registers need no trust.

        Raises:
            InputError: something is missing, damaged or inconsistent.
        """
        return cls(*load_model(local_directory(Run(directory).path), device, precision, trust_plugins=trust_plugins))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write config.json, the tokenizer and model.safetensors, each atomically; the weights come last.

        Raises InputError for a directory with a training run, whose other files would no longer match.
        """
        for name in (CHECKPOINTS, METRICS):
            if (Path(directory) / name).exists():
                raise InputError(f"{directory} is a run that was trained there; choose another directory")
        save_model(Path(directory), self.config, self.tokenizer, self.model)

    def push_to_hub(self, name: str, *, private: bool = False, licence: str = UNKNOWN_LICENCE) -> str:
        """Upload the model to the Hugging Face Hub and return its address. `sharing.push.push` uploads a whole run.

        Args:
            name: `user/model`.
            private: only you and those you admit can read it.
            licence: of the model, as the Hub names it, such as mit or cc-by-4.0.

        Raises:
            InputError: as `sharing.push.push` does.
        """
        from lebm_text.sharing.push import push

        with TemporaryDirectory() as scratch:
            self.save_pretrained(scratch)
            return push(Run(scratch, trust_plugins=True), name, private=private, licence=licence)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.model.generator.device

    def quiet(self) -> LatentEBM:
        """Return the same model, with the same weights, that does not warn of words outside the vocabulary."""
        silent = copy.copy(self)
        silent._warns = False
        return silent

    def __repr__(self) -> str:
        model, kind = self.config.model, self.config.inference.kind
        parts = f"prior={model.prior}, generator={model.generator}, inference={kind}, latent_dim={model.latent_dim}"
        return f"LatentEBM({parts}, vocab_size={len(self.tokenizer)}, device={self.device})"

    def generate(
        self,
        n: int,
        settings: DecodeSettings | None = None,
        *,
        seed: int = 1,
        max_length: int | None = None,
        batch_size: int = 256,
        prior_temperature: float = 1.0,
        guidance: float = 1.0,
        label: str | None = None,
        on_progress: Callable[[int], None] | None = None,
        processes: Processes = ALONE,
        **decoding: Unpack[DecodeOptions],
    ) -> Generated:
        """Draw n sentences, z from the prior; see `lebm_text.generation.generate.Generation`.

        Args:
            settings: how ids are chosen; or its fields as keywords, such as temperature=0.8. Default: sampled.
            prior_temperature: τ, z from p(z)^(1/τ); see `lebm_text.generation.latents`.
            guidance: w > 1 follows z more closely; for models with z-dropout, see `lebm_text.generation.guidance`.
            label: class of the sentences, for a model with classes; see `lebm_text.models.classes`.

        Raises:
            InputError: values out of range, or not applicable to this model.
        """
        options: dict[str, Any] = {"seed": seed, "max_length": max_length, "batch_size": batch_size}
        options |= {"prior_temperature": prior_temperature, "guidance": guidance, "label": label}
        return self.stream(n, settings, on_progress=on_progress, processes=processes, **options, **decoding).all()

    def stream(
        self,
        n: int,
        settings: DecodeSettings | None = None,
        *,
        seed: int = 1,
        max_length: int | None = None,
        batch_size: int = 256,
        prior_temperature: float = 1.0,
        guidance: float = 1.0,
        label: str | None = None,
        latents: Latents | None = None,
        on_progress: Callable[[int], None] | None = None,
        processes: Processes = ALONE,
        **decoding: Unpack[DecodeOptions],
    ) -> Generation:
        """`generate` for more sentences than fit into memory: they are generated during iteration over `.parts()`.

        Args:
            latents: source of z, instead of the prior at `prior_temperature` and of `label`.
        """
        return Generation(
            self.model,
            self.tokenizer,
            self.config,
            n,
            decode_settings("sample", settings, decoding),
            seed=seed,
            max_length=max_length,
            batch_size=batch_size,
            latents=latents or PriorLatents(self.model.prior, self.model.generator, prior_temperature, label=label),
            guidance=guidance,
            on_progress=on_progress,
            processes=processes,
        )

    def fitting(self, sentences: Iterable[str]) -> list[str]:
        """Return the sentences of at most `config.text.max_length` tokens, in order. Raises InputError for no list."""
        longest = self.config.text.max_length
        return [sentence for sentence in listed(sentences) if self.tokenizer.fits(sentence, longest)]

    def require_fitting(self, sentences: Iterable[str]) -> list[str]:
        """Return the sentences. Raises InputError for one longer than `config.text.max_length`, or no list of them."""
        return self.quiet()._encoded(sentences)[0]

    def infer(
        self,
        sentences: Iterable[str],
        *,
        seed: int = 1,
        batch_size: int = 128,
        first: int = 0,
        on_progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Draw one z from the posterior of each sentence, (n, D) on the CPU.

        The encoder is used if there is one, else the chain of `config.inference` after annealing, from p0; that of the
        preset quick goes about half way to the posterior. Sentence i draws from (seed, first + i), so a long list may
        be given in parts. Raises InputError for a sentence longer than `config.text.max_length`, for a language model,
        which has no z, and for a z that is not finite.
        """
        self.config.require_latent()
        _, corpus = self._encoded(sentences)
        z = torch.empty(len(corpus), self.config.model.latent_dim)
        for batch, rng in self._batches(corpus, seed, batch_size, on_progress, first=first):
            z[batch.index] = self._infer(batch, rng).cpu()
        return z

    def reconstruct(
        self,
        sentences: Iterable[str],
        settings: DecodeSettings | None = None,
        *,
        seed: int = 1,
        max_length: int | None = None,
        batch_size: int = 128,
        first: int = 0,
        on_progress: Callable[[int], None] | None = None,
        **decoding: Unpack[DecodeOptions],
    ) -> list[str]:
        """Sentence → z from its posterior (as `infer` draws it) → sentence, in the order given.

        Args:
            sentences: to be reconstructed; sentence i draws from (seed, first + i).
            settings: how ids are chosen; or its fields as keywords, as in `generate`. Default: greedy.
            max_length: in tokens without `</s>`; None: `config.text.max_length`.

        Raises:
            InputError: as `infer` does, or values out of range.
        """
        self.config.require_latent()
        settings = decode_settings("greedy", settings, decoding)
        _, corpus = self._encoded(sentences)
        texts = [""] * len(corpus)
        for batch, rng in self._batches(corpus, seed, batch_size, on_progress, first=first):
            decoded = self._decode(self._infer(batch, rng), settings, max_length, rng)
            for index, text in zip(batch.index.tolist(), decoded, strict=True):
                texts[index] = text
        return texts

    def decode(
        self,
        z: Tensor | NDArray[Any],
        settings: DecodeSettings | None = None,
        *,
        seed: int = 1,
        max_length: int | None = None,
        batch_size: int = 256,
        **decoding: Unpack[DecodeOptions],
    ) -> list[str]:
        """Decode latent vectors z (n, D) to sentences, in order; the options are those of `reconstruct`.

        Row i draws from (seed, i): the z of `generate` with that seed and settings give the same sentences again.
        """
        batch_size, seed = whole("batch_size", batch_size, 1), whole("seed", seed, 0, MAX_SEED)
        settings, z = decode_settings("greedy", settings, decoding), given_latents(z, self.model)
        texts: list[str] = []
        for start in range(0, len(z), batch_size):
            rows = z[start : start + batch_size]
            texts += self._decode(rows, settings, max_length, KeyedRng(seed, range(start, start + len(rows))))
        return texts

    @own_state()
    def interpolate(self, a: str, b: str, n: int = 9, *, path: str = "spherical", seed: int = 1) -> list[Point]:
        """Return n points from a draw of z given sentence a to one given b; see `lebm_text.reports.interpolation`."""
        from lebm_text.reports.interpolation import interpolate

        self._warn(self.require_fitting((a, b)))
        return interpolate(self, (a, b), n, path, seed=seed)

    @own_state()
    def neighbours(
        self,
        queries: Iterable[str],
        sentences: Iterable[str],
        k: int = 5,
        *,
        metric: str = "cosine",
        n_draws: int = 4,
        seed: int = 1,
    ) -> list[list[Neighbour]]:
        """Return the k nearest sentences to each query, nearest first; see `lebm_text.reports.neighbours`.

        Args:
            metric: of the distance between posterior means: cosine or euclidean.
            n_draws: draws of z averaged for each sentence.
        """
        from lebm_text.reports.neighbours import nearest
        from lebm_text.reports.posterior import posterior_means, seed_apart

        queries, sentences = self.require_fitting(queries), self.require_fitting(sentences)
        self._warn((*queries, *sentences))
        places = posterior_means(self, queries, n_draws=n_draws, seed=seed_apart(seed))
        means = posterior_means(self, sentences, n_draws=n_draws, seed=seed)
        return nearest(places, means, k, metric).among(sentences)

    def score(self, sentences: Iterable[str], settings: ScoreSettings | None = None) -> list[SentenceScore | None]:
        """Return each sentence's anomaly, `.score` in nats, None if it is too long; see `lebm_text.reports.scores`."""
        from lebm_text.reports.scores import Scorer

        scorer, sentences = Scorer(self, settings), list(listed(sentences))
        self._warn(self.fitting(sentences))
        return scorer(sentences)

    @own_state()
    @torch.no_grad()
    def classify(self, sentences: Iterable[str], *, n_draws: int = 8, seed: int = 1) -> list[dict[str, float]]:
        """Return p(y|x) by label for each sentence: the mean of p(y|z) over `n_draws` of z, as `infer` draws them.

        Raises InputError for a model without classes, and as `infer` does.
        """
        sentences, _ = self._encoded(sentences)
        prior, n_draws = classes_of(self.model.prior), whole("n_draws", n_draws, 1)
        z = self.quiet().infer([each for each in sentences for _ in range(n_draws)], seed=seed).to(self.device)
        probabilities = prior.class_log_probs(z).exp().view(-1, n_draws, len(prior.labels)).mean(1)
        return [dict(zip(prior.labels, row, strict=True)) for row in probabilities.tolist()]

    @own_state()
    @torch.no_grad()
    def log_joint(self, sentences: Iterable[str], z: Tensor | NDArray[Any], *, batch_size: int = 128) -> Tensor:
        """Return log p(x|z) + f(z) + log p0(z) in nats, (n,) on the CPU, for n sentences and z (n, D).

        With an EBM prior this is unnormalised: log p(x, z) + log Z(α), Z the same for all x and z. With a
        Gaussian prior it is log p(x, z), and with z of shape (n, 0), of a language model, log p(x).
        """
        _, corpus = self._encoded(sentences)
        z = given_latents(z, self.model, len(corpus))
        total = torch.empty(len(corpus))
        for batch, _ in self._batches(corpus, 0, batch_size):
            rows = z[batch.index.to(self.device)]
            joint = self.model.generator.likelihood(batch)(rows) + self.model.prior.logdensity(rows)
            total[batch.index] = joint.cpu()
        return total

    @own_state()
    def _infer(self, batch: Batch, rng: KeyedRng) -> Tensor:
        infer = build_inference(self.config.inference, encoder=self.model.encoder)
        return require_finite(infer(batch, self.model.prior, self.model.generator, rng=rng).z.detach())

    @own_state()
    def _decode(self, z: Tensor, settings: DecodeSettings, max_length: int | None, rng: KeyedRng) -> list[str]:
        longest = whole("max_length", self.config.text.max_length if max_length is None else max_length, 1)
        decoded = decode_latents(self.model, self.tokenizer, z, settings, max_length=longest, rng=rng)
        return [self.tokenizer.decode(ids) for ids in decoded.ids]

    def _warn(self, sentences: Iterable[str]) -> None:
        if self._warns:
            warn_of_unknown(self.tokenizer, sentences)

    def _encoded(self, sentences: Iterable[str]) -> tuple[list[str], EncodedCorpus]:
        """Return the sentences and their ids, with the warning. Raises InputError as `require_fitting` does."""
        texts, longest = list(listed(sentences)), self.config.text.max_length
        corpus = EncodedCorpus(*self.tokenizer.encode_many(texts), pad_id=self.tokenizer.pad_id)
        if (too_long := corpus.lengths - 1 > longest).any():
            i = int(np.argmax(too_long))
            what = f"sentence {i + 1} has {corpus.lengths[i] - 1:,} tokens ({shortened(texts[i])})"
            raise InputError(f"{what}; this model takes at most {longest:,} (text.max_length of its training)")
        self._warn(texts)
        return texts, corpus

    def _batches(
        self,
        corpus: EncodedCorpus,
        seed: int,
        batch_size: int,
        on_progress: Callable[[int], None] | None = None,
        *,
        first: int = 0,
    ) -> Iterator[tuple[Batch, KeyedRng]]:
        """Yield batches of similar lengths on the device, each with the streams of its sentences."""
        batch_size, seed = whole("batch_size", batch_size, 1), whole("seed", seed, 0, MAX_SEED)
        first = whole("first", first, 0)
        order = np.argsort(-corpus.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            batch = corpus.batch(order[start : start + batch_size])
            yield batch.to(self.device), KeyedRng(seed, tuple(first + i for i in batch.index.tolist()))
            if on_progress is not None:
                on_progress(start + len(batch.index))

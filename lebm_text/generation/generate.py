"""A trained model → n sentences: z from the prior, each z decoded, in batches.

The noise of sentence i, in the chain and in decoding, depends only on (seed, i): neither the batch size nor
n changes it. (Matrix products of different shapes round differently, so a draw within rounding error of
a boundary could still flip; fp32 makes that rare.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from lebm_text import __version__
from lebm_text.build import LatentModel
from lebm_text.checks import MAX_SEED, whole
from lebm_text.config import Config
from lebm_text.processes import ALONE, Processes
from lebm_text.random import KeyedRng, Rng, draw_uniform
from lebm_text.sections import INFERENCE, InferenceConfig
from lebm_text.text.tokenizers import Tokenizer
from lebm_text.torch_state import own_state

from .decoding import Decoded, decode
from .guidance import check_guidance, guided
from .latents import Latents, PriorLatents, require_finite
from .settings import DecodeSettings

__all__ = ["Block", "Generated", "Generation", "decode_latents", "describe_model", "signature_of"]

LATENTS = 256  # z drawn together: a chain on few rows costs nearly as much as one on many


@dataclass(frozen=True)
class Block:
    """Consecutive sentences with their ids, whether they were cut at the maximum length, and z (b, D)."""

    sentences: list[str]
    ids: list[list[int]]
    truncated: list[bool]
    z: Tensor


@dataclass(frozen=True)
class Generated:
    """Generated sentences and their provenance.

    Attributes:
        sentences: n texts; an empty sentence is an empty string.
        truncated: which of them were cut at the maximum length.
        z: (n, D) the latent vectors, on the CPU.
        rates: see `Generation.rates`.
        settings: of generation, ready for JSON.
        signature: the settings on one line, for reports.
    """

    sentences: list[str]
    truncated: list[bool]
    z: Tensor
    rates: dict[str, float]
    settings: dict[str, object]
    signature: str

    def __repr__(self) -> str:
        """Return one line: a notebook would show thousands of numbers of z."""
        return f"Generated({len(self.sentences):,} sentences, {self.signature!r})"

    def parts(self) -> Iterator[list[str]]:
        """Yield the sentences as `Generation.parts` does, here all at once."""
        yield self.sentences


class Generation:
    """n sentences, generated block by block during iteration, so that memory grows only by 8 bytes per sentence.

    Each iteration generates the same sentences; `n_done` and `rates` are of the last one.

    Args:
        model, tokenizer: what generates the sentences.
        config: of the model.
        n: number of sentences.
        settings: how ids are chosen; None: ancestral sampling at temperature 1.
        seed: of all noise.
        max_length: in tokens without `</s>`; None: `config.text.max_length`.
        batch_size: sentences that are decoded at a time; z are drawn for at least `LATENTS` sentences at a time.
        latents: draws z; None: the prior.
        guidance: see `lebm_text.generation.guidance`.
        on_progress: called after each block of z with the number of sentences done.
        processes: that share the blocks; all get all sentences, bit-identical to those of one process.

    Raises InputError for n, seed, max_length, batch_size or guidance out of range.

    Attributes:
        settings: ready for JSON.
        signature: the settings on one line, for reports.
    """

    def __init__(
        self,
        model: LatentModel,
        tokenizer: Tokenizer,
        config: Config,
        n: int,
        settings: DecodeSettings | None = None,
        *,
        seed: int = 1,
        max_length: int | None = None,
        batch_size: int = 256,
        latents: Latents | None = None,
        guidance: float = 1.0,
        on_progress: Callable[[int], None] | None = None,
        processes: Processes = ALONE,
    ) -> None:
        check_guidance(model.generator, guidance)
        self._latents, self._guidance = latents or PriorLatents(model.prior, model.generator), guidance
        self._model, self._tokenizer, self._decoding = model, tokenizer, settings or DecodeSettings()
        self._n, self._seed = whole("n", n, 0), whole("seed", seed, 0, MAX_SEED)
        self._longest = whole("max_length", config.text.max_length if max_length is None else max_length, 1)
        self._batch_size = whole("batch_size", batch_size, 1)
        self._on_progress, self._processes = on_progress, processes
        self._latent_dim, self._rates = config.model.latent_dim, _Rates(0, tokenizer.unk_id)
        asked = {"n": self._n, "seed": self._seed, "max_length": self._longest}
        self.settings: dict[str, object] = {**asked, **asdict(self._decoding), **self._latents.settings}
        unusual = self._latents.describe()
        if guidance != 1:
            self.settings["guidance"] = float(guidance)
            unusual += f",guidance={guidance:g}"
        self.signature = signature_of(
            config, self._n, self._decoding, seed=self._seed, max_length=self._longest, unusual=unusual
        )

    @property
    def n_done(self) -> int:
        """Number of sentences yielded so far."""
        return self._rates.n

    @property
    def rates(self) -> dict[str, float]:
        """Shares of the sentences so far that are empty, truncated, contain `<unk>`, or repeat an earlier one.

        `unk_tokens` is the share of tokens (`</s>` not counted) that are `<unk>`. All are 0 without sentences.
        Repetitions are found by 64-bit hashes: with 10⁷ sentences, one text in a million is counted wrongly.
        """
        return self._rates.shares()

    def parts(self) -> Iterator[list[str]]:
        """Yield the sentences, some at a time."""
        for block in self:
            yield block.sentences

    def all(self) -> Generated:
        """Generate all sentences and keep them in memory."""
        blocks = list(self)
        return Generated(
            [sentence for block in blocks for sentence in block.sentences],
            [cut for block in blocks for cut in block.truncated],
            torch.cat([torch.empty(0, self._latent_dim), *(block.z for block in blocks)]),
            self.rates,
            self.settings,
            self.signature,
        )

    def __iter__(self) -> Iterator[Block]:
        processes, size = self._processes, max(LATENTS, self._batch_size)
        rates = self._rates = _Rates(self._n, self._tokenizer.unk_id)
        for start in range(0, self._n, size * processes.size):
            mine = range(start + processes.rank * size, min(start + (processes.rank + 1) * size, self._n))
            for block in processes.every(self._block(mine) if mine else None):
                if block is not None:
                    rates.add(block.sentences, block.ids, block.truncated)
                    yield block
            if self._on_progress is not None:
                self._on_progress(rates.n)

    @own_state()
    def _block(self, rows: range) -> Block:
        rng = KeyedRng(self._seed, rows)
        z = require_finite(self._latents(rows, rng))
        same = not self._latent_dim and self._decoding.decode != "sample"  # without z and noise all are equal
        decoded = decode_latents(
            self._model, self._tokenizer, z[:1] if same else z, self._decoding,
            max_length=self._longest, rng=rng, at_once=self._batch_size, guidance=self._guidance,
        )  # fmt: skip
        if same:
            decoded = Decoded(decoded.ids * len(z), decoded.truncated * len(z))
        sentences = [self._tokenizer.decode(ids) for ids in decoded.ids]
        return Block(sentences, decoded.ids, decoded.truncated, z.cpu())


def decode_latents(
    model: LatentModel,
    tokenizer: Tokenizer,
    z: Tensor,
    settings: DecodeSettings,
    *,
    max_length: int,
    rng: Rng,
    at_once: int | None = None,
    guidance: float = 1.0,
) -> Decoded:
    """`decode` z (n, D) under p(x|z), without `<pad>` and `<s>`, and without `<unk>` if the settings say so.

    Args:
        model, tokenizer: of z.
        z: (n, D).
        settings: how ids are chosen.
        max_length: in tokens without `</s>`.
        rng: draws for decode="sample".
        at_once: maximum number of rows of a step; None: n.
        guidance: see `lebm_text.generation.guidance`.
    """
    step, start = guided(model.generator, z, guidance)
    return decode(
        step,
        start,
        len(z),
        settings,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        forbidden=(tokenizer.pad_id, tokenizer.bos_id, *[tokenizer.unk_id] * settings.no_unk),
        max_length=max_length,
        uniforms=lambda k: draw_uniform(rng, (len(z), k)),
        at_once=at_once,
        device=z.device,
    )


class _Rates:
    """Counts over n sentences, with 8 bytes kept for each."""

    def __init__(self, n: int, unk_id: int) -> None:
        self._unk_id, self._hashes = unk_id, np.empty(n, np.int64)
        self.n = self._n_tokens = self._empty = self._truncated = self._unk = self._unk_tokens = 0

    def add(self, sentences: Sequence[str], ids: Sequence[list[int]], truncated: Sequence[bool]) -> None:
        """Count more sentences."""
        self._hashes[self.n : self.n + len(sentences)] = [hash(sentence) for sentence in sentences]
        self.n += len(sentences)
        self._n_tokens += sum(map(len, ids))
        self._empty += sum(not sentence for sentence in ids)
        self._truncated += sum(truncated)
        self._unk += sum(self._unk_id in sentence for sentence in ids)
        self._unk_tokens += sum(sentence.count(self._unk_id) for sentence in ids)

    def shares(self) -> dict[str, float]:
        """Return the shares; see `Generation.rates`."""
        n, seen = max(self.n, 1), self._hashes[: self.n]
        seen.sort()  # in place: the order is not needed
        return {
            "empty": self._empty / n,
            "truncated": self._truncated / n,
            "unk": self._unk / n,
            "unk_tokens": self._unk_tokens / max(self._n_tokens, 1),
            "duplicate": int(np.count_nonzero(seen[1:] == seen[:-1])) / n,
        }


def signature_of(
    config: Config, n: int, settings: DecodeSettings, *, seed: int, max_length: int, unusual: str = ""
) -> str:
    """Return e.g. `samples(n=1000,decode=sample,T=1)|prior:ebm-langevin(40x0.5)|posterior:weighted(3)|seed:1|v:0.1.0`.

    The maximum length is named if it is not `text.max_length`, the prior chain's noise if it is not 1, and the
    posterior of training if it was not a chain on p(z|x) itself: otherwise the weights are not a maximum-
    likelihood estimate. `unusual`: non-default sampling of z and guidance, such as `,prior_T=0.5,guidance=2`.
    """
    length = "" if max_length == config.text.max_length else f",max_length={max_length}"
    return f"samples(n={n},{settings.describe()}{length}{unusual})|{describe_model(config)}|seed:{seed}|v:{__version__}"


def describe_model(config: Config) -> str:
    """Return the part of a signature on how z is drawn: the prior, and the posterior if it is not p(z|x)."""
    prior, chain = config.model.prior, config.prior
    if config.model.latent_dim == 0:
        prior = "none"
    elif prior in ("ebm", "classes"):
        sizes = chain.step_size if isinstance(chain.step_size, tuple) else (chain.step_size,)
        noise = "" if chain.noise_scale == 1 else f",noise={chain.noise_scale:g}"
        prior = f"{prior}-langevin({chain.n_steps}x{'+'.join(f'{size:g}' for size in sizes)}{noise})"
    return f"prior:{prior}{_posterior(config.inference)}"


def _posterior(inference: InferenceConfig) -> str:
    """Return how the posterior at the end of training differs from p(z|x): family, noise, weight, free bits."""
    if inference.kind not in INFERENCE:
        return f"|posterior:inference={inference.kind}"
    bent = []
    if inference.kind in ("amortized", "semi_amortized", "local"):
        bent.append(inference.kind.replace("_", "-"))
    settings = asdict(inference)
    for name, word in (("noise_scale", "tempered"), ("likelihood_weight", "weighted"), ("kl_weight", "kl-weighted")):
        if (value := settings.get(name, 1)) != 1:
            bent.append(f"{word}({value:g})")
    if free_bits := settings.get("free_bits"):
        bent.append(f"free-bits({free_bits:g},{settings['free_bits_kind']})")
    return f"|posterior:{','.join(bent)}" if bent else ""

"""A trained model → n sentences: z from the prior, each z decoded, in batches.

The noise of sentence i, in the chain and in decoding, depends on (seed, i) alone: neither the batch size nor
n changes it. (Matrix products of different shapes round differently, so a draw that falls within rounding of
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
from lebm_text.checks import whole
from lebm_text.config import Config
from lebm_text.processes import ALONE, Processes
from lebm_text.random import KeyedRng, Rng, draw_uniform
from lebm_text.sections import INFERENCE, InferenceConfig
from lebm_text.text.tokenizers import Tokenizer

from .decoding import Decoded, decode
from .guidance import check_guidance, guided
from .latents import Latents, PriorLatents
from .settings import DecodeSettings

__all__ = ["Block", "Generated", "Generation", "decode_latents", "describe_model", "signature_of"]

LATENTS = 256  # z that are drawn together: a chain on few rows costs nearly as much as one on many


@dataclass(frozen=True)
class Block:
    """Some sentences in a row, with their ids, whether they were cut at the greatest length, and z (b, D)."""

    sentences: list[str]
    ids: list[list[int]]
    truncated: list[bool]
    z: Tensor


@dataclass(frozen=True)
class Generated:
    """What came out, and all that says where it came from.

    Attributes:
        sentences: n texts; an empty sentence is an empty string.
        truncated: which of them were cut at the greatest length.
        z: (n, D) the latent vectors, on the CPU.
        rates: see `Generation.rates`.
        settings: what was asked for, ready for JSON.
        signature: the same on one line, for reports.
    """

    sentences: list[str]
    truncated: list[bool]
    z: Tensor
    rates: dict[str, float]
    settings: dict[str, object]
    signature: str

    def parts(self) -> Iterator[list[str]]:
        """The sentences, as `Generation.parts` gives them: all at a time."""
        yield self.sentences


class Generation:
    """n sentences, made block by block as one goes through them: memory does not grow with n but for 8 bytes each.

    Going through them again makes the same ones again; `n_done` and `rates` are of the last time.

    Args:
        config: of the model.
        settings: how ids are chosen; none: ancestral sampling at temperature 1.
        max_length: in tokens without `</s>`; none: `config.text.max_length`.
        batch_size: sentences that are decoded at a time; their z are drawn `LATENTS` at a time, or as many.
        on_progress: called after each block of z with the number of sentences done.
        processes: that share the work, block by block, and all get all sentences: those of one process, to the bit.
        latents: where z comes from; none: the prior as it is.
        guidance: see `lebm_text.generation.guidance`.

    Raises InputError for n, seed, max_length, batch_size or guidance out of range.

    Attributes:
        settings: what was asked for, ready for JSON.
        signature: the same on one line, for reports.
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
        self._n, self._seed = whole("n", n, 0), whole("seed", seed, 0, None)
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
        """How many sentences have been handed over so far."""
        return self._rates.n

    @property
    def rates(self) -> dict[str, float]:
        """Shares of the sentences handed over that are empty, cut off, hold `<unk>`, or repeat an earlier one.

        `unk_tokens` is the share of tokens (`</s>` not counted) that are `<unk>`. All are 0 if there is nothing.
        Repetitions are found by hashes of 64 bits: among 10⁷ sentences, one in a million texts has one too many.
        """
        return self._rates.shares()

    def parts(self) -> Iterator[list[str]]:
        """The sentences, some at a time."""
        for block in self:
            yield block.sentences

    def all(self) -> Generated:
        """All sentences, held."""
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

    def _block(self, rows: range) -> Block:
        rng = KeyedRng(self._seed, rows)
        z = self._latents(rows, rng)
        same = not self._latent_dim and self._decoding.decode != "sample"  # a language model's likeliest is one
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
    """`decode` z (n, D) under p(x|z), without `<pad>` and `<s>`; `rng` draws for decode="sample"."""
    step, start = guided(model.generator, z, guidance)
    return decode(
        step,
        start,
        len(z),
        settings,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        forbidden=(tokenizer.pad_id, tokenizer.bos_id),
        max_length=max_length,
        uniforms=lambda k: draw_uniform(rng, (len(z), k)),
        at_once=at_once,
        device=z.device,
    )


class _Rates:
    """Counts over n sentences, of which 8 bytes each are kept."""

    def __init__(self, n: int, unk_id: int) -> None:
        self._unk_id, self._hashes = unk_id, np.empty(n, np.int64)
        self.n = self._n_tokens = self._empty = self._truncated = self._unk = self._unk_tokens = 0

    def add(self, sentences: Sequence[str], ids: Sequence[list[int]], truncated: Sequence[bool]) -> None:
        """Some more sentences."""
        self._hashes[self.n : self.n + len(sentences)] = [hash(sentence) for sentence in sentences]
        self.n += len(sentences)
        self._n_tokens += sum(map(len, ids))
        self._empty += sum(not sentence for sentence in ids)
        self._truncated += sum(truncated)
        self._unk += sum(self._unk_id in sentence for sentence in ids)
        self._unk_tokens += sum(sentence.count(self._unk_id) for sentence in ids)

    def shares(self) -> dict[str, float]:
        """See `Generation.rates`."""
        n, seen = max(self.n, 1), self._hashes[: self.n]
        seen.sort()  # in its place, and in any order as good as another
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
    """E.g. `samples(n=1000,decode=sample,T=1)|prior:ebm-langevin(40x0.5)|posterior:weighted(3)|seed:1|v:0.1.0`.

    The greatest length is named if it is not `text.max_length`, the prior chain's noise if it is not 1, and the
    posterior of training if it was not a chain on p(z|x) itself: if it was bent, the weights are no maximum
    likelihood estimate. `unusual`: how z was drawn and followed, if not plainly; `,prior_T=0.5,guidance=2`.
    """
    length = "" if max_length == config.text.max_length else f",max_length={max_length}"
    return f"samples(n={n},{settings.describe()}{length}{unusual})|{describe_model(config)}|seed:{seed}|v:{__version__}"


def describe_model(config: Config) -> str:
    """The part of a signature that says how z is drawn: by which prior, and by which posterior if it was bent."""
    prior, chain = config.model.prior, config.prior
    if config.model.latent_dim == 0:
        prior = "none"
    elif prior in ("ebm", "classes"):
        sizes = chain.step_size if isinstance(chain.step_size, tuple) else (chain.step_size,)
        noise = "" if chain.noise_scale == 1 else f",noise={chain.noise_scale:g}"
        prior = f"{prior}-langevin({chain.n_steps}x{'+'.join(f'{size:g}' for size in sizes)}{noise})"
    return f"prior:{prior}{_posterior(config.inference)}"


def _posterior(inference: InferenceConfig) -> str:
    """How the posterior that training ended with differs from p(z|x): its family, noise, a weight, free bits."""
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

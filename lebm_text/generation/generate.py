"""A trained model → n sentences: z from the prior, each z decoded, in batches.

The noise of sentence i, in the chain and in decoding, depends on (seed, i) alone: neither the batch size nor
n changes it. (Matrix products of different shapes round differently, so a draw that falls within rounding of
a boundary could still flip; fp32 makes that rare.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lebm_text import __version__
from lebm_text.build import LatentModel
from lebm_text.config import Config, InferenceConfig
from lebm_text.errors import InputError
from lebm_text.processes import ALONE, Processes
from lebm_text.random import KeyedRng, Rng, draw_uniform
from lebm_text.text.tokenizers import Tokenizer

from .decoding import Decoded, DecodeSettings, decode

__all__ = ["Generated", "decode_latents", "describe_model", "generate", "rates_of", "signature_of"]

LATENTS = 256  # z that are drawn together: a chain on few rows costs nearly as much as one on many


@dataclass(frozen=True)
class Generated:
    """What came out, and all that says where it came from.

    Attributes:
        sentences: n texts; an empty sentence is an empty string.
        truncated: which of them were cut at the greatest length.
        z: (n, D) the latent vectors, on the CPU.
        rates: see `rates_of`.
        settings: what was asked for, ready for JSON.
        signature: the same on one line, for reports.
    """

    sentences: list[str]
    truncated: list[bool]
    z: Tensor
    rates: dict[str, float]
    settings: dict[str, object]
    signature: str


def generate(
    model: LatentModel,
    tokenizer: Tokenizer,
    config: Config,
    n: int,
    settings: DecodeSettings | None = None,
    *,
    seed: int = 1,
    max_length: int | None = None,
    batch_size: int = 256,
    on_progress: Callable[[int], None] | None = None,
    processes: Processes = ALONE,
) -> Generated:
    """Draw n sentences.

    Args:
        config: of the model.
        settings: how ids are chosen; none: ancestral sampling at temperature 1.
        max_length: in tokens without `</s>`; none: `config.text.max_length`.
        batch_size: sentences that are decoded at a time; their z are drawn `LATENTS` at a time, or as many.
        on_progress: called after each block of z with the number of sentences done (about, by several processes).
        processes: that share the work, block by block, and all get all sentences: those of one process, to the bit.

    Raises:
        InputError: n, seed, max_length or batch_size out of range.
    """
    settings = settings or DecodeSettings()
    max_length = config.text.max_length if max_length is None else max_length
    for name, value in {"n": n, "seed": seed, "max_length": max_length, "batch_size": batch_size}.items():
        if value < (least := int(name not in ("n", "seed"))):
            raise InputError(f"{name} must be >= {least}, got {value}")
    made: dict[int, tuple[Tensor, Decoded]] = {}  # by the first index of the block
    size = max(LATENTS, batch_size)
    for start in range(0, n, size)[processes.rank :: processes.size]:
        block = range(start, min(start + size, n))
        rng = KeyedRng(seed, block)
        z = model.prior.sample(len(block), rng)
        decoded = decode_latents(model, tokenizer, z, settings, max_length=max_length, rng=rng, at_once=batch_size)
        made[start] = z.cpu(), decoded
        if on_progress is not None:
            on_progress(min(block.stop + (processes.size - 1) * size, n))
    blocks = [found for _, found in sorted(item for part in processes.every(made) for item in part.items())]
    latents = [torch.empty(0, config.model.latent_dim), *(z for z, _ in blocks)]
    ids = [sentence for _, decoded in blocks for sentence in decoded.ids]
    truncated = [cut for _, decoded in blocks for cut in decoded.truncated]
    sentences = [tokenizer.decode(sentence) for sentence in ids]
    return Generated(
        sentences,
        truncated,
        torch.cat(latents),
        rates_of(sentences, ids, truncated, tokenizer.unk_id),
        {"n": n, "seed": seed, "max_length": max_length, **asdict(settings)},
        signature_of(config, n, settings, seed=seed, max_length=max_length),
    )


def decode_latents(
    model: LatentModel,
    tokenizer: Tokenizer,
    z: Tensor,
    settings: DecodeSettings,
    *,
    max_length: int,
    rng: Rng,
    at_once: int | None = None,
) -> Decoded:
    """`decode` z (n, D) under p(x|z), without `<pad>` and `<s>`; `rng` draws for decode="sample"."""
    return decode(
        model.generator.step,
        model.generator.start(z),
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


def rates_of(sentences: list[str], ids: list[list[int]], truncated: list[bool], unk_id: int) -> dict[str, float]:
    """Shares of the n sentences that are empty, cut off, hold `<unk>`, or repeat an earlier one.

    `unk_tokens` is the share of tokens (`</s>` not counted) that are `<unk>`. All are 0 if there is nothing.
    """
    n, n_tokens = max(len(ids), 1), max(sum(map(len, ids)), 1)
    return {
        "empty": sum(not sentence for sentence in ids) / n,
        "truncated": sum(truncated) / n,
        "unk": sum(unk_id in sentence for sentence in ids) / n,
        "unk_tokens": sum(sentence.count(unk_id) for sentence in ids) / n_tokens,
        "duplicate": (len(sentences) - len(set(sentences))) / n,
    }


def signature_of(config: Config, n: int, settings: DecodeSettings, *, seed: int, max_length: int) -> str:
    """E.g. `samples(n=1000,decode=sample,T=1)|prior:ebm-langevin(40x0.5)|posterior:weighted(3)|seed:1|v:0.1.0`.

    The greatest length is named if it is not `text.max_length`, the prior chain's noise if it is not 1, and the
    posterior of training if it was not a chain on p(z|x) itself: if it was bent, the weights are no maximum
    likelihood estimate.
    """
    length = "" if max_length == config.text.max_length else f",max_length={max_length}"
    return f"samples(n={n},{settings.describe()}{length})|{describe_model(config)}|seed:{seed}|v:{__version__}"


def describe_model(config: Config) -> str:
    """The part of a signature that says how z is drawn: by which prior, and by which posterior if it was bent."""
    prior, chain = config.model.prior, config.prior
    if config.model.latent_dim == 0:
        prior = "none"
    elif prior == "ebm":
        sizes = chain.step_size if isinstance(chain.step_size, tuple) else (chain.step_size,)
        noise = "" if chain.noise_scale == 1 else f",noise={chain.noise_scale:g}"
        prior = f"ebm-langevin({chain.n_steps}x{'+'.join(f'{size:g}' for size in sizes)}{noise})"
    return f"prior:{prior}{_posterior(config.inference)}"


def _posterior(inference: InferenceConfig) -> str:
    """How the posterior that training ended with differs from p(z|x): by an encoder, its noise, a weight, free bits."""
    bent = []
    if inference.kind in ("amortized", "semi_amortized"):
        bent.append(inference.kind.replace("_", "-"))
    settings = asdict(inference)
    for name, word in (("noise_scale", "tempered"), ("likelihood_weight", "weighted"), ("kl_weight", "kl-weighted")):
        if (value := settings.get(name, 1)) != 1:
            bent.append(f"{word}({value:g})")
    if free_bits := settings.get("free_bits"):
        bent.append(f"free-bits({free_bits:g},{settings['free_bits_kind']})")
    return f"|posterior:{','.join(bent)}" if bent else ""

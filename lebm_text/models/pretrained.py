r"""The generator p(x|z) as a pretrained causal language model of `transformers`, with z as vectors prepended to x.

    sequence: P_1 z + p_1, …, P_J z + p_J, embedding(<s>), embedding(x_1), …, embedding(x_{T−1})
    log p(x|z) = Σ_t log softmax(decoder(sequence))[x_t],  x_T = </s>

(Li and Liang, ACL 2021, and Lester et al., EMNLP 2021, for such prefixes; z in their place: Li et al., EMNLP
2020.) The map P, p is always trained; of the decoder nothing (`frozen`), low-rank terms of its matrices (`lora`: Hu et
al., ICLR 2022), or everything (`full`). Untrained weights are read from the decoder's files, not from checkpoints.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from math import isclose
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lebm_text.errors import InputError
from lebm_text.models.attention import AttentionState, without_cudnn_attention
from lebm_text.models.modules import Affine, dropout
from lebm_text.text.batching import Batch
from lebm_text.text.pretrained import Specials, decoder_directory, decoder_sha256, needing, specials_of
from lebm_text.text.tokenizers import SPECIALS
from lebm_text.transfer import send

__all__ = ["PretrainedGenerator"]


class PretrainedGenerator(nn.Module):
    """p(x|z) over the pieces of the decoder's tokenizer.

    Args:
        source: a directory with config.json, safetensors and a tokenizer, or a model of the Hugging Face Hub.
        vocab_size: V, of `PretrainedTokenizer`.
        latent_dim: D; 0: the J vectors are constants.
        bos_id: first token that is read.
        longest: maximum tokens of a sentence, which must fit into the decoder's positions with the J vectors.
        adapt: frozen, lora or full.
        n_prefix: J.
        lora_rank: rank r for `adapt` = lora, whose terms 2 B A are initially 0.
        sha256: required hash of the decoder's files, or None; see `decoder_sha256`.
        dropout: rate on embeddings of words, only in `log_likelihood`.
        compute_dtype: of matrix products of the decoder.
        init_range: P is initialised uniformly in ±init_range, p as the embedding of `<s>`.
        rng: draws the initial parameters that are not pretrained.

    Raises:
        InputError: a package is missing; the decoder does not exist, has another hash or too few positions, or
            is not a transformer.
    """

    pieces: Tensor
    vacant: Tensor

    def __init__(
        self,
        source: str,
        vocab_size: int,
        *,
        latent_dim: int,
        bos_id: int,
        longest: int,
        adapt: str,
        n_prefix: int,
        lora_rank: int,
        sha256: str | None = None,
        dropout: float = 0.0,
        compute_dtype: torch.dtype = torch.float32,
        init_range: float = 0.1,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        directory = decoder_directory(source)
        if sha256 is not None and sha256 != (own := decoder_sha256(directory, source)):
            raise InputError(
                f"model.generator = hf:{source} is another decoder than this run began with: its files have the sha256 "
                f"{own[:12]}…, expected {sha256[:12]}…"
            )
        _, specials = specials_of(directory, source)
        self.source, self.latent_dim, self.bos_id = source, latent_dim, bos_id
        self.dropout, self.n_prefix = dropout, n_prefix
        self.compute_dtype, self.init_range = torch.float32, init_range
        decoder = _load_decoder(directory, source)
        arguments = signature(decoder.forward).parameters
        self.cache_argument = "cache" if "cache" in arguments else "past_key_values"  # its name in older versions
        self.takes_places, self.keeps_logits = "position_ids" in arguments, "logits_to_keep" in arguments
        self.n_positions = getattr(decoder.config, "max_position_embeddings", None)
        self._require_room(longest, f"text.max_length = {longest}")
        decoder.requires_grad_(adapt == "full").eval()
        self.decoder = _with_low_rank_terms(decoder, lora_rank, source) if adapt == "lora" else decoder
        n_rows, width = self.decoder.get_input_embeddings().weight.shape
        if n_rows < vocab_size - len(SPECIALS):
            raise InputError(f"model.generator = hf:{source} knows {n_rows} pieces, and its tokenizer more")
        self.prefix = Affine(latent_dim, n_prefix * width)
        pieces, vacant = _pieces_of(specials, vocab_size)
        self.register_buffer("pieces", pieces, persistent=False)
        self.register_buffer("vacant", vacant, persistent=False)
        fixed = {name for name, each in self.named_parameters(remove_duplicate=False) if not each.requires_grad}
        self.left_out = fixed | {name for name, _ in self.named_buffers()}
        self.register_state_dict_post_hook(_leave_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_forgive)  # type: ignore[no-untyped-call]
        self.initialise(rng)
        self._require_steps(min(longest, 4))
        self.compute_dtype = compute_dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.prefix.bias.device

    @torch.no_grad()
    def initialise(self, rng: torch.Generator) -> None:
        """Draw all parameters anew that are not pretrained."""
        self.prefix.weight.uniform_(-self.init_range, self.init_range, generator=rng)
        begin = self.decoder.get_input_embeddings().weight[self.pieces[self.bos_id]]
        self.prefix.bias.copy_(begin.repeat(self.n_prefix))
        for name, parameter in self.decoder.named_parameters():
            if "lora_A" in name:
                bound = parameter.shape[1] ** -0.5
                parameter.uniform_(-bound, bound, generator=rng)
            elif "lora_B" in name:
                parameter.zero_()

    def likelihood(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Return log p(x|z) of one batch as a function of z (..., B, D) → (..., B) in nats, without dropout."""
        embedded, of_batch = (
            self._embed(self._read_ids(batch.tokens)).detach(),
            send(batch.lengths, batch.tokens.device),
        )

        def log_likelihood(z: Tensor) -> Tensor:
            copies = z.shape[:-2].numel()
            tokens, lengths = batch.tokens.repeat(copies, 1), of_batch.repeat(copies)
            found = self._log_probs(embedded.repeat(copies, 1, 1), z.reshape(-1, z.shape[-1]), tokens, lengths)
            return found.view(z.shape[:-1])

        return log_likelihood

    def log_likelihood(self, batch: Batch, z: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Return log p(x|z) in nats, z (B, D) → (B,), differentiable in z and trained parameters; see `Generator`."""
        embedded = dropout(self._embed(self._read_ids(batch.tokens)), self.dropout, rng)
        return self._log_probs(embedded, z, batch.tokens, send(batch.lengths, batch.tokens.device))

    @torch.no_grad()
    def start(self, z: Tensor) -> AttentionState:
        """Return the state before the first token, z (B, D), with the J vectors read."""
        empty = AttentionState((), torch.zeros(len(z), dtype=torch.long, device=z.device))
        return self._append(self._prefix(z), empty)[1]

    @torch.no_grad()
    def step(self, tokens: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """Return logits (B, V) of the token after `tokens` (B,), and the state after reading them.

        Raises:
            InputError: a sentence is longer than the decoder's positions.
        """
        n_before = state.n_columns - self.n_prefix
        self._require_room(n_before, f"a sentence of {n_before} tokens")
        logits, state = self._append(self._embed(tokens).unsqueeze(1), state)
        return logits[:, self.pieces].masked_fill(self.vacant, -torch.inf), state

    def _read_ids(self, tokens: Tensor) -> Tensor:
        return F.pad(tokens[:, :-1], (1, 0), value=self.bos_id)

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.decoder.get_input_embeddings()(self.pieces[ids])
        return embedded

    def _prefix(self, z: Tensor) -> Tensor:
        """Return the J vectors of each z, (B, J, H)."""
        prefix: Tensor = self.prefix(z)
        return prefix.view(len(z), self.n_prefix, -1)

    def _append(self, embedded: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        """Return logits (B, pieces) after n more vectors (B, n, H) of each row, and the state with them."""
        from transformers import DynamicCache

        cache, n = DynamicCache(), embedded.shape[1]
        for layer in range(len(state.memory) // 2):
            cache.update(state.memory[2 * layer], state.memory[2 * layer + 1], layer)
        how = {self.cache_argument: cache, "attention_mask": state.seen(n)[:, -1].long()}
        if self.takes_places:
            how["position_ids"] = state.length.unsqueeze(1) + torch.arange(n, device=embedded.device)
        logits = self._run(embedded, 1, use_cache=True, **how)
        memory = tuple(each for layer in cache.layers for each in (layer.keys, layer.values))
        return logits[:, -1], replace(state, memory=memory, length=state.length + n)

    def _run(self, embedded: Tensor, n_last: int, *, use_cache: bool = False, **how: Any) -> Tensor:
        """Return the decoder's logits (B, n_last, pieces) after the last of the vectors (B, n, H)."""
        half = self.compute_dtype != torch.float32
        if self.keeps_logits:
            how["logits_to_keep"] = n_last
        autocast = torch.autocast(embedded.device.type, self.compute_dtype if half else torch.bfloat16, enabled=half)
        with without_cudnn_attention(embedded.device), autocast:
            logits: Tensor = self.decoder(inputs_embeds=embedded, use_cache=use_cache, **how).logits
        return logits[:, -n_last:, : len(self.pieces) - len(SPECIALS)].float()

    def _log_probs(self, embedded: Tensor, z: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        logits = self._run(torch.cat([self._prefix(z), embedded], dim=1), embedded.shape[1])
        found = logits.log_softmax(2).gather(2, self.pieces[tokens].unsqueeze(2)).squeeze(2)
        inside = torch.arange(tokens.shape[1], device=z.device) < lengths.unsqueeze(1)
        return found.masked_fill(~inside, 0.0).sum(1)

    @torch.no_grad()
    def _require_steps(self, n_words: int) -> None:
        """Refuse a decoder that cannot continue from keys and values (Mamba), or attends to later tokens (BERT)."""
        words, z = (~self.vacant).nonzero()[:n_words, 0].unsqueeze(0), torch.zeros(1, self.latent_dim)
        try:
            embedded = self._embed(self._read_ids(words))
            at_once = float(self._log_probs(embedded, z, words, torch.tensor([n_words])))
            state, token, by_steps = self.start(z), torch.tensor([self.bos_id]), 0.0
            for word in words[0]:
                logits, state = self.step(token, state)
                token, by_steps = word.view(1), by_steps + float(logits[0].log_softmax(0)[word])
            if not isclose(at_once, by_steps, rel_tol=1e-3):
                raise ValueError(f"log p is {at_once:.3f} at once and {by_steps:.3f} word after word")
        except Exception as error:
            raise InputError(
                f"model.generator = hf:{self.source} does not read word after word as a causal transformer: {error!r}"
            ) from error

    def _require_room(self, n_tokens: int, what: str) -> None:
        if self.n_positions is not None and n_tokens + 1 + self.n_prefix > self.n_positions:
            raise InputError(
                f"{what}, <s> and generator.n_prefix = {self.n_prefix} need {n_tokens + 1 + self.n_prefix} positions; "
                f"the decoder has {self.n_positions}"
            )


def _load_decoder(directory: Path, source: str) -> Any:
    """Load the causal language model in `directory` in float32. Raises InputError as `PretrainedGenerator` does."""
    with needing("transformers", f"model.generator = hf:{source}"):
        from transformers import AutoModelForCausalLM

        decoder, found = AutoModelForCausalLM.from_pretrained(
            str(directory),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    if lacking := [*found["missing_keys"], *found["mismatched_keys"]]:
        raise InputError(f"model.generator = hf:{source} has no weights for {lacking[0]}, and would draw them anew")
    return decoder


def _with_low_rank_terms(decoder: Any, rank: int, source: str) -> Any:
    """Return the decoder with matrices W + 2 B A for W, of which A (rank, n) and B (m, rank) are trained."""
    with needing("peft", f"model.generator = hf:{source}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about matrices stored transposed, which it handles
        from peft import LoraConfig, inject_adapter_in_model

        terms = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        return inject_adapter_in_model(terms, decoder)


def _pieces_of(specials: Specials, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Return the decoder's id for each of ours, (V,), and which of ours have none, (V,)."""
    ids = torch.arange(-len(SPECIALS), vocab_size - len(SPECIALS))
    ids[: len(SPECIALS)] = specials.eos
    vacant = torch.arange(vocab_size) < len(SPECIALS)
    for theirs, ours in specials.ours().items():
        ids[ours], vacant[ours], vacant[theirs + len(SPECIALS)] = theirs, False, True
    return ids, vacant


def _leave_out(module: PretrainedGenerator, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    """Remove from a state dict what is not trained: it is read from the decoder's files."""
    for name in module.left_out:
        state.pop(prefix + name, None)


def _forgive(module: PretrainedGenerator, incompatible: Any) -> None:
    """Accept a state dict without the parameters that are left out of it."""
    missing = incompatible.missing_keys
    missing[:] = [name for name in missing if not any(name.endswith(each) for each in module.left_out)]

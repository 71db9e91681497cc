"""A corpus as training wants it: tokenizer, encoded training text, a fixed validation set."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np

from lebm_text.config import TextConfig
from lebm_text.errors import InputError
from lebm_text.text.batching import EncodedCorpus
from lebm_text.text.corpora import Corpus
from lebm_text.text.tokenizers import SentencePieceTokenizer, Tokenizer, WordTokenizer, drop_long
from lebm_text.text.vocabulary import SPECIALS

__all__ = ["PreparedText", "prepare_text", "train_tokenizer"]

PIECES = 8000  # of a sentencepiece model, unless text.vocab_size says otherwise
VALIDATION_SEED = 0  # of the choice of validation sentences: the same for all runs on a corpus


@dataclass(frozen=True)
class PreparedText:
    """Encoded splits; `valid_sentences` are the lines behind `valid`; `notices` say what was left out."""

    tokenizer: Tokenizer
    train: EncodedCorpus
    valid: EncodedCorpus
    valid_sentences: list[str]
    notices: tuple[str, ...]


def train_tokenizer(corpus: Corpus, config: TextConfig) -> Tokenizer:
    """The tokenizer that `config` asks for, learned from the training split.

    Raises:
        InputError: a closed vocabulary without a word.
    """
    sentences = corpus.splits["train"].sentences()
    if config.tokenizer == "word":
        tokenizer = WordTokenizer.train(sentences, config.vocab_size, lowercase=config.lowercase)
        if len(tokenizer) == len(SPECIALS):
            raise InputError(f"{corpus.name} repeats no word, so all of it would be <unk>; give more text")
        return tokenizer
    return SentencePieceTokenizer.train(sentences, config.vocab_size or PIECES, lowercase=config.lowercase)


def prepare_text(corpus: Corpus, config: TextConfig, tokenizer: Tokenizer, n_validation: int) -> PreparedText:
    """Encode the training split and `n_validation` sentences of the validation split (all, if it has fewer).

    Raises:
        InputError: every sentence is longer than `config.max_length`.
    """
    train, notices = _encode(corpus, "train", tokenizer, config.max_length)
    lines = list(corpus.splits["valid"].sentences())
    chosen = np.random.Generator(np.random.PCG64(VALIDATION_SEED)).permutation(len(lines))[:n_validation]
    sample = [lines[i] for i in np.sort(chosen)]
    encoded, kept = drop_long(tokenizer.encode_many(sample), config.max_length)
    valid = EncodedCorpus(encoded.tokens, encoded.offsets, tokenizer.pad_id)
    stays = np.isin(np.arange(len(sample)), kept)
    return PreparedText(tokenizer, train, valid, list(compress(sample, stays)), notices)


def _encode(corpus: Corpus, split: str, tokenizer: Tokenizer, max_length: int) -> tuple[EncodedCorpus, tuple[str, ...]]:
    everything = tokenizer.encode_many(corpus.splits[split].sentences())
    encoded, kept = drop_long(everything, max_length)
    total = len(everything.offsets) - 1
    if not len(kept):
        raise InputError(f"no {split} sentence of {corpus.name} has at most text.max_length = {max_length} tokens")
    notices: tuple[str, ...] = ()
    if len(kept) < total:
        notices = (f"left out {total - len(kept)} of {total} {split} sentences: longer than {max_length} tokens",)
    return EncodedCorpus(encoded.tokens, encoded.offsets, tokenizer.pad_id), notices

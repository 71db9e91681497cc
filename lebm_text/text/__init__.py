"""Text in, ids out: corpora, tokenizers and batches."""

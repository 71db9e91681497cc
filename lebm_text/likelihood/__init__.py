"""log Z of the prior, log p(x) of sentences, and what z carries; all at temperature 1, without dropout."""

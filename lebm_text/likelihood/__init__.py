"""log Z of the prior, log p(x) of sentences, and the information in z; all at temperature 1, without dropout."""

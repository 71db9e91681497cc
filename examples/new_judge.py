r"""A plug-in judge in one file: a bigram model, instead of the Kneser-Ney and LSTM judges.

    p(w | v) = weight · count(v w) / count(v) + (1 − weight) · (count(w) + 1) / (N + V + 2)

A judge has the members of `lm_eval.judges.JudgeSpec`, and its fields are its settings. It can also be named on
the command line: `lebm-text rppl --lm new_judge:Bigram,weight=0.7`. It reads nothing but text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tiny_text import sentences

from lebm_text.checks import Section, in_range, setting
from lebm_text.text.reading import split_words
from lm_eval import fppl, rppl
from lm_eval.judges import TrainedJudge
from lm_eval.perplexity import SentenceScores
from lm_eval.texts import Reference


@dataclass(frozen=True)
class Bigram(Section):
    section = "judge"
    weight: float = setting(0.8, in_range, 0.0, 1.0, open_end=True)  # of bigrams

    stop = seed = None
    n_more = 2  # `</s>`, and the type of all unseen words
    cheap = True
    name = "bigram"

    @property
    def lm(self) -> str:
        return f"bigram-{self.weight:g}"  # includes every setting that affects the figures

    def train(self, sentences: Sequence[str], reference: Reference) -> TrainedJudge:
        return TrainedJudge(BigramModel(sentences, len(reference.vocabulary), self.weight))


class BigramModel:
    def __init__(self, lines: Iterable[str], n_words: int, weight: float) -> None:
        texts = [["<s>", *split_words(line), "</s>"] for line in lines]
        self.pairs = Counter(pair for text in texts for pair in pairwise(text))
        self.before = Counter(word for text in texts for word in text[:-1])
        self.words = Counter(word for text in texts for word in text[1:])
        self.n_words, self.weight = n_words, weight

    def score(self, sentences: Iterable[str]) -> SentenceScores:
        texts = [[*split_words(line), "</s>"] for line in sentences]
        probs = np.array([self.prob(v, w) for text in texts for v, w in pairwise(["<s>", *text])])
        unseen = np.array([word not in self.words for text in texts for word in text])
        return SentenceScores.of_tokens(np.log10(probs), unseen, np.array([len(text) for text in texts]))

    def prob(self, v: str, w: str) -> float:
        alone = (self.words[w] + 1) / (self.words.total() + self.n_words + Bigram.n_more)
        if not self.before[v]:
            return alone
        return self.weight * self.pairs[v, w] / self.before[v] + (1 - self.weight) * alone


def main() -> None:
    train, test = sentences(500, 1), sentences(200, 2)
    texts = {"same language": sentences(500, 3), "one sentence": sentences(1, 3) * 500}
    for name, samples in texts.items():
        for judge in ("kn2", "new_judge:Bigram,weight=0.9"):
            forward, reverse = fppl(samples, train, judge=judge), rppl(samples, test, judge=judge)
            print(f"{name:<14} {judge:<28} FPPL {forward.ppl:6.2f}  RPPL {reverse.ppl:8.2f}")
    print(reverse.signature)


if __name__ == "__main__":
    main()

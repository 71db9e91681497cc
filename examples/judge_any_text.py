"""Judge text of any system by forward and reverse perplexity: lists of sentences, or a file, one sentence a line.

    python examples/judge_any_text.py [SAMPLES.txt]

The real text is made here; with text of your own, give as many samples as there are training sentences.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from tiny_text import sentences

import lm_eval


def shuffled(lines: list[str], seed: int) -> list[str]:
    """The same words in another order."""
    draw = random.Random(seed)
    return [" ".join(draw.sample(words, len(words))) for words in map(str.split, lines)]


def main() -> None:
    train, test = sentences(500, 1), sentences(200, 2)
    texts = {"same language": sentences(500, 3), "words shuffled": shuffled(sentences(500, 3), 4)}
    if len(sys.argv) > 1:
        texts[sys.argv[1]] = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    vocabulary = lm_eval.closed_vocabulary(train)
    print(f"{'text':<20}{'FPPL':>8}{'RPPL':>8}  95 % of RPPL")
    for name, samples in texts.items():
        forward = lm_eval.fppl(samples, train, judge="kn3")
        reverse = lm_eval.rppl(samples, test, judge="kn3", vocabulary=vocabulary)
        low, high = reverse.ci95
        print(f"{name:<20}{forward.ppl:>8.2f}{reverse.ppl:>8.2f}  {low:.2f} to {high:.2f}")
    print(reverse.signature)


if __name__ == "__main__":
    main()

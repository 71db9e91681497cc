"""Judge text of any system by forward and reverse perplexity: lists of sentences made here, or your own files.

    python examples/judge_any_text.py [SAMPLES.txt REAL.txt]

One sentence per line. The last tenth of the real text is held out. Give as many samples as training sentences remain.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from tiny_text import sentences

import lm_eval
from lebm_text.errors import InputError
from lebm_text.text.reading import read_text


def shuffled(lines: list[str], seed: int) -> list[str]:
    """Return the lines with their words in random order."""
    draw = random.Random(seed)
    return [" ".join(draw.sample(words, len(words))) for words in map(str.split, lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="SAMPLES.txt REAL.txt")
    files = parser.parse_args().files
    if len(files) not in (0, 2):
        parser.error("give two files, the samples and the real text, or none")
    try:
        if files:
            judge(*(read_text(path).lines for path in files))
        else:
            judge(sentences(500, 3), sentences(550, 1))
    except InputError as error:
        parser.exit(2, f"error: {error}\n")


def judge(samples: list[str], real: list[str]) -> None:
    """Print the perplexities of samples, and of the same samples with their words shuffled."""
    held_out = max(1, len(real) // 10)
    train, test = real[:-held_out], real[-held_out:]
    texts = {"samples": samples, "words shuffled": shuffled(samples, 4)}
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

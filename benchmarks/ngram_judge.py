"""The perplexity of a text under an n-gram model: python -m benchmarks.ngram_judge MODEL TEST, or ORDER TRAIN TEST.

A model file is read by kenlm; otherwise the model is estimated from TRAIN and stays in this process. Only modules that
judges need are imported, since the memory of this process is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lebm_text.text.reading import read_lines
from lm_eval.judges import LanguageModel
from lm_eval.kenlm import KenlmJudge
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import train_judge
from lm_eval.perplexity import perplexity

__all__ = ["judge_of"]


def judge_of(model: str, *train: str) -> LanguageModel:
    """Return the judge in the file `model`, or one of order `model` trained on the text `train`."""
    if not train:
        return KenlmJudge(Path(model))
    judge, _ = train_judge(read_lines(Path(*train)), KneserNeySettings(int(model)))
    return judge


if __name__ == "__main__":
    *arguments, test = sys.argv[1:]
    sys.stdout.write(f"{perplexity(judge_of(*arguments).score(read_lines(Path(test)))).ppl}\n")

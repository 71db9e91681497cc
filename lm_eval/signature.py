"""One line that names every choice behind a number, so that two numbers are comparable if their lines agree."""

from __future__ import annotations

from .judges import JudgeSpec, TrainedJudge
from .texts import Reference, Samples

__all__ = ["signature"]


def signature(metric: str, spec: JudgeSpec, trained: TrainedJudge, reference: Reference, samples: Samples) -> str:
    """E.g. `RPPL|lm:kn5|train:samples(n=42068)|test:ptb-test|vocab:closed-10001|eos:yes|unk:word|tok:word`.

    A protocol that is not the default one is named, for an LSTM judge what its training stopped on, its seed and
    the precision it was trained in; at the end stands what is known of the samples.
    """
    convention, real = reference.convention, reference.real
    drawn = ",".join(filter(None, [f"n={len(samples.sentences)}", samples.decoding]))
    train, test = f"{real.name}-train", f"samples({drawn})"
    if metric == "rppl":
        train, test = test, f"{real.name}-{real.split}"
    n_words = len(reference.vocabulary)
    vocabulary = f"closed-{spec.n_types(n_words)}" if convention.closed else "open"
    if convention.vocabulary_lines and metric == "rppl":
        vocabulary += f"+lines-{n_words}"
    precision = (trained.training or {}).get("precision")
    parts = (
        metric.upper(),
        "" if convention.name == "default" else f"protocol:{convention.name}",
        f"lm:{spec.lm}",
        f"train:{train}",
        f"stop:{spec.stop}" if spec.stop else "",
        f"test:{test}",
        f"vocab:{vocabulary}",
        f"eos:{'yes' if convention.count_eos else 'no'}",
        "unk:word",
        f"tok:{samples.tokenizer}",
        f"judge-seed:{spec.seed}" if spec.seed is not None else "",
        f"precision:{precision}" if precision else "",
        *samples.details,
    )
    return "|".join(filter(None, parts))

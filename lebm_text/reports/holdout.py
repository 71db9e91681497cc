"""Leave-one-class-out corpora: a model learns all classes but one, which is the anomaly of the test text.

After Zenati et al. (2018) and Pang et al. (NeurIPS 2020), who do it with digits; here with labelled sentences. What is
held out takes no part in training, in validation or in the choice of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.store import atomic_write_json, atomic_write_text, sha256_file
from lebm_text.text.corpora import Corpus, Labelled, labelled_split
from lebm_text.text.tokenizers import UNK

__all__ = ["ANOMALIES", "CLASS_NAMES", "PROTOCOL", "HeldOut", "hold_out", "prepare", "resolve_class"]

ANOMALIES = "anomalies.txt"  # beside train.txt, valid.txt and test.txt, which hold normal sentences alone
PROTOCOL = "protocol.json"  # beside them, what was done

CLASS_NAMES: Mapping[str, tuple[str, ...]] = {"agnews": ("world", "sports", "business", "scitech")}
"""Names of the classes 0, 1, … of corpora whose label files hold numbers."""


@dataclass(frozen=True)
class HeldOut:
    """Normal sentences by split, the anomalies of the test split, and counts of what was done, ready for JSON."""

    splits: dict[str, list[str]]
    anomalies: list[str]
    counts: dict[str, int]


def prepare(corpus: Corpus, held_out: str, output: Path, *, min_count: int = 3, max_length: int = 40) -> HeldOut:
    """Write a corpus without one class, whose test sentences of that class are anomalies, and protocol.json.

    Args:
        corpus: with labels beside each split.
        held_out: the class, by name or label.
        output: the new directory, absent or empty.
        min_count, max_length: see `hold_out`.

    Raises:
        InputError: the directory is taken or cannot be made, labels are missing, or there is no such class.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists already; choose another directory")
    labelled = {split: labelled_split(corpus, split) for split in corpus.splits}
    label = resolve_class(held_out, [pair.label for pair in labelled["train"]], CLASS_NAMES.get(corpus.name, ()))
    parted = hold_out(labelled, label, min_count=min_count, max_length=max_length)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {output}: {error.strerror}") from None
    files = {**{f"{split}.txt": lines for split, lines in parted.splits.items()}, ANOMALIES: parted.anomalies}
    for name, lines in files.items():
        atomic_write_text(output / name, "".join(f"{line}\n" for line in lines))
    protocol = {
        "protocol": "leave-one-class-out",
        "corpus": corpus.describe(),
        "held_out": held_out,
        "label": label,
        "min_count": min_count,
        "max_length": max_length,
        **parted.counts,
        "version": __version__,
        "sha256": {name: sha256_file(output / name) for name in files},
    }
    atomic_write_json(output / PROTOCOL, protocol)
    return parted


def resolve_class(wanted: str, labels: Iterable[str], names: Sequence[str] = ()) -> str:
    """The label that `wanted` means: a label itself, or one of `names`, whose places are the labels.

    Raises InputError for one that does not occur.
    """
    known = sorted(set(labels))
    label = str(names.index(wanted)) if wanted in names else wanted
    if label not in known:
        listed = [
            f"{label} ({names[int(label)]})" if label in map(str, range(len(names))) else label for label in known
        ]
        raise InputError(f"no class {wanted!r} to hold out; the labels are: {', '.join(listed)}")
    return label


def hold_out(
    corpus: Mapping[str, Sequence[Labelled]], held_out: str, *, min_count: int = 3, max_length: int = 40
) -> HeldOut:
    """Part `corpus` (train, valid, test) into normal sentences and the anomalies of its test split.

    Args:
        held_out: the label of the anomalies. Those of train and valid are dropped.
        min_count: words seen less often in the normal training sentences are `<unk>` everywhere.
        max_length: longer sentences, in words, are left out.

    Raises:
        InputError: a class or a split without a sentence.
    """
    kept = {split: [pair for pair in pairs if pair[0].count(" ") < max_length] for split, pairs in corpus.items()}
    normal = {split: [line for line, label in pairs if label != held_out] for split, pairs in kept.items()}
    anomalies = [line for line, label in kept["test"] if label == held_out]
    for name, lines in (*normal.items(), ("anomalies", anomalies)):
        if not lines:
            raise InputError(f"no sentence of at most {max_length} words is left for {name}")
    counts = Counter(chain.from_iterable(line.split(" ") for line in normal["train"]))
    known = {word for word, count in counts.items() if count >= min_count}
    closed = {split: [_close(line, known) for line in lines] for split, lines in normal.items()}
    facts = {f"n_{split}": len(lines) for split, lines in normal.items()}
    facts |= {
        "n_anomalies": len(anomalies),
        "n_words": len(known),
        "n_rare_words": len(counts) - len(known),
        "n_too_long": sum(len(pairs) - len(kept[split]) for split, pairs in corpus.items()),
    }
    return HeldOut(closed, [_close(line, known) for line in anomalies], facts)


def _close(line: str, known: set[str]) -> str:
    return " ".join(word if word in known else UNK for word in line.split(" "))

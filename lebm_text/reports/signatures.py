"""Explanation of signatures, with a table of all fields that signatures of this project have.

A signature is a list of fields separated by `|`; a field may contain others in parentheses, separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lebm_text.errors import InputError

__all__ = ["Field", "explain", "split_fields"]


class Field(NamedTuple):
    """A field of a signature, its meaning if it is known, and whether it is in the parentheses of a field before it."""

    text: str
    meaning: str | None
    inside: bool = False


_NUMBER = r"([\d.eE+-]+)"
_FIELDS = (
    # The kind of result.
    ("FPPL", "forward perplexity: a language model of real text, the judge, reads the samples"),
    ("RPPL", "reverse perplexity: a language model of the samples, the judge, reads real held-out text"),
    ("FED", "Fréchet distance between sentence embeddings of samples and of real text, × 1000"),
    ("log_p", "log-likelihood of held-out sentences under the model itself, in nats"),
    ("AUROC,AUPRC", "areas under two curves: how well a score tells anomalies from normal sentences"),
    ("self-BLEU", "BLEU of samples against the other samples: high means that they are alike"),
    ("BLEU", "BLEU of samples against real text"),
    ("distinct", "shares of different n-grams, and of repeated ones within sentences"),
    (r"seq-rep-(\d)", "share of {0}-grams that their sentence had before"),
    ("in-train", "shares of n-grams that the training text has, too"),
    ("occurrences", "an n-gram counts as often as it occurs"),
    ("samples", "generated sentences"),
    ("reconstruct", "sentences passed through the latent space and back"),
    ("interpolate", "sentences on the way between two sentences"),
    ("neighbours", "nearest sentences in the latent space"),
    ("trajectories", "Langevin chains of the prior, step by step"),
    ("views", "latent vectors in a plane"),
    ("directions", "the direction of an attribute in the latent space"),
    # Judges and texts.
    (r"protocol:(.*)", "the convention is that of {0}; the default one is not named"),
    (r"lm:kn(\d)", "the judge is a {0}-gram model with modified Kneser-Ney smoothing"),
    (r"lm:(lstm.*)", "the judge is an LSTM, trained by the recipe {0}"),
    (r"lm:(.*)", "the judge is {0}, a plug-in"),
    (r"train:samples", "the judge was trained on generated sentences"),
    (r"train:(.*)", "the judge was trained on the text {0}"),
    (r"stop:(.*)", "the judge's training stopped by its perplexity on {0}"),
    (r"test:samples", "generated sentences were read"),
    (r"test:(.*)", "the text {0} was read"),
    (r"text:(.*)", "the sentences are those of {0}"),
    (r"samples:(.*)", "the samples are {0}"),
    (r"vocab:closed-(\d+)", "all words outside a list of {0} count as <unk>"),
    (r"vocab:open(?:\+lines-(\d+))?", "no list of words closes the vocabulary"),
    ("eos:yes", "the end of a sentence is a token, predicted and counted"),
    ("eos:no", "the end of a sentence is not counted"),
    ("unk:word", "<unk> is a word as any other, predicted and counted"),
    ("unk:counted", "<unk> is predicted and counted as any other token"),
    ("tok:word", "words are what blanks separate"),
    (r"tok:(.*)", "samples were raw text or pieces; their words were made by {0}"),
    (r"tokens:(.*)", "tokens of the model are those of its {0} tokenizer"),
    (r"judge-seed:(\d+)", "the judge was trained from the seed {0}"),
    (r"precision:(.*)", "the judge was trained in {0}"),
    (r"enc:(.*)", "the encoder of sentences is {0}"),
    (r"k:(\d+)", "{0} nearest neighbours count"),
    # How samples and latent vectors were made.
    (r"n[=:](\d+|all)", "number of sentences: {0}"),
    (r"step=(\d+)", "step {0} of the chain"),
    (r"long=(\d+)", "the long chains have {0} times the steps"),
    ("decode=sample", "each word is drawn from the model's distribution"),
    ("decode=greedy", "each word is the most probable one"),
    ("decode=beam", "beam search"),
    (r"size=(\d+)", "{0} hypotheses are kept"),
    (rf"length_penalty={_NUMBER}", "log-probabilities of hypotheses are divided by their length to the power {0}"),
    (rf"T={_NUMBER}", "temperature {0}: logits are divided by it"),
    (r"top_k=(\d+)", "only the {0} most probable words are drawn"),
    (rf"top_p={_NUMBER}", "only the most probable words up to a mass of {0} are drawn"),
    ("no_unk", "<unk> is never produced: its probability is divided among the other words"),
    (r"max_length=(\d+)", "sentences are cut at {0} tokens"),
    (rf"prior_T={_NUMBER}", "the prior was sampled at temperature {0}"),
    (r"prior_steps=(\d+)", "the prior's chain had {0} steps, not its own number"),
    (r"label=(.*)", "z was drawn for the class {0}"),
    (r"z=posterior\(train\)", "z came from the posterior of training sentences: what a perfect prior would give"),
    (r"z=chain-x(\d+)", "z came from chains of the prior with {0} times their steps"),
    (rf"guidance={_NUMBER}", "what z says was followed {0} times as closely as the model does"),
    (r"(\d)-gram samples", "drawn from a {0}-gram model of the training text"),
    (r"training text(?:, words shuffled)?|words shuffled", "real training text, for calibration"),
    (r"(\d+) sentences repeated", "a block of {0} real sentences, again and again"),
    ("prior:none", "the model has no latent vector: a language model"),
    ("prior:gaussian", "z is drawn from N(0, σ² I)"),
    (r"prior:ebm-langevin", "z is drawn from the learned prior by short Langevin chains:"),
    (r"prior:classes-langevin", "z is drawn from the learned prior with classes by short Langevin chains:"),
    (r"prior:(.*)", "z is drawn from the prior {0}, a plug-in"),
    (rf"(\d+)x{_NUMBER}(?:\+\S+)?", "steps of the chain and their size: {0} of {1}"),
    (rf"noise={_NUMBER}", "the noise of the chain is scaled by {0}: it samples another density"),
    (r"posterior:.*", "training's posterior was not p(z|x), so the weights are no maximum-likelihood estimate:"),
    (r"inference=(.*)", "z came from {0}, a plug-in"),
    ("amortized", "z came from an encoder"),
    ("semi-amortized", "z came from an encoder, refined by gradient steps"),
    ("local", "z came from a distribution fitted to each sentence"),
    (rf"tempered\({_NUMBER}\)", "the noise of its chains was scaled by {0}"),
    (rf"weighted\({_NUMBER}\)", "the likelihood of the sentence was raised to the power {0}"),
    (rf"kl-weighted\({_NUMBER}\)", "the KL divergence was weighted by {0}"),
    (rf"free-bits\({_NUMBER},(.*)\)", "a KL divergence below {0} nats cost nothing, by {1}"),
    # Likelihood.
    ("density:p_theta,T=1,dropout=0", "of the model's own density, at temperature 1, without dropout"),
    ("exact", "computed exactly"),
    ("lower:ais", "a stochastic lower bound, by annealed importance sampling:"),
    ("importance", "estimated by importance sampling:"),
    (r">lower:ais>(\d+)x(\d+)", "{0} temperatures, {1} chains"),
    (r"K=(\d+)", "{0} draws a sentence"),
    ("mala", "each move is one Langevin step, accepted or not"),
    (r"hmc(\d+)", "each move has {0} leapfrog steps, accepted or not"),
    (r"from=(.*)", "chains begin at the {0}"),
    # Anomalies, neighbours, probes.
    (r"positive:(.*)", "positive are {0}"),
    (r"negative:(.*)", "negative are {0}"),
    (r"z:p\(z\|x\)", "z is drawn from the posterior of the sentence"),
    (r"draws=(\d+)", "{0} draws of z a sentence"),
    (r"steps=(.*)", "steps of the posterior chain: {0}"),
    (r"bootstrap:(\d+)", "intervals are over {0} resampled texts"),
    (r"M=(\d+)", "{0} draws of z a sentence"),
    (r"k=(\d+)", "{0} neighbours each"),
    (r"repeats=(\d+)", "repeated {0} times"),
    (r"moved=(\d+)", "{0} sentences were moved along the direction"),
    ("euclidean|cosine", "the distance"),
    # BLEU, in the notation of sacrebleu.
    (r"refs:(.*)", "references: {0}"),
    (r"nrefs:(\d+)", "{0} references a sentence"),
    (r"case:(.*)", "case: {0}"),
    (r"eff:(.*)", "effective order of n-grams: {0}"),
    (r"smooth:(.*)", "smoothing: {0}"),
    (r"version:(.*)", "sacrebleu {0}"),
    (r"orders:(.*)", "n-grams of {0} words"),
    (r"seed:(\d+)", "random numbers come from the seed {0}"),
    (r"v:(.*)", "lebm-text {0}"),
)
# Fields that may contain commas, such as names of corpora and files; a number of sentences may follow.
_WHOLE = re.compile(
    r"((?:density|orders|train|test|text|positive|negative|samples):(?!samples\().*?"
    r"|AUROC,AUPRC|\d+ sentences repeated)(?:\((n=\d+)\))?"
)
_NESTED = re.compile(r"((?:[\w_-]+:)?[^(),:|]*)\((.*)\)", re.DOTALL)


def explain(signature: str) -> list[Field]:
    """Return the fields of a signature in order, with their meaning. Raises InputError if it is not a signature."""
    fields = [field for part in split_fields(signature, "|;") for field in _read(part)]
    if not any(field.meaning for field in fields):
        raise InputError(f"{signature[:80]!r} is no signature; one begins as FPPL|lm:kn5|train:…, put it in quotes")
    return fields


def split_fields(text: str, at: str) -> list[str]:
    """Split a text at each of the characters `at` that is outside parentheses, and strip blanks."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if sign in at and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part for part in (part.strip(" ") for part in parts) if part]


def _read(part: str) -> Iterator[Field]:
    if (whole := _WHOLE.fullmatch(part)) is not None:
        yield Field(whole[1], _meaning(whole[1]))
        if whole[2]:
            yield Field(whole[2], _meaning(whole[2]), inside=True)
        return
    head, *others = split_fields(part, ",")
    name, _, inside = head.partition(":")
    if name == "posterior":
        yield Field(f"{name}:", _meaning(part))
        others = [inside, *others]
    elif (found := _NESTED.fullmatch(head)) is None or _meaning(found[1]) is None:
        yield Field(head, _meaning(head))
    else:
        name = found[1]
        yield Field(name, _meaning(name))
        others = [*split_fields(found[2], ","), *others]
    for other in others:
        yield Field(other, _meaning(f">{name}>{other}") or _meaning(other), inside=True)


def _meaning(field: str) -> str | None:
    for pattern, meaning in _FIELDS:
        if (found := re.fullmatch(pattern, field)) is not None:
            return meaning.format(*found.groups())
    return None

"""Generation: sentences per second, from the prior chain to text, against a plain loop over `nn.LSTM`.

python benchmarks/generate.py [--json] [--run DIR] [--data-dir DIR] [--smoke]; see docs/performance.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.accuracy import decoding_errors
from benchmarks.baseline import PlainGenerator, prior_chain, sample_ids
from benchmarks.command import Setting, main
from benchmarks.report import Report
from benchmarks.rows import compare
from benchmarks.sizes import BATCHES, PRECISIONS
from lebm_text.model import LatentEBM
from lebm_text.models.generator import LSTMGenerator
from lebm_text.models.priors import EBMPrior

SENTENCES = 256  # per measurement


def contestant(run: Path, n: int, name: str) -> Callable[[], object]:
    """Generate `SENTENCES` in batches of n, each at most as long as in training."""
    if name in PRECISIONS:
        ours = LatentEBM.from_pretrained(run, device="cpu", precision=PRECISIONS[name])
        seeds = count(1)  # new sentences each time, as in the baseline: a batch takes as long as its longest sentence
        return lambda: ours.generate(SENTENCES, batch_size=n, seed=next(seeds)).sentences
    model = LatentEBM.from_pretrained(run, device="cpu")
    prior, tokenizer, config = model.model.prior, model.tokenizer, model.config
    plain, rng = PlainGenerator.like(model.model.generator), torch.Generator().manual_seed(1)

    def sample() -> list[str]:
        if isinstance(prior, EBMPrior):
            z = prior_chain(prior, n, config.prior, rng=rng)
        else:
            z = torch.randn(n, prior.latent_dim, generator=rng)
        ids = sample_ids(plain, z, eos_id=tokenizer.eos_id, max_length=config.text.max_length, rng=rng).tolist()
        ended = [row[: row.index(tokenizer.eos_id)] if tokenizer.eos_id in row else row for row in ids]
        return [tokenizer.decode(row) for row in ended]

    return lambda: [sample() for _ in range(SENTENCES // n)]


def measure(setting: Setting) -> Report:
    """Measure sentences of the trained model, from noise to text, and the memory of one measurement."""
    model, results = setting.trained.model, []
    errors = {precision: decoding_errors(setting.trained, precision) for precision in PRECISIONS}
    drawn = model.generate(max(BATCHES)).sentences
    tokens = sum(len(model.tokenizer.encode(sentence)) + 1 for sentence in drawn) / len(drawn)
    generator = model.model.generator
    assert isinstance(generator, LSTMGenerator)
    weights = generator.output_bias.numel() * generator.hidden_dim
    weights += generator.token_weight.numel() + generator.recurrent_weight.numel()
    for n in BATCHES:
        prepare = partial(contestant, setting.run, n)
        results += compare(
            prepare,
            batch=n,
            units=SENTENCES,
            work=2.0 * tokens * weights,
            matmul_size=setting.sizes.matmul,
            repetitions=setting.repetitions,
            memory_of=prepare,
            errors=errors,
            autograd=False,
        )
    return {"results": results, "unit": "sentences/s; memory in MB", "tokens_per_sentence": tokens}


if __name__ == "__main__":
    main("Speed, memory and exactness of generation.", measure)

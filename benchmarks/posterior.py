"""The posterior chain: token-steps per second, memory and exactness against the plain model; the gain of each part.

python benchmarks/posterior.py [--json] [--run DIR] [--data-dir DIR] [--smoke]; see docs/performance.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation import ablation
from benchmarks.accuracy import posterior_errors
from benchmarks.baseline import PlainGenerator, posterior_chain
from benchmarks.command import Setting, main
from benchmarks.report import Report
from benchmarks.rows import compare
from benchmarks.sizes import BATCHES, PRECISIONS, Sizes
from lebm_text.build import build_inference


def contestant(sizes: Sizes, n: int, name: str) -> Callable[[], object]:
    """Return one chain for n sentences, including the work done once per batch."""
    batch, prior, config = sizes.batch(n, sizes.length), sizes.prior(), sizes.config().inference
    rng = torch.Generator().manual_seed(0)
    if name in PRECISIONS:
        generator, infer = sizes.generator(PRECISIONS[name]), build_inference(config, epoch=0.0)
        return lambda: infer(batch, prior, generator, rng=rng)
    plain = PlainGenerator.like(sizes.generator("fp32"))
    everything = name == "baseline"
    return lambda: posterior_chain(plain, prior, batch, config, through_everything=everything, rng=rng)


def measure(setting: Setting) -> Report:
    """Measure a chain of K1 steps and its memory."""
    sizes, results = setting.sizes, []
    errors = {precision: posterior_errors(setting.trained, precision) for precision in PRECISIONS}
    for n in BATCHES:
        prepare = partial(contestant, sizes, n)
        results += compare(
            prepare,
            batch=n,
            units=n * sizes.length * sizes.n_steps,
            work=sizes.posterior_work(),
            matmul_size=sizes.matmul,
            repetitions=setting.repetitions,
            memory_of=prepare,
            errors=errors,
        )
    return {
        "results": results,
        "ablation": ablation(setting.corpus, sizes, setting.repetitions),
        "unit": "token-steps/s; memory in MB; ablation: updates/s of padded, the others over it",
        "operations_per_token_step": sizes.posterior_work(),
    }


if __name__ == "__main__":
    main("Speed, memory and exactness of the posterior chain.", measure)

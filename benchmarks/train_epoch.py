"""Training: tokens per second of whole updates, memory of one over long sentences, minutes of an epoch by preset.

python benchmarks/train_epoch.py [--json] [--run DIR] [--data-dir DIR] [--smoke]; see docs/performance.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.accuracy import update_errors
from benchmarks.baseline import PlainGenerator, PlainTrainer
from benchmarks.command import Setting, main
from benchmarks.epochs import epoch_of
from benchmarks.report import Report
from benchmarks.rows import compare
from benchmarks.sizes import BATCHES, PRECISIONS, SMOKE, Sizes
from lebm_text.build import LatentModel
from lebm_text.training.trainer import Trainer

EPOCHS_OF = ("quick", "paper")  # presets


def contestant(sizes: Sizes, n: int, length: int, name: str) -> Callable[[], object]:
    """Return updates on one batch of n sentences of `length` tokens, both chains and both optimisers included."""
    batch, prior = sizes.batch(n, length), sizes.prior()
    if name in PRECISIONS:
        config = sizes.config(PRECISIONS[name])
        model = LatentModel(prior, sizes.generator(config.training.precision))
        trainer = Trainer(model, config, n_sentences=n, mean_batch_size=n)
        return lambda: trainer.update(batch, epoch=0.0, step=0)
    plain = PlainGenerator.like(sizes.generator("fp32"))
    plain_trainer = PlainTrainer(plain, prior, sizes.config(), through_everything=name == "baseline")
    return lambda: plain_trainer.update(batch)


def measure(setting: Setting) -> Report:
    """Measure whole updates, and the epochs of two presets on the corpus."""
    sizes, results = setting.sizes, []
    errors = {precision: update_errors(setting.trained, precision) for precision in PRECISIONS}
    for n in BATCHES:
        results += compare(
            partial(contestant, sizes, n, sizes.length),
            batch=n,
            units=n * sizes.length,
            work=sizes.update_work(),
            matmul_size=sizes.matmul,
            repetitions=setting.repetitions,
            memory_of=partial(contestant, sizes, n, sizes.long_length),
            errors=errors,
        )
    smoke = sizes is SMOKE
    epochs = [epoch_of(name, setting.corpus, repetitions=setting.repetitions, smoke=smoke) for name in EPOCHS_OF]
    unit = f"tokens/s; memory in MB, at {sizes.long_length} tokens a sentence"
    return {"results": results, "unit": unit, "epochs": epochs}


if __name__ == "__main__":
    main("Speed, memory and exactness of training updates.", measure)

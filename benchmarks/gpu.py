"""Training, judge and generation on a GPU: whole updates against the field's way, share of the card's rate, memory.

python benchmarks/gpu.py [--output FILE] [--seconds N] [--smoke]; see docs/performance.md. `--smoke` runs on a CPU, too.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.baseline import PlainGenerator, PlainTrainer
from benchmarks.command import basic_parser, positive
from benchmarks.judge import PlainJudge, plain_update, recipe_of, zipf_batch
from benchmarks.judge import update_work as judge_work
from benchmarks.report import table
from benchmarks.sizes import FULL, SMOKE, Sizes
from lebm_text import __version__
from lebm_text.build import LatentModel
from lebm_text.inference import recorded
from lebm_text.model import LatentEBM
from lebm_text.text.tokenizers import WordTokenizer
from lebm_text.training.trainer import Trainer
from lm_eval.lstm import LSTMNetwork
from lm_eval.lstm_training import adam, update

WIDTHS, BATCHES = (512, 256, 128), (256, 128, 32, 512, 1024)  # in the order of what is asked most
COLUMNS = ("work", "width", "batch", "contestant", "rate", "peak_share", "first_seconds", "reserved_gb")
SENTENCES = 4096  # of a measurement of generation

Work = Callable[[], object]


def main(argv: list[str] | None = None) -> None:
    """Measure row by row; what there is so far is always in the file."""
    parser = basic_parser(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--output", type=Path, metavar="FILE", help="a JSON file, written anew after each row")
    parser.add_argument("--seconds", type=positive, default=300, metavar="N", help="after which no row is begun")
    options = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.smoke:
        parser.error("there is no CUDA device; --smoke runs on the CPU")
    torch.set_num_threads(options.threads)
    sizes = SMOKE if options.smoke else replace(FULL, length=24)  # 24: a padded length, about PTB's mean
    deadline, side = time.monotonic() + options.seconds, sizes.matmul if options.smoke else 8192
    operand = torch.randn(side, side, device=device).bfloat16()
    _, seconds = _timed(lambda: torch.mm(operand, operand), device, options.repetitions)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "lebm_text": __version__,
        "smoke": options.smoke,
        "repetitions": options.repetitions,
        "peak_tflops": 2e-12 * side**3 / seconds,
        "results": [],
    }
    for head, units, work, make in _rows(sizes, device, options.smoke):
        if time.monotonic() > deadline:
            break
        row = head | _row(make, device, options.repetitions, units, work, report["peak_tflops"])
        report["results"].append(row)
        if options.output:
            options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        if not options.json:
            sys.stdout.write(table([row], COLUMNS).splitlines()[-1] + "\n")
            sys.stdout.flush()
    described = {name: value for name, value in report.items() if name != "results"}
    sys.stdout.write(json.dumps(report) if options.json else f"{table(report['results'], COLUMNS)}\n\n{described}")
    sys.stdout.write("\n")


def _rows(sizes: Sizes, device: torch.device, smoke: bool) -> Iterator[tuple[dict[str, Any], int, float, Any]]:
    """What is measured: its name, units of work in one call, operations per unit, and what makes the call."""
    widths, batches = ((sizes.width,), (4,)) if smoke else (WIDTHS, BATCHES)
    for width in widths:
        of_width = replace(sizes, width=width)
        for n in batches:
            for name in ("ours", "unrecorded", "baseline"):
                head = {"work": "update", "width": width, "batch": n, "contestant": name}
                make = _later(_update, of_width, n, name, device)
                yield head, n * sizes.length, of_width.update_work(), make
        for n in (max(batches),):
            head = {"work": "generate", "width": width, "batch": n, "contestant": "ours"}
            yield head, n if smoke else SENTENCES, 0.0, _later(_generation, of_width, n, smoke, device)
    for n in batches:
        for name in ("ours", "baseline"):
            head = {"work": "judge", "width": recipe_of(sizes).hidden_dim, "batch": n, "contestant": name}
            yield head, n * sizes.length, judge_work(sizes, n), _later(_judge, sizes, n, name, device)


def _later(make: Callable[..., Work], *arguments: Any) -> Callable[[], Work]:
    return lambda: make(*arguments)


def _row(
    make: Callable[[], Work], device: torch.device, repetitions: int, units: int, work: float, peak_tflops: float
) -> dict[str, Any]:
    """Units a second, their share of the card's rate, seconds of the first call, and memory; or why there is none."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        first, seconds = _timed(make(), device, repetitions)
    except torch.cuda.OutOfMemoryError:
        return {"rate": None, "error": "out of memory"}
    return {
        "rate": units / seconds,
        "peak_share": 1e-12 * work * units / seconds / peak_tflops if work else None,
        "first_seconds": first,
        "reserved_gb": torch.cuda.max_memory_reserved() / 1e9 if device.type == "cuda" else None,
    }


def _timed(run: Work, device: torch.device, repetitions: int) -> tuple[float, float]:
    """Seconds of the first call, recordings included, and the median of later ones, four in a row each."""
    seconds = []
    for turn in range(repetitions + 1):
        calls, start = 4 if turn else 1, time.perf_counter()
        for _ in range(calls):
            run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / calls)
    return seconds[0], statistics.median(seconds[1:])


def _update(sizes: Sizes, n: int, name: str, device: torch.device) -> Work:
    """Updates of a training: ours in bfloat16, chains recorded or not; the field's in float32, `.backward()` alone."""
    batch, prior = sizes.batch(n, sizes.length).to(device), sizes.prior().to(device)
    if name == "baseline":
        plain = PlainGenerator.like(sizes.generator("fp32")).to(device)
        trainer = PlainTrainer(plain, prior, sizes.config())
        return lambda: trainer.update(batch)
    model, config = LatentModel(prior, sizes.generator("bf16")).to(device), sizes.config("bf16")
    ours, steps = Trainer(model, config, n_sentences=n, mean_batch_size=n), count(1)

    def run() -> None:
        kept, recorded.applies = recorded.applies, recorded.applies if name == "ours" else lambda device: False
        try:
            ours.update(batch, epoch=0.0, step=next(steps))
        finally:
            recorded.applies = kept

    return run


def _judge(sizes: Sizes, n: int, name: str, device: torch.device) -> Work:
    """Updates of the LSTM judge: ours in bfloat16 with its two-level softmax, a plain one in float32."""
    recipe, batch = recipe_of(sizes), zipf_batch(sizes.vocab_size, n, sizes.length).to(device)
    if name == "baseline":
        return plain_update(PlainJudge(sizes.vocab_size, recipe).to(device), recipe, batch)
    network = LSTMNetwork(sizes.vocab_size, recipe, "bf16", rng=torch.Generator().manual_seed(0)).to(device)
    optimizer, rng = adam(network, recipe.learning_rate), torch.Generator(device).manual_seed(0)
    return lambda: update(network, optimizer, batch, batch.n_tokens, rng=rng)


def _generation(sizes: Sizes, n: int, smoke: bool, device: torch.device) -> Work:
    """Sentences from the prior's chain to text, of an untrained model: nearly all as long as they may be."""
    tokenizer = WordTokenizer([f"w{i}" for i in range(sizes.vocab_size - 4)])
    config = sizes.config("bf16").merge({"text": {"max_length": sizes.length - 1}})
    network = LatentModel(sizes.prior(), sizes.generator("bf16")).to(device)
    model, seeds = LatentEBM(config, tokenizer, network), count(1)
    return lambda: model.generate(n if smoke else SENTENCES, batch_size=n, seed=next(seeds)).sentences


if __name__ == "__main__":
    main()

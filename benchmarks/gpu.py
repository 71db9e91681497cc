"""Training, judge and generation on a GPU: whole updates against the usual way, share of the peak rate, memory.

python benchmarks/gpu.py [--output FILE] [--seconds N] [--smoke]; see docs/performance-gpu.md. `--smoke` runs on a CPU.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.baseline import PlainGenerator, PlainTrainer
from benchmarks.command import basic_parser, positive
from benchmarks.judge import PlainJudge, plain_update, recipe_of, zipf_batch
from benchmarks.judge import update_work as judge_work
from benchmarks.lifelike import SENTENCES, lifelike, write_corpus
from benchmarks.prototype import PrototypeTrainer
from benchmarks.report import table
from benchmarks.sizes import BOS, FULL, SMOKE, Sizes
from benchmarks.whole import epoch, judge, reference_of, rppl, start, within
from lebm_text import __version__, cuda_graphs
from lebm_text.build import LatentModel, build_model
from lebm_text.config import Config
from lebm_text.model import LatentEBM
from lebm_text.models.lstm import SMALL_WIDTH
from lebm_text.models.transformer import N_PREFIX
from lebm_text.presets import preset
from lebm_text.sections import ShortRunConfig
from lebm_text.text.batching import Batch
from lebm_text.text.corpora import locate
from lebm_text.text.tokenizers import WordTokenizer
from lebm_text.training.trainer import Trainer
from lm_eval.judges import LSTMSpec
from lm_eval.lstm import LSTMNetwork
from lm_eval.lstm_training import adam, update
from lm_eval.texts import Reference

WIDTHS, BATCHES = (512, 256, 128), (256, 128, 32, 512, 1024)  # most important first
ASKED = (256, 128)  # sentences per update in the rows that come first
FIGURES = ("rate", "peak_share", "first_seconds", "seconds", "share", "perplexity", "reserved_gb", "used_gb", "error")
COLUMNS = ("work", "width", "batch", "batch_tokens", "contestant", *FIGURES)
GENERATED = 4096  # sentences of a measurement of generation
UPDATES = ("ours", "unrecorded", "baseline")
FULL_MEMORY = "out of memory"
EPOCH_SECONDS = 60  # after which an epoch is stopped
JUDGE_SECONDS, RPPL_SECONDS = 60, 30  # after which judges are stopped, so that other rows follow
TOKENS = (84, 32)  # of a batch, per sentence: as many as the longest needs, or fewer than many need

Work = Callable[[], object]
Row = tuple[dict[str, Any], Callable[[], dict[str, Any]]]  # its labels, and the function that measures it


@dataclass(frozen=True)
class Bench:
    """Settings common to all rows: `peak_tflops` of a large bfloat16 product, `scratch` for texts."""

    sizes: Sizes
    device: torch.device
    repetitions: int
    smoke: bool
    peak_tflops: float
    data_dir: Path | None
    scratch: Path

    @cached_property
    def corpus(self) -> Path:
        """Directory of a text of PTB's size."""
        return write_corpus(self.scratch / "lifelike", self.n_sentences, self.sizes.vocab_size)

    @cached_property
    def reference(self) -> Reference:
        """Text for judges: PTB if it is available; with tiny sizes only on request."""
        asked = self.data_dir is not None or not self.smoke
        real = asked and locate("ptb", data_dir=self.data_dir) is not None
        return reference_of("ptb" if real else str(self.corpus), self.data_dir)

    @property
    def n_sentences(self) -> int:
        """Number of training sentences."""
        return 24 if self.smoke else SENTENCES


def main(argv: list[str] | None = None) -> None:
    """Measure row by row; the file always has the results so far."""
    parser = basic_parser(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--output", type=Path, metavar="FILE", help="a JSON file, written anew after each row")
    parser.add_argument("--seconds", type=positive, default=300, metavar="N", help="after which no row is begun")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where ptb may lie, for the judge's rows")
    options = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.smoke:
        parser.error("there is no CUDA device; --smoke runs on the CPU")
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("error", "no CUDA graph")  # the row has that error then, not the speed of another way
    sizes = SMOKE if options.smoke else replace(FULL, width=WIDTHS[0], length=24)  # padded, about PTB's mean
    deadline, side = time.monotonic() + options.seconds, sizes.matmul if options.smoke else 8192
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "lebm_text": __version__,
        "smoke": options.smoke,
        "repetitions": options.repetitions,
        "peak_tflops": _peak_tflops(side, device, options.repetitions),
        "results": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(
            sizes=sizes,
            device=device,
            repetitions=options.repetitions,
            smoke=options.smoke,
            peak_tflops=report["peak_tflops"],
            data_dir=options.data_dir,
            scratch=Path(scratch),
        )
        for head, measure in chain(_asked(bench), _grid(bench)):
            if time.monotonic() > deadline:
                break
            row = head | _row(measure, device)
            report["results"].append(row)
            if options.output:
                options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            if not options.json:
                sys.stdout.write(table([row], COLUMNS).splitlines()[-1] + "\n")
                sys.stdout.flush()
    described = {name: value for name, value in report.items() if name != "results"}
    sys.stdout.write(json.dumps(report) if options.json else f"{table(report['results'], COLUMNS)}\n\n{described}")
    sys.stdout.write("\n")
    if failed := [row["work"] for row in report["results"] if row.get("error", FULL_MEMORY) != FULL_MEMORY]:
        sys.exit(f"could not be measured: {', '.join(failed)}")


def _asked(bench: Bench) -> Iterator[Row]:
    """Yield the rows that answer the main questions about a GPU."""
    sizes, device = bench.sizes, bench.device
    batches = (4,) if bench.smoke else ASKED
    for n in batches:
        yield from _updates(bench, sizes, n, ("ours", "prototype"))
    n, name = batches[0], "paper"
    sized = {"width": sizes.width, "batch": n, "contestant": "ours"}

    def an_epoch(tokens: int) -> Row:
        settings, batch_tokens = _settings(sizes, n, n * tokens), n * tokens
        head = {"work": "epoch", **sized, "batch_tokens": batch_tokens}
        text = lifelike(bench.n_sentences, sizes.vocab_size)
        return head, partial(epoch, name, settings, text, sizes.vocab_size, device, seconds=EPOCH_SECONDS)

    yield an_epoch(TOKENS[0])

    def judges(seconds: float) -> LSTMSpec:
        return LSTMSpec(recipe_of(sizes), device=str(device), on_progress=within(seconds))

    judged = {"width": recipe_of(sizes).hidden_dim, "contestant": "ours"}
    yield {"work": "judge_to_the_end", **judged}, lambda: judge(bench.reference, judges(JUDGE_SECONDS))
    yield {"work": "rppl", **judged}, lambda: rppl(bench.reference, judges(RPPL_SECONDS), bench.n_sentences)
    settings = _settings(sizes, n, n * TOKENS[0])
    yield {"work": "start", **sized}, lambda: start(name, settings, bench.corpus, device)
    head = {"work": "transformer", **sized}
    yield head, _speed(bench, n * sizes.length, transformer_work(sizes), _transformer, sizes, n, device)
    yield an_epoch(TOKENS[1])


def _grid(bench: Bench) -> Iterator[Row]:
    """Yield rows for widths and batches that have not been measured yet."""
    sizes, device, smoke = bench.sizes, bench.device, bench.smoke
    widths, batches, asked = ((sizes.width,), (4,), (4,)) if smoke else (WIDTHS, BATCHES, ASKED)
    for width in widths:
        of_width = replace(sizes, width=width)
        for n in batches:
            known = width == sizes.width and n in asked
            yield from _updates(bench, of_width, n, ("unrecorded", "baseline") if known else UPDATES)
        n = max(batches)
        head = {"work": "generate", "width": width, "batch": n, "contestant": "ours"}
        yield head, _speed(bench, n if smoke else GENERATED, 0.0, _generation, of_width, n, smoke, device)
    for n in batches:
        for name in UPDATES:
            head = {"work": "judge", "width": recipe_of(sizes).hidden_dim, "batch": n, "contestant": name}
            yield head, _speed(bench, n * sizes.length, judge_work(sizes, n), _judge, sizes, n, name, device)


def _updates(bench: Bench, sizes: Sizes, n: int, names: Sequence[str]) -> Iterator[Row]:
    for name in names:
        head = {"work": "update", "width": sizes.width, "batch": n, "contestant": name}
        yield head, _speed(bench, n * sizes.length, sizes.update_work(), _update, sizes, n, name, bench.device)


def _settings(sizes: Sizes, n: int, batch_tokens: int) -> dict[str, dict[str, Any]]:
    """Return changes to a preset for batches of at most n sentences and `batch_tokens` padded tokens."""
    of_model = {"embedding_dim": sizes.width, "hidden_dim": sizes.width, "latent_dim": sizes.latent_dim}
    return {
        "model": of_model,
        "inference": {"n_steps": sizes.n_steps},
        "prior": {"n_steps": sizes.prior_steps},
        "training": {"batch_size": n, "batch_tokens": batch_tokens},
    }


def _row(measure: Callable[[], dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """Return the measurement and the maximum memory reserved, in GB; or the reason for a failure."""
    on_cuda = device.type == "cuda"
    try:
        gc.collect()
        if on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        found = measure()
        return {"reserved_gb": torch.cuda.max_memory_reserved() / 1e9 if on_cuda else None, **found}
    except torch.cuda.OutOfMemoryError:
        return {"rate": None, "error": FULL_MEMORY}
    except Exception as error:  # of any kind: on a GPU with limited time the other rows are still wanted
        traceback.print_exc()
        return {"rate": None, "error": f"{type(error).__name__}: {error}"}


def _speed(
    bench: Bench, units: int, work: float, make: Callable[..., Work], *arguments: Any
) -> Callable[[], dict[str, Any]]:
    """Measure units per second of `make(*arguments)`, which does `units` per call, of `work` operations each.

    Also their share of the peak rate, and seconds of the first call.
    """

    def measure() -> dict[str, Any]:
        first, seconds = _timed(make(*arguments), bench.device, bench.repetitions)
        share = 1e-12 * work * units / seconds / bench.peak_tflops if work else None
        return {"rate": units / seconds, "peak_share": share, "first_seconds": first}

    return measure


def _peak_tflops(side: int, device: torch.device, repetitions: int) -> float:
    """Return operations per second, in 10¹², of a product of square matrices in bfloat16."""
    operand = torch.randn(side, side, device=device).bfloat16()
    return 2e-12 * side**3 / _timed(lambda: torch.mm(operand, operand), device, repetitions)[1]


def _timed(run: Work, device: torch.device, repetitions: int) -> tuple[float, float]:
    """Return seconds of the first call, recordings included, and the median of later ones, four in a row each."""
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
    """Return updates of a training: ours and the prototype's in bfloat16, ours recorded or not; plain in float32."""
    batch, prior = sizes.batch(n, sizes.length).to(device), sizes.prior().to(device)
    if name == "baseline":
        plain = PlainGenerator.like(sizes.generator("fp32")).to(device)
        trainer = PlainTrainer(plain, prior, sizes.config())
        return lambda: trainer.update(batch)
    if name == "prototype":
        plain = PlainGenerator.like(sizes.generator("fp32")).to(device)
        half = device.type == "cuda" and sizes.width > SMALL_WIDTH  # see there
        prototype = PrototypeTrainer(plain, prior, sizes.config(), dtype=torch.bfloat16 if half else torch.float32)
        return lambda: prototype.update(batch)
    ours = _updates_of(LatentModel(prior, sizes.generator("bf16")), sizes.config("bf16"), batch, device)
    return _unrecorded(ours) if name == "unrecorded" else ours


def _unrecorded(work: Work) -> Work:
    """Return work for which nothing is recorded or padded."""

    def run() -> None:
        kept, cuda_graphs.applies = cuda_graphs.applies, lambda device: False
        try:
            work()
        finally:
            cuda_graphs.applies = kept

    return run


def _transformer(sizes: Sizes, n: int, device: torch.device) -> Work:
    """Return updates of the preset `transformer` in bfloat16, with its chains, at the sizes' width and vocabulary."""
    of_model = _settings(sizes, n, n * sizes.length)["model"]
    config = preset("transformer").merge({"model": of_model, "training": {"precision": "bf16"}})
    rng = torch.Generator().manual_seed(0)
    model = build_model(config, vocab_size=sizes.vocab_size, bos_id=BOS, rng=rng)
    return _updates_of(model, config, sizes.batch(n, sizes.length).to(device), device)


def transformer_work(sizes: Sizes) -> float:
    """Return operations per token of the products in `_transformer`, without attention itself (1 %).

    Each layer has 12 H² weights, and also reads the vectors of z.
    """
    config = preset("transformer")
    assert isinstance(config.inference, ShortRunConfig)
    layers = config.model.n_layers * 12 * sizes.width**2 * (1 + N_PREFIX / sizes.length)
    weights = sizes.vocab_size * sizes.width + layers
    return (4 * config.inference.n_steps + 6) * weights


def _updates_of(model: LatentModel, config: Config, batch: Batch, device: torch.device) -> Work:
    n, steps = len(batch.lengths), count(1)
    trainer = Trainer(model.to(device), config, n_sentences=n, mean_batch_size=n)
    return lambda: trainer.update(batch, epoch=0.0, step=next(steps))


def _judge(sizes: Sizes, n: int, name: str, device: torch.device) -> Work:
    """Return updates of the LSTM judge: ours in bfloat16 with its two levels, recorded or not; plain in float32."""
    recipe, batch = recipe_of(sizes), zipf_batch(sizes.vocab_size, n, sizes.length)
    if name == "baseline":
        return plain_update(PlainJudge(sizes.vocab_size, recipe).to(device), recipe, batch.to(device))
    network = LSTMNetwork(sizes.vocab_size, recipe, "bf16", rng=torch.Generator().manual_seed(0)).to(device)
    optimizer, rng = adam(network, recipe.learning_rate), torch.Generator(device).manual_seed(0)
    ours = partial(update, network, optimizer, batch, batch.n_tokens, rng=rng)
    return _unrecorded(ours) if name == "unrecorded" else ours


def _generation(sizes: Sizes, n: int, smoke: bool, device: torch.device) -> Work:
    """Generate sentences of an untrained model, from the prior's chain to text: nearly all of maximum length."""
    tokenizer = WordTokenizer([f"w{i}" for i in range(sizes.vocab_size - 4)])
    config = sizes.config("bf16").merge({"text": {"max_length": sizes.length - 1}})
    network = LatentModel(sizes.prior(), sizes.generator("bf16")).to(device)
    model, seeds = LatentEBM(config, tokenizer, network), count(1)
    return lambda: model.generate(n if smoke else GENERATED, batch_size=n, seed=next(seeds)).sentences


if __name__ == "__main__":
    main()

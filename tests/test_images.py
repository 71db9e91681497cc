"""The example of images: its pictures and tables at a tiny setting, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "examples" / "images"
sys.path.insert(0, str(PROGRAM))

import dataset  # noqa: E402
import experiments  # noqa: E402
import learning  # noqa: E402
import measures  # noqa: E402
import pictures  # noqa: E402
from networks import ConvEncoder, ConvGenerator  # noqa: E402

from lebm_text.errors import InputError  # noqa: E402
from lebm_text.samplers.langevin import gradient  # noqa: E402


def _generator(size: int = 8, channels: int = 1, sigma: float = 0.3) -> ConvGenerator:
    rng = torch.Generator().manual_seed(1)
    return ConvGenerator(4, (channels, size, size), width=4, sigma=sigma, rng=rng)


def _pixels(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.fixture(scope="module")
def program() -> Any:
    """The module that `python examples/images` runs."""
    spec = importlib.util.spec_from_file_location("images_main", PROGRAM / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written(program: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the whole program leaves, with few updates, samples and digits."""
    out = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "N_SAMPLES", 400)
        patch.setattr(program, "N_SAMPLES", 400)
        patch.setattr(experiments, "HELD_OUT", (1,))
        patch.setattr(measures, "CLASSIFIER_UPDATES", 60)
        patch.setitem(learning.SETTINGS, "digits", replace(learning.SETTINGS["digits"], n_inference_steps=5))
        program.run(Namespace(out=out, data="digits", seeds=1, updates=25, fid=False))
    return out


@pytest.mark.slow
def test_pictures_show_what_they_should(written: Path) -> None:
    enlarged = 8 * 4
    side = 8 * (enlarged + pictures.GAP) + pictures.GAP
    with Image.open(written / "samples.png") as image:
        assert image.size == (side, side)
    with Image.open(written / "reconstructions.png") as image:
        assert image.size == (2 * side - pictures.GAP, side)
        first = slice(pictures.GAP, pictures.GAP + enlarged, 4)
        shown = np.asarray(image)[first, first, 0]
    assert abs(shown.astype(int) - dataset.load("digits")[1].values[0, 0].numpy()).max() <= 1
    with Image.open(written / "transition.gif") as image:
        assert getattr(image, "n_frames", 1) > 10
    with Image.open(written / "transition.png") as image:
        assert image.width > image.height > 300


@pytest.mark.slow
def test_samples_of_the_learned_prior_are_nearer_to_real_images_than_draws_of_p0(written: Path) -> None:
    table = json.loads((written / "results.json").read_text(encoding="utf-8"))["models"]
    name = experiments.FRECHET
    assert table["LEBM"][name][0] < table["LEBM, z from p0 instead"][name][0]
    assert table["real training images"][name][0] < table["LEBM"][name][0]
    assert {"Gaussian twin", "VAE"} < {*table}


@pytest.mark.slow
def test_anomalies_are_ranked(written: Path) -> None:
    record = json.loads((written / "results.json").read_text(encoding="utf-8"))
    assert {*record["anomalies"]} == {"1"}
    for values in record["anomalies"]["1"].values():
        assert len(values) == 1
        assert 0 < values[0] < 1
    text = (written / "results.md").read_text(encoding="utf-8")
    assert "| digit left out | share of the test images | LEBM | VAE |" in text
    assert "FID" not in text


def test_likelihood_is_that_of_gaussian_pixels() -> None:
    generator, pixels = _generator(sigma=0.5), _pixels(3, 1, 8, 8)
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    batch = dataset.ImageBatch(pixels, torch.arange(3))
    normal = torch.distributions.Normal(generator(z), 0.5)
    wanted = normal.log_prob(pixels).sum((1, 2, 3))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(generator.likelihood(batch)(z), wanted)
    torch.testing.assert_close(generator.log_likelihood(batch, z), wanted)
    assert gradient(generator.likelihood(batch), z).abs().sum() > 0


@pytest.mark.parametrize("kl", [None, 2.0])
def test_anomaly_scores_are_high_for_what_is_improbable(kl: float | None) -> None:
    """Means over draws of −log p(x, z), or of −ELBO where the posterior has a density."""
    generator, draws = _generator(), list[torch.Tensor]()
    images = dataset.Images((_pixels(3, 1, 8, 8) * 127.5 + 127.5).byte(), torch.arange(3))
    prior = SimpleNamespace(logdensity=lambda z: -z.square().sum(1))

    def infer(batch: dataset.ImageBatch, *_: object, rng: torch.Generator) -> SimpleNamespace:
        draws.append(torch.randn(len(batch.index), 4, generator=rng))
        return SimpleNamespace(z=draws[-1], base_kl=None if kl is None else torch.full((len(batch.index), 2), kl))

    learned: Any = SimpleNamespace(model=SimpleNamespace(prior=prior, generator=generator), inference=infer)
    found = measures.anomaly_scores(learned, images, seed=1, n_draws=2)
    with torch.no_grad():
        log_p = [generator.log_likelihood(images.batch(), z) for z in draws]
        of_z = [prior.logdensity(z) if kl is None else torch.full((3,), -2 * kl) for z in draws]
    assert len(draws) == 2 and not torch.equal(*draws)
    torch.testing.assert_close(found, -(sum(log_p) + sum(of_z)) / 2)
    ranked, is_anomaly = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([True, False, False])
    assert measures.average_precision(ranked, is_anomaly) == 1.0


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (64, 3)])
def test_generator_and_encoder_fit_every_size(size: int, channels: int) -> None:
    generator, z = _generator(size, channels), torch.randn(2, 4)
    images = generator(z)
    assert images.shape == (2, channels, size, size)
    encoder = ConvEncoder(4, (channels, size, size), width=4, rng=torch.Generator())
    moments = encoder(dataset.ImageBatch(images, torch.arange(2)))
    assert moments.mean.shape == moments.log_variance.shape == (2, 4)


def test_half_precision_is_of_the_products_alone() -> None:
    """What a GPU runs with --precision bf16, here on the CPU."""
    generator, z = _generator(), torch.randn(2, 4, generator=torch.Generator().manual_seed(4))
    full = generator(z)
    generator.dtype = torch.bfloat16
    half = generator(z)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.05


def test_batches_hold_every_image_once_an_epoch() -> None:
    values = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(-1, -1, 8, 8)
    images = dataset.Images(values, torch.arange(10))
    batches = images.batches(4, torch.Generator().manual_seed(5))
    epoch = [next(batches) for _ in range(3)]
    assert [len(batch.lengths) for batch in epoch] == [4, 4, 2]
    assert sorted(int(i) for batch in epoch for i in batch.index) == [*range(10)]
    for batch in epoch:
        torch.testing.assert_close(batch.pixels[:, 0, 0, 0], batch.index / 127.5 - 1)
        assert batch.n_tokens == int(batch.lengths.sum()) == 64 * len(batch.index)
        assert batch.select(torch.tensor([1])).index.tolist() == [int(batch.index[1])]


def test_images_of_the_hub_are_cut_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets  # type: ignore[import-untyped]

    wide = Image.new("RGB", (96, 64), "black")
    wide.paste("white", (16, 0, 80, 64))  # the middle square
    splits = {
        name: datasets.Dataset.from_dict({"image": [wide] * n, "label": [*range(n)]})
        for name, n in (("train", 3), ("test", 2))
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda path, name: splits)
    for name, channels in (("mnist", 1), ("svhn", 3)):
        train, test = dataset.load(name)
        assert train.shape == test.shape == (channels, 32, 32)
        assert train.labels.tolist() == [0, 1, 2]
        assert int(train.values[:, :, 1:-1, 1:-1].min()) == 255


def test_what_cannot_be_read_or_measured_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def absent(path: str, name: str | None) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", absent)
    with pytest.raises(InputError, match=r"mnist cannot be read from ylecun/mnist: no network"):
        dataset.load("mnist")
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    with pytest.raises(InputError, match=r"FID needs torchmetrics\[image\]"):
        measures.fid(_pixels(2, 1, 8, 8), _pixels(2, 1, 8, 8))


def test_fid_is_refused_before_any_work(program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    monkeypatch.setattr(program, "load", None)
    with pytest.raises(InputError, match="FID needs torchmetrics"):
        program.run(Namespace(out=tmp_path, data="digits", seeds=1, updates=25, fid=True))


def test_fid_is_asked_of_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, bool]] = []
    metric = SimpleNamespace(update=lambda images, real: seen.append((images, real)), compute=lambda: torch.tensor(7.0))
    module: Any = ModuleType("torchmetrics.image.fid")
    module.FrechetInceptionDistance = lambda normalize: metric
    monkeypatch.setitem(sys.modules, "torchmetrics", ModuleType("torchmetrics"))
    monkeypatch.setitem(sys.modules, "torchmetrics.image", ModuleType("torchmetrics.image"))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", module)
    real, samples = _pixels(2, 1, 8, 8), _pixels(3, 3, 8, 8)
    assert measures.fid(real, samples) == 7.0
    assert [(tuple(images.shape), is_real) for images, is_real in seen] == [((2, 3, 8, 8), True), ((3, 3, 8, 8), False)]
    torch.testing.assert_close(seen[1][0], (samples + 1) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: -o/--out"),
        (["-o", "out", "--data", "imagenet"], "invalid choice: 'imagenet'"),
        (["-o", "out", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["-o", "out", "--updates", "-1"], "--updates must be at least 1, got -1"),
        (["-o", "file"], "-o must be a directory, and file is none"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str],
    message: str,
    program: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["images", *arguments])
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_data_that_are_not_there_end_the_program_in_one_line(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(sys, "argv", ["images", "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: the digits need scikit-learn: pip install 'lebm-text[analysis,viz]'\n"

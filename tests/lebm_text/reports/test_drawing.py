"""Pictures are whole or not there; legends lie on no line, and logarithmic axes have round numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.reports.drawing import legend, logarithmic, panels, save_picture, save_pictures

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.pictures


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_full_disk_leaves_no_part_of_a_picture(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = panels(["one"])
    (tmp_path / f"a.{suffix}").write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        save_picture(figure, tmp_path / f"a.{suffix}")
    assert caught.value.filename == str(tmp_path / f"a.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_picture_through_a_link_leaves_the_link(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("links need rights")
    figure, _ = panels(["one"])
    (tmp_path / "a.png").symlink_to("b.png")
    assert save_pictures(figure, tmp_path / "a") == [tmp_path / "a.png", tmp_path / "a.svg"]
    assert (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["a", "a.jpegg", "a.svg.txt"])
def test_a_suffix_that_is_no_format_is_refused(tmp_path: Path, name: str) -> None:
    figure, _ = panels(["one"])
    with pytest.raises(InputError, match="suffix must be one of"):
        save_picture(figure, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_long_legend_is_under_the_panel_and_a_short_one_inside() -> None:
    figure, (few, many, none) = panels(["few", "many", "none"])
    for panel, n in ((few, 4), (many, 5)):
        for i in range(n):
            panel.plot([0, 1], [0, i], label=f"line {i}")
    for panel in (few, many, none):
        legend(panel)
    figure.draw_without_rendering()
    inside, below = (panel.get_legend() for panel in (few, many))
    assert inside is not None and below is not None and none.get_legend() is None
    assert inside.get_window_extent().y0 > few.bbox.y0
    assert below.get_window_extent().y1 < many.bbox.y0
    assert below.get_window_extent().y0 > 0  # and still in the picture


@pytest.mark.parametrize(
    ("values", "shown"), [((8.5, 12.0), {10.0, 12.0}), ((4.0, 700.0), {5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0})]
)
def test_a_logarithmic_axis_has_round_numbers(values: tuple[float, float], shown: set[float]) -> None:
    figure, (panel,) = panels(["one"])
    panel.plot(values, values)
    logarithmic(panel.xaxis, panel.yaxis)
    figure.draw_without_rendering()
    for axis in (panel.xaxis, panel.yaxis):
        low, high = axis.get_view_interval()
        assert {tick for tick in axis.get_majorticklocs() if low < tick < high} == shown
        assert {label.get_text() for label in axis.get_ticklabels()} >= {f"{tick:g}" for tick in shown}


def test_names_in_other_scripts_are_drawn_with_an_installed_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from matplotlib.font_manager import fontManager

    names = "DejaVu Sans", "Last Resort High-Efficiency", "STIXGeneral"
    installed = [font for font in fontManager.ttflist if font.name in names]
    monkeypatch.setattr(fontManager, "ttflist", installed)
    figure, (plain, phonetic, chinese) = panels(["a − b", "ᶍ", "新"])
    save_pictures(figure, tmp_path / "a")
    assert plain.title.get_fontfamily() == phonetic.title.get_fontfamily() == ["sans-serif", "STIXGeneral"]
    assert chinese.title.get_text() == "新"
    (warning,) = caplog.records  # of both files
    assert warning.getMessage() == "no installed font has 新: the picture has boxes in their place"

"""Charts as SVG: marks, ticks, the room of words, the legend; against other programs."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.ft2font import FT2Font, LoadFlags
from matplotlib.ticker import LogLocator, MaxNLocator

from bayeslmm.report.drawing import (
    DASHED,
    Annotation,
    Area,
    Axes,
    Axis,
    Band,
    Boxes,
    Level,
    Line,
    Points,
    Segments,
    draw,
)
from bayeslmm.report.drawing.legend import SAMPLE
from bayeslmm.report.drawing.letters import BOLD, width
from bayeslmm.report.drawing.scale import Scale
from bayeslmm.report.drawing.ticks import linear_ticks, log_ticks, minor_log_ticks
from bayeslmm.report.svg import BLUE, MUTED, ORANGE

SVG = "{http://www.w3.org/2000/svg}"


def drawn(figure: str) -> ElementTree.Element:
    return ElementTree.fromstring(figure)


def one(axes: Axes, **options: float) -> ElementTree.Element:
    return drawn(str(draw([[axes]], "k", "d", **options)))


def paths(figure: ElementTree.Element, colour: str) -> list[str]:
    """Outlines of the paths that have a colour, in their order."""
    return [p.attrib["d"] for p in figure.iter(f"{SVG}path") if colour in p.get("style", "")]


def points(outline: str) -> np.ndarray:
    return np.array(
        [[float(x) for x in pair] for pair in re.findall(r"[ML](\S+) ([^MLhz]+)", outline)]
    )


def words(figure: ElementTree.Element) -> dict[str, dict[str, str]]:
    return {str(text.text): dict(text.attrib) for text in figure.iter(f"{SVG}text")}


def tick_pixels(figure: ElementTree.Element, labels: list[str], which: str) -> np.ndarray:
    found = words(figure)
    return np.array([float(found[label][which]) for label in labels])


# Ticks


@given(
    low=st.floats(-1e5, 1e5),
    log_range=st.floats(-4, 5),
    most=st.integers(2, 12),
)
def test_ticks_are_round_numbers_within_the_limits(low: float, log_range: float, most: int) -> None:
    high = low + 10**log_range
    ticks = linear_ticks(low, high, most)
    values = np.array([value for value, _ in ticks])
    assert 1 <= len(ticks) <= most + 1
    assert low - 1e-8 * (high - low) <= values[0]
    assert values[-1] <= high + 1e-8 * (high - low)
    if len(values) > 1:
        steps = np.diff(values)
        step = float(np.median(steps))
        np.testing.assert_allclose(steps, step, rtol=1e-6, atol=1e-9 * max(abs(low), abs(high)))
        mantissa = step / 10 ** math.floor(math.log10(step * (1 + 1e-9)))
        assert min(abs(mantissa - good) for good in (1, 2, 2.5, 5, 10)) < 1e-5
    for value, label in ticks:
        if "×" not in label:
            assert float(label.replace("−", "-").replace(",", "")) == pytest.approx(
                value, abs=1e-12
            )
    assert len({label for _, label in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("low", "high", "most"),
    [(0, 1, 5), (-0.01, 1.01, 11), (0, 13.2, 6), (-3.4, 3.4, 5), (3, 480, 8)],
)
def test_ticks_are_those_of_matplotlib(low: float, high: float, most: int) -> None:
    theirs = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    theirs = theirs[(theirs >= low) & (theirs <= high)]
    np.testing.assert_allclose([value for value, _ in linear_ticks(low, high, most)], theirs)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.5, 2e4, ["1", "10", "100", "1,000", "10,000"]),
        (0.2, 40.0, ["0.3", "1", "3", "10", "30"]),
        (1e-5, 2.0, ["10⁻⁵", "10⁻⁴", "10⁻³", "0.01", "0.1", "1"]),
        (2.0, 9.0, ["2", "3", "4", "5", "6", "7", "8", "9"]),
        (1.05, 1.35, ["1.05", "1.10", "1.15", "1.20", "1.25", "1.30", "1.35"]),
        (1e-12, 1e12, ["10⁻¹²", "10⁻⁸", "10⁻⁴", "1", "10,000", "10⁸", "10¹²"]),
    ],
)
def test_ticks_of_a_logarithmic_axis(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in log_ticks(low, high, 8)] == labels


def test_powers_of_ten_are_those_of_matplotlib() -> None:
    theirs = LogLocator().tick_values(0.5, 2e4)
    inside = theirs[(theirs >= 0.5) & (theirs <= 2e4)]
    np.testing.assert_allclose([value for value, _ in log_ticks(0.5, 2e4, 6)], inside)
    assert minor_log_ticks(1.0, 10.0) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert minor_log_ticks(1e-9, 1e9) == []


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 4e6, ["0", "1 × 10⁶", "2 × 10⁶", "3 × 10⁶", "4 × 10⁶"]),
        (0, 3e-6, ["0", "1 × 10⁻⁶", "2 × 10⁻⁶", "3 × 10⁻⁶"]),
        (-2000, 2000, ["−2,000", "−1,000", "0", "1,000", "2,000"]),
    ],
)
def test_large_and_small_numbers_of_ticks(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in linear_ticks(low, high, 4)] == labels


# Annotations


@pytest.mark.parametrize(
    "text",
    [
        "0.25",
        "Variance by eigenvalue",
        "−1,000",
        "σ² of β ≥ 0 ± 1",
        "maternal_environment",
        "WWW",
        "…",
    ],
)
@pytest.mark.parametrize("bold", [False, True])
def test_words_have_the_room_that_they_need(text: str, bold: bool) -> None:
    """Against the font itself, the widest of those named."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name))
    units = [font.load_char(ord(letter), LoadFlags.NO_SCALE).horiAdvance for letter in text]
    true = 10.0 * sum(units) / 2048
    found = width(text, 10.0) * (BOLD if bold else 1.0)
    assert 0.96 * true <= found <= 1.35 * true


def test_letters_of_full_width_and_marks_above_letters() -> None:
    assert width("日本", 10.0) == 20.0
    assert width("e\u0301", 10.0) == width("e", 10.0)


# Marks


@pytest.mark.parametrize("log", [False, True])
def test_a_line_goes_through_its_points(log: bool) -> None:
    """Pixels back into numbers by the pixels of the ticks."""
    rng = np.random.default_rng(1)
    x, y = np.linspace(0, 10, 50), 10 ** rng.uniform(-2, 2, 50)
    figure = one(Axes([Line(x, y, BLUE)], Axis(low=0, high=10), Axis(log=log)))
    at = points(paths(figure, BLUE)[0])
    across = tick_pixels(figure, ["2", "8"], "x")
    np.testing.assert_allclose(np.interp(at[:, 0], across, [2, 8])[10:40], x[10:40], atol=0.02)
    labels = ["0.1", "10"] if log else ["20", "80"]
    up = tick_pixels(figure, labels, "y") - 0.36 * 11.3  # the baseline is below the middle
    values = np.log10(y) if log else y
    low, high = (-1.0, 1.0) if log else (20.0, 80.0)
    slope = (high - low) / (up[1] - up[0])
    np.testing.assert_allclose(low + (at[:, 1] - up[0]) * slope, values, atol=0.15 * abs(slope))


def test_a_line_is_broken_where_nothing_is_known() -> None:
    y = np.array([1.0, 2.0, np.nan, np.nan, 3.0, 4.0])
    (outline,) = paths(one(Axes([Line(np.arange(6.0), y, BLUE)])), BLUE)
    assert re.sub(r"[^ML]", "", outline) == "MLML"
    nothing = one(Axes([Line(np.zeros(0), np.zeros(0), BLUE), Points(y[2:4], y[2:4], ORANGE)]))
    assert not paths(nothing, BLUE)
    assert not paths(nothing, ORANGE)


def test_points_outside_the_limits_are_not_drawn_and_those_on_them_are_whole() -> None:
    x = np.array([-0.5, 0.0, 0.5, 1.0, 1.5])
    figure = one(
        Axes([Points(x, np.full(5, 0.5), ORANGE)], Axis(low=0, high=1), Axis(low=0, high=1))
    )
    (outline,) = paths(figure, ORANGE)
    assert outline.count("M") == 3
    (mark,) = [p for p in figure.iter(f"{SVG}path") if ORANGE in p.get("style", "")]
    assert "clip-path" not in mark.attrib


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "diamond"])
@pytest.mark.parametrize("hollow", [False, True])
def test_markers_stand_at_their_points(shape: str, hollow: bool) -> None:
    mark = Points(np.array([0.5]), np.array([50.0]), BLUE, 8.0, shape, hollow)
    figure = one(Axes([mark], Axis(low=0, high=1), Axis(low=0, high=100)))
    (element,) = [p for p in figure.iter(f"{SVG}path") if BLUE in p.get("style", "")]
    outline, style = element.attrib["d"], element.attrib["style"]
    start = [float(number) for number in re.findall(r"[\d.]+", outline)[:2]]
    ring = shape == "circle" and hollow  # begins on its left
    across, up = tick_pixels(figure, ["0.4", "0.6"], "x"), tick_pixels(figure, ["40", "60"], "y")
    assert start[0] + (4 if ring else 0) == pytest.approx(across.mean(), abs=0.11)
    assert start[1] == pytest.approx(up.mean() - 0.36 * 11.3, abs=0.11)
    assert ("stroke-width:8" in style) == (shape == "circle" and not hollow)
    assert ("paper" in style) == ring


def test_areas_boxes_bands_levels_and_segments_stand_where_they_should() -> None:
    x = np.array([0.0, 1.0])
    figure = one(
        Axes(
            [
                Area(x, 0.0, np.array([1.0, 1.0]), "#111111", label="area"),
                Boxes(0.25, 0.5, 0.0, 0.5, "#222222", edge=MUTED),
                Band(0.5, 1.0, "#333333"),
                Level("#444444", y=0.25),
                Level("#555555", x=0.75, dash=DASHED),
                Segments(0.0, np.array([0.1, 0.2]), 1.0, np.array([0.1, 0.2]), "#666666"),
            ],
            Axis(low=0, high=1),
            Axis(low=0, high=1),
        )
    )
    left, right = tick_pixels(figure, ["0.0", "1.0"], "x")[0], 0.0
    found = {k: re.findall(r"[\d.]+", paths(figure, f"#{k * 6}")[0]) for k in "123456"}
    numbers = {k: [float(n) for n in values] for k, values in found.items()}
    corners = np.array(numbers["1"]).reshape(-1, 2)
    left, right = corners[:, 0].min(), corners[:, 0].max()
    top, bottom = corners[:, 1].min(), corners[:, 1].max()
    across, up = right - left, bottom - top
    assert numbers["2"][0] == pytest.approx(left + across / 4, abs=0.1)
    assert numbers["2"][2] == pytest.approx(left + across / 2, abs=0.1)
    assert sorted((numbers["3"][1], numbers["3"][3])) == pytest.approx([top, top + up / 2], abs=0.1)
    assert numbers["4"] == pytest.approx([left, bottom - up / 4, right], abs=0.1)
    assert numbers["5"] == pytest.approx([left + 0.75 * across, bottom, top], abs=0.1)
    assert numbers["6"][1] == pytest.approx(bottom - 0.1 * up, abs=0.1)
    assert len(numbers["6"]) == 8
    assert "stroke-dasharray" in figure[-1].attrib.get("style", "") or DASHED


def test_limits_hold_the_data_and_levels_with_a_margin() -> None:
    axes = Axes([Line(np.array([0.0, 10.0]), np.array([0.0, 1.0]), BLUE), Level(MUTED, y=2.0)])
    scale = axes.scale("y", 100.0, 0.0)
    assert (scale.low, scale.high) == pytest.approx((-0.1, 2.1))
    assert scale.at(scale.low) == 100.0
    assert scale.at(scale.high) == 0.0
    same = Axes([Points(np.array([3.0]), np.array([0.0]), BLUE)])
    assert same.scale("x", 0, 1).high > 3.0 > same.scale("x", 0, 1).low
    assert same.scale("y", 0, 1).high > 0.0 > same.scale("y", 0, 1).low
    nothing = Axes([Points(np.array([np.nan]), np.array([-1.0]), BLUE)], y=Axis(log=True))
    assert nothing.scale("x", 0, 1).low < nothing.scale("x", 0, 1).high
    assert 0 < nothing.scale("y", 0, 1).low < nothing.scale("y", 0, 1).high
    assert Axis(low=2.0).limits(np.array([0.0, 1.0])) == (2.0, 4.0)
    assert np.isnan(Scale(1, 10, True, 0, 1)([-1.0, 0.0])).all()


# Annotations, legend and layout


def test_names_cannot_break_out_of_a_figure() -> None:
    name = '</text><script>alert(1)</script>&"'
    marks = [Line(np.arange(2.0), np.arange(2.0), BLUE, label=name), Annotation(0.5, 0.5, name)]
    axes = Axes(
        marks, Axis(name, ticks=[(0.5, name)]), Axis(name, ticks=[(0.5, name)]), name, "right"
    )
    figure = drawn(str(draw([[axes]], "k", name)))
    assert figure.find(f"{SVG}title").text == name  # type: ignore[union-attr]
    assert [text.text for text in figure.iter(f"{SVG}text")].count(name) == 7
    assert not list(figure.iter(f"{SVG}script"))


def test_a_legend_stands_where_nothing_is_drawn() -> None:
    """In each corner that alone is free."""
    x, y = (one.ravel() for one in np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40)))
    for right in (False, True):
        for up in (False, True):
            taken = ((x > 0.4) != right) | ((y > 0.6) != up)
            mark = Points(x[taken], y[taken], ORANGE, label="a name that is long")
            axes = Axes([mark], Axis(low=0, high=1), Axis(low=0, high=1), legend="inside")
            at = words(one(axes))["a name that is long"]
            assert (float(at["x"]) > 200) == right
            assert (float(at["y"]) < 120) == up


def test_a_legend_beside_the_figure_takes_its_room_and_names_each_label_once() -> None:
    marks = [
        Line(np.arange(2.0), np.arange(2.0), colour, label="same") for colour in (BLUE, ORANGE)
    ]
    axes = Axes(marks, legend="right")
    figure = one(axes, width=400)
    texts = [text for text in figure.iter(f"{SVG}text") if text.text == "same"]
    assert len(texts) == 1
    frame = figure.find(f".//{SVG}clipPath/{SVG}path").attrib["d"]  # type: ignore[union-attr]
    right = float(re.findall(r"H([\d.]+)", frame)[0])
    left = float(texts[0].attrib["x"]) - SAMPLE
    assert right < left
    assert float(texts[0].attrib["x"]) + width("same", 11.3) <= 400


def test_charts_of_a_figure_are_in_line() -> None:
    def chart(high: float, title: str) -> Axes:
        return Axes([Line(np.arange(2.0), np.array([0, high]), BLUE)], y=Axis("y"), title=title)

    grid = [[chart(1, "one"), chart(1e5, "")], [chart(12345, ""), None]]
    figure = drawn(str(draw(grid, "k", "d", width=800, height=500, ratios=(1, 2))))
    frames = {
        clip.attrib["id"]: [float(x) for x in re.findall(r"[\d.]+", clip[0].attrib["d"])[:4]]
        for clip in figure.iter(f"{SVG}clipPath")
    }
    assert set(frames) == {"k-clip-0-0", "k-clip-0-1", "k-clip-1-0"}
    first, second, below = (frames[f"k-clip-{place}"] for place in ("0-0", "0-1", "1-0"))
    assert first[0] == below[0]
    assert first[2] == below[2]
    assert first[1] == second[1]
    assert (second[2] - second[0]) == pytest.approx(2 * (first[2] - first[0]), abs=0.2)
    for left, top, right, bottom in frames.values():
        assert 0 < left < right <= 800
        assert 0 < top < bottom < 500


def test_a_long_title_is_set_smaller() -> None:
    long = "a title that goes on and on and on and on and on and on and on and on"
    mark = Line(np.arange(2.0), np.arange(2.0), BLUE)
    sizes = {
        title: float(words(one(Axes([mark], title=title), width=300))[title]["font-size"])
        for title in ("short", long)
    }
    assert sizes[long] < sizes["short"]


def test_the_same_figure_is_the_same_text() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(size=(2, 30))
    figures = {str(draw([[Axes([Line(x, y, BLUE, shape="circle")])]], "k", "d")) for _ in range(2)}
    assert len(figures) == 1

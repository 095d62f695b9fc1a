"""Charts are drawn from any points, and say themselves in words."""

import re

import pytest

from medlora.ui.chart import Series, histogram, line_chart, nice_ticks, summarise


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2.5, 5, 7.5, 10]), (0.2, 0.9, [0.2, 0.4, 0.6, 0.8, 1.0]), (3, 3, [2.6, 2.8, 3.0, 3.2, 3.4])],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("value", [1e-12, 1e12, -5.0, 0.0])
def test_any_single_value_has_ticks_around_it(value: float) -> None:
    ticks = nice_ticks(value, value)
    assert ticks[0] <= value <= ticks[-1] and len(ticks) >= 2


def test_a_run_without_a_value_has_axes_and_says_so() -> None:
    drawn = line_chart("Loss", [Series("training", [])])
    assert "No value yet." in drawn and "<svg" in drawn and "polyline" not in drawn


def test_the_first_point_is_drawn_as_a_dot() -> None:
    drawn = line_chart("Loss", [Series("training", [(1, 2.5)])])
    assert drawn.count("<circle") == 1 and "training: 2.5000 at step 1." in drawn


def test_every_coordinate_lies_inside_the_drawing() -> None:
    drawn = line_chart("Loss", [Series("training", [(step, 1e6 / step) for step in range(1, 400)])])
    points = re.search(r'points="([^"]+)"', drawn)
    assert points is not None
    for pair in points[1].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 640 and 0 <= y <= 240


def test_the_summary_names_first_last_and_lowest() -> None:
    line = Series("training", [(1, 3.0), (5, 0.5), (9, 1.0)])
    assert summarise(line) == "training: 3 at step 1, 1 at step 9; lowest 0.5000 at step 5."


def test_a_histogram_marks_what_would_be_cut() -> None:
    drawn = histogram("Lengths", [(0, 100, 5), (100, 200, 1)], limit=100, note="one is cut")
    assert drawn.count('class="bar-1"') == 1 and drawn.count('class="bar-cut"') == 1
    assert "one is cut" in drawn


def test_names_are_escaped() -> None:
    assert "<b>" not in line_chart("<b>", [Series("<b>", [(1, 1.0)]), Series("<b>", [(1, 1.0)])])

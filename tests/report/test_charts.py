import numpy as np
import pytest

from irgen.report.charts import Series, histograms, lines, scattered, whiskers


def test_histograms_share_one_axis_that_holds_every_value() -> None:
    chart = histograms({"low": np.array([0.0, 1.0]), "high": np.array([3.0, 4.0, 4.0])}, bins=4)
    assert (chart.low, chart.high) == (0, 4)
    assert [row.heights for row in chart.rows] == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert [row.mean for row in chart.rows] == pytest.approx([0.125, 11 / 12], abs=1e-4)


def test_a_set_without_values_and_one_of_equal_values_can_be_drawn() -> None:
    chart = histograms({"none": np.array([]), "same": np.array([2.0, 2.0])})
    assert sum(chart.rows[0].heights) == 0 and sum(chart.rows[1].heights) == 1
    assert chart.rows[1].mean == 0.5


def test_whiskers_stand_on_one_logarithmic_axis() -> None:
    places = whiskers({"a": 3.0, "b": 9.0}, {"b": [3.0, 27.0]})
    assert (places["a"].low, places["a"].value, places["a"].high) == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-4)
    assert (places["b"].low, places["b"].value, places["b"].high) == pytest.approx((1 / 3, 2 / 3, 1), abs=1e-4)


def test_an_interval_that_reaches_below_zero_begins_where_the_axis_does() -> None:
    assert whiskers({"a": 1.0}, {"a": [-5.0, 2.0]})["a"].low == 0
    assert whiskers({}, {}) == {}


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.1, 0.3, 0.4]])
def test_a_line_runs_from_left_to_right_within_its_frame(values: list[float]) -> None:
    x = list(range(1, len(values) + 1))
    band = [one - 1 for one in values], [one + 1 for one in values]
    for drawn in (lines(x, {"a": (values, band)}), scattered({"a": Series(x, values, band)})):
        line = drawn.lines[0]
        assert len(line.points) == len(values) and len(line.band) == 2 * len(values)
        assert [place for place, _ in line.points] == sorted(place for place, _ in line.points)
        assert all(0 <= across <= 1 and 0 <= up <= 1 for across, up in [*line.points, *line.band])
        assert (drawn.low, drawn.high) == (min(values) - 1, max(values) + 1)


def test_a_logarithmic_axis_gives_each_doubling_the_same_room() -> None:
    drawn = scattered({"a": Series([1, 2, 4], [0, 1, 2]), "b": Series([2, 4], [0, 1])})
    assert drawn.ticks == [(0.0, "1"), (0.5, "2"), (1.0, "4")]
    assert drawn.lines[1].points == [(0.5, 0.0), (1.0, 0.5)]


def test_numbers_that_would_overlap_are_left_out() -> None:
    drawn = scattered({"a": Series([1, 1.01, 100], [0, 1, 2])})
    assert [text for _, text in drawn.ticks] == ["1", "100"]

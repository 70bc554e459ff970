import numpy as np
import pytest

from irgen.report.charts import curve, histograms, whiskers


def test_histograms_share_one_axis_that_holds_every_value() -> None:
    chart = histograms({"low": np.array([0.0, 1.0]), "high": np.array([3.0, 4.0, 4.0])}, bins=4)
    assert (chart.low, chart.high) == (0, 4)
    assert [row.heights for row in chart.rows] == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert [row.mean for row in chart.rows] == pytest.approx([0.125, 11 / 12], abs=1e-4)


def test_a_set_without_values_and_one_of_equal_values_can_be_drawn() -> None:
    chart = histograms({"none": np.array([]), "same": np.array([2.0, 2.0])})
    assert sum(chart.rows[0].heights) == 0 and sum(chart.rows[1].heights) == 1
    assert chart.rows[1].mean == 0.5


def test_whiskers_stand_on_an_axis_from_zero() -> None:
    places = whiskers({"a": 2.0, "b": 8.0}, {"b": [6.0, 10.0]})
    assert (places["a"].low, places["a"].value, places["a"].high) == (0.2, 0.2, 0.2)
    assert (places["b"].low, places["b"].value, places["b"].high) == (0.6, 0.8, 1.0)


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.1, 0.3, 0.4]])
def test_a_curve_runs_from_left_to_right_within_its_frame(values: list[float]) -> None:
    drawn = curve(values)
    assert len(drawn.points) == len(values)
    assert [x for x, _ in drawn.points] == sorted(x for x, _ in drawn.points)
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in drawn.points)

import json
import math

import pytest

from irgen import detections
from irgen.detections import evaluate
from irgen.errors import SourceError

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 2, "name": "cyclist"}]
ROWS = [(0, 100, 100, 30, 60, 0.9), (1, 200, 100, 30, 60, 0.8), (2, 300, 100, 30, 60, 0.7)]


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.json"
    names = ["set06/V000/I00019", "set06/V000/I00039", "set09/V000/I00019"]
    write(
        path, [{"id": place, "im_name": name} for place, name in enumerate(names)], [annotation(*r[:5]) for r in ROWS]
    )
    return path


def annotation(image, x, y, width, height, **more):
    return {
        "image_id": image,
        "category_id": 1,
        "bbox": [x, y, width, height],
        "height": height,
        "occlusion": 0,
        **more,
    }


def write(path, images, annotations):
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))


def text(path, rows, first=1, mark=","):
    path.write_text("".join(mark.join(str(one) for one in (row[0] + first, *row[1:])) + "\n" for row in rows))
    return path


def results(path, rows, first=0):
    entries = [{"image_id": r[0] + first, "category_id": 1, "bbox": list(r[1:5]), "score": r[5]} for r in rows]
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.shared
@pytest.mark.parametrize("name", ["MLPD_result.txt", "MSDS-RCNN_result.txt"])
def test_published_detections_give_what_the_fields_evaluator_prints(shared, name):
    folder = shared / "kaist-eval"
    expected = json.loads((folder / "expected_miss_rates.json").read_text())["log_average_miss_rate_percent"][name]
    figures, warnings = evaluate(folder / "KAIST_annotation.json", folder / name)
    assert figures == pytest.approx(expected, abs=1e-9)
    assert not warnings


@pytest.mark.parametrize("mark", [",", ";", "\t", " ", ", ", "   "])
def test_columns_may_be_parted_in_any_usual_way(truth, tmp_path, mark):
    figures, _ = evaluate(truth, text(tmp_path / "found.txt", ROWS, mark=mark))
    assert figures["recall"] == 100


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("form", [text, results])
def test_images_may_be_counted_from_0_or_1(truth, tmp_path, form, first):
    path = tmp_path / ("found.txt" if form is text else "found.json")
    assert evaluate(truth, form(path, ROWS, first=first))[0]["recall"] == 100


def test_where_both_counts_fit_each_form_has_its_own_and_it_can_be_told(truth, tmp_path):
    # Images 1 and 2 fit both counts.
    rows = [(1, *ROWS[1][1:])]
    path, listed = text(tmp_path / "found.txt", rows, first=0), results(tmp_path / "found.json", rows)
    assert evaluate(truth, path)[0]["recall"] == 0
    assert evaluate(truth, path, first_image=0)[0]["recall"] == pytest.approx(100 / 3)
    assert evaluate(truth, listed)[0]["recall"] == pytest.approx(100 / 3)


def test_day_and_night_are_told_by_the_set(truth, tmp_path):
    figures, warnings = evaluate(truth, text(tmp_path / "found.txt", [*ROWS[:2], (2, 500, 100, 30, 60, 0.99)]))
    assert figures["day"] == pytest.approx(1e-8)
    assert figures["night"] == pytest.approx(100)
    assert not warnings


def test_part_without_objects_has_no_rate(tmp_path):
    path = tmp_path / "truth.json"
    write(path, [{"id": 0, "im_name": "set06/V000/I00019"}], [annotation(*ROWS[0][:5])])
    figures, _ = evaluate(path, text(tmp_path / "found.txt", ROWS[:1]))
    assert figures["night"] is None
    assert not math.isnan(figures["all"])


def test_objects_in_images_without_detections_are_misses_and_told(truth, tmp_path):
    figures, warnings = evaluate(truth, text(tmp_path / "found.txt", ROWS[:1]))
    assert figures["recall"] == pytest.approx(100 / 3)
    assert "2 objects" in warnings[0]


def test_annotations_of_others_are_ignored(tmp_path):
    path = tmp_path / "truth.json"
    cyclist = annotation(*ROWS[1][:5], category_id=2)
    images = [{"id": place, "im_name": f"set06/V000/I0000{place}"} for place in range(2)]
    write(path, images, [annotation(*ROWS[0][:5]), {**cyclist, "category_id": 2}])
    assert evaluate(path, text(tmp_path / "found.txt", ROWS[:2]))[0]["all"] == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("9,1,2,3,4,0.5\n", "line 1: image 9 is not in the truth"),
        ("1,1,2,30,60,0.5\n-1,1,2,3,4,0.5\n", "line 2: image -1"),
        ("0,1,2,3,4,0.5\n3,1,2,3,4,0.5\n", "image 0 is not in the truth"),
        ("1,1,2,3,4\n", "line 1 has 5 columns"),
        ("1,1,2,3,4,0.5,7\n", "line 1 has 7 columns"),
        ("\n1,1,2,x,4,0.5\n", "line 2: could not convert"),
        ("1.5,1,2,3,4,0.5\n", "image 1.5 is not a whole number"),
        ("nan,1,2,3,4,0.5\n", "image nan is not a whole number"),
        ("1,1,2,3,4,nan\n", "not finite"),
        ("", "no detections"),
    ],
)
def test_text_that_is_off_is_a_clear_error(truth, tmp_path, lines, told):
    path = tmp_path / "found.txt"
    path.write_text(lines)
    with pytest.raises(SourceError, match=r"found\.txt") as caught:
        evaluate(truth, path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"a": 1}, "a JSON dict, not a list"),
        ([{"image_id": 0, "bbox": [1, 2, 3, 4]}], "entry 0 lacks 'score'"),
        ([{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1}], "image 7 is not in the truth"),
        ([{"image_id": 0, "bbox": [1, 2, 3], "score": 1}], "bbox has 3 numbers"),
        ([{"image_id": 0, "category_id": 8, "bbox": [1, 2, 3, 4], "score": 1}], "unknown category_id 8"),
        ([3], "entry 0 lacks"),
    ],
)
def test_json_that_is_off_is_a_clear_error(truth, tmp_path, document, told):
    path = tmp_path / "found.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SourceError) as caught:
        evaluate(truth, path)
    assert told in str(caught.value)


def test_missing_and_binary_files_are_clear_errors(truth, tmp_path):
    with pytest.raises(SourceError, match="cannot be read"):
        evaluate(truth, tmp_path / "none.txt")
    (tmp_path / "image.txt").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(SourceError, match="cannot be read"):
        evaluate(truth, tmp_path / "image.txt")
    with pytest.raises(SourceError, match="not JSON"):
        evaluate(tmp_path / "image.txt", tmp_path / "image.txt")


@pytest.mark.parametrize(
    ("images", "annotations", "told"),
    [
        ([], [], "no images"),
        ([{"id": 0, "im_name": "a"}], [], "does not tell the set"),
        ([{"id": 0, "im_name": "set06/x"}] * 2, [], "occurs twice"),
        ([{"id": 0, "im_name": "set06/x"}], [annotation(5, 1, 2, 3, 4)], "annotation 0 is of image 5"),
        ([{"id": 0, "im_name": "set06/x"}], [{"image_id": 0}], "annotation 0"),
    ],
)
def test_truth_that_is_off_is_a_clear_error(tmp_path, images, annotations, told):
    path = tmp_path / "truth.json"
    write(path, images, annotations)
    with pytest.raises(SourceError) as caught:
        detections.read_truth(path)
    assert told in str(caught.value)


def test_boxes_without_area_are_told(truth, tmp_path):
    _, warnings = evaluate(truth, text(tmp_path / "found.txt", [*ROWS, (0, 5, 5, 0, 60, 0.1)]))
    assert "1 boxes without area" in warnings[0]

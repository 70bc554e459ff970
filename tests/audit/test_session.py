"""Answers: checked, saved as they come, carried on with."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from irgen.audit import open_session
from irgen.audit.session import BadAnswerError
from irgen.cli import app
from irgen.errors import SettingsError, StoreError
from irgen.exports import export
from tests.finished import IMAGES, boxes, finished, kept, key


def answer(session, image: str, verdict: str = "accept", **changes) -> dict:
    names = ("label", "x_px", "y_px", "w_px", "h_px")
    places = [{name: getattr(box, name) for name in names} for box in session.subjects[image].boxes]
    verdicts = [{"verdict": verdict, "place": place} for place in places]
    return {"verdicts": verdicts, "added": [], "done": True} | changes


def with_boxes(session) -> str:
    """Key of an image that has two boxes."""
    return next(image for image, subject in session.subjects.items() if len(subject.boxes) == 2)


def test_images_are_drawn_at_random_and_a_larger_audit_goes_on_with_them(dataset):
    small, large = open_session(dataset, 5, 0), open_session(dataset, 100, 0)
    assert list(large.subjects)[:5] == list(small.subjects)
    assert sorted(large.subjects) == [key(number) for number in kept()] != list(large.subjects)
    assert list(open_session(dataset, 5, 1).subjects) != list(small.subjects)


def test_an_answer_is_on_disk_when_it_was_taken_and_the_next_session_has_it(dataset):
    session = open_session(dataset, 100, 0)
    image = with_boxes(session)
    added = {"label": "person", "x_px": 1, "y_px": 2, "w_px": 3.5, "h_px": 4}
    session.answer(image, answer(session, image, "reject", added=[added]))
    again = open_session(dataset, 8, 0)
    assert again.answers == session.answers
    assert again.answers[image].verdicts[1].verdict == "reject"
    assert json.loads((session.folder / "audit.json").read_bytes()) == session.figures()
    assert session.figures()["rejected"] + session.figures()["ignored"] == 2


def test_an_image_that_is_not_done_does_not_count(dataset):
    session = open_session(dataset, 100, 0)
    image = with_boxes(session)
    session.answer(image, answer(session, image, "open", done=False))
    assert session.figures()["images"] == 0
    session.answer(image, answer(session, image))
    assert session.figures()["images"] == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"verdicts": []}, "0 verdicts on 2 boxes"),
        ({"verdict": "open"}, "a box is open"),
        ({"verdict": "perhaps"}, "verdict"),
        ({"added": [{"label": "person", "x_px": 46, "y_px": 2, "w_px": 5, "h_px": 4}]}, "not within 48x32"),
        ({"added": [{"label": "person", "x_px": 1, "y_px": 2, "w_px": 0, "h_px": 4}]}, "no area"),
        ({"added": [{"label": "zebra", "x_px": 1, "y_px": 2, "w_px": 3, "h_px": 4}]}, "'zebra' is none of"),
        ({"added": [{"label": "person", "x_px": float("nan"), "y_px": 2, "w_px": 3, "h_px": 4}]}, "finite"),
        ({"more": 1}, "more"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_changes_nothing(wrong, said, dataset):
    session = open_session(dataset, 100, 0)
    image = with_boxes(session)
    with pytest.raises(BadAnswerError, match=said):
        session.answer(image, answer(session, image, **wrong))
    with pytest.raises(BadAnswerError, match="no image"):
        session.answer("../x", {})
    assert session.answers == {} and not session.folder.exists()


def test_damaged_answers_and_another_seed_are_refused(dataset):
    session = open_session(dataset, 100, 0)
    image = with_boxes(session)
    session.answer(image, answer(session, image))
    with pytest.raises(SettingsError, match="--seed 0, not 3"):
        open_session(dataset, 100, 3)
    (session.folder / "answers.json").write_text('{"seed": 0, "answers": {"1": {}}}')
    with pytest.raises(StoreError, match="damaged"):
        open_session(dataset, 100, 0)


def test_a_dataset_without_labels_has_nothing_to_audit(tmp_path):
    with pytest.raises(StoreError, match="nobody labelled"):
        open_session(finished(tmp_path / "tiny", labelled=False), 10, 0)


def test_the_cards_of_exports_tell_the_audit_of_these_labels_and_no_others(dataset, tmp_path):
    session = open_session(dataset, 100, 0)
    for image in session.subjects:
        session.answer(image, answer(session, image))
    figures = session.figures()
    assert (figures["images"], figures["precision"]["value"]) == (IMAGES - 1, 1.0)
    export(dataset, "coco", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    low, high = figures["precision"]["interval"]
    assert f"| precision | {figures['boxes']} | 1 [{low:.3g}, {high:.3g}] |" in card
    other = finished(tmp_path / "other")
    shutil.copytree(session.folder.parent, other / "audits")
    export(other, "coco", tmp_path / "same")
    assert "| precision |" in (tmp_path / "same/README.md").read_text()
    session.folder.rename(session.folder.parent / ("0" * 16))
    export(dataset, "coco", tmp_path / "none")
    assert "Nobody has looked at the labels yet" in (tmp_path / "none/README.md").read_text()


def test_the_command_gives_figures_without_serving(dataset):
    session = open_session(dataset, 100, 0)
    image = with_boxes(session)
    session.answer(image, answer(session, image))
    told = CliRunner().invoke(app, ["audit", str(dataset), "--figures", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["precision"] == session.figures()["precision"]
    trusted = [box for box in boxes(int(image)) if not box["ignore"]]
    assert json.loads(told.stdout)["boxes"] == len(trusted)
    told = CliRunner().invoke(app, ["audit", str(dataset), "--figures"])
    assert "1 of 22" in told.stdout and "precision" in told.stdout


def test_figures_can_be_told_from_the_answers_alone(dataset, tmp_path):
    session = open_session(dataset, 100, 0)
    for image in list(session.subjects)[:9]:
        session.answer(image, answer(session, image, "reject"))
    alone = shutil.copy(session.path, tmp_path / "alone.json")
    shutil.rmtree(dataset)
    told = CliRunner().invoke(app, ["audit", str(alone), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == {"answers": str(alone), **session.figures()}
    assert session.figures()["rejected"] > 0


def test_answers_about_other_boxes_than_they_name_are_damaged(dataset):
    session = open_session(dataset, 100, 0)
    image = with_boxes(session)
    session.answer(image, answer(session, image))
    document = json.loads(session.path.read_bytes())
    document["labels"][image]["boxes"].pop()
    session.path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=f"damaged .*image {image}: not a verdict a box"):
        open_session(dataset, 100, 0)

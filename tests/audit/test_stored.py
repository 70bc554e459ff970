"""The hand audits that are stored with the project."""

from pathlib import Path

import pytest

from irgen.audit import Answers, measure_answers

PAGES = Path(__file__).parents[2] / "docs"
STUDY = PAGES / "results" / "label-audit"


def told(figure: dict, bold: str = "") -> str:
    low, high = figure["interval"]
    return f"{bold}{figure['value']:.2f}{bold} [{low:.2f}, {high:.2f}]"


@pytest.mark.parametrize(("name", "images"), [("answers.json", 100), ("second.json", 114), ("third.json", 90)])
def test_its_page_tells_what_the_answers_give(name: str, images: int):
    figures = measure_answers(Answers.read(STUDY / name))
    page = STUDY.with_suffix(".md").read_text()
    assert name in page
    assert figures["images"] == images and f"{figures['boxes']} boxes, {figures['recall']['n']} objects" in page
    assert f"| {told(figures['precision'], '**')} | {told(figures['recall'], '**')} |" in page
    for row in figures["by_class"]:
        if row["label"] != "cyclist":
            assert f"| {told(row['precision'])} | {told(row['recall'])} |" in page


def test_scores_of_the_first_are_told():
    page = STUDY.with_suffix(".md").read_text()
    for row in measure_answers(Answers.read(STUDY / "answers.json"))["by_score"]:
        if row["min_score"] in (0.8, 0.9):
            n, values = row["precision"]["n"], [row[name]["value"] for name in ("precision", "recall")]
            assert f"{n} boxes | {values[0]:.2f} | {values[1]:.2f} |" in page


def test_the_labels_page_tells_the_second_and_the_third():
    labels = (PAGES / "labels.md").read_text()
    second, third = (measure_answers(Answers.read(STUDY / name)) for name in ("second.json", "third.json"))
    for figures in (second, third):
        assert f"{figures['boxes']} boxes in {figures['images']} images" in labels
    assert f"| {told(second['precision'])} | {told(second['recall'])} |" in labels
    assert f"| {told(third['precision'], '**')} | {told(third['recall'], '**')} |" in labels
    for row in third["by_class"]:
        if row["label"] != "cyclist":
            assert f"| {told(row['precision'])} | {told(row['recall'])} |" in labels


def test_the_readme_tells_the_third():
    figures = measure_answers(Answers.read(STUDY / "third.json"))
    readme = " ".join((PAGES.parent / "README.md").read_text().split())
    assert f"{told(figures['precision'])} at recall {told(figures['recall'])}, of {figures['boxes']} boxes" in readme

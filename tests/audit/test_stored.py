"""The hand audit that is stored with the project."""

from pathlib import Path

from irgen.audit import Answers

PAGES = Path(__file__).parents[2] / "docs"
STUDY = PAGES / "results" / "label-audit"


def told(figure: dict, bold: str = "") -> str:
    low, high = figure["interval"]
    return f"{bold}{figure['value']:.2f}{bold} [{low:.2f}, {high:.2f}]"


def test_its_pages_tell_what_the_answers_give():
    figures = Answers.read(STUDY / "answers.json").figures()
    page, labels = STUDY.with_suffix(".md").read_text(), (PAGES / "labels.md").read_text()
    assert figures["images"] == 100 and f"{figures['boxes']} boxes, {figures['recall']['n']} objects" in page
    assert f"| {told(figures['precision'], '**')} | {told(figures['recall'], '**')} |" in page
    assert f"| {told(figures['precision'])} | {told(figures['recall'])} |" in labels
    for row in figures["by_class"]:
        if row["label"] != "cyclist":
            assert f"| {told(row['precision'])} | {told(row['recall'])} |" in page
            assert f"| {told(row['precision'])} | {told(row['recall'])} |" in labels
    for row in figures["by_score"]:
        if row["min_score"] in (0.8, 0.9):
            n, values = row["precision"]["n"], [row[name]["value"] for name in ("precision", "recall")]
            assert f"{n} boxes | {values[0]:.2f} | {values[1]:.2f} |" in page

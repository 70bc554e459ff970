import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from irgen.report.page import Comparison, Content, Picture, duration, render


class Page(HTMLParser):
    """Collects what a page's tags refer to, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_verdict_comes_first_and_the_key_figures_with_intervals(content: Content) -> None:
    text = Page(render(content)).text
    assert "Guidance helps: FID 3.88 unguided, 2.19 guided, a gain of 1.69 (95 % interval 0.350 to 2.84)." in text
    assert text.index("Guidance helps") < text.index("Key figures") < text.index("Side by side")
    assert "3.40 to 4.40" in text and "N = 256" in text and "features: scenenet" in text


def test_nothing_is_asked_of_another_place(content: Content) -> None:
    html = render(content)
    page = Page(html)
    assert not page.all("script")
    references = [
        tag.get("src") or tag.get("href") for name in ("img", "link", "a", "iframe") for tag in page.all(name)
    ]
    assert references and all(reference and reference.startswith(("data:", "#")) for reference in references)
    assert "http://" not in html and "https://" not in html and "url(" not in html


def test_every_picture_has_an_alternative_text(content: Content) -> None:
    pictures = Page(render(content)).all("img")
    assert len(pictures) == 64 + 12
    assert all(picture["alt"] and len(picture["alt"]) > 15 for picture in pictures)


def test_the_guided_image_shows_its_score_sheet_on_hover_and_by_keyboard(content: Content) -> None:
    page = Page(render(content))
    sheets = [tag for tag in page.all("dl") if tag["class"] == "sheet"]
    assert len(sheets) == 16 + 12
    assert sum(tag.get("tabindex") == "0" for tag in page.all("figure")) == len(sheets)
    assert "cos infrared 0.4000" in page.text and "frame id set06/V000/I00001" in page.text


def test_markup_in_a_caption_stays_text(content: Content) -> None:
    nasty = '"><script>alert(1)</script><img src=x>'
    pictures = [Picture("guided", content.grid[0].pictures[0].image, nasty, {nasty: nasty})]
    page = Page(
        render(replace(content, dataset=nasty, grid=[Comparison(nasty, pictures)], extremes={}, rejects={nasty: 1}))
    )
    assert not page.all("script") and len(page.all("img")) == 1
    assert nasty in page.text


def without(content: Content, name: str) -> Content:
    """Take a set out of every figure."""
    figures = content.figures
    for group in ("fid", "irscore"):
        figures[group].pop(name)
        figures["intervals"][group].pop(name, None)
    for metric in (
        *figures["images_figures"].values(),
        *(m for j in figures["judges"].values() for m in j["figures"].values()),
    ):
        metric.pop(name, None)
    return replace(content, seen={key: one for key, one in content.seen.items() if key != name})


def test_a_missing_picture_and_a_missing_baseline_are_said(content: Content) -> None:
    bare = without(without(content, "grayscale"), "inverted")
    bare.figures["fid"]["grayscale"] = bare.figures["irscore"]["grayscale"] = None
    text = Page(render(replace(bare, grid=[Comparison("a road", [Picture("grayscale", None)])]))).text
    assert "too few visible images" in text and "no grayscale baseline" in text


def test_without_intervals_or_worst_images_the_page_still_stands(content: Content) -> None:
    bare = without(content, "worst")
    bare.figures["intervals"] = {}
    text = Page(render(bare)).text
    assert "No intervals: report.bootstrap is 0" in text and "Lowest score" not in text


def test_nets_of_the_verifiers_family_are_marked(content: Content) -> None:
    text = Page(render(content)).text
    assert "scenenet independent" in text and "verifier not independent" in text


def test_every_figure_is_drawn_against_nfe(content: Content) -> None:
    html = render(content)
    assert html.count('class="ticks"') == 3 + 3, "three figures against NFE, grey levels, spectra, best of n"
    assert "what is searched for" in html and ">40<" in html


def test_an_alarm_is_said_first_of_all_but_the_verdict_and_with_where_to_stop(content: Content) -> None:
    fall = {"from_nfe": 40.0, "to_nfe": 120.0, "score": 0.05, "judges": ["FID under scenenet", "realism"]}
    content.figures["alarm"] |= {"rings": True, "falls": [fall], "stop_at_nfe": 40.0, "stop_at_candidates": 4}
    text = Page(render(content)).text
    assert "Alarm: the verifier is being hacked. From 40 to 120 NFE" in text
    assert "Stop at 40 NFE: stop at 4 candidates." in text and "rings stop at 40 NFE" in text


def test_tombstones_and_labels_are_there(content: Content) -> None:
    text = Page(render(content)).text
    assert "all candidates dead in 3 attempts: flat image 2" in text and "The images have no labels." in text
    content.figures["labels"] = {
        "mode": "teacher",
        "images": 256,
        "boxes": {"person": 300},
        "ignored": 21,
        "per_image": 1.25,
        "empty": 0.1,
        "agreement": 0.83,
        "contrast": [{"images": "guided", "time": "at night", "count": 90, "value": 41.0, "low": 38.0, "high": 44.0}],
    }
    text = Page(render(content)).text
    assert "300 person, 21 to be ignored" in text and "Guided, at night 90 41.00 38.00 to 44.00" in text


def test_the_cost_of_every_stage_is_there(content: Content) -> None:
    text = Page(render(content)).text
    for line in ("frames 3.0 s", "adapter 48.0 s", "shards 3 min 12 s", "report 12.5 s"):
        assert line in text


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "0.2 s"), (59.9, "59.9 s"), (61, "1 min 1 s"), (7320, "2 h 2 min")]
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver on the PATH")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.mark.browser
@pytest.mark.parametrize("width_px", [390, 1400])
def test_a_browser_shows_every_picture_at_any_width_and_asks_for_nothing(
    browser: object, content: Content, tmp_path: Path, width_px: int
) -> None:
    path = tmp_path / "index.html"
    path.write_text(render(content), encoding="utf-8")
    size = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("performance")
    browser.get(path.as_uri())
    widths = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 64 + 12 and min(widths) > 0
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width_px
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert path.as_uri() in asked
    assert [url for url in asked if not re.match(r"data:|file:", url)] == []

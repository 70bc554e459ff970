"""The audit's page in a browser: by keys, by pointer, and again after a restart."""

import json
import shutil
import time
from collections.abc import Iterator

import pytest

from irgen.audit import AuditServer
from tests.finished import HEIGHT_PX, WIDTH_PX, boxes

pytestmark = pytest.mark.browser
WAIT_S = 30


@pytest.fixture(scope="module")
def chrome() -> Iterator[object]:
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver on the PATH")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--window-size=1280,800",
    ):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


class Page:
    """The page as its user meets it."""

    def __init__(self, chrome, server: AuditServer) -> None:
        self.chrome, self.session = chrome, server.session
        chrome.get(server.url)
        self.until(lambda: self.find("boxes") is not None and self.text("caption"))

    def find(self, name: str):
        return self.chrome.find_element("id", name)

    def text(self, name: str) -> str:
        return self.find(name).text

    def keys(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.chrome).send_keys(key).perform()
        self.until(lambda: self.text("saved") == "saved")

    def drag(self, start: tuple[float, float], end: tuple[float, float], *, shift: bool = False) -> None:
        """Drag from one place to another, both in the image's pixels."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        script = """
            const view = document.getElementById("view");
            return new DOMPoint(arguments[0], arguments[1]).matrixTransform(view.getScreenCTM()).toJSON();"""
        places = [self.chrome.execute_script(script, *place) for place in (start, end)]
        actions = ActionChains(self.chrome)
        if shift:
            actions.key_down(Keys.SHIFT)
        pointer = actions.w3c_actions.pointer_action
        for place, act in zip(places, (pointer.pointer_down, pointer.pointer_up), strict=True):
            pointer.move_to_location(round(place["x"]), round(place["y"]))
            act()
        actions.perform()
        if shift:
            ActionChains(self.chrome).key_up(Keys.SHIFT).perform()
        self.until(lambda: self.text("saved") == "saved")

    def go(self, key: str) -> None:
        """Go to an image."""
        for _ in self.session.subjects:
            if self.text("facts").startswith(key):
                return
            self.keys("n")
        raise AssertionError(self.text("facts"))

    def answer(self, key: str):
        return self.session.answers[key]

    @staticmethod
    def until(true) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            assert time.monotonic() < end, true
            time.sleep(0.02)


@pytest.fixture
def page(chrome, server) -> Iterator[Page]:
    chrome.get_log("browser")
    yield Page(chrome, server)
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []


def key_with(session, count: int, ignored: int = 0) -> str:
    """Key of an image with so many boxes, so many of them to ignore."""
    return next(
        key
        for key, subject in session.subjects.items()
        if len(subject.boxes) == count and sum(box.ignore for box in subject.boxes) == ignored
    )


def xywh(place) -> tuple[float, ...]:
    return place.x_px, place.y_px, place.w_px, place.h_px


def test_it_shows_the_image_large_crisp_and_whole_and_the_keys(page):
    seen = page.chrome.execute_script(
        """const image = document.querySelector("#view image");
        const {width, height, left, top} = image.getBoundingClientRect();
        return {width, height, left, top, rendering: getComputedStyle(image).imageRendering}"""
    )
    assert seen["rendering"] == "pixelated"
    assert seen["width"] > 14 * WIDTH_PX and seen["height"] > 14 * HEIGHT_PX
    assert seen["left"] >= 0 and seen["top"] >= 0
    decoded = "document.querySelector('#view image').decode().then(() => arguments[0](true), arguments[0])"
    assert page.chrome.execute_async_script(decoded) is True
    assert "accept: right as it is" in page.text("help")
    assert page.text("count") == "0 of 22 done"


def test_keys_accept_and_reject_and_enter_goes_on(page):
    key = key_with(page.session, 2)
    page.go(key)
    page.keys("a", "r")
    assert [each.verdict for each in page.answer(key).verdicts] == ["accept", "reject"]
    assert not page.answer(key).done
    from selenium.webdriver.common.keys import Keys

    page.keys(Keys.ENTER)
    assert page.answer(key).done
    assert not page.text("facts").startswith(key)
    assert page.text("count") == "1 of 22 done"
    page.go(key)
    page.keys("u")
    assert [each.verdict for each in page.answer(key).verdicts] == ["open", "reject"]
    assert not page.answer(key).done


def test_arrows_and_the_pointer_move_a_box(page):
    from selenium.webdriver.common.keys import Keys

    key = key_with(page.session, 1)
    before = boxes(int(key))[0]
    page.go(key)
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    (said,) = page.answer(key).verdicts
    assert said.verdict == "fix"
    assert xywh(said.place) == (before["x_px"] + 2, before["y_px"] - 1, before["w_px"], before["h_px"])
    page.drag((10, 12), (15, 16))
    (said,) = page.answer(key).verdicts
    assert xywh(said.place) == pytest.approx(
        (before["x_px"] + 7, before["y_px"] + 3, before["w_px"], before["h_px"]), abs=0.3
    )
    left, top, width, height = xywh(said.place)
    page.drag((left + width, top + height), (left + width + 3, top + height - 4))
    (said,) = page.answer(key).verdicts
    assert xywh(said.place) == pytest.approx((left, top, width + 3, height - 4), abs=0.3)
    page.keys("c")
    assert page.answer(key).verdicts[0].place.label == "cyclist"


def test_dragging_beside_the_boxes_adds_an_object_and_delete_removes_it(page):
    from selenium.webdriver.common.keys import Keys

    key = key_with(page.session, 0)
    page.go(key)
    assert "Is there really nothing?" in page.text("empty")
    page.drag((30, 20), (20, 5))
    (added,) = page.answer(key).added
    assert xywh(added) == pytest.approx((20, 5, 10, 15), abs=0.3)
    page.drag((22, 7), (26, 11), shift=True)
    assert len(page.answer(key).added) == 2
    page.keys(Keys.DELETE)
    assert page.answer(key).added == (added,)
    # Over the border: what is kept lies within.
    page.drag((40, 25), (54, 32.5))
    assert xywh(page.answer(key).added[1]) == pytest.approx((40, 25, 8, 7), abs=0.3)


def test_a_box_to_ignore_wants_its_own_answer(page):
    from selenium.webdriver.common.keys import Keys

    key = next(key for key, subject in page.session.subjects.items() if sum(box.ignore for box in subject.boxes) == 1)
    page.go(key)
    page.keys(Keys.ENTER)
    assert "is there an object in it?" in page.text("toast")
    assert not page.answer(key).done
    page.keys("r", Keys.ENTER)
    assert page.answer(key).done
    assert page.answer(key).verdicts[-1].verdict == "reject"


def test_one_key_rejects_all_open_boxes_to_ignore_and_no_other(page):
    key = next(
        key for key, subject in page.session.subjects.items() if {box.ignore for box in subject.boxes} == {True, False}
    )
    page.go(key)
    page.keys("x")
    pairs = zip(page.session.subjects[key].boxes, page.answer(key).verdicts, strict=True)
    verdicts = {box.ignore: said.verdict for box, said in pairs}
    assert verdicts == {True: "reject", False: "open"}


def test_it_carries_on_where_it_was_left_and_ends_with_the_figures(page, chrome, server):
    from selenium.webdriver.common.keys import Keys

    keys = list(page.session.subjects)
    for key in keys:
        assert page.text("facts").startswith(key)
        if key == keys[3]:
            page = Page(chrome, server)
            assert page.text("facts").startswith(key)
        page.keys(*("r" for _ in page.session.subjects[key].boxes if _.ignore), Keys.ENTER)
        if not page.answer(key).done:
            page.keys("r", Keys.ENTER)
    page.until(lambda: "precision" in page.text("end"))
    told = page.text("end")
    figures = json.loads((page.session.folder / "audit.json").read_bytes())
    assert figures["images"] == 22
    low, high = figures["precision"]["interval"]
    assert f"[{low:.3f}, {high:.3f}] N {figures['precision']['n']}" in told


def test_when_the_server_is_gone_it_says_that_nothing_is_saved(chrome, server):
    page = Page(chrome, server)
    page.go(key_with(page.session, 1))
    server.shutdown()
    server.server_close()
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(chrome).send_keys("a").perform()
    page.until(lambda: page.text("saved") == "NOT saved")
    assert "Is irgen audit still running?" in page.text("toast")

"""Prefect's pages in a headless Chromium, driven by what a person reads on them."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

WAIT_S = 90


class Browser:
    """A browser at the pages of an `irgen ui`.

    Pictures go to the folder that IRGEN_SCREENSHOTS names (docs/img, to renew those of docs/operations.md), or to a
    temporary one.
    """

    def __init__(self, url: str, pictures: Path) -> None:
        binary = shutil.which("chromium") or shutil.which("google-chrome")
        driver = shutil.which("chromedriver")
        if not (binary and driver):
            pytest.skip("needs chromium and chromedriver on the PATH")
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = binary
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
            options.add_argument(option)
        self._driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        self._url = url
        self._pictures = Path(os.environ.get("IRGEN_SCREENSHOTS", pictures)).resolve()
        self._pictures.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        self._driver.quit()

    @property
    def address(self) -> str:
        """The page's path."""
        return urlsplit(self._driver.current_url).path

    def open(self, path: str) -> None:
        self._driver.get(f"{self._url}{path}")

    def rest(self) -> None:
        """Show an empty page, which takes no time of the cores that a run needs."""
        self._driver.get("about:blank")

    def see(self, *texts: str) -> None:
        """Wait until the page shows all these texts."""
        for text in texts:
            self._until(lambda text=text: text in self._driver.find_element("tag name", "body").text, f"text {text!r}")

    def click(self, text: str) -> None:
        """Press the button, tab or menu entry that says this."""
        shown = f"normalize-space(.)='{text}'"
        path = f"(//button[{shown}] | //*[contains(@class, 'p-overflow-menu-item')][{shown}] | //a[{shown}])[last()]"
        self._press(path)

    def menu(self) -> None:
        """Open the menu of the page's heading, where a flow run's further actions are."""
        self._press("(//div[contains(@class, 'page-heading')]//button)[last()]")

    def fill(self, label: str, value: str, nth: int = 1) -> None:
        """Write into the field under a label; the first of several."""
        named = f"//span[contains(@class, 'schema-form-property__label')][starts-with(normalize-space(.), '{label}')]"
        whole = "contains(concat(' ', @class, ' '), ' schema-form-property ')"
        box = f"ancestor::div[{whole}][1]//*[self::input or self::textarea]"
        field = self._find(f"({named}/{box})[{nth}]")
        self._driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        from selenium.webdriver.common.keys import Keys

        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(value)
        assert field.get_attribute("value") == value

    def pictures_shown(self) -> list[int]:
        """Return the widths of the embedded pictures on the page, once there are any and all are decoded."""
        script = "return [...document.images].filter(i => i.src.startsWith('data:image')).map(i => i.naturalWidth)"
        self._until(lambda: any(self._driver.execute_script(script)), "an embedded picture")
        widths: list[int] = self._driver.execute_script(script)
        return widths

    def picture(self, name: str) -> None:
        """Keep what is seen."""
        time.sleep(1.0)  # until what slides in has come to rest
        self._driver.save_screenshot(str(self._pictures / f"ui-{name}.png"))

    def hosts(self) -> set[str]:
        """Return the hosts of all requests since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        sent += [each["params"]["url"] for each in messages if each["method"] == "Network.webSocketCreated"]
        return {urlsplit(url).hostname or "" for url in sent if not url.startswith(("data:", "blob:", "chrome"))}

    def _press(self, path: str) -> None:
        self._until(lambda: self._pressed(path), f"{path} to be there and free")

    def _pressed(self, path: str) -> bool:
        """Press it, unless it is not there yet, drawn anew at this moment, or under a message, which goes by itself."""
        from selenium.common import exceptions

        try:
            button = self._driver.find_element("xpath", path)
            self._driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
        except (
            exceptions.NoSuchElementException,
            exceptions.StaleElementReferenceException,
            exceptions.ElementNotInteractableException,
            exceptions.ElementClickInterceptedException,
        ):
            return False
        return True

    def _find(self, path: str) -> Any:
        self._until(lambda: bool(self._driver.find_elements("xpath", path)), path)
        return self._driver.find_element("xpath", path)

    def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not true():
            if time.monotonic() > deadline:
                self._driver.save_screenshot(str(self._pictures / "failure.png"))
                pytest.fail(f"{self._driver.current_url}: waited for {what}; see {self._pictures / 'failure.png'}")
            time.sleep(0.3)

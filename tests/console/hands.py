"""People at a real browser: what they click, type and send, by mouse or by keyboard alone.

Pages are addressed by what they do (where a link leads, where a form goes, what a field is called), so that one
plot plays in either language.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 30_000
TABS = 900  # how far the keyboard goes for one field before the page is at fault
OUTLINED = """
element => { const s = getComputedStyle(element);
  return (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== 'none' }
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium. Skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Hands:
    """One person at a browser of their own, with the mouse. `faults` are what the page complained of: errors of
    scripts, of the console, of the policy on content, answers of 500 and above."""

    def __init__(
        self, browser: Browser, url: str, language: str, *, scripts: bool = True, **more: Any
    ) -> None:
        context = browser.new_context(
            locale=language, java_script_enabled=scripts, viewport={"width": 1280, "height": 900}, **more
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.url, self.scripts = url, scripts
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"{self.page.url}: {error}"))
        self.page.on("console", self._heard)
        self.page.on("response", self._answered)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "status of 4" not in message.text:
            self.faults.append(f"{self.page.url}: {message.text}")

    def _answered(self, response: Any) -> None:
        if response.status >= 500:
            self.faults.append(f"{response.url}: {response.status}")

    def close(self) -> None:
        self.page.context.close()

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def open(self, address: str) -> None:
        self.page.goto(self.url + address)

    def link(self, pattern: str) -> str:
        """The address of the page's first link that matches."""
        addresses: list[str] = re.findall(r'href="([^"]+)"', self.page.content())
        found = next((one for one in addresses if re.fullmatch(pattern, one)), None)
        assert found, f"no link {pattern} on {self.page.url}"
        return found.replace("&amp;", "&")

    def follow(self, pattern: str) -> None:
        """Go where the first link leads whose address matches."""
        address = self.link(pattern).replace('"', '\\"')
        self._press(self.page.locator(f'main a[href="{address}"], nav a[href="{address}"]').first)

    def fill(self, form: str, **values: str | bool) -> None:
        """Enter into the form that goes to `form`. A dot in a field's name is written __."""
        for name, value in values.items():
            field = self.page.locator(f'form[action="{form}"] [name="{name.replace("__", ".")}"]').first
            self._enter(field, value)

    def check(self, form: str, name: str, *values: str) -> None:
        """Tick those boxes of a name and untick its others."""
        for box in self.page.locator(f'form[action="{form}"] [name="{name}"]:not([disabled])').all():
            wanted = box.get_attribute("value") in values
            if box.is_checked() != wanted:
                self._tick(box)

    def send(self, form: str, button: str = "button") -> None:
        """Send the form that goes to `form`."""
        self._press(self.page.locator(f'form[action="{form}"] {button}').first)

    def press(self, selector: str) -> None:
        """A button that leads to no other page."""
        self._press(self.page.locator(selector).first, leads=False)

    def do(self, address: str, **values: str | bool) -> None:
        """An act on a page of its own: go there by its link, enter, look, confirm."""
        self.follow(re.escape(address))
        self.fill(address, **values)
        self.send(address)
        assert self.path != address, f"{address} was refused: {self.said()}"

    def said(self) -> str:
        return self.page.locator("main").inner_text()

    def attach(self, form: str, name: str, file: Path) -> None:
        self.page.locator(f'form[action="{form}"] [name="{name}"]').set_input_files(file)

    def open_details(self, form: str, name: str) -> None:
        """Unfold what a field is folded away in."""
        field = self.page.locator(f'form[action="{form}"] [name="{name}"]').first
        if not field.is_visible():
            self._press(field.locator("xpath=ancestor::details[1]/summary"), leads=False)

    def _press(self, target: Locator, *, leads: bool = True) -> None:
        with self.page.expect_navigation() if leads else nullcontext():
            target.click()

    def _tick(self, box: Locator) -> None:
        box.click()

    def _enter(self, field: Locator, value: str | bool) -> None:
        if isinstance(value, bool):
            field.set_checked(value)
        elif field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


class Keys(Hands):
    """The same with the keyboard alone: what Tab does not reach is not there, and where the focus is must show."""

    def _reach(self, target: Locator) -> None:
        handle = target.element_handle()
        for _ in range(TABS):
            if self.page.evaluate("element => element === document.activeElement", handle):
                assert target.evaluate(OUTLINED), f"the focus does not show: {target} on {self.page.url}"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {target} on {self.page.url}")

    def _press(self, target: Locator, *, leads: bool = True) -> None:
        self._reach(target)
        with self.page.expect_navigation() if leads else nullcontext():
            self.page.keyboard.press("Enter")

    def _tick(self, box: Locator) -> None:
        self._reach(box)
        self.page.keyboard.press("Space")

    def _enter(self, field: Locator, value: str | bool) -> None:
        self._reach(field)
        keyboard = self.page.keyboard
        if isinstance(value, bool):
            if field.is_checked() != value:
                keyboard.press("Space")
        elif field.evaluate("element => element.tagName") == "SELECT":
            keyboard.press("Home")
            for _ in range(field.locator("option").count()):
                if field.input_value() == value:
                    return
                keyboard.press("ArrowDown")
            assert field.input_value() == value
        elif field.get_attribute("type") == "date":
            field.fill(value)  # how its parts are typed is the browser's own affair
        else:
            keyboard.press("ControlOrMeta+A")
            keyboard.insert_text(value)

    def attach(self, form: str, name: str, file: Path) -> None:
        self._reach(self.page.locator(f'form[action="{form}"] [name="{name}"]'))
        with self.page.expect_file_chooser() as chosen:
            self.page.keyboard.press("Enter")
        chosen.value.set_files(file)

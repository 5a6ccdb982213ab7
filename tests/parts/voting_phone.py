"""The voting page in Chromium, as a person with a phone uses it."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Error, Locator, TimeoutError
from playwright.sync_api import Page as PlaywrightPage

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1400, "height": 850}, "has_touch": False, "is_mobile": False}
WAIT = 30_000  # milliseconds
_SCREEN = "document.querySelector('#main').innerText + document.querySelector('#actions').innerText"


class Phone:
    """One window. The page ignores taps that come too early, so a person here taps again until something happens."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: PlaywrightPage = context.new_page()
        self.page.set_default_timeout(WAIT)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def eventually(self, look: Callable[[], Any], wanted: Any = True) -> None:
        """Look until what is wanted is there. Events of the browser are handled meanwhile."""
        end = time.monotonic() + WAIT / 1000
        while (found := look()) != wanted:
            assert time.monotonic() < end, f"{found!r} instead of {wanted!r}"
            self.page.wait_for_timeout(20)

    def open(self, address: str) -> "Phone":
        self.page.goto("about:blank")  # another `#` alone would load nothing
        self.page.goto(address)
        return self

    def click(self, what: str | Locator) -> None:
        """Click until the screen is another one."""
        locator = self.page.locator(what) if isinstance(what, str) else what
        self.page.bring_to_front()  # a tab in the background paints seldom, and takes no tap before it has
        locator.wait_for()
        before = self._screen()

        def changed() -> bool:
            with contextlib.suppress(TimeoutError):  # the click before has taken it away just now
                if locator.is_visible():
                    locator.click(timeout=WAIT / 6)
            return self._screen() != before

        self.eventually(changed)

    def _screen(self) -> str:
        try:
            return self.page.evaluate(_SCREEN)
        except Error:  # the page is loaded anew at this moment
            return ""

    def action(self, index: int = 0) -> None:
        """Tap on a button at the foot."""
        self.click(self.page.locator("#actions button").nth(index))

    def join(self, link: str) -> "Phone":
        """Open a link, consent, and wait for the first card."""
        self.open(link).action(1)
        self.page.locator("#prompt").wait_for()
        return self

    def vote(self, vote: str) -> None:
        self.click("#" + vote)

    def chip(self, text: str) -> Locator:
        return self.page.locator("#chips button", has_text=text)

    def menu(self, entry: str) -> None:
        """Open the menu and choose."""
        self.click("#open-menu")
        self.click(self.page.locator("#menu button", has_text=entry))

    @property
    def heading(self) -> str:
        return self.page.locator("main h2").first.inner_text()

    @property
    def prompt(self) -> str:
        return self.page.locator("#prompt").inner_text()

    @property
    def notice(self) -> str:
        return self.page.locator("#notice").inner_text()

    @property
    def said(self) -> str:
        """What a screen reader heard last."""
        return self.page.locator("#live").text_content() or ""

    def mine(self) -> int:
        return int(self.page.locator("#mine").inner_text().split()[-1])

    def outbox(self) -> list[str]:
        """Votes that wait on the device."""
        return self.page.evaluate("Object.keys(localStorage).filter(name => name.startsWith('kto.vote.'))")


@contextmanager
def phone(browser: Browser, **options: Any) -> Iterator[Phone]:
    """Open a window that knows nothing of others; an error of the page's code fails the test."""
    context = browser.new_context(**{**PHONE, **options})
    try:
        opened = Phone(context)
        yield opened
        assert opened.errors == []
    finally:
        context.close()

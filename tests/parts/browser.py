"""Argilla's web page in Chromium, as a person uses it."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Response, sync_playwright
from playwright.sync_api import Page as PlaywrightPage

# As root in a container, and without Chromium's own errands on the network.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 30_000  # milliseconds


class Page:
    """The annotation page. Methods that send something return what Argilla stored: (status, vote)."""

    def __init__(self, page: PlaywrightPage, url: str) -> None:
        self.page = page
        self.url = url
        page.set_default_timeout(WAIT)

    def log_in(self, name: str, password: str) -> None:
        """Log in and open the only dataset."""
        self.page.goto(self.url)
        self.page.locator("input[type=text]").fill(name)
        self.page.locator("input[type=password]").fill(password)
        self.page.locator("button[type=submit]").click()
        self.page.locator(".dataset-card").first.click()
        self._ready()

    def fonts(self, selector: str) -> list[tuple[str, set[str]]]:
        """Return the own text of each element that is shown, and the families of fonts that its letters are from."""
        texts = self.page.evaluate(
            """selector => [...document.querySelectorAll(selector)].flatMap(element => {
                const own = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join("");
                if (!own.trim()) return [];
                element.dataset.ownText = "";
                return [own];
            })""",
            selector,
        )
        session = self.page.context.new_cdp_session(self.page)
        session.send("DOM.enable")
        session.send("CSS.enable")
        root = session.send("DOM.getDocument")["root"]["nodeId"]
        nodes = session.send("DOM.querySelectorAll", {"nodeId": root, "selector": "[data-own-text]"})["nodeIds"]
        found = []
        for text, node in zip(texts, nodes, strict=True):
            if used := session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]:
                found.append((text, {font["familyName"] for font in used}))
        session.detach()
        return found

    def first_is_right_of_last(self, text: str) -> bool:
        """Tell whether the first character of a text on one line is shown to the right of its last one."""
        return self.page.evaluate(
            """words => {
                const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
                for (let node; node = walker.nextNode();) {
                    const at = node.data.indexOf(words), range = document.createRange();
                    if (at < 0 || !node.parentElement.offsetParent) continue;
                    const left = place => {
                        range.setStart(node, place);
                        range.setEnd(node, place + 1);
                        return range.getBoundingClientRect().left;
                    };
                    return left(at) > left(at + words.length - 1);
                }
            }""",
            text,
        )

    def shows(self, text: str) -> bool:
        return self.page.get_by_text(text).first.is_visible()

    def vote_with_mouse(self, vote: str) -> tuple[str, str | None]:
        self.page.locator(f"label[for=vote_{vote}]").click()
        return self._send(lambda: self.page.locator("button.button--submit").click())

    def vote_with_keys(self, key: str) -> tuple[str, str | None]:
        self.page.keyboard.press(key)
        self.page.locator("button.button--submit:not([disabled])").wait_for()
        return self._send(lambda: self.page.keyboard.press("Enter"))

    def save_draft(self, vote: str) -> tuple[str, str | None]:
        self.page.locator(f"label[for=vote_{vote}]").click()
        return self._send(lambda: self.page.locator("button.button--draft").click())

    def discard(self) -> tuple[str, str | None]:
        return self._send(lambda: self.page.locator("button.button--discard").click())

    def next(self) -> None:
        """Go to the next record."""
        counter = self.page.locator(".pagination").first.inner_text()
        self.page.locator("button[aria-label^=Next]").click()
        self.page.wait_for_function("old => document.querySelector('.pagination').innerText !== old", arg=counter)
        self._ready()

    def find(self, pairs: Collection[tuple[str, str]]) -> None:
        """Go on until the record shows one of these questions with its answer; one that follows must."""

        def shown() -> bool:
            text = self.page.locator(".record").first.inner_text()
            return any(question in text and answer in text for question, answer in pairs)

        while not shown():
            self.next()

    def open_guidelines(self) -> None:
        self.page.locator("button.panel__header").first.click()
        self.page.locator("table").first.wait_for()
        # The panel slides up.
        self.page.evaluate(
            """() => new Promise(done => {
                let last = NaN;
                const look = () => {
                    const top = document.querySelector("table").getBoundingClientRect().top;
                    if (top === last) done(); else { last = top; setTimeout(look, 100); }
                };
                look();
            })"""
        )

    def screenshot(self, path: Path) -> None:
        self._ready()
        self.page.evaluate("document.fonts.ready")
        self.page.screenshot(path=path)

    def _ready(self) -> None:
        """Wait for a record that can be judged."""
        self.page.locator("label[for=vote_good]").wait_for()
        self.page.wait_for_load_state("networkidle")

    def _send(self, act) -> tuple[str, str | None]:
        before = self.page.locator(".text_field_component__area, .record").first.inner_text()

        def stored(response: Response) -> bool:
            return "/responses" in response.url and response.request.method in ("POST", "PUT")

        with self.page.expect_response(stored) as info:
            act()
        answer = info.value.json()
        if "items" in answer:
            answer = answer["items"][0]["item"]
        if answer["status"] == "submitted":  # the page goes on by itself
            self.page.wait_for_function(
                "old => { const r = document.querySelector('.text_field_component__area, .record');"
                " return r && r.innerText !== old; }",
                arg=before,
            )
        self._ready()
        return answer["status"], ((answer["values"] or {}).get("vote") or {}).get("value")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    program = os.environ.get("KTO_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of a module; on a machine that has none, its tests are skipped."""
    if shutil.which("chromium") is None and not os.environ.get("KTO_CHROMIUM"):
        pytest.skip("no Chromium on this machine; KTO_CHROMIUM names one")
    with chromium() as browser:
        yield browser


@contextmanager
def open_page(browser: Browser, url: str, language: str) -> Iterator[Page]:
    """Open a window of 1280 × 800 pixels that asks for pages in `language` and knows nothing of other windows."""
    with closing(browser.new_context(viewport={"width": 1280, "height": 800}, locale=language)) as context:
        yield Page(context.new_page(), url)


@contextmanager
def open_browser(url: str, language: str) -> Iterator[Page]:
    """Start the browser for one window, as `open_page` opens it."""
    with chromium() as browser, open_page(browser, url, language) as page:
        yield page

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it; gone after these tests, since Playwright keeps an event loop running."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if not chromium:
        pytest.skip("there is no Chromium; on Debian: apt install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`open_page(url, **context)`: a page that may complain of nothing and ask nothing of any other server."""
    pages: list[Page] = []
    complaints: list[str] = []

    def open_one(url: str, **context: Any) -> Page:
        page = browser.new_context(**context).new_page()
        origin = "/".join(url.split("/")[:3])

        def watch(request: Request) -> None:
            if not request.url.startswith((origin, "data:")):
                complaints.append(f"asked {request.url}")

        def hear(message: ConsoleMessage) -> None:
            refused = "status of 400" in message.text  # Chromium says so itself; the page tells the person why
            if message.type in ("error", "warning") and not refused:
                complaints.append(message.text)

        page.on("request", watch)
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        pages.append(page)
        return page

    yield open_one
    for page in pages:
        page.context.close()
    assert not complaints

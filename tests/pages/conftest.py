"""Pages in a real browser."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page


def is_trouble(message: ConsoleMessage) -> bool:
    """Whether the browser complains: of an answer with an error status it does so whatever the page makes of it."""
    return message.type == "error" and not message.text.startswith("Failed to load resource: the server responded")


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address in a browser of its own; options are Playwright's, such as `color_scheme="dark"`.

    At the end no script may have failed, and the browser may have refused nothing.
    """
    contexts, troubles = [], list[str]()

    def opened(url: str, width: int = 1280, height: int = 800, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if is_trouble(message) else None)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []

"""A headless Chromium. Where there is none, these tests are skipped: `make test-browser` installs it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SLOWEST_MS = 300_000


@pytest.fixture(scope="session")
def chromium():
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser: `make test-browser`")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a Chromium: none of {', '.join(NAMES)} is on the PATH; `make test-browser`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"], timeout=SLOWEST_MS
        )
        yield browser
        browser.close()


class Visit:
    """A page with everything that it complained about and asked for."""

    def __init__(self, page) -> None:
        self.page, self.complaints, self.requests = page, [], []
        page.set_default_timeout(SLOWEST_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, address: str) -> "Visit":
        self.page.goto(address)
        return self

    def ready(self) -> "Visit":
        self.page.wait_for_selector(".viewer[aria-busy='false']")
        return self

    def set(self, name: str, value: float) -> None:
        """Move a slider as its user does: the browser tells the page of the new value."""
        self.page.locator(f".viewer input[name={name}]").evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
            value,
        )

    def pixels(self, selector: str) -> np.ndarray:
        """What is on the screen there, ``(height, width, 3)``."""
        import imageio.v3 as imageio

        return imageio.imread(self.page.locator(selector).first.screenshot())[..., :3].astype(int)

    def drawn(self, selector: str) -> np.ndarray:
        """What a 2-D canvas holds, ``(height, width, 3)``, one value for each pixel of the image."""
        values, height, width = self.page.locator(selector).first.evaluate(
            """canvas => {
              // a copy that is meant to be read: the browser warns of reading the page's own
              const copy = new OffscreenCanvas(canvas.width, canvas.height);
              const context = copy.getContext("2d", { willReadFrequently: true });
              context.drawImage(canvas, 0, 0);
              return [[...context.getImageData(0, 0, copy.width, copy.height).data], copy.height, copy.width];
            }"""
        )
        return np.array(values).reshape(height, width, 4)[..., :3]


@pytest.fixture
def visit(chromium):
    """Open pages of a width and a colour scheme; `with visit(400, "dark") as seen: seen.open(address)`."""

    @contextmanager
    def opened(width: int = 1280, scheme: str = "light") -> Iterator[Visit]:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        try:
            yield Visit(context.new_page())
        finally:
            context.close()

    return opened

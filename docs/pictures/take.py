"""Take the pictures of the README again, from the real page on what the repository ships.

    python docs/pictures/take.py [NAME ...]

A home with the sample dataset, the demo adapter and its recorded run is made in a temporary folder; the real
app serves it to a real Chromium. One answer is the starter model's own, so the first time it is fetched.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from medlora.space.demo import fill_home
from medlora.workspace import Workspace
from tests.browser.conftest import CHROMIUM_FLAGS, App
from tests.install_chromium import find_chromium

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DESK, TELEPHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
LARGEST_BYTES = 200_000
ANSWER_MS = 240_000
QUESTION = "What does an HbA1c of 6.8 % mean?"
EMERGENCY = "Dad went grey and sweaty and is clutching his chest"


def show(page: Page, tab: str) -> None:
    strip = page.get_by_role("tab", name=tab, exact=True)
    if strip.is_visible():
        strip.click()
    else:
        page.locator("#tabs > .tab-wrapper .overflow-menu > button").click()
        page.locator("#tabs > .tab-wrapper .overflow-dropdown").get_by_text(tab, exact=True).click()
    page.get_by_role("heading", name=tab, exact=True, level=2).wait_for()


def data(page: Page) -> None:
    show(page, "Data")
    page.locator("#data-stored input").first.check()
    page.locator("#data-preview .ml-text").first.wait_for()


def configure(page: Page) -> None:
    show(page, "Configure")
    page.locator("#config-problems", has_text="fine").wait_for()


def train(page: Page) -> None:
    show(page, "Train")
    page.locator("#train-checks .ml-checks li").nth(3).wait_for(timeout=ANSWER_MS)
    page.locator("#train-loss polyline").first.wait_for()


def chat(page: Page) -> None:
    show(page, "Chat")
    for number, message in enumerate((QUESTION, EMERGENCY)):
        page.get_by_role("textbox", name="Message").fill(message)
        page.locator("#chat-send").click()
        page.locator("#chat-log .ml-trace").nth(number).wait_for(timeout=ANSWER_MS)
    page.evaluate("scrollTo(0, 0)")


def safety(page: Page) -> None:
    show(page, "Safety")
    page.locator("#safety-message textarea").fill("My left arm feels heavy and I am short of breath")
    page.locator("#safety-judge").click()
    page.locator("#safety-verdict .ml-hit").first.wait_for()


# What a picture shows, how wide, and in which mode.
PICTURES: dict[str, tuple[Callable[[Page], None], dict[str, int], str]] = {
    "data": (data, DESK, "light"),
    "configure": (configure, DESK, "light"),
    "train": (train, DESK, "light"),
    "chat": (chat, DESK, "light"),
    "safety": (safety, DESK, "dark"),
    "telephone": (train, TELEPHONE, "light"),
}


def save(name: str, png: bytes) -> int:
    """Write the picture with as many colours as fit into its size; returns the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        packed = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
        if packed.tell() <= LARGEST_BYTES:
            break
    (HERE / f"{name}.png").write_bytes(packed.getvalue())
    return packed.tell()


def main() -> None:
    wanted = sys.argv[1:] or list(PICTURES)
    with tempfile.TemporaryDirectory(prefix="medlora-pictures-") as folder, sync_playwright() as playwright:
        app = App(Path(folder) / "home")
        app.home.mkdir()
        # The real machine's hardware, not that of the tests.
        app.environment = {
            "CI": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            "MEDLORA_HARDWARE": None,
        }
        fill_home(Workspace.open(app.home), ROOT)
        app.start()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        try:
            for name in wanted:
                prepare, size, mode = PICTURES[name]
                context = browser.new_context(viewport=size, color_scheme=mode, reduced_motion="reduce")  # type: ignore[arg-type]
                page = context.new_page()
                page.set_default_timeout(60_000)
                page.goto(app.url)
                page.locator(".ml-facts", has_text="GiB").wait_for(timeout=ANSWER_MS)
                prepare(page)
                page.wait_for_timeout(800)
                height = max(size["height"], 1180) if size is DESK else 1500
                page.set_viewport_size({"width": size["width"], "height": height})
                page.wait_for_timeout(800)
                sys.stdout.write(f"{name}: {save(name, page.screenshot()):,} bytes\n")
                context.close()
        finally:
            browser.close()
            app.end()


if __name__ == "__main__":
    main()

"""Take the README screenshots of the player and the gallery: `uv run python docs/screenshots.py`. Needs Chromium."""

import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
from playwright.sync_api import Page, expect, sync_playwright

from luma_mcp_server.gallery import PAGE_SIZE, running_gallery
from luma_mcp_server.models import ImageRequest, VideoRequest
from luma_mcp_server.pricing import estimate
from luma_mcp_server.purchases.journal import Journal
from luma_mcp_server.purchases.purchase import Purchase
from luma_mcp_server.sandbox.pictures import Picture, draw
from luma_mcp_server.settings import Settings

FOLDER = Path(__file__).parent

SHOTS = [
    ("ray-3.2", "16:9", "A lighthouse at dusk, waves breaking below, slow camera orbit"),
    ("ray-3.2", "16:9", "Fog rolls through a valley of pines, first light"),
    ("uni-1", "1:1", "A paper fox on a windowsill, soft morning light"),
    ("ray-2", "16:9", "A red kite rises over green dunes, golden hour"),
    ("ray-3.2", "9:16", "Neon rain on an empty street, handheld, vertical"),
    ("ray-flash-2", "16:9", "A tram crosses a stone bridge in the snow"),
    ("photon-1", "16:9", "Poster of a sailing boat, two colors, grain"),
    ("ray-3.2", "16:9", "Macro shot of a dandelion losing its seeds"),
    ("ray-2", "4:3", "A cat watches fish in a pond, ripples, close-up"),
    ("uni-1-max", "16:9", "Concept art of a harbor town built on stilts"),
    ("ray-3.2", "16:9", "Time lapse of clouds over a mountain lake"),
    ("ray-3.2", "21:9", "A caravan in the desert, wide, heat haze"),
]
DAYS = [day for day in range(30) for _ in range((day * 7 + 3) % 5 + (day == 0) * 9)]
"""How many days ago each was bought: on some days none, on others up to four, and a dozen today."""


def fill(journal: Journal, output: Path) -> None:
    """Write a month's purchases, with clips and images that the sandbox draws."""
    now = datetime.now(UTC)
    for number, days in enumerate(DAYS):
        model, aspect_ratio, prompt = SHOTS[number % len(SHOTS)]
        video = model.startswith("ray")
        request = (
            VideoRequest(
                model=model,
                prompt=prompt,
                resolution="1080p" if number % 5 == 2 else "720p",
                duration="5s",
                aspect_ratio=aspect_ratio,
            )
            if video
            else ImageRequest(model=model, prompt=prompt, aspect_ratio=aspect_ratio)
        )
        price = estimate(request)
        running = number == 1
        purchase = Purchase.from_request(
            request,
            account="account",
            api="agents" if model in ("ray-3.2", "uni-1", "uni-1-max") else "dream_machine",
            tool="generate_video" if video else "generate_image",
            take=number + 1,
            max_usd=price or 0.0,
            price_usd=price,
            user=("ana", "ben")[number % 3 % 2],
        )
        submitted = now - timedelta(days=days, minutes=7 * (number % 12), seconds=38)
        purchase = replace(purchase.submitted(submitted), generation_id=str(uuid.uuid4()), accepted_at=0.0, took_s=60.0)
        if running:
            made = replace(
                purchase, submitted_at=now.timestamp() - 38, status="accepted", state="dreaming", took_s=None
            )
        elif number == 13:
            made = replace(purchase, status="failed", state="failed", refunded=True)
        else:
            made = replace(purchase, status="completed", state="completed")
            shot = Picture(prompt, aspect_ratio, seconds=5.0 if video else 0.0)
            name = "-".join(prompt.lower().replace(",", "").split()[:5])
            ending = "mp4" if video else "jpg"
            (output / f"{name}-{made.generation_id}.{ending}").write_bytes(draw(shot, f"clip.{ending}"))
        anyio.run(journal.reserve, made)


@contextmanager
def opened(width: int = 1280, height: int = 800) -> Iterator[Page]:
    """A page in Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def gallery() -> None:
    """The gallery, with a month of the sandbox's clips."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "Luma")
        output.mkdir()
        settings = Settings(journal=Path(folder, "journal.sqlite3"), output_dir=output, budget_usd=5.0)
        journal = Journal(
            settings.journal, lambda: datetime.now(UTC), None, budget_usd=None, budget_spans_accounts=True
        )
        fill(journal, output)
        with running_gallery(settings) as url, opened() as page:
            page.goto(url)
            expect(page.locator(".card")).to_have_count(PAGE_SIZE)
            for image in page.locator(".card img").all()[:8]:
                expect(image).not_to_have_js_property("naturalWidth", 0)
            page.screenshot(path=FOLDER / "gallery.jpg", type="jpeg", quality=82)


def player() -> None:
    """The player in a chat, with the price of another take."""
    client = {"protocolVersion": "2026-07-28", "clientInfo": {"name": "pictures", "version": "1"}}
    meta = {f"io.modelcontextprotocol/{name}": value for name, value in {**client, "clientCapabilities": {}}.items()}
    with (
        tempfile.TemporaryDirectory() as home,
        subprocess.Popen(
            [sys.executable, "-m", "luma_mcp_server", "--sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"HOME": home, "USERPROFILE": home},
        ) as server,
        opened(760, 640) as page,
    ):
        assert server.stdin
        assert server.stdout

        def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
            print(json.dumps(message), file=server.stdin, flush=True)
            return next(answer for line in server.stdout if "id" in (answer := json.loads(line)))

        page.expose_function("rpc", ask)
        page.set_content((FOLDER.parent / "tests/stdio/host.html").read_text())
        [content] = ask("resources/read", {"uri": "ui://luma/player"})["result"]["contents"]
        call = {"name": "generate_video", "arguments": {"prompt": "A red kite rises over green dunes, golden hour"}}
        made = ask("tools/call", call)["result"]
        can = {"serverTools": {}, "serverResources": {}}
        options = {"hostCapabilities": can, "hostContext": {"theme": "light"}, "results": [made]}
        page.evaluate("([html, options]) => open(html, '', options)", [content["text"], options])
        frame = page.frame_locator("iframe")
        expect(frame.locator(".stage > video, .stage > img")).to_be_visible()
        frame.get_by_role("button", name="Another take").click()
        expect(frame.get_by_role("button", name="Buy")).to_be_visible()
        page.screenshot(path=FOLDER / "player.jpg", type="jpeg", quality=85)
        server.stdin.close()


if __name__ == "__main__":
    gallery()
    player()

"""How long the gallery's server takes for what its page asks for first, and later, of 5,000 generations."""

import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
from harness import report

from luma_mcp_server.gallery import PAGE_SIZE, running_gallery
from luma_mcp_server.models import VideoRequest
from luma_mcp_server.purchases.journal import Journal
from luma_mcp_server.purchases.purchase import Purchase
from luma_mcp_server.settings import Settings

ROWS, ROUNDS, MONTHS_S = 5_000, 30, 180 * 86400
MODELS = ("ray-3.2", "ray-2", "ray-flash-2")
FIRST = "first page of 60, with totals and chart"
ASKED = {
    "overview": ["overview"],
    "generations": ["generations"],
    FIRST: ["", "overview", "generations"],
    "last page": [f"generations?offset={ROWS - PAGE_SIZE}"],
    "search that finds few": ["generations?text=number+4711"],
    "filter by state, model and day": ["generations?state=failed&model=ray-2&day=2026-11-01"],
}


def purchases() -> Iterator[Purchase]:
    """Half a year's."""
    now = datetime.now(UTC)
    for number in range(ROWS):
        request = VideoRequest(
            model=MODELS[number % 3], prompt=f"A red kite over green dunes, number {number}", resolution="720p",
            duration="5s", aspect_ratio="16:9",
        )  # fmt: skip
        bought = Purchase.from_request(
            request,
            account="account",
            api="agents",
            tool="generate_video",
            take=1,
            max_usd=0.3,
            price_usd=0.3,
            user=None,
        ).submitted(now - timedelta(seconds=MONTHS_S * number / ROWS))
        state = "failed" if number % 20 == 19 else "completed"
        yield replace(bought, status=state, state=state, generation_id=str(uuid.uuid4()), took_s=60.0)


async def fill(path: Path, output: Path) -> None:
    """Rows, and an empty file for each that has completed: the names are read, the content is not."""
    journal = Journal(path, lambda: datetime.now(UTC), None, budget_usd=None, budget_spans_accounts=True)
    for purchase in purchases():
        await journal.reserve(purchase)
        if purchase.status == "completed":
            (output / f"a-red-kite-over-green-dunes-{purchase.generation_id}.mp4").touch()


def timed(http: httpx.Client, paths: list[str]) -> float:
    """Milliseconds that some answers take, one after the other."""
    started = time.perf_counter()
    for path in paths:
        http.get(path).raise_for_status()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        settings = Settings(journal=Path(folder, "journal.sqlite3"), output_dir=Path(folder))
        anyio.run(fill, Path(folder, "journal.sqlite3"), Path(folder))
        with running_gallery(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
            times = {name: [timed(http, paths) for _ in range(ROUNDS)] for name, paths in ASKED.items()}
    report(f"of {ROWS:,} generations ({FIRST}: target 100 ms)", times, 1)

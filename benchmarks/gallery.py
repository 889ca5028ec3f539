"""How long the gallery's server takes for what its page asks for first, and later, of 5,000 generations."""

import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import httpx

from luma_mcp_server.gallery import PAGE_SIZE, running_gallery
from luma_mcp_server.models import VideoRequest
from luma_mcp_server.purchases.journal import Journal
from luma_mcp_server.purchases.purchase import Purchase
from luma_mcp_server.settings import Settings

from .harness import Figure, elapsed_ms, medians, submitted, table

ROWS, ROUNDS, MONTHS_S = 5_000, 30, 180 * 86400
MODELS = ("ray-3.2", "ray-2", "ray-flash-2")
ASKED = {
    "first page, with totals and chart": ["", "overview", "generations"],
    "last page": [f"generations?offset={ROWS - PAGE_SIZE}"],
    "search that finds few": ["generations?text=number+4711"],
    "filter by state, model and day": ["generations?state=failed&model=ray-2&day=2026-11-01"],
}
TARGETS_MS = {"first page, with totals and chart": 100}


def purchases() -> Iterator[Purchase]:
    """Half a year's."""
    now = datetime.now(UTC)
    for number in range(ROWS):
        prompt = f"A red kite over green dunes, number {number}"
        request = VideoRequest(model=MODELS[number % 3], prompt=prompt, resolution="720p", duration="5s")
        bought = submitted(request, now - timedelta(seconds=MONTHS_S * number / ROWS))
        state = "failed" if number % 20 == 19 else "completed"
        yield replace(bought, status=state, state=state, generation_id=str(uuid.uuid4()), took_s=60.0)


async def fill(path: Path, output: Path) -> None:
    """Rows, and an empty file for each that has completed: the names are read, the content is not."""
    journal = Journal(path, lambda: datetime.now(UTC), None, budget_usd=None, budget_spans_accounts=True)
    for purchase in purchases():
        await journal.reserve(purchase)
        if purchase.status == "completed":
            (output / f"a-red-kite-over-green-dunes-{purchase.generation_id}.mp4").touch()


def fetch(http: httpx.Client, paths: list[str]) -> None:
    for path in paths:
        http.get(path).raise_for_status()


def measure(place: str | None = None) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        settings = Settings(journal=Path(folder, "journal.sqlite3"), output_dir=Path(folder))
        anyio.run(fill, Path(folder, "journal.sqlite3"), Path(folder))
        with running_gallery(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
            works = [partial(elapsed_ms, partial(fetch, http, paths)) for paths in ASKED.values()]
            times = medians(ROUNDS, *works)
    note = f"{ROWS:,} generations"
    return [
        Figure(f"gallery: {name}", took, "ms", at_most=TARGETS_MS.get(name), note=note)
        for name, took in zip(ASKED, times, strict=True)
    ]


if __name__ == "__main__":
    print(table(measure(*sys.argv[1:2])))

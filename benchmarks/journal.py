"""What the journal costs: the work of one creating call in it, and ten thousand rows against none."""

import json
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import anyio
from harness import OURS, Server, sandbox

from luma_mcp_server.models import Generation, ImageRequest
from luma_mcp_server.purchases.journal import Journal
from luma_mcp_server.purchases.purchase import Purchase

CALLS, WARM_UPS = 200, 20
ROWS, MONTHS_S = 10_000, 180 * 86400
LINKS = {"LUMA_MCP_SAVE": "off"}


def create(server: Server, number: int) -> float:
    """Milliseconds that a creating call takes."""
    started = time.perf_counter()
    server.call("generate_image", prompt=f"A red kite over green dunes, {number}", wait_s=0)
    return 1000 * (time.perf_counter() - started)


async def cost(folder: Path) -> None:
    """All that a creating call asks of the journal, up to Luma's first answer."""
    journal = Journal(
        folder / "journal.sqlite3",
        lambda: datetime.now(UTC),
        ["account"],
        budget_usd=1e6,
        budget_spans_accounts=True,
    )
    times: list[float] = []
    for number in range(WARM_UPS + CALLS):
        request = ImageRequest(model="photon-1", prompt=f"A red kite over green dunes, {number}")
        purchase = Purchase.from_request(
            request, account="account", api="dream_machine", tool="generate_image", take=1, max_usd=0.02
        ).submitted(datetime.now(UTC))
        started = time.perf_counter()
        assert await journal.active_purchase(purchase) is None
        await journal.check_budget(purchase.max_usd)
        assert await journal.reserve(purchase) is purchase
        await journal.accept(purchase.id, Generation(generation_id=f"job-{number}", state="queued"))
        assert await journal.find(purchase.id)
        await journal.unfinished()
        await journal.usual_seconds(purchase)
        times.append(1000 * (time.perf_counter() - started))
    kept = times[WARM_UPS:]
    title = f"the journal's part of {CALLS} creating calls"
    print(f"{title:44}{'median':>14}{'95 of 100':>17}")
    print(f"{'(target: median at most 5 ms)':44}{median(kept):11.1f} ms{quantiles(kept, n=20)[18]:14.1f} ms\n")


def written(state: Path) -> list[dict[str, Any]]:
    """The rows of a journal."""
    with closing(sqlite3.connect(state / "journal-sandbox.sqlite3")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM purchases")]


def fill(state: Path) -> None:
    """Put rows of half a year beside the first one, as a busy user would have left them."""
    [pattern, *_] = written(state)
    chance = random.Random(1)
    names = list(pattern)
    rows = []
    for number in range(ROWS):
        status = chance.choices(["completed", "failed", "rejected", "deleted", "accepted"], [90, 4, 3, 2, 1])[0]
        made = status != "rejected"
        age = chance.uniform(60, MONTHS_S)
        row = pattern | {
            "id": f"request-{number:032x}",
            "idempotency_key": f"{chance.getrandbits(256):064x}",
            "request": json.dumps(json.loads(pattern["request"]) | {"prompt": f"A lake, seen {number} times. " * 8}),
            "submitted_at": pattern["submitted_at"] - age,
            "status": status,
            "generation_id": f"00000000-0000-4000-8000-{number:012x}" if made else None,
            "state": {"accepted": "dreaming", "failed": "failed"}.get(status, "completed") if made else None,
            "accepted_at": pattern["submitted_at"] - age + 1 if made else None,
            "took_s": chance.uniform(20, 90) if status == "completed" else None,
            "refunded": int(status == "failed"),
            "active": int(status in ("completed", "accepted")),
            "max_usd": 0.01,
            "media_url": f"https://example.com/{number}.jpg" if made else None,
        }
        rows.append([row[name] for name in names])
    with closing(sqlite3.connect(state / "journal-sandbox.sqlite3")) as db, db:
        db.executemany(f"INSERT INTO purchases ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows)


def growth(folder: Path, environ: dict[str, str]) -> None:
    """Several calls with few rows and with many, in turns."""
    servers, ids = {}, {}
    for name in ("few rows", "many rows"):
        state = folder / name
        first = Server(*OURS, **environ, **LINKS, LUMA_MCP_JOURNAL=str(state / "journal.sqlite3"))
        ids[name] = first.call("generate_image", prompt=f"The first of {name}")["generation_id"]
        first.__exit__()
        if name == "many rows":
            fill(state)
        servers[name] = Server(*OURS, **environ, **LINKS, LUMA_MCP_JOURNAL=str(state / "journal.sqlite3"))
    numbers = iter(range(1_000_000))
    calls = {
        "generate_image(wait_s=0)": lambda server, _: create(server, next(numbers)),
        "get_generation": lambda server, job: timed(server, "get_generation", generation_id=job),
        "list_generations": lambda server, _: timed(server, "list_generations"),
        "list of completed ones": lambda server, _: timed(server, "list_generations", state="completed"),
        "wait_for_generations": lambda server, job: timed(server, "wait_for_generations", generation_ids=[job]),
        "get_account": lambda server, _: timed(server, "get_account"),
    }
    print(f"{f'{CALLS} alternating calls':28}{'few rows':>12}{f'{ROWS} more':>14}{'ratio':>9}   (target: at most 1.1)")
    for what, call in calls.items():
        times: dict[str, list[float]] = {name: [] for name in servers}
        for number in range(WARM_UPS + CALLS):
            for name in sorted(servers, reverse=bool(number % 2)):
                times[name].append(call(servers[name], ids[name]))
        few, many = (median(times[name][WARM_UPS:]) for name in servers)
        print(f"{what:28}{few:9.2f} ms{many:11.2f} ms{many / few:9.2f}")
    for server in servers.values():
        server.__exit__()


def timed(server: Server, tool: str, **arguments: Any) -> float:
    started = time.perf_counter()
    server.call(tool, **arguments)
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, sandbox(seconds=0, limits=False, balance_usd=1e6) as environ:
        place = Path(sys.argv[1] if sys.argv[1:] else folder)
        anyio.run(cost, place)
        growth(place, environ)

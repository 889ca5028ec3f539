"""What the journal costs: the work of one creating call in it, and ten thousand rows against none."""

import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import anyio

from luma_mcp_server.models import Generation, ImageRequest
from luma_mcp_server.purchases.journal import Journal

from .harness import OURS, Figure, Server, elapsed_ms, medians, sandbox, submitted, table

CALLS, WARM_UPS = 200, 20
ROWS, MONTHS_S = 10_000, 180 * 86400
LINKS = {"LUMA_MCP_SAVE": "off"}


async def cost(folder: Path) -> Figure:
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
        purchase = submitted(request, datetime.now(UTC))
        started = time.perf_counter()
        assert await journal.active_purchase(purchase) is None
        await journal.check_budget(purchase.max_usd)
        assert await journal.reserve(purchase) is purchase
        await journal.accept(purchase.id, Generation(generation_id=f"job-{number}", state="queued"))
        assert await journal.find(purchase.id)
        await journal.unfinished()
        await journal.find_timed(purchase.id)
        times.append(1000 * (time.perf_counter() - started))
    kept = times[WARM_UPS:]
    note = f"95 of 100 within {quantiles(kept, n=20)[18]:.1f} ms"
    return Figure("the journal's part of a creating call", median(kept), "ms", at_most=5, note=note)


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


def growth(folder: Path, environ: dict[str, str]) -> list[Figure]:
    """Several calls with few rows and with many, in turns."""
    with ExitStack() as stack:
        servers = []
        for name in ("few rows", "many rows"):
            given = environ | LINKS | {"LUMA_MCP_JOURNAL": str(folder / name / "journal.sqlite3")}
            with Server(*OURS, **given) as first:
                job = first.call("generate_image", prompt=f"The first of {name}")["generation_id"]
            if name == "many rows":
                fill(folder / name)
            servers.append((stack.enter_context(Server(*OURS, **given)), job))
        return [compare(name, call, servers) for name, call in calls().items()]


def calls() -> dict[str, Callable[[Server, str], object]]:
    """What a server is asked, with a generation that it knows."""
    numbers = count()
    return {
        "generate_image": lambda server, _: server.call(
            "generate_image", prompt=f"A red kite over green dunes, {next(numbers)}", wait_s=0
        ),
        "get_generation": lambda server, job: server.call("get_generation", generation_id=job),
        "list_generations": lambda server, _: server.call("list_generations"),
        "list of completed ones": lambda server, _: server.call("list_generations", state="completed"),
        "wait_for_generations": lambda server, job: server.call("wait_for_generations", generation_ids=[job]),
        "get_account": lambda server, _: server.call("get_account"),
    }


def compare(name: str, call: Callable[[Server, str], object], servers: list[tuple[Server, str]]) -> Figure:
    few, many = medians(CALLS, *(partial(elapsed_ms, partial(call, *server)) for server in servers), warm_ups=WARM_UPS)
    note = f"{many:.1f} ms, {few:.1f} ms without; {CALLS} alternating calls"
    return Figure(f"{name} with {ROWS:,} more rows, to none", many / few, at_most=1.1, note=note)


def measure(place: str | None = None) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        sandbox(seconds=0, limits=False, balance_usd=1e6) as environ,
    ):
        return [anyio.run(cost, Path(folder)), *growth(Path(folder), environ)]


if __name__ == "__main__":
    print(table(measure(*sys.argv[1:2])))

"""What the journal costs: a file against memory, and ten thousand rows against none."""

import json
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from harness import OURS, Server, sandbox

CALLS, WARM_UPS = 200, 20
ROWS, MONTHS_S = 10_000, 180 * 86400
LINKS = {"LUMA_MCP_SAVE": "off"}


def create(server: Server, number: int) -> float:
    """Milliseconds that a creating call takes."""
    started = time.perf_counter()
    server.call("generate_image", prompt=f"A red kite over green dunes, {number}", wait_s=0)
    return 1000 * (time.perf_counter() - started)


def cost(folder: Path, environ: dict[str, str]) -> None:
    """The same calls with the journal in a file and in memory, in turns."""
    (folder / "regular").write_text("")
    places = {"in a file": folder / "state", "in memory": folder / "regular" / "state"}
    servers = {name: Server(*OURS, **environ, **LINKS, LUMA_MCP_STATE_DIR=str(place)) for name, place in places.items()}
    times: dict[str, list[float]] = {name: [] for name in places}
    for number in range(WARM_UPS + CALLS):
        for name in sorted(servers, reverse=bool(number % 2)):
            times[name].append(create(servers[name], number if name == "in a file" else -1 - number))
    for server in servers.values():
        server.__exit__()
    assert len(written(places["in a file"])) == WARM_UPS + CALLS
    assert not places["in memory"].exists()
    kept = {name: all_ms[WARM_UPS:] for name, all_ms in times.items()}
    more = [one - two for one, two in zip(kept["in a file"], kept["in memory"], strict=True)]
    title = f"generate_image(wait_s=0), {CALLS} alternating calls"
    print(f"{title:44}{'median':>14}{'95 of 100':>17}")
    for name, all_ms in (kept | {"added, call by call (targets: 5, 25 ms)": more}).items():
        print(f"{name:44}{median(all_ms):11.1f} ms{quantiles(all_ms, n=20)[18]:14.1f} ms")
    print(f"{'difference of the two lines':44}", end="")
    one, two = kept["in a file"], kept["in memory"]
    print(f"{median(one) - median(two):11.1f} ms{quantiles(one, n=20)[18] - quantiles(two, n=20)[18]:14.1f} ms\n")


def written(state: Path) -> list[dict[str, Any]]:
    """The rows of a journal."""
    with closing(sqlite3.connect(state / "sandbox.sqlite3")) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM jobs")]


def fill(state: Path) -> None:
    """Put rows of half a year beside the first one, as a busy user would have left them."""
    [pattern, *_] = written(state)
    chance = random.Random(1)
    names = list(pattern)
    rows = []
    for number in range(ROWS):
        status = chance.choices(
            ["completed", "failed", "refused", "rejected", "deleted", "submitted"], [90, 4, 2, 1, 2, 1]
        )[0]
        made = status not in ("refused", "rejected")
        age = chance.uniform(60, MONTHS_S)
        row = pattern | {
            "id": f"request-{number:032x}",
            "identity": f"{chance.getrandbits(256):064x}",
            "request": json.dumps(json.loads(pattern["request"]) | {"prompt": f"A lake, seen {number} times. " * 8}),
            "submitted_at": pattern["submitted_at"] - age,
            "status": status,
            "generation_id": f"00000000-0000-4000-8000-{number:012x}" if made else None,
            "state": {"submitted": "dreaming", "failed": "failed"}.get(status, "completed") if made else None,
            "taken_at": pattern["submitted_at"] - age + 1 if made else None,
            "took_s": chance.uniform(20, 90) if status == "completed" else None,
            "refunded": int(status == "failed"),
            "holds": int(status in ("completed", "submitted")),
            "usd": 0.01,
        }
        rows.append([row[name] for name in names])
    with closing(sqlite3.connect(state / "sandbox.sqlite3")) as db, db:
        db.executemany(f"INSERT INTO jobs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows)


def growth(folder: Path, environ: dict[str, str]) -> None:
    """Several calls with few rows and with many, in turns."""
    servers, ids = {}, {}
    for name in ("few rows", "many rows"):
        state = folder / name
        first = Server(*OURS, **environ, **LINKS, LUMA_MCP_STATE_DIR=str(state))
        ids[name] = first.call("generate_image", prompt=f"The first of {name}")["generation_id"]
        first.__exit__()
        if name == "many rows":
            fill(state)
        servers[name] = Server(*OURS, **environ, **LINKS, LUMA_MCP_STATE_DIR=str(state))
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
    with tempfile.TemporaryDirectory() as folder:
        place = Path(sys.argv[1] if sys.argv[1:] else folder)
        for measure in (cost, growth):
            with sandbox(seconds=0, limits=False, balance_usd=1e6) as environ:
                part = place / measure.__name__
                part.mkdir(parents=True)
                measure(part, environ)

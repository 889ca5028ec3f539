"""How long a client waits from starting the server to having its tools, against a server with one tool."""

import time
from functools import partial
from pathlib import Path

from .harness import OURS, Figure, Server, medians, table

RUNS, WARM_UPS = 20, 2
ONE_TOOL = str(Path(__file__).with_name("one_tool.py"))


def start_ms(*command: str) -> float:
    """Milliseconds to the answer to tools/list; the end of the server does not count."""
    started = time.perf_counter()
    with Server(*command) as server:
        server.ask("tools/list")
        return 1000 * (time.perf_counter() - started)


def measure() -> list[Figure]:
    one_tool, ours = medians(RUNS, partial(start_ms, ONE_TOOL), partial(start_ms, *OURS), warm_ups=WARM_UPS)
    note = f"{ours:.0f} ms to tools/list, {one_tool:.0f} ms with one tool; {RUNS} alternating runs"
    return [Figure("start, to a server with one tool", ours / one_tool, at_most=0.95, note=note)]


if __name__ == "__main__":
    print(table(measure()))

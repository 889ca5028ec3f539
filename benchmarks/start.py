"""How long a client waits from starting the server to having its tools, against a server with one tool."""

import time
from pathlib import Path
from statistics import median, quantiles

from harness import OURS, Server

RUNS, WARM_UPS = 20, 2
COMMANDS = {"one tool": (str(Path(__file__).with_name("one_tool.py")),), "luma-mcp-server": OURS}


def start_ms(command: tuple[str, ...]) -> float:
    started = time.perf_counter()
    with Server(*command) as server:
        server.ask("tools/list")
        return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(WARM_UPS + RUNS):
        for name, command in COMMANDS.items():
            times[name].append(start_ms(command))
    print(f"spawn to tools/list, {RUNS} alternating runs each{'median':>17}{'quartiles':>16}")
    for name, all_ms in times.items():
        low, _, high = quantiles(all_ms[WARM_UPS:], n=4)
        print(f"{name:48}{median(all_ms[WARM_UPS:]):13.0f} ms{low:8.0f}-{high:.0f} ms")
    ours, theirs = (median(times[name][WARM_UPS:]) for name in ("luma-mcp-server", "one tool"))
    print(f"{'ratio (target at most 1.0)':48}{ours / theirs:13.2f}")

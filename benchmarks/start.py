"""How long a client waits from starting the server to having its tools, against a server with one tool."""

import time
from pathlib import Path

from harness import OURS, Server, report

RUNS, WARM_UPS = 20, 2
COMMANDS = {"one tool": (str(Path(__file__).with_name("one_tool.py")),), "luma-mcp-server": OURS}


def start_ms(command: tuple[str, ...]) -> float:
    started = time.perf_counter()
    with Server(*command) as server:
        server.ask("tools/list")
        return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(WARM_UPS + RUNS):
        for name, command in COMMANDS.items():
            took = start_ms(command)
            if run >= WARM_UPS:
                times[name].append(took)
    one_tool, ours = report(f"spawn to tools/list, {RUNS} alternating runs", times, 0)
    print(f"{'ratio (target: at most 0.95)':44}{ours / one_tool:11.2f}")

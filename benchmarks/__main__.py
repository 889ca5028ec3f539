"""Runs all benchmarks, and writes what they found to results.md and results.png beside them: some minutes."""

import multiprocessing
import platform
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path

from .chart import draw
from .harness import Figure, run, table

BENCHMARKS = (
    "start",
    "tokens",
    "overhead",
    "waiting",
    "delay",
    "download",
    "upload",
    "journal",
    "tasks",
    "film",
    "gallery",
)


def main() -> None:
    figures = list[Figure]()
    # Each in a process of its own: what one has loaded would count as the memory of the next.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in BENCHMARKS:
            found = pool.submit(run, name).result()
            print(f"{table(found)}\n", flush=True)
            figures += found
    place = f"{platform.system()}, {cpu_count()} cores, Python {platform.python_version()}"
    title = f"Measured on {datetime.now(UTC):%Y-%m-%d}: {place}"
    Path(__file__).with_name("results.md").write_text(f"{title}.\n\n{table(figures)}\n", encoding="utf-8")
    draw(figures, title).save(Path(__file__).with_name("results.png"))


if __name__ == "__main__":
    main()

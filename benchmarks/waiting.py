"""Whether many waits slow the server down: its ping, idle and with fifty waits under way, and the memory they take."""

import re
import time
from pathlib import Path
from statistics import median, quantiles

from harness import OURS, Server, sandbox

WAITS, WAIT_S, PINGS, GAP_S = 50, 15, 400, 0.025


def memory_mb(server: Server) -> float:
    """Linux only: elsewhere not a number."""
    try:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
    except OSError:
        return float("nan")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def pings(server: Server) -> list[float]:
    """Pings with a pause after each, so that they fall into every part of the rhythm in which Luma is asked."""
    times = []
    for _ in range(PINGS):
        times.append(server.ping_ms())
        time.sleep(GAP_S)
    return times


def report(what: str, times: list[float], memory: float) -> None:
    print(f"{what:44}{median(times):11.2f} ms{quantiles(times, n=100)[98]:9.1f} ms{memory:12.1f} MB")


if __name__ == "__main__":
    with sandbox(limits=False, balance_usd=1000) as environ, Server(*OURS, **environ) as server:
        jobs = [server.call("generate_video", prompt=f"[sandbox:stuck] {n}", wait_s=0) for n in range(WAITS)]
        idle, memory = pings(server), memory_mb(server)
        print(f"{WAITS} waits at once{'ping median':>41}{'99 of 100':>12}{'memory':>15}")
        report("idle, after fifty purchases", idle, memory)
        sent = [
            server.send(
                "tools/call",
                name="wait_for_generations",
                arguments={"generation_ids": [job["generation_id"]], "wait_s": WAIT_S},
                _meta={"progressToken": job["generation_id"]},
            )
            for job in jobs
        ]
        during, memory_during = pings(server), memory_mb(server)
        report("while they wait", during, memory_during)
        results = [server.answer(number) for number in sent]
        assert all(result["structuredContent"]["finished"] is False for result in results)
    print(f"{'ratio of the medians (target at most 3)':44}{median(during) / median(idle):11.2f}")
    print(f"{'memory they take (target below 30 MB)':44}{memory_during - memory:38.1f} MB")

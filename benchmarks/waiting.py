"""Whether many waits slow the server down: its ping, idle and with fifty waits under way, and the memory they take."""

import re
import time
from pathlib import Path
from statistics import median, quantiles

from harness import OURS, Server, sandbox

WAITS, WAIT_S, PING_S = 50, 12, 8


def memory_mb(server: Server) -> float:
    """Resident memory; Linux only, elsewhere not a number."""
    status = Path(f"/proc/{server.process.pid}/status")
    return int(re.findall(r"VmRSS:\s+(\d+)", status.read_text())[0]) / 1024 if status.exists() else float("nan")


def measure(server: Server, what: str) -> tuple[float, float]:
    """Median of one ping after the other, long enough for several rounds of questions to Luma; and the memory."""
    times, end = [], time.perf_counter() + PING_S
    while time.perf_counter() < end:
        times.append(server.ping_ms())
    memory = memory_mb(server)
    print(f"{what:44}{median(times):11.2f} ms{quantiles(times, n=100)[98]:14.1f} ms{memory:11.1f} MB")
    return median(times), memory


if __name__ == "__main__":
    print(f"{f'{WAITS} calls to wait_for_generations at once':44}{'ping':>14}{'99 of 100':>17}{'memory':>14}")
    with sandbox(limits=False) as environ, Server(*OURS, **environ) as server:
        jobs = [server.call("generate_video", prompt=f"[sandbox:stuck] {n}", wait_s=0) for n in range(WAITS)]
        ping, memory = measure(server, "before")
        sent = []
        for job in jobs:
            arguments = {"generation_ids": [job["generation_id"]], "wait_s": WAIT_S}
            token = {"progressToken": job["generation_id"]}
            sent.append(server.send("tools/call", name="wait_for_generations", arguments=arguments, _meta=token))
        ping_during, memory_during = measure(server, "during")
        assert all(server.answer(number)["structuredContent"]["finished"] is False for number in sent)
    print(f"{'ratio of the pings (target: at most 3)':44}{ping_during / ping:11.2f}")
    print(f"{'memory they take (target: below 30 MB)':44}{memory_during - memory:42.1f} MB")

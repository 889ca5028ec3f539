"""Whether many waits slow the server down: its ping, idle and with waits under way, and the memory they take."""

import time
from statistics import median

from .harness import OURS, Figure, Server, sandbox, table

COUNTS, WAIT_S, PING_S = (1, 50, 200), 12, 8
MEMORY_MB = {50: 30}


def pings_ms(server: Server) -> float:
    """Median of one ping after the other, long enough for several rounds of questions to Luma."""
    times, end = [], time.perf_counter() + PING_S
    while time.perf_counter() < end:
        times.append(server.ping_ms())
    return median(times)


def wait(server: Server, count: int) -> list[Figure]:
    """Let this many calls wait, each for a job of its own."""
    jobs = [server.call("generate_image", prompt=f"[sandbox:stuck] {n}", wait_s=0) for n in range(count)]
    idle, before = pings_ms(server), server.memory_mb()
    sent = []
    for job in jobs:
        arguments = {"generation_ids": [job["generation_id"]], "wait_s": WAIT_S}
        token = {"progressToken": job["generation_id"]}
        sent.append(server.send("tools/call", name="wait_for_generations", arguments=arguments, _meta=token))
    busy, grown = pings_ms(server), server.memory_mb() - before
    assert all(server.answer(number)["structuredContent"]["finished"] is False for number in sent)
    waits = f"{count} wait{'s' if count > 1 else ''}"
    note = f"{busy:.2f} ms, {idle:.2f} ms without"
    return [
        Figure(f"ping with {waits}, to one without", busy / idle, at_most=3, note=note),
        Figure(f"memory of {waits}", grown, "MB", at_most=MEMORY_MB.get(count), note="resident; Linux only"),
    ]


def measure() -> list[Figure]:
    figures = []
    with sandbox(limits=False, balance_usd=1e6) as environ:
        for count in COUNTS:
            with Server(*OURS, **environ, LUMA_MCP_BUDGET_USD="off") as server:
                figures += wait(server, count)
    return figures


if __name__ == "__main__":
    print(table(measure()))

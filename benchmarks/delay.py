"""How long after Luma has finished a job the caller has it: a thousand jobs of a minute each, in simulated time.

The event loop is the tests' own: its clock jumps ahead when nothing can run.
"""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import anyio
import httpx
from mcp.client import Client

from luma_mcp_server.sandbox import SANDBOX_KEY, create_sandbox
from luma_mcp_server.server import create_server
from luma_mcp_server.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import BASE_URL, NOW, VirtualLoop

JOBS, AT_ONCE, SECONDS = 1000, 50, 60


async def measure(home: str) -> list[float]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.hold_time_for_threads()
    app = create_sandbox(clock=lambda: NOW + anyio.current_time(), balance_usd=1e6, seconds=SECONDS, limits=False)
    world = app.state.sandbox
    environ = {"LUMA_API_KEY": SANDBOX_KEY, "LUMAAI_BASE_URL": BASE_URL, "HOME": home}
    environ |= {"LUMA_MCP_WAIT_S": "120", "LUMA_MCP_BUDGET_USD": "off", "LUMA_MCP_SAVE": "off"}
    server = create_server(
        Settings.from_env(environ),
        lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app), timeout=30),
        now=lambda: datetime.fromtimestamp(world.clock(), UTC),
    )
    delays: list[float] = []

    async def buy(client: Client, number: int) -> None:
        made: Any = (await client.call_tool("generate_video", {"prompt": f"Lake {number}"})).structured_content
        assert made["state"] == "completed", made
        delays.append(world.clock() - world.jobs[made["generation_id"]].created_at - SECONDS)

    async with Client(server) as client:
        for first in range(0, JOBS, AT_ONCE):
            async with anyio.create_task_group() as tasks:
                for number in range(first, first + AT_ONCE):
                    tasks.start_soon(buy, client, number)
    assert len(delays) == len(world.jobs) == JOBS
    return delays


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        delays = anyio.run(measure, home, backend_options={"loop_factory": VirtualLoop})
    low, middle, high = quantiles(delays, n=4)
    print(f"{f'{JOBS} jobs of {SECONDS} s, from their end to our result':54}{'median':>8}{'quartiles':>14}{'worst':>9}")
    print(f"{'target: a median of at most 1.2 s':54}{middle:6.2f} s{low:9.2f}-{high:.2f} s{max(delays):7.2f} s")
    for start in range(0, 24, 4):
        share = sum(start / 10 <= delay < start / 10 + 0.4 for delay in delays) / JOBS
        print(f"{f'{start / 10} to {start / 10 + 0.4:.1f} s':54}{share:8.1%}")

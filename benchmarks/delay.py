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

from .harness import Figure, table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import BASE_URL, NOW, VirtualLoop

JOBS, AT_ONCE, SECONDS = 1000, 50, 60


async def delays_s(home: str) -> list[float]:
    """Seconds from the end of each job to the result."""
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


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as home:
        delays = anyio.run(delays_s, home, backend_options={"loop_factory": VirtualLoop})
    low, middle, high = quantiles(delays, n=4)
    note = f"half of them {low:.2f} to {high:.2f} s, the worst {max(delays):.2f} s"
    return [Figure(f"delay of a result, {JOBS:,} jobs of {SECONDS} s", middle, "s", at_most=1.2, note=note)]


if __name__ == "__main__":
    print(table(measure()))

"""What the server adds to a call: get_generation through it, against the same question asked with Luma's SDK."""

import asyncio
import time
from statistics import median

import lumaai

from .harness import OURS, Figure, Server, sandbox, table

CALLS, WARM_UPS = 200, 20


async def alternate(server: Server, environ: dict[str, str]) -> tuple[list[float], list[float]]:
    """Milliseconds of each call by Luma's SDK alone, and of each through the server."""
    sdk = lumaai.AsyncLumaAI(auth_token=environ["LUMA_API_KEY"], base_url=environ["LUMAAI_BASE_URL"], max_retries=0)
    job = server.call("generate_video", prompt="A red kite over green dunes", wait_s=0)["generation_id"]
    alone, through = list[float](), list[float]()
    for _ in range(WARM_UPS + CALLS):
        started = time.perf_counter()
        assert (await sdk.generations.get(job)).id == job
        between = time.perf_counter()
        assert server.call("get_generation", generation_id=job)["generation_id"] == job
        through.append(1000 * (time.perf_counter() - between))
        alone.append(1000 * (between - started))
    await sdk.close()
    return alone[WARM_UPS:], through[WARM_UPS:]


def measure() -> list[Figure]:
    with sandbox(seconds=0) as environ, Server(*OURS, **environ) as server:
        alone, through = map(median, asyncio.run(alternate(server, environ)))
    note = f"{through:.1f} ms through the server, {alone:.1f} ms by lumaai alone; {CALLS} alternating calls"
    return [Figure("added to a call", through - alone, "ms", at_most=3, note=note)]


if __name__ == "__main__":
    print(table(measure()))

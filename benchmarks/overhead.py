"""What the server adds to a call: get_generation through it, against the same question asked with Luma's SDK."""

import asyncio
import time

import lumaai
from harness import OURS, Server, report, sandbox

CALLS, WARM_UPS = 200, 20


async def measure(server: Server, environ: dict[str, str]) -> dict[str, list[float]]:
    sdk = lumaai.AsyncLumaAI(auth_token=environ["LUMA_API_KEY"], base_url=environ["LUMAAI_BASE_URL"], max_retries=0)
    job = server.call("generate_video", prompt="A red kite over green dunes", wait_s=0)["generation_id"]
    times: dict[str, list[float]] = {"lumaai alone": [], "through the server": [], "a ping of the server": []}
    for _ in range(WARM_UPS + CALLS):
        started = time.perf_counter()
        assert (await sdk.generations.get(job)).id == job
        between = time.perf_counter()
        assert server.call("get_generation", generation_id=job)["generation_id"] == job
        times["through the server"].append(1000 * (time.perf_counter() - between))
        times["lumaai alone"].append(1000 * (between - started))
        times["a ping of the server"].append(server.ping_ms())
    await sdk.close()
    return {name: all_ms[WARM_UPS:] for name, all_ms in times.items()}


if __name__ == "__main__":
    with sandbox(seconds=0) as environ, Server(*OURS, **environ) as server:
        times = asyncio.run(measure(server, environ))
    alone, through, _ = report(f"get_generation, {CALLS} alternating calls", times, 1)
    print(f"{'added (target: at most 3 ms)':44}{through - alone:11.1f} ms")

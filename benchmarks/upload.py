"""Whether a large local file reaches Luma in a stream: the memory that 100 MB take on their way, and their time."""

import tempfile
import time
from pathlib import Path

import anyio
import httpx

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY
from luma_mcp_server.settings import Settings
from luma_mcp_server.tools.services import Services, utc_now

from .harness import Figure, peak_mb, sandbox, table

MB = 1024**2
WARM_UP_MB, SIZE_MB = 5, 100
CLIP = b"\x00\x00\x00\x18ftypisom"


async def upload(origin: str, folder: Path) -> tuple[float, float]:
    """Seconds and MB of memory that the larger file takes."""
    async with httpx.AsyncClient(timeout=30) as http, anyio.create_task_group() as tasks:
        environ = {"LUMA_API_KEY": AGENTS_SANDBOX_KEY, "LUMA_BASE_URL": f"{origin}/v1", "HOME": str(folder)}
        files = Services(Settings.from_env(environ), tasks, lambda: http, utc_now).local_files
        for size in (WARM_UP_MB, SIZE_MB):
            path = folder / f"{size}.mp4"
            with path.open("wb") as file:
                file.write(CLIP + path.name.encode())
                file.truncate(size * MB)
            before, started = peak_mb(), time.perf_counter()
            clip = await files.inspect(str(path), "source", ("video",))
            await files.upload(clip, until=anyio.current_time() + 300, say=lambda _: None)
            took, grown = time.perf_counter() - started, peak_mb() - before
        tasks.cancel_scope.cancel()  # uploads are kept for a while in case they are needed again
    return took, grown


def measure() -> list[Figure]:
    with sandbox(seconds=0) as environ, tempfile.TemporaryDirectory() as folder:
        origin = environ["LUMAAI_BASE_URL"].removesuffix("/dream-machine/v1")
        took, grown = anyio.run(upload, origin, Path(folder))
    return [Figure(f"memory of an upload of {SIZE_MB} MB", grown, "MB", at_most=32, note=f"{took:.1f} s")]


if __name__ == "__main__":
    print(table(measure()))

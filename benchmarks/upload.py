"""Whether a large local file reaches Luma in a stream: the memory that 100 MB take on their way, and their time."""

import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx
from harness import sandbox

from luma_mcp_server.apis.agents import Agents
from luma_mcp_server.media.local_files import LocalFiles
from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY

MB = 1024**2
SIZES_MB = {"warm-up": 5, "measured": 100}
CLIP = b"\x00\x00\x00\x18ftypisom"


def peak_mb() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else 1024)


async def main(origin: str, folder: Path) -> None:
    async with httpx.AsyncClient(timeout=30) as http, anyio.create_task_group() as tasks:
        agents = Agents(
            AGENTS_SANDBOX_KEY, "LUMA_API_KEY", "", f"{origin}/v1", http, "127.0.0.1", lambda: datetime.now(UTC)
        )
        files = LocalFiles((folder,), None, tasks, agents.upload)
        for name, size in SIZES_MB.items():
            path = folder / f"{name}.mp4"
            with path.open("wb") as file:
                file.write(CLIP + name.encode())
                file.truncate(size * MB)
            before, started = peak_mb(), time.perf_counter()
            until = anyio.current_time() + 300
            clip = await files.inspect(str(path), "source", ("video",), until=until)
            await files.upload(clip, until=until, say=lambda _: None)
            took, grown = time.perf_counter() - started, peak_mb() - before
            print(f"{f'{name}: {size} MB':44}{took:11.2f} s{grown:11.1f} MB more at the most")
    print("target: below 32 MB more for 100 MB")


if __name__ == "__main__":
    with sandbox(seconds=0) as environ, tempfile.TemporaryDirectory() as folder:
        anyio.run(main, environ["LUMAAI_BASE_URL"].removesuffix("/dream-machine/v1"), Path(folder))

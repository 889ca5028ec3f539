"""How fast a file of 300 MB is saved, against curl, the memory that it takes, and how long a ping takes meanwhile."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from .harness import OURS, Figure, Server, elapsed_ms, medians, table

MB = 1024**2
RUNS = 9
CLIP = b"\x00\x00\x00\x18ftypisom"
WARM_UP, MEASURED = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
SIZES_MB = {WARM_UP: 5, MEASURED: 300}


class Luma(BaseHTTPRequestHandler):
    """Two finished generations, and their files, which the kernel sends: who receives them is what is timed."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self) -> None:
        path = self.folder / Path(self.path).name
        if path.suffix:
            with path.open("rb") as file:
                self._head("video/mp4", path.stat().st_size)
                self.connection.sendfile(file)
            return
        link = f"http://{self.headers['Host']}/{path.name}.mp4"
        answer = json.dumps({"id": path.name, "state": "completed", "assets": {"video": link}}).encode()
        self._head("application/json", len(answer))
        self.wfile.write(answer)

    def _head(self, media_type: str, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(pipe: Connection, folder: Path) -> None:
    Luma.folder = folder
    with ThreadingHTTPServer(("127.0.0.1", 0), Luma) as server:
        pipe.send(f"http://127.0.0.1:{server.server_port}")
        server.serve_forever()


@contextmanager
def luma(folder: Path) -> Iterator[str]:
    """The address of a Luma in a process of its own, whose files are made in a folder."""
    for name, size in SIZES_MB.items():
        with (folder / f"{name}.mp4").open("wb") as file:
            file.write(CLIP)
            file.truncate(size * MB)
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, folder), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join(10)


def save(server: Server, name: str, pings: list[float] | None = None) -> None:
    """Save a file; with pings meanwhile if there is a list for their times."""
    number = server.send("tools/call", name="download_generation", arguments={"generation_id": name})
    while pings is not None and not server.has_answered(number):
        pings.append(server.ping_ms())
    path = Path(server.answer(number)["structuredContent"]["file_path"])
    assert path.stat().st_size == SIZES_MB[name] * MB
    path.unlink()


def reset_peak(server: Server) -> None:
    """Let the peak of its memory begin at what it holds now."""
    if sys.platform == "linux":
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def measure() -> list[Figure]:
    if not shutil.which("curl"):
        return [Figure("speed of a download, to curl", note="curl is missing")]
    with tempfile.TemporaryDirectory() as home, luma(Path(home)) as origin:
        environ = {"LUMA_API_KEY": "luma-sandbox-key", "LUMAAI_BASE_URL": f"{origin}/dream-machine/v1"}
        curl = ["curl", "--silent", "--fail", "--output", f"{home}/curl.mp4", f"{origin}/{MEASURED}.mp4"]
        with Server(*OURS, **environ, HOME=home, USERPROFILE=home) as server:
            save(server, WARM_UP)
            reset_peak(server)
            before = server.memory_mb(peak=True)
            theirs, ours = medians(
                RUNS,
                lambda: elapsed_ms(lambda: subprocess.run(curl, check=True)),
                lambda: elapsed_ms(lambda: save(server, MEASURED)),
            )
            grown = server.memory_mb(peak=True) - before
            idle, during = [server.ping_ms() for _ in range(500)], list[float]()
            for _ in range(RUNS):
                save(server, MEASURED, during)
    size = f"{SIZES_MB[MEASURED]} MB"
    speed = f"{size} in {ours:.0f} ms, curl in {theirs:.0f} ms; {RUNS} alternating runs"
    pings = f"{median(during):.2f} ms, {median(idle):.2f} ms without"
    return [
        Figure("speed of a download, to curl", theirs / ours, at_least=0.75, note=speed),
        Figure(f"memory of a download of {size}", grown, "MB", at_most=16, note="at its peak; Linux only"),
        Figure("ping during a download, to one without", median(during) / median(idle), at_most=3, note=pings),
    ]


if __name__ == "__main__":
    print(table(measure()))

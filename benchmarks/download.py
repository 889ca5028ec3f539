"""How fast a file of 300 MB is saved, against curl, the memory that it takes, and how long a ping takes meanwhile."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from harness import OURS, Server, report

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


def save(server: Server, name: str, pings: list[float] | None = None) -> float:
    """Milliseconds that saving a file takes; with pings meanwhile if there is a list for their times."""
    started = time.perf_counter()
    arguments = {"generation_id": name, "filename": "clip"}
    number = server.send("tools/call", name="download_generation", arguments=arguments)
    while pings is not None and not server.has_answered(number):
        pings.append(server.ping_ms())
    path = Path(server.answer(number)["structuredContent"]["file_path"])
    took = 1000 * (time.perf_counter() - started)
    assert path.stat().st_size == SIZES_MB[name] * MB
    path.unlink()
    return took


def curl(link: str, path: Path) -> float:
    """Milliseconds that curl takes for the same."""
    started = time.perf_counter()
    subprocess.run(["curl", "--silent", "--fail", "--output", path, link], check=True)
    took = 1000 * (time.perf_counter() - started)
    path.unlink()
    return took


def peak_mb(server: Server, *, reset: bool = False) -> float:
    """The most memory since the last reset; Linux only."""
    process = Path(f"/proc/{server.process.pid}")
    if reset:
        (process / "clear_refs").write_text("5")
    return int(re.findall(r"VmHWM:\s+(\d+)", (process / "status").read_text())[0]) / 1024


def main(folder: Path) -> None:
    with luma(folder) as origin:
        environ = {
            "LUMA_API_KEY": "luma-sandbox-key",
            "LUMAAI_BASE_URL": f"{origin}/dream-machine/v1",
            "HOME": str(folder),
            "USERPROFILE": str(folder),
        }
        with Server(*OURS, **environ) as server:
            save(server, WARM_UP)
            before = peak_mb(server, reset=True) if sys.platform == "linux" else float("nan")
            times: dict[str, list[float]] = {"curl": [], "ours": []}
            for _ in range(RUNS):
                times["curl"].append(curl(f"{origin}/{MEASURED}.mp4", folder / "clip.mp4"))
                times["ours"].append(save(server, MEASURED))
            grown = peak_mb(server) - before if sys.platform == "linux" else float("nan")
            idle, during = [server.ping_ms() for _ in range(500)], list[float]()
            for _ in range(RUNS):
                save(server, MEASURED, during)
    theirs, ours = report(f"{SIZES_MB[MEASURED]} MB saved", times, 0)
    report("ping", {"idle": idle, "while a file is saved": during}, 2)
    print(f"{'speed, ours to curl (target: at least 0.75)':44}{theirs / ours:11.2f}")
    print(f"{'memory that it takes (target: below 16 MB)':44}{grown:11.1f} MB")
    print(f"{'ratio of the pings (target: at most 3)':44}{median(during) / median(idle):11.2f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))

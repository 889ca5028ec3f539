"""What a model reads, in o200k_base tokens: the list of tools, results, and errors as the sandbox provokes them.

Needs tiktoken, and npm for its table. By itself it prints each text's figure, and words behind the command show the
texts whose names hold one of them.
"""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import httpx
import lumaai
from mcp.client import Client
from mcp_types import CallToolResult

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, running_sandbox
from luma_mcp_server.server import create_server
from luma_mcp_server.settings import Settings

from .harness import Figure, table

Json = dict[str, Any]

PROMPT = (
    "A red kite rises over green dunes at golden hour, the camera orbits left around a child in a yellow raincoat who "
    "lets out the string and laughs; soft wind, long shadows, 35 mm film, shallow depth, take 00"
)[:200]
LONG = "The value that was given here is not among those that this endpoint accepts at present. " * 6
FIELDS = ("resolution", "duration", "aspect_ratio", "keyframes", "frame0", "concepts")
DETAILS = [{"loc": ["body", name], "msg": "Input should be a valid string", "type": "x"} for name in FIELDS]
ID = "7d2f0c9e-51b8-4c3a-9e64-0b8f3a2d17c5"
MISSPELLED = dict.fromkeys(("aspect_ration", "media_typ", "prompts", "outputformat", "startimage"), 1)

# name, the fault that the sandbox is told of, settings; then tool and arguments, if it is not a plain generate_video
CASES: tuple[tuple[Any, ...], ...] = (
    ("401", {}, {"LUMA_API_KEY": "wrong"}),
    ("402", {}, {}, "generate_video", {"prompt": "[sandbox:credits]"}),
    ("404", {}, {}, "get_generation", {"generation_id": ID}),
    ("404 in a purchase", {}, {}, "extend_video", {"prompt": PROMPT, "generation_id": ID}),
    ("422 list", {"status": 422, "detail": DETAILS}, {}),
    ("400 long", {"status": 400, "detail": LONG}, {}),
    ("429 rate", {}, {}, "generate_video", {"prompt": "[sandbox:rate]", "wait_s": 0}),
    ("429 jobs at once", {}, {}, "generate_video", {"prompt": "[sandbox:concurrency]"}),
    ("429 jobs at once, five waits", {}, {}, "generate_video", {"prompt": "[sandbox:concurrency]"}),
    ("500", {"status": 500, "detail": "Internal server error"}, {}),
    ("500 long", {"status": 500, "detail": LONG}, {}),
    ("HTML", {"kind": "html"}, {}),
    ("cut", {"kind": "cut"}, {}),
    ("hang", {"kind": "hang"}, {}),
    ("no network", {}, {"LUMAAI_BASE_URL": "http://127.0.0.1:9"}),
    ("moderation at once", {"status": 400, "detail": "Moderation failed"}, {}),
    ("moderation of the job", {}, {}, "generate_video", {"prompt": "[sandbox:moderation]"}),
    ("no key", {}, {"LUMA_API_KEY": ""}),
    ("misspelled", {}, {}, "reframe_media", {"source": ID, "aspect_ration": "1:1"}),
    ("misspelled five", {}, {}, "reframe_media", {"source": ID, **MISSPELLED}),
    ("wrong value", {}, {}, "modify_video", {"source": ID, "prompt": PROMPT, "mode": "flex"}),
    ("malformed id", {}, {}, "get_generation", {"generation_id": "kite-1"}),
    ("local file", {}, {}, "generate_video", {"prompt": PROMPT, "start_image": "/mnt/user-data/kite.jpg"}),
)


def counter() -> Callable[[str], int]:
    """Counts tokens. The table comes from the npm package js-tiktoken, as tiktoken's own download is often blocked."""
    import tiktoken

    home = Path(tempfile.gettempdir()) / "o200k"
    ranks_js = home / "node_modules/js-tiktoken/dist/ranks/o200k_base.js"
    if not ranks_js.exists():
        home.mkdir(exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", str(home), "js-tiktoken"], check=True)
    source = ranks_js.read_text(encoding="utf-8")
    table, ranks = json.loads(source[source.index("{") : source.rindex("}") + 1]), dict[bytes, int]()
    for line in table["bpe_ranks"].splitlines():
        _, offset, *tokens = line.split(" ")
        ranks |= {base64.b64decode(token): int(offset) + place for place, token in enumerate(tokens)}
    encoding = tiktoken.Encoding("o200k_base", pat_str=table["pat_str"], mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode(text, disallowed_special=()))


async def hurry(request: httpx.Request) -> None:
    """One second in place of the real time-outs, but for files: the sandbox takes a while to draw them."""
    if "/media/" not in request.url.path:
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), 1.0)


def connected(environ: dict[str, str]) -> Client:
    return Client(
        create_server(Settings.from_env(environ), lambda: httpx.AsyncClient(event_hooks={"request": [hurry]}))
    )


def text_of(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


def compact(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def read(origin: str, home: str, note: Callable[[str, int | None, str], None]) -> None:
    """Note the name, the target and the words of all that a model reads."""
    sdk = lumaai.LumaAI(auth_token=SANDBOX_KEY, base_url=f"{origin}/dream-machine/v1")
    key = {"LUMA_API_KEY": SANDBOX_KEY, "LUMAAI_BASE_URL": f"{origin}/dream-machine/v1", "HOME": home}
    agents = {"LUMA_AGENTS_API_KEY": AGENTS_SANDBOX_KEY}
    for name, target, environ in (
        ("no key", 3700, {}),
        ("both keys", 3700, key | agents),
        ("Dream Machine key", 2950, key),
        ("Agents key", 2800, agents),
    ):
        async with connected(environ) as client:
            tools = [tool.model_dump(by_alias=True) for tool in (await client.list_tools()).tools]
        parts = ("name", "description", "inputSchema")
        # Of what clients read, only the words to find a tool by reach a model.
        hints = [(tool["_meta"] or {}).get("anthropic/searchHint") for tool in tools]
        rows = [
            compact({part: tool[part] for part in parts}) + (hint or "")
            for tool, hint in zip(tools, hints, strict=True)
        ]
        note(f"{len(tools)} tools, {name}", target, "\n".join(rows))
        if not environ:  # then all are listed
            for tool, row in zip(tools, rows, strict=True):
                note(f"tool: {tool['name']}", None, row)
    for wait_s in (0, 20):
        # With a journal of its own each call is a new purchase, and the only one.
        async with connected({**key, "LUMA_MCP_JOURNAL": f"{home}/{wait_s}.sqlite3"}) as client:
            result = await client.call_tool("generate_video", {"prompt": PROMPT, "wait_s": wait_s})
            made = {name: value for name, value in json.loads(text_of(result)).items() if not name.endswith("_url")}
            note(f"{made['state']} video without links", 330, compact(made))
    async with connected(key) as client:
        for number in range(10):
            sdk.generations.create(model="ray-2", prompt=f"{PROMPT[:198]}{number:02}", resolution="720p", duration="5s")
        note("list of 10", 1500, text_of(await client.call_tool("list_generations", {})))
    for name, fault, extra, *call in CASES:
        tool, arguments = call or ("generate_video", {"prompt": PROMPT})
        waits = 5 if "waits" in name else 0
        stuck = [sdk.generations.create(model="ray-2", prompt="[sandbox:stuck]").id for _ in range(waits)]
        if fault:
            httpx.post(f"{origin}/sandbox/faults", json=[{"kind": "status", **fault}])  # noqa: ASYNC210
        journal = {"LUMA_MCP_JOURNAL": f"{home}/{name}.sqlite3", "LUMA_MCP_WAIT_S": "5"}
        async with connected({**key, **journal, **extra}) as client, anyio.create_task_group() as tasks:
            for job in stuck:
                tasks.start_soon(client.call_tool, "wait_for_generations", {"generation_ids": [job]})
            await anyio.sleep(0.5 if stuck else 0)
            result = await client.call_tool(tool, arguments)
            tasks.cancel_scope.cancel()
        note(f"{'error' if result.is_error else 'result'}: {name}", 120 if result.is_error else 400, text_of(result))


def each_text(*shown: str) -> list[Figure]:
    """A figure for each text; those whose names hold one of these words are printed."""
    count, figures = counter(), list[Figure]()

    def note(name: str, target: int | None, text: str) -> None:
        figures.append(Figure(name, count(text), "tokens", at_most=target))
        if any(word in name for word in shown):
            print(f"{name}\n    {text}\n")

    with running_sandbox(seconds=0.2, limits=False) as origin, tempfile.TemporaryDirectory() as home:
        anyio.run(read, origin, home, note)
    return figures


def measure() -> list[Figure]:
    """The lists of tools as they are; of results and of errors the longest."""
    if not find_spec("tiktoken") or not shutil.which("npm"):
        return [Figure("tokens", note="tiktoken or npm is missing: uv run --with tiktoken python -m benchmarks")]
    figures, longest = list[Figure](), dict[str, Figure]()
    for one in each_text():
        kind, _, case = one.name.partition(": ")
        if case:
            found = replace(one, name=f"the longest {kind}", note=case)
            longest[kind] = max(found, longest.get(kind, found), key=lambda figure: figure.measured)
        else:
            figures.append(one)
    return [*figures, *longest.values()]


if __name__ == "__main__":
    print(table(each_text(*sys.argv[1:])))

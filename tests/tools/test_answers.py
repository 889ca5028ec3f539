"""Whatever stands in an answer of Luma's: the call is answered, nothing of it does harm, and the server lives on."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from itertools import count, cycle
from typing import Any

import anyio
import httpx
from mcp_types import TextContent

from luma_mcp_server.apis.agents import Agents
from luma_mcp_server.errors import LumaServerError
from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY

from ..conftest import AGENTS_URL, Desk, OpenDesk

PNG = b"\x89PNG\r\n\x1a\n" + b"a small picture"
HALF = r"\ud83e"
JUNK = (
    f'"{HALF}"',
    f'"a{HALF}b ../../{HALF}"',
    f'"{"long " * 200_000}"',
    f'"{"7" * 5_000}"',
    r'"\u0000\u001b[31m\r\n\u202e\u0085\u007f"',
    '"../../x"',
    '"<html>gone</html>"',
    f'"https://{HALF}@[/{HALF}"',
    '"0001-01-01T00:00:00+23:59"',
    '""',
    "-1",
    "1e999",
    "NaN",
    "-Infinity",
    "9" * 400,
    "null",
    "true",
    "[]",
    "{}",
    f'[null, 1, "{HALF}", [[]], {{"url": "{HALF}", "type": NaN, "id": "../x"}}]',
    f'{{"{HALF}": "{HALF}", "id": {{"id": 1}}, "url": [], "type": "generation", "\\u0000": null}}',
    f"{'[' * 300}{']' * 300}",
    f'{{"a": {"[" * 5_000}{"]" * 5_000}}}',
    "9" * 5_000,
)
"""As JSON. The last two are more than Python's parser takes: nothing else of such an answer can be read."""

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
HEADERS = [b"-1", b"1e300", b"nan", b"\xed\xa0\xbe", b"Mon, 01 Jan 2024 00:00:00 +9999999999999999999", b"9" * 5_000]

LEADS = frozenset({"id", "state", "request", "assets", "output", "generations"})
"""Fields that have to be as they are for the others to be looked at."""


class Junk(httpx.AsyncBaseTransport):
    """Luma, with junk in its answers: in a round every field holds another kind, and each kind once in all rounds."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.spoil: Callable[[httpx.Response, Any], httpx.Response] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self.inner.handle_async_request(request)
        is_json = "json" in response.headers.get("content-type", "")
        return self.spoil(response, json.loads(await response.aread())) if self.spoil and is_json else response


def fields(number: int, keep: frozenset[str] = frozenset(), **put: str) -> Callable[..., httpx.Response]:
    """Junk in place of all fields but those to keep, which are gone into."""

    def spoil(response: httpx.Response, body: Any) -> httpx.Response:
        kinds = count(number)

        def junk(value: Any, kept: bool) -> str:
            if not kept:
                return JUNK[next(kinds) % (len(JUNK) - 2)]
            if isinstance(value, dict):
                pairs = {
                    name: json.dumps(put[name]) if name in put else junk(one, name in keep)
                    for name, one in value.items()
                }
                return f"{{{', '.join(f'{json.dumps(name)}: {text}' for name, text in pairs.items())}}}"
            if isinstance(value, list):
                return f"[{', '.join(junk(one, isinstance(one, dict)) for one in value)}]"
            return json.dumps(value)

        return answer(response.status_code, junk(body, kept=True), response.headers.raw)

    return spoil


def answer(status: int, text: str, headers: list[tuple[bytes, bytes]]) -> httpx.Response:
    plain = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return httpx.Response(status, content=text.encode(), headers=plain)


def bodies(number: int) -> Callable[..., httpx.Response]:
    """Junk in place of a whole body, or in an error's detail and headers: another error for each request."""
    junk, header, statuses = JUNK[number], HEADERS[number % len(HEADERS)], cycle((200, 400, 402, 429, 500, 403, 404))
    texts = cycle((junk, f'{{"detail": {junk}}}', f'{{"detail": [{{"loc": {junk}, "msg": {junk}}}, {junk}]}}'))
    headers = [(b"content-type", b"application/json"), (b"retry-after", header), (b"date", header)]
    return lambda *_: answer(next(statuses), next(texts), headers)


MODELS = {"ray-2": "generate_video", "uni-1": "generate_image"}
MADE = ("get_generation", "wait_for_generations", "download_generation", "preview_generations")
OTHERS = ("list_generations", "list_camera_motions", "get_account")


def rounds(keep: frozenset[str] = LEADS) -> Iterator[tuple[Callable[..., httpx.Response], tuple[str, ...]]]:
    """Kinds of answers, each with the tools that get to see something of it."""
    for number in range(len(JUNK)):
        yield fields(number), ("generate", "get_generation", *OTHERS)
        yield fields(number, keep), ("generate", *MADE[1:], "list_generations")
        yield fields(number, keep - {"state"}, state="failed"), MADE[:2]
        yield bodies(number), ("generate", *MADE, *OTHERS)


def check_texts(value: Any) -> None:
    """No text is endless, no id leads anywhere, and nothing is null, as numbers would be that JSON can't carry."""
    if isinstance(value, dict):
        for name, one in value.items():
            assert not (name.endswith("_id") and not ID.fullmatch(one)), one
            check_texts(one)
    elif isinstance(value, list):
        for one in value:
            check_texts(one)
    else:
        assert len(value) <= 10_000 if isinstance(value, str) else value is not None


def is_sentence(text: str) -> bool:
    """Whether an error is one that was foreseen, short, in one line, and can be encoded."""
    return len(text) < 1_500 and not re.search(r"itself failed|[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text)


async def ask(desk: Desk, tool: str, **arguments: Any) -> None:
    """Call a tool, which may work or fail, but not break."""
    result = await desk.raw(tool, **arguments)
    result.model_dump_json().encode()
    json.dumps(result.structured_content, ensure_ascii=False, allow_nan=False).encode()
    words = [block.text for block in result.content if isinstance(block, TextContent)]
    assert not result.is_error or all(map(is_sentence, words)), (tool, words)
    check_texts(result.structured_content or {})


async def test_junk_in_any_field_of_any_answer_does_no_harm(open_desk: OpenDesk) -> None:
    keys = {"LUMA_API_KEY": SANDBOX_KEY, "LUMA_AGENTS_API_KEY": AGENTS_SANDBOX_KEY}
    async with open_desk(**keys, LUMA_MCP_WAIT_S="1", LUMA_MCP_BUDGET_USD="off") as desk:
        for model, tool in MODELS.items():
            await desk.call(tool, prompt="a lake", model=model, wait_s=0)
        await anyio.sleep(60)
        desk.world.balance_cents = 1e6
        jobs, junk = dict(desk.world.jobs), Junk(desk.wire.inner)
        desk.wire.inner = junk
        for number, (junk.spoil, tools) in enumerate(rounds()):
            for tool in tools:
                if tool in OTHERS:
                    await ask(desk, tool)
                    continue
                for made, (model, create) in zip(jobs, MODELS.items(), strict=True):
                    if tool == "generate":
                        await ask(desk, create, prompt=f"a lake {number}", model=model, wait_s=0)
                    elif tool.endswith("s"):
                        await ask(desk, tool, generation_ids=[made])
                    else:
                        await ask(desk, tool, generation_id=made)
            if number % 8 == 0:  # long lists would take long
                desk.world.jobs = dict(jobs)
                desk.change("DELETE FROM purchases WHERE rowid > 2")
        junk.spoil = None

        for made in jobs:
            await desk.call("download_generation", generation_id=made)
        await desk.image("another lake")
        assert all(re.fullmatch(r"[\w-]+\.\w+", path.name) for path in desk.folder.iterdir())
        assert {path.parent for path in desk.folder.parent.rglob("*lake*")} == {desk.folder}


async def test_junk_in_the_answers_about_an_upload_does_no_harm(open_desk: OpenDesk) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield PNG

    async with open_desk() as desk, httpx.AsyncClient(transport=(junk := Junk(desk.wire.inner))) as http:
        agents = Agents(
            AGENTS_SANDBOX_KEY,
            "LUMA_API_KEY",
            "luma.example",
            AGENTS_URL,
            http,
            "127.0.0.1",
            lambda: datetime.now(UTC),
            None,
        )
        said = list[str]()
        for junk.spoil, _ in rounds(LEADS | {"upload", "url"}):
            try:
                assert ID.fullmatch(await agents.upload(len(PNG), "image/png", "lake.png", chunks()))
            except LumaServerError as error:
                said.append(str(error))
        junk.spoil = None

        assert all(map(is_sentence, said))
        assert ID.fullmatch(await agents.upload(len(PNG), "image/png", "lake.png", chunks()))

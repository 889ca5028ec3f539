"""What can go wrong between a client and Luma, on demand.

A fault hits the next `times` requests whose method and path match. With `after` the request is carried out in full (the
job taken and charged) before its answer is spoiled; otherwise it never reaches the API.

    ============  =======================================================================================
    ``status``    `status` (500) with `detail`, or with `body` verbatim
    ``html``      an HTML page, `status` (502)
    ``cut``       a body shorter than its Content-Length
    ``empty``     2xx without a body
    ``null``      2xx with the JSON value null
    ``hang``      no answer until the client gives up
    ``drop``      the connection is closed without a byte (in process: a ConnectionResetError)
    ``slow``      the body byte by byte, `pause` seconds apart
    ``redirect``  `status` (307) to the path in `detail`
    ============  =======================================================================================

`cut` and `slow` need a body to spoil: the real answer with `after` or for a GET, which changes nothing; otherwise an
invented generation. Over HTTP, ``POST /sandbox/faults`` takes a JSON list of the same fields.
"""

import dataclasses
import json
import re
from email.utils import formatdate
from typing import Any, Literal, Protocol

import anyio
from pydantic import ConfigDict
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

INVENTED = json.dumps({"id": "00000000-0000-4000-8000-000000000000", "state": "queued", "assets": None}).encode()
PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    kind: Literal["status", "html", "cut", "empty", "null", "hang", "drop", "slow", "redirect"]
    method: str = "POST"
    path: str = ""  # part of the request's path; empty matches every path
    times: int = 1
    status: int | None = None
    detail: Any = None
    body: str | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    after: bool = False
    pause: float = 0.05

    # A misspelled field must not become a fault that never strikes.
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclasses.dataclass(frozen=True)
class Received:
    """One request as it came in, without its headers: they hold the key."""

    method: str
    path: str
    query: dict[str, str]
    body: Any  # inline media is replaced by its length; uploads are left out
    request_id: str | None = None  # the caller's X-Request-Id


class Visited(Protocol):
    """What the gate needs of the sandbox's state."""

    requests: list[Received]
    faults: list[Fault]

    def clock(self) -> float: ...
    def settle(self) -> None: ...


class Gate:
    """Stands before the APIs: settles the account, records each request, and lets faults strike."""

    def __init__(self, app: ASGIApp, world: Visited) -> None:
        self.app = app
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        method, path = scope["method"], scope["path"]

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Date"] = formatdate(self.world.clock(), usegmt=True)
            await send(message)

        self.world.settle()
        fault = None
        if not path.startswith("/sandbox/"):
            body = None
            if not path.startswith("/uploads/"):  # an upload may be too big to keep
                content = await request.body()
                body, receive = readable(content), _replay(content, receive)
            name = request.headers.get("x-request-id")
            self.world.requests.append(Received(method, path, dict(request.query_params), body, name))
            fault = self._next_fault(method, path)
        if fault is None:
            await self.app(scope, receive, dated)
            return
        answer = Response(INVENTED, 201, media_type="application/json")
        if fault.after or (method == "GET" and fault.kind in ("cut", "slow")):
            answer = await _carry_out(self.app, scope, receive)
        await _strike(fault, answer, scope, receive, dated)

    def _next_fault(self, method: str, path: str) -> Fault | None:
        for place, fault in enumerate(self.world.faults):
            if fault.method == method and fault.path in path:
                rest = [dataclasses.replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                self.world.faults[place : place + 1] = rest
                return fault
        return None


def readable(body: bytes) -> Any:
    """A JSON body with inline media replaced by its length; any other body as text."""
    short = re.sub(rb'"data":\s*"([^"]{200,})"', lambda media: b'"data": "(%d characters)"' % len(media[1]), body)
    try:
        return json.loads(short or b"null")
    except ValueError:
        return body[:1000].decode(errors="replace")


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _carry_out(app: ASGIApp, scope: Scope, receive: Receive) -> Response:
    """The API's own answer, kept instead of sent."""
    answer, parts = Response(), []

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status_code, answer.raw_headers = message["status"], list(message["headers"])
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    answer.body = b"".join(parts)
    return answer


async def _strike(fault: Fault, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    abort = scope.get("extensions", {}).get("sandbox.abort")  # None in process
    if fault.kind in ("drop", "hang"):
        if fault.kind == "drop":
            if abort is None:
                raise ConnectionResetError("The sandbox dropped this connection.")
            abort()
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            if abort:  # a server that stops would still answer, with 500
                abort()
    elif fault.kind in ("cut", "slow"):
        content = bytes(answer.body)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
        if fault.kind == "cut":
            # uvicorn closes the connection of an unfinished body; a client in process would wait for the rest.
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": bool(abort)})
            return
        for place in range(len(content)):
            await send({"type": "http.response.body", "body": content[place : place + 1], "more_body": True})
            await anyio.sleep(fault.pause)
        await send({"type": "http.response.body"})
    else:
        bodies = {"html": PAGE, "null": "null", "status": json.dumps({"detail": fault.detail})}
        body = bodies.get(fault.kind, "") if fault.body is None else fault.body
        status = fault.status or {"html": 502, "redirect": 307, "status": 500}.get(fault.kind, answer.status_code)
        kind = "text/html" if fault.kind == "html" else "application/json" if fault.body is None else "text/plain"
        headers = {"location": str(fault.detail or "/elsewhere")} if fault.kind == "redirect" else {}
        spoiled = Response(body, status, headers, kind)
        spoiled.headers.update(fault.headers)
        await spoiled(scope, receive, send)

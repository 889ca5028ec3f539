"""What can go wrong between a client and Luma, on demand.

A fault hits the next `times` requests whose method and path fit. With `after` the request is first carried out in full
(the job taken and charged), then the answer is spoilt; without it the request never reaches the API.

    ============  =======================================================================================
    ``status``    `status` (500) with `detail`, or with `body` as it stands
    ``html``      an HTML page, `status` (502)
    ``cut``       a body shorter than its Content-Length says
    ``empty``     2xx without a body
    ``null``      2xx with the JSON value null
    ``hang``      no answer until the client goes away
    ``drop``      the connection is closed without a byte (in process: a ConnectionResetError)
    ``slow``      the body in single bytes, `pause` seconds between them
    ``redirect``  `status` (307) to the path in `detail`
    ============  =======================================================================================

`cut` and `slow` need a body to spoil: that of the real answer with `after` or for a GET, which changes nothing; else an
invented generation. Over HTTP: ``POST /sandbox/faults`` takes a JSON list of the same fields.
"""

import dataclasses
import json
import uuid
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Literal

import anyio
from pydantic import ConfigDict
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from . import Sandbox

Kind = Literal["status", "html", "cut", "empty", "null", "hang", "drop", "slow", "redirect"]

INVENTED = json.dumps({"id": "00000000-0000-4000-8000-000000000000", "state": "queued", "assets": None}).encode()
PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    kind: Kind
    method: str = "POST"
    path: str = ""
    """Part of the request's path; empty fits every path."""
    times: int = 1
    status: int | None = None
    detail: Any = None
    body: str | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    after: bool = False
    pause: float = 0.05

    # A misspelt field in a test must not become a fault that never strikes.
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclasses.dataclass(frozen=True)
class Received:
    """One request as it came in. Its headers are left out: they hold the key."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    """Inline media is replaced by its length; an upload is not read at all."""
    request_id: str | None = None
    """The caller's X-Request-Id."""


class Gate:
    """Stands before the API: settles the account, notes each request, signs each answer, and lets faults strike."""

    def __init__(self, app: ASGIApp, world: "Sandbox") -> None:
        self.app = app
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        request = Request(scope, receive)
        request_id = request.headers.get("x-request-id")

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Date"] = formatdate(self.world.clock(), usegmt=True)
                headers["Server"] = "luma-sandbox"
                if scope["path"].startswith("/v1/"):  # Source: Luma Agents docs, error handling
                    headers["X-Request-Id"] = request_id or str(uuid.uuid4())
                    headers["X-API-Version"] = "2026-04-01"
            await send(message)

        self.world.settle()
        if scope["path"].startswith("/sandbox/"):
            await self.app(scope, receive, stamped)
            return
        body, again = None, receive
        if not scope["path"].startswith("/uploads/"):  # an upload may be too big to keep
            content = await request.body()
            body, again = _readable(content), _replay(content, receive)
        query = dict(request.query_params)
        self.world.requests.append(Received(scope["method"], scope["path"], query, body, request_id))
        fault = self._next_fault(scope["method"], scope["path"])
        if fault is None:
            await self.app(scope, again, stamped)
            return
        answer = None
        if fault.after or (scope["method"] == "GET" and fault.kind in ("cut", "slow")):
            answer = await _carry_out(self.app, scope, again)
        await _strike(fault, answer, scope, receive, stamped)

    def _next_fault(self, method: str, path: str) -> Fault | None:
        for place, fault in enumerate(self.world.faults):
            if fault.method == method and fault.path in path:
                if fault.times > 1:
                    self.world.faults[place] = dataclasses.replace(fault, times=fault.times - 1)
                else:
                    del self.world.faults[place]
                return fault
        return None


def _readable(body: bytes) -> Any:
    try:
        return without_media(json.loads(body)) if body else None
    except ValueError:
        return body[:1000].decode(errors="replace")


def without_media(value: Any) -> Any:
    """A body in which inline media is replaced by its length."""
    if isinstance(value, list):
        return [without_media(part) for part in value]
    if isinstance(value, dict):
        media = {"data": f"({len(data)} characters)"} if len(data := str(value.get("data"))) > 200 else {}
        return {name: without_media(part) for name, part in (value | media).items()}
    return value


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
            answer.status_code = message["status"]
            answer.raw_headers = list(message["headers"])
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    answer.body = b"".join(parts)
    return answer


async def _strike(fault: Fault, answer: Response | None, scope: Scope, receive: Receive, send: Send) -> None:
    abort = scope.get("extensions", {}).get("sandbox.abort")
    if fault.kind == "drop" and abort is None:
        raise ConnectionResetError("The sandbox dropped this connection.")
    if fault.kind in ("drop", "hang"):
        if fault.kind == "drop":
            abort()
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            # A server that stops would otherwise still answer, with 500.
            if abort:
                abort()
        return
    kept = answer or Response(INVENTED, 201, media_type="application/json")
    if fault.kind == "cut":
        await send({"type": "http.response.start", "status": kept.status_code, "headers": kept.raw_headers})
        # Over a socket the body is left unfinished, and uvicorn closes the connection; a test client in process would
        # wait for its end.
        half = bytes(kept.body[: len(kept.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": abort is not None})
        return
    spoilt: Response
    if fault.kind == "slow":
        spoilt = StreamingResponse(_dribble(bytes(kept.body), fault.pause), kept.status_code)
        spoilt.raw_headers = kept.raw_headers
    elif fault.kind == "html":
        spoilt = HTMLResponse(fault.body or PAGE, fault.status or 502)
    elif fault.kind == "redirect":
        spoilt = Response(status_code=fault.status or 307, headers={"location": str(fault.detail or "/elsewhere")})
    elif fault.kind == "status":
        spoilt = JSONResponse({"detail": fault.detail}, fault.status or 500)
        if fault.body is not None:
            spoilt = Response(fault.body, fault.status or 500, media_type="text/plain")
    else:
        body = b"null" if fault.kind == "null" else b""
        spoilt = Response(body, fault.status or kept.status_code, media_type="application/json")
    spoilt.headers.update(fault.headers)
    await spoilt(scope, receive, send)


async def _dribble(body: bytes, pause: float) -> AsyncIterator[bytes]:
    for place in range(len(body)):
        yield body[place : place + 1]
        await anyio.sleep(pause)

"""The gallery: a page for this computer's user with all that was made, and what it cost.

It shows the whole journal file, whatever the key: all keys of this computer's user pay from one budget. It reads only,
and asks Luma nothing: states are as a server has last seen them.

What a stranger could reach is kept small. The server listens on 127.0.0.1; every address begins with a secret token;
requests that name another host or come from another page are refused; files are those of generations in the journal,
and never named by a path.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .catalog import usual_seconds
from .errors import LumaServerError
from .loopback import serving
from .media.frames import can_read
from .media.posters import poster
from .media.references import guess_type
from .media.saved import saved_files
from .models import MAX_JOB_AGE_S
from .pages import page
from .purchases.journal import Journal
from .purchases.purchase import Purchase
from .settings import Settings

PAGE_SIZE = 60
_SPENDING_DAYS = 30


class Gallery:
    """What the page asks for."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings, self._now = settings, now
        # Each start of the sandbox has a budget of its own, and a budget that can't be read is none.
        unlimited = settings.sandbox or settings.wrong("LUMA_MCP_BUDGET_USD")
        budget_usd = None if unlimited else settings.budget_usd
        self._journal = Journal(settings.journal_file, now, None, budget_usd=budget_usd, budget_spans_accounts=True)
        self._files: dict[str, tuple[Path, ...]] = {}  # of the generations that were listed

    async def show(self, _request: Request) -> Response:
        """The page."""
        nonce = secrets.token_urlsafe()
        html = page("gallery").replace("<script>", f'<script nonce="{nonce}">')
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        html = html.replace("<style>", f'<style nonce="{nonce}">')
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    async def overview(self, _request: Request) -> Response:
        """How much there is, what was spent, and what runs now."""
        now = self._now()
        first = now.astimezone().date() - timedelta(days=_SPENDING_DAYS - 1)
        states, models, spending = await self._journal.statistics(_midnight(first))
        _, spent_24h, _, spent_total, _ = await self._journal.spending()
        unfinished = await self._journal.unfinished(now.timestamp() - MAX_JOB_AGE_S)
        running = [one for one in unfinished if not one.unresolved or one.in_flight(now)]
        return JSONResponse(
            {
                "states": states,
                "models": models,
                "days": [str(first + timedelta(days=number)) for number in range(_SPENDING_DAYS)],
                "spending": [{"day": day, "model": model, "usd": usd} for day, model, usd in spending],
                "spent_24h_usd": spent_24h,
                "spent_total_usd": spent_total,
                "budget_usd": self._journal.budget_usd,
                "sandbox": self._settings.sandbox,
                "running": [await self._running(purchase) for purchase in running],
            }
        )

    async def _running(self, purchase: Purchase) -> dict[str, Any]:
        _, usual = await self._journal.find_timed(purchase.id)
        if usual is None and not self._settings.sandbox:
            usual = usual_seconds(purchase.tool, purchase.model)
        return self._row(purchase) | {"elapsed_s": purchase.age(self._now()), "expected_s": usual}

    async def generations(self, request: Request) -> Response:
        """One page of generations, newest first."""
        asked = request.query_params
        try:
            day = date.fromisoformat(asked["day"]) if asked.get("day") else None
            since = _midnight(day) if day else 0.0
            until = _midnight(day + timedelta(days=1)) if day else float("inf")
            offset = min(int(asked.get("offset", "0")), 1_000_000)
        except (ValueError, OverflowError, OSError):  # a date that this system's clock does not have
            raise HTTPException(400, "day must be a date such as 2026-11-27, and offset a number.") from None
        purchases, matching = await self._journal.browse(
            PAGE_SIZE,
            offset,
            text=asked.get("text", ""),
            state=asked.get("state", ""),
            model=asked.get("model", ""),
            since=since,
            until=until,
        )
        saved = await to_thread.run_sync(saved_files, self._settings.output_dir)
        shown = [str(purchase.generation_id) for purchase in purchases]
        self._files |= {name: tuple(saved.get(name, {}).values()) for name in shown}
        return JSONResponse({"generations": [self._row(one) for one in purchases], "matching": matching})

    def _row(self, purchase: Purchase) -> dict[str, Any]:
        """A purchase as the page shows it: without any link."""
        generation = purchase.as_generation()
        state = generation.state if purchase.status == "accepted" else purchase.status
        files = self._files.get(str(purchase.generation_id), ())
        return generation.model_dump(mode="json", exclude_none=True) | {
            "id": purchase.generation_id or purchase.id,
            "state": state,
            "buyer": purchase.user,
            "note": purchase.note,
            "took_s": purchase.took_s,
            "files": [{"name": path.name, "path": str(path), "kind": guess_type(path.name)} for path in files],
            "poster": bool(files) and can_read(),
        }

    async def file(self, request: Request) -> Response:
        """One of a generation's files."""
        name, number = request.path_params["name"], request.path_params["number"]
        files = self._files.get(name, ())
        if number >= len(files) or not files[number].is_file():
            raise HTTPException(404, "That file is not there any more.")
        # Whatever lies in the folder by a generation's name, it must not run as a page of ours.
        return FileResponse(files[number], headers={"Content-Security-Policy": "sandbox; default-src 'none'"})

    async def poster(self, request: Request) -> Response:
        """The small picture of a generation."""
        name = request.path_params["name"]
        files, picture = self._files.get(name, ()), None
        if files and self._settings.output_dir and can_read():
            kept = self._settings.output_dir / ".posters" / f"{name}.jpg"
            picture = await to_thread.run_sync(poster, files[0], kept)
        if picture is None:
            raise HTTPException(404, "There is no picture of that.")
        return Response(picture, media_type="image/jpeg")


class Guard:
    """Refuses whatever does not come from the page itself, and keeps what the page shows on this computer."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Referrer-Policy"] = "no-referrer"
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers["Cache-Control"] = "no-cache"
            await send(message)

        refusal = self._refusal(Request(scope))
        app = PlainTextResponse(refusal, 403) if refusal else self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> str | None:
        # A page elsewhere may lead a browser here under a name of its own (DNS rebinding).
        hosts = [f"{name}:{request.scope['server'][1]}" for name in ("127.0.0.1", "localhost")]
        host, origin = request.headers.get("host"), request.headers.get("origin")
        if host not in hosts or origin not in (None, f"http://{host}"):
            return "The gallery answers its own page only."
        token = request.url.path.split("/")[1]
        if not secrets.compare_digest(token.encode(), self._token):
            return "Open the gallery by the address that `luma-mcp-server gallery` printed: this one lacks its token."
        return None


def create_gallery(settings: Settings, token: str, now: Callable[[], datetime]) -> Starlette:
    """The gallery as an ASGI app, below `/<token>/`."""
    gallery = Gallery(settings, now)
    routes = [
        Route("/", gallery.show),
        Route("/overview", gallery.overview),
        Route("/generations", gallery.generations),
        Route("/file/{name}/{number:int}", gallery.file),
        Route("/poster/{name}", gallery.poster),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={LumaServerError: _unreadable},
    )


async def _unreadable(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": getattr(error, "warning", str(error))}, 503)


def _midnight(day: date) -> float:
    """When a day begins here."""
    return datetime(day.year, day.month, day.day).astimezone().timestamp()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def running_gallery(settings: Settings, port: int = 0, now: Callable[[], datetime] = _utc_now) -> Iterator[str]:
    """Serve the gallery on 127.0.0.1 while the block runs, and give its address."""
    token = secrets.token_urlsafe(24)
    with serving(create_gallery(settings, token, now), port) as origin:
        yield f"{origin}/{token}/"

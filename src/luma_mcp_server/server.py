"""The server: which tools there are, what they say of themselves, and what they share while it lives."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import anyio
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from . import __version__
from .prompts import add_prompts_and_resources
from .schema import StrictTool
from .settings import Settings
from .tools import App, account, create, library, utc_now

if TYPE_CHECKING:
    import httpx

INSTRUCTIONS = """\
Makes videos and images with Luma. Jobs cost the user money. Before a job above $1 or without a published price, or \
more than three jobs at once, tell the user the price (list_models) and ask. A job goes on when a call ends: take it \
up with wait_for_generations, never repeat a paid call to check on it; list_generations finds lost ids. Give the user \
video_url, image_url or file_path: results are not shown by themselves. Images and clips are named by generation id or \
public URL. Write prompts in English: subject, action, setting, camera, style."""

_PAID = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
_SAVES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
_DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)

_TOOLS = (
    (create.generate_video, "Generate a video", _PAID),
    (create.extend_video, "Extend a video", _PAID),
    (create.interpolate_videos, "Interpolate two videos", _PAID),
    (create.modify_video, "Modify a video", _PAID),
    (create.reframe_media, "Reframe a video or image", _PAID),
    (create.upscale_video, "Upscale a video", _PAID),
    (create.add_audio, "Add audio to a video", _PAID),
    (create.generate_image, "Generate an image", _PAID),
    (create.modify_image, "Modify an image", _PAID),
    (library.get_generation, "Get a generation", _READS),
    (library.wait_for_generations, "Wait for generations", _SAVES),
    (library.list_generations, "List generations", _READS),
    (library.delete_generation, "Delete a generation", _DELETES),
    (library.download_generation, "Download a generation", _SAVES),
    (library.preview_generation, "Preview a generation", _READS),
    (account.list_models, "List models and prices", _READS),
    (account.list_camera_motions, "List camera motions", _READS),
    (account.get_account, "Account and balance", _READS),
)

_AGENTS_ONLY = {"modify_video": {"resolution"}, "reframe_media": {"resolution"}}
"""Parameters that the Dream Machine API has no use for."""


@asynccontextmanager
async def opened_app(
    settings: Settings, open_http: Callable[[], "httpx.AsyncClient"], now: Callable[[], datetime] = utc_now
) -> AsyncIterator[App]:
    """What the tools share, from the start of a server to its end; the arguments are those of `create_server`."""
    async with anyio.create_task_group() as tasks:
        app = App(settings, tasks, open_http, now)
        try:
            yield app
        finally:
            tasks.cancel_scope.cancel()
            if "http" in vars(app):
                with anyio.CancelScope(shield=True):
                    await app.http.aclose()


_GRACE_S = 0.9
"""Seconds that a call may take beyond LUMA_MCP_WAIT_S: with 0 it must still be able to ask Luma something."""


def create_server(
    settings: Settings, open_http: Callable[[], "httpx.AsyncClient"], now: Callable[[], datetime] = utc_now
) -> MCPServer[App]:
    """Make the server; nothing is opened before the first call that needs it.

    Args:
        settings: what the user set.
        open_http: makes the one HTTP client that talks to Luma and fetches files; the server closes it.
        now: the time of day.
    """

    @asynccontextmanager
    async def lifespan(_: MCPServer[App]) -> AsyncIterator[App]:
        async with opened_app(settings, open_http, now) as app:
            yield app

    def hidden(tool: str) -> set[str]:
        unlisted = set() if settings.callback_hosts else {"callback_url"}
        return unlisted | (_AGENTS_ONLY.get(tool, set()) if settings.api_key else set())

    tools = [
        StrictTool.of(
            function,
            title=title,
            annotations=annotations,
            limit_s=settings.wait_s + _GRACE_S,
            hidden=hidden(function.__name__),
        )
        for function, title, annotations in _TOOLS
    ]
    server = MCPServer[App](
        "luma",
        title="Luma",
        version=__version__,
        instructions=INSTRUCTIONS,
        tools=list(tools),
        lifespan=lifespan,
        log_level="ERROR",
    )
    add_prompts_and_resources(server)
    return server

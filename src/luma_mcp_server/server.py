"""The server: which tools there are, what they say of themselves, and what they share while it lives."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from . import __version__
from .catalog import descriptions, is_supported, models_for, restrictions, supported_values, unsupported_parameters
from .models import dollars
from .pricing import default_price
from .prompts import PLAYER, PLAYER_TOOLS, add_prompts_and_resources, player
from .schema import StrictTool
from .settings import Settings
from .tools import account, create, create_images, films, library
from .tools.call import open_call
from .tools.services import Services, utc_now
from .tools.tasks import Tasks

if TYPE_CHECKING:
    import httpx

INSTRUCTIONS = """\
Makes and edits videos and images with Luma AI. Jobs cost the user money. Before a job above $1 or without a \
published price, or more than three at once, tell the user the price (dry_run=true) and ask. A job goes on when a \
call ends: take it up with wait_for_generations; never repeat a paid call to check on it; list_generations finds \
lost ids. Look at what was made (preview_generations) before you call it done. Give the user the link or file_path: \
results are not shown by themselves. Name images and clips by generation id or public URL, for ray-3.2 and uni-1 \
also by absolute path. Write prompts in English: subject, action, setting, camera, style."""

_PAID = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
_SAVES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
_DELETES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True)
_JOINS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)

_TOOLS = (
    (create.generate_video, "Generate a video", _PAID),
    (create.extend_video, "Extend a video", _PAID),
    (create.interpolate_videos, "Interpolate two videos", _PAID),
    (create.modify_video, "Modify a video", _PAID),
    (create.reframe_media, "Reframe a video or image", _PAID),
    (create.upscale_video, "Upscale a video", _PAID),
    (create.add_audio, "Add audio to a video", _PAID),
    (create_images.generate_image, "Generate an image", _PAID),
    (create_images.modify_image, "Modify an image", _PAID),
    (create_images.extract_layers, "Extract the layers of an image", _PAID),
    (library.get_generation, "Get a generation", _READS),
    (library.wait_for_generations, "Wait for generations", _SAVES),
    (library.list_generations, "List generations", _READS),
    (library.delete_generations, "Delete generations", _DELETES),
    (library.download_generation, "Download a generation", _SAVES),
    (library.preview_generations, "Preview generations", _READS),
    (films.join_videos, "Join videos into a film", _JOINS),
    (account.list_models, "List models and prices", _READS),
    (account.list_camera_motions, "List camera motions", _READS),
    (account.get_account, "Account and balance", _READS),
)

# Source: Claude Code 2.1.332, which shows its model names alone and searches by these.
_SEARCH_HINTS = {
    "generate_video": "make a video",
    "generate_image": "make a picture",
    "wait_for_generations": "is it done",
}


def _meta(tool: str) -> dict[str, Any]:
    """What clients read of a tool: words to find it by, and the page that shows its results."""
    hint = {"anthropic/searchHint": _SEARCH_HINTS[tool]} if tool in _SEARCH_HINTS else {}
    # Hosts look for the page's address in either place.
    page = {"ui": {"resourceUri": PLAYER}, "ui/resourceUri": PLAYER} if tool in PLAYER_TOOLS else {}
    return hint | page


def _model_choice(tool: str, apis: Collection[str]) -> dict[str, str]:
    """The description of `model`, with what each costs, where there is a choice of prices."""
    if tool not in ("generate_video", "generate_image"):
        return {}
    prices = [f"{model.id} ({dollars(default_price(model) or 0.0)})" for model in models_for(tool, apis)]
    per = ", per 5s at 720p" if tool == "generate_video" else ""
    return {"model": f"{', '.join(prices)}{per}{'; default: the first' if len(prices) > 1 else ''}"}


def create_server(
    settings: Settings,
    open_http: Callable[[], "httpx.AsyncClient"],
    now: Callable[[], datetime] = utc_now,
    *,
    on_end: Callable[[], None] = lambda: None,
) -> MCPServer[Services]:
    """Make the server; nothing is opened before the first call that needs it.

    It calls `on_end` when the client has gone, before it waits for requests on their way, and closes the HTTP client.
    """

    @asynccontextmanager
    async def lifespan(_: MCPServer[Services]) -> AsyncIterator[Services]:
        services = None
        try:
            async with anyio.create_task_group() as tasks:
                services = Services(settings, tasks, open_http, now)
                try:
                    yield services
                finally:
                    on_end()
                    tasks.cancel_scope.cancel()
        finally:
            # Only now: purchases that are on their way outlive the cancellation.
            if services and "http" in vars(services):
                with anyio.CancelScope(shield=True):
                    await services.http.aclose()

    apis = settings.apis or ("agents", "dream_machine")
    hidden = set() if settings.callback_hosts else {"callback_url"}
    tools = [
        StrictTool.of(
            function,
            title=title,
            annotations=_READS if settings.read_only else annotations,  # waiting saves nothing then
            open_call=open_call,
            hidden=unsupported_parameters(function.__name__, apis) | hidden,
            values=supported_values(function.__name__, apis),
            words=descriptions(function.__name__, apis) | _model_choice(function.__name__, apis),
            notes=restrictions(function.__name__, apis),
            meta=_meta(function.__name__),
        )
        for function, title, annotations in _TOOLS
        if not settings.read_only or annotations is _READS or function is library.wait_for_generations
        if is_supported(function.__name__, apis)
    ]
    server = MCPServer[Services](
        "luma",
        title="Luma",
        version=__version__,
        instructions=INSTRUCTIONS,
        tools=list(tools),
        lifespan=lifespan,
        log_level="ERROR",
        extensions=[Tasks(), player(settings)],
    )
    add_prompts_and_resources(server, settings.apis)
    return server

"""The server: which tools there are, what they say of themselves, and what they share while it lives."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations

from . import __version__
from .pricing import MODELS, default_price
from .prompts import add_prompts_and_resources
from .schema import StrictTool
from .settings import DREAM_MACHINE_KEYS_PAGE, Settings
from .tools import App, account, create, library, utc_now

if TYPE_CHECKING:
    import httpx

INSTRUCTIONS = """\
Makes videos and images with Luma. Jobs cost the user money. Before a job above $1 or without a published price, or \
more than three jobs at once, tell the user the price (list_models) and ask. A job goes on when a call ends: take it \
up with wait_for_generations, never repeat a paid call to check on it; list_generations finds lost ids. Give the user \
video_url, image_url or file_path: results are not shown by themselves. Images and clips are named by generation id or \
public URL, for ray-3.2 and uni-1 also by absolute path. Write prompts in English: subject, action, setting, camera, \
style."""

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

_DREAM_MACHINE_ONLY: dict[str, tuple[str, ...]] = {
    "generate_video": ("concepts", "callback_url"),
    "extend_video": ("end_image", "callback_url"),
    "modify_video": ("callback_url",),
    "reframe_media": (
        "media_type",
        "output_format",
        "start_image",
        "x_start",
        "x_end",
        "y_start",
        "y_end",
        "grid_position_x",
        "grid_position_y",
        "resized_width",
        "resized_height",
        "callback_url",
    ),
    "generate_image": ("style_ref", "character_refs", "callback_url"),
    "modify_image": ("callback_url",),
    "interpolate_videos": (),
    "upscale_video": (),
    "add_audio": (),
    "delete_generation": (),
}
"""What the Agents API can't do: parameters, and tools as a whole where none is named."""

_AGENTS_ONLY: dict[str, tuple[str, ...]] = {"modify_video": ("resolution",), "reframe_media": ("resolution",)}


@asynccontextmanager
async def opened_app(
    settings: Settings, open_http: Callable[[], "httpx.AsyncClient"], now: Callable[[], datetime] = utc_now
) -> AsyncIterator[App]:
    """What the tools share, from the start of a server to its end; the arguments are those of `create_server`."""
    app = None
    try:
        async with anyio.create_task_group() as tasks:
            app = App(settings, tasks, open_http, now)
            yield app
            tasks.cancel_scope.cancel()
    finally:
        # Only now: purchases that are on their way outlive the cancellation.
        if app and "http" in vars(app):
            with anyio.CancelScope(shield=True):
                await app.http.aclose()
        if app and "journal" in vars(app):
            app.journal.close()


def _hidden(tool: str, apis: Collection[str], settings: Settings) -> set[str]:
    """Parameters of a tool that no API with a key can serve."""
    hidden = set() if settings.callback_hosts else {"callback_url"}
    if "agents" not in apis:
        hidden |= set(_AGENTS_ONLY.get(tool, ()))
    if "dream_machine" not in apis:
        hidden |= set(_DREAM_MACHINE_ONLY.get(tool, ()))
    return hidden


def _values(tool: str, apis: Collection[str]) -> dict[str, set[str]]:
    """The values that the models behind a tool have, by parameter."""
    kinds = {"generate_image": ("image",), "reframe_media": ("video", "image")}.get(tool, ("video",))
    if tool in _DREAM_MACHINE_ONLY and not _DREAM_MACHINE_ONLY[tool]:
        apis = ("dream_machine",)
    models = [model for model in MODELS.values() if model.api in apis and model.type in kinds]
    if tool == "reframe_media":
        models = [model for model in models if model.api == "dream_machine" or model.type == "video"]
    # Dream Machine models take no resolution for these two.
    sized = [model for model in models if model.api == "agents" or tool not in _AGENTS_ONLY]
    return {
        "aspect_ratio": {ratio for model in models for ratio in model.aspect_ratios},
        "resolution": {size for model in sized for size in model.resolutions},
        "duration": {length for model in models for length in model.durations},
    }


def _words(tool: str, apis: Collection[str]) -> dict[str, str]:
    """Descriptions that name models, or say what media can be."""
    words = {}
    kind = {"generate_video": "video", "generate_image": "image", "modify_image": "image"}.get(tool)
    if kind:
        models = [model for model in MODELS.values() if model.api in apis and model.type == kind]
        prices = [f"{model.id} (${default_price(model):g})" for model in models]
        words["model"] = f"{', '.join(prices)}; the first that can" if len(prices) > 1 else prices[0]
    if tool == "reframe_media" and "dream_machine" not in apis:
        words["model"] = "ray-3.2"
    if "agents" in apis:
        words |= {"start_image": "Generation id, image URL or absolute path"}
        if tool == "generate_video":
            words["end_image"] = "Likewise"
        words["image_refs"] = "Up to 9 ids, URLs or paths"
        if tool in ("modify_video", "reframe_media", "modify_image"):
            words["source"] = "Generation id, URL or absolute path"
    return words


class Server(MCPServer[App]):
    """The SDK's server; it says why a tool is not there, where the SDK says that it does not know it."""

    missing: Callable[[str], str | None]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[App, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool."""
        if why := self.missing(name):
            raise ToolError(f"{why} Nothing was sent.")
        return await super().call_tool(name, arguments, context)


def _missing(settings: Settings, listed: Collection[str], name: str) -> str | None:
    """Why a tool is not there, and what to do; nothing if it is."""
    if name in listed:
        return None
    if name not in {function.__name__ for function, _, _ in _TOOLS}:
        import difflib  # here, because most servers never need it

        close = difflib.get_close_matches(name, listed, 1, 0.6)
        return f"There is no tool {name[:40]!r}{f' (did you mean {close[0]}?)' if close else ''}."
    if settings.read_only:
        return (
            f"{name} is not offered: LUMA_MCP_READ_ONLY leaves only what costs and changes nothing. Tell the user, who "
            "can turn that off and restart this server."
        )
    return (
        f"{name} is not offered: Luma's Agents API can't do it. Tell the user, who can set LUMA_API_KEY to a key of "
        f"the Dream Machine API ({DREAM_MACHINE_KEYS_PAGE}), LUMA_AGENTS_API_KEY to the other, and restart this server."
    )


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

    apis = settings.apis or ("agents", "dream_machine")
    tools = [
        StrictTool.of(
            function,
            title=title,
            annotations=_READS if settings.read_only else annotations,  # waiting saves nothing then
            limit_s=settings.wait_s,
            hidden=_hidden(function.__name__, apis, settings),
            values=_values(function.__name__, apis),
            words=_words(function.__name__, apis),
        )
        for function, title, annotations in _TOOLS
        if not settings.read_only or annotations is _READS or function is library.wait_for_generations
        if "dream_machine" in apis or _DREAM_MACHINE_ONLY.get(function.__name__, ("",)) != ()
    ]
    server = Server(
        "luma",
        title="Luma",
        version=__version__,
        instructions=INSTRUCTIONS,
        tools=list(tools),
        lifespan=lifespan,
        log_level="ERROR",
    )
    server.missing = partial(_missing, settings, [tool.name for tool in tools])
    add_prompts_and_resources(server, settings.apis)
    return server

"""The prompts that a user can pick, and the resources that a client can attach."""

from collections.abc import Collection
from urllib.parse import urlsplit

from mcp.server.apps import APP_MIME_TYPE, Apps, ResourceCsp, ResourcePermissions
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.prompts.base import Prompt, PromptArgument
from mcp.server.mcpserver.resources import FunctionResource

from .errors import InvalidRequest, LumaServerError, NotFound
from .models import REQUESTS
from .schema import to_json
from .settings import Settings, is_loopback
from .tools import account
from .tools.call import ToolContext, open_call
from .tools.library import get_generation, media_of
from .tools.services import Services

PLAYER = "ui://luma/player"
PLAYER_TOOLS = {*REQUESTS, "get_generation", "wait_for_generations"}
"""Whose results the player shows, in clients that show pages."""

_LUMA_HOSTS = ("https://cdn-luma.com", "https://*.cdn-luma.com")
"""Where Dream Machine's files are. Source: its documentation, 2026. Where the Agents API stores is not published."""

_MOST_MEDIA_BYTES = 20 * 1024**2


def enhance_prompt(idea: str) -> str:
    """Turn an idea into a full shot description."""
    return (
        f"Turn this idea into one prompt for a Luma video of about 5 seconds: {idea}\n\n"
        "Write it in English, 40 to 90 words, in flowing sentences, present tense. Say in this order: the subject and "
        "how it looks; what it does, one clear action that fits into five seconds; the place, the time of day and the "
        "light; the camera (one motion, such as 'camera orbit left' or 'slow push in', and the lens or distance); the "
        "style. Be concrete; name no brands and no real people; write no negations and no on-screen text.\n\n"
        "Show me the prompt and the price of the clip (generate_video with dry_run=true). Make it once I agree."
    )


def storyboard(idea: str, shots: str = "4") -> str:
    """Plan a sequence of shots that fit together, and make a film of them."""
    return (
        f"Plan a film of {shots} shots for Luma, 5 seconds each: {idea}\n\n"
        "First write down what stays the same in every shot: the look of the characters, the place, the light, the "
        "style, the aspect ratio. Then give a table: number, prompt (40 to 90 words, with what stays the same written "
        "out each time), how the shot begins (from text; from an image; with ray-3.2 where the shot before ended, by "
        "that clip's id as start_image; extend_video of the shot before, where the action goes on), camera motion, "
        "price (dry_run=true tells it). Add up the prices, and show me all of it. Buy nothing before I agree.\n\n"
        "Then make the shots in order, since one that begins where another ended needs that clip first; use "
        "wait_for_generations for those that run side by side. Look at each with preview_generations, and show me what "
        "does not fit before you make it again. Once I like the shots, join them with join_videos (transition="
        "crossfade where place or time changes), and give me the file_path of the film."
    )


def player(settings: Settings) -> Apps:
    """The page that shows a generation in the chat, for clients that show pages (MCP Apps)."""
    from .pages import page

    # The sandbox is a host of its own, on this computer.
    urls = map(urlsplit, {settings.base_url, settings.agents_url})
    own = [f"{url.scheme}://{url.netloc}" for url in urls if is_loopback(url.hostname or "")]
    csp = ResourceCsp(resource_domains=[*_LUMA_HOSTS, *own])
    ui = {"csp": csp, "permissions": ResourcePermissions(clipboard_write={})}
    apps = Apps()
    apps.add_resource(
        FunctionResource(
            uri=PLAYER,
            name="player",
            title="Player",
            description="Shows a generation, and what one can do with it.",
            mime_type=APP_MIME_TYPE,
            meta={"ui": {name: value.model_dump(by_alias=True, exclude_none=True) for name, value in ui.items()}},
            fn=lambda: page("player"),
        )
    )
    return apps


def add_prompts_and_resources(server: MCPServer[Services], apis: Collection[str]) -> None:
    """Register them; `apis` are those that there is a key for."""
    # `server.prompt` would make pydantic models of the two functions: a hundredth of the start.
    idea = PromptArgument(name="idea", description="What you want to see, in a few words", required=True)
    story = PromptArgument(name="idea", description="The story or message", required=True)
    shots = PromptArgument(name="shots", description="How many shots; 4 if left out")
    for prompt, title, arguments in (
        (enhance_prompt, "Enhance a prompt", [idea]),
        (storyboard, "Storyboard", [story, shots]),
    ):
        name, words = prompt.__name__, prompt.__doc__
        server.add_prompt(
            Prompt(name=name, title=title, description=words, arguments=arguments, fn=prompt, context_kwarg=None)
        )

    @server.resource("luma://models", title="Luma's models", mime_type="application/json")
    async def models() -> str:
        """Models, sizes, lengths and prices, as list_models shows them."""
        return to_json(account.models(apis))

    @server.resource("luma://generations/{generation_id}", title="A generation", mime_type="application/json")
    async def generation(generation_id: str, ctx: ToolContext) -> str:
        """One generation, as get_generation shows it."""
        try:
            async with open_call(ctx, "get_generation", {}) as call:
                return to_json(await get_generation(call, generation_id))
        except (NotFound, InvalidRequest) as error:
            raise ResourceNotFoundError(str(error)) from error
        except LumaServerError as error:
            raise ResourceError(str(error)) from error

    @server.resource(
        "luma://generations/{generation_id}/media", title="A generation's file", mime_type="application/octet-stream"
    )
    async def media(generation_id: str, ctx: ToolContext) -> bytes:
        """The clip or picture itself, up to 20 MB."""
        try:
            async with open_call(ctx, "get_generation", {}) as call:
                return await media_of(call, generation_id, _MOST_MEDIA_BYTES)
        except (NotFound, InvalidRequest) as error:
            raise ResourceNotFoundError(str(error)) from error
        except LumaServerError as error:
            raise ResourceError(str(error)) from error

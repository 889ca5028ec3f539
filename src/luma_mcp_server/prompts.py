"""The prompts that a user can pick, and the resources that a client can attach."""

from collections.abc import Collection

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.prompts.base import Prompt, PromptArgument

from .errors import InvalidRequest, LumaServerError, NotFound
from .schema import to_json
from .tools import account
from .tools.call import ToolContext, open_call
from .tools.library import get_generation
from .tools.services import Services


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

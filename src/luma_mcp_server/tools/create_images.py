"""The paid tools for images: signatures, and the requests that they make."""

from typing import Annotated

from pydantic import Field

from .. import models
from ..catalog import ratios
from .call import Call
from .create import CallbackUrl, DryRun, Made, Prompt, Take, WaitS
from .paid import buy, check_call
from .sources import resolve_image, resolve_images, resolve_optional_image

ImageModel = Annotated[str | None, Field(description="photon-1 (default), photon-flash-1 (cheaper)")]
Style = Annotated[models.Style | None, Field(description="manga needs a portrait ratio")]
WebSearch = Annotated[bool, Field(description="Search the web first")]
Format = Annotated[models.OutputFormat | None, Field(description="Default: the model's")]


async def generate_image(
    call: Call,
    prompt: Prompt,
    image_refs: Annotated[
        list[str] | None, Field(description="Up to 4 ids or URLs; #weight=0 to 1 may follow each")
    ] = None,
    style_ref: Annotated[str | None, Field(description="Style to copy: id or URL, #weight too")] = None,
    character_refs: Annotated[list[str] | None, Field(description="Up to 4 ids or URLs of one person")] = None,
    aspect_ratio: Annotated[models.AspectRatio | None, Field(description="Default 16:9")] = None,
    style: Style = None,
    web_search: WebSearch = False,
    output_format: Format = None,
    model: ImageModel = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Make an image from text and reference images. Costs money."""
    check_call(call)
    refs = await resolve_images(call, image_refs, "image_refs", weighted=True)
    look = await resolve_optional_image(call, style_ref, "style_ref", weighted=True)
    people = await resolve_images(call, character_refs, "character_refs")
    return await buy(
        call,
        lambda name: models.ImageRequest(
            model=name,
            prompt=prompt,
            image_refs=refs,
            style_ref=look,
            character_refs=people,
            aspect_ratio=aspect_ratio,
            style=style,
            web_search=web_search,
            output_format=output_format,
        ),
        kind="image",
    )


async def modify_image(
    call: Call,
    source: Annotated[str, Field(description="Id or URL; #weight=0.1 after it: freer, 1: closer")],
    prompt: Annotated[str, Field(description="What to change, in English")],
    image_refs: Annotated[list[str] | None, Field(description="As in generate_image")] = None,
    style: Style = None,
    web_search: WebSearch = False,
    output_format: Format = None,
    model: Annotated[str | None, Field(description="As in generate_image; default: the image's own")] = None,
    callback_url: CallbackUrl = None,
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Edit an image as described. Costs money."""
    check_call(call)
    image = await resolve_image(call, source, "source", weighted=True)
    refs = await resolve_images(call, image_refs, "image_refs", weighted=True)
    return await buy(
        call,
        lambda name: models.ImageRequest(
            model=name,
            prompt=prompt,
            source=image,
            image_refs=refs,
            # A shape that the model does not have is left for it to choose.
            aspect_ratio=image.aspect_ratio if image.aspect_ratio in ratios(name) else None,
            style=style,
            web_search=web_search,
            output_format=output_format,
        ),
        kind="image",
        source_model=image.model,
    )


async def extract_layers(
    call: Call,
    source: Annotated[str, Field(description="Image: generation id, URL or absolute path")],
    prompt: Annotated[str | None, Field(description="How to split it")] = None,
    resolution: Annotated[models.LayerResolution, Field(description="2k costs more")] = "1k",
    take: Take = 1,
    dry_run: DryRun = False,
    wait_s: WaitS = None,
) -> Made:
    """Split an image into transparent layers; Luma decides how many. Costs money; the price is not published."""
    check_call(call)
    image = await resolve_image(call, source, "source")
    return await buy(
        call,
        lambda name: models.LayersRequest(model=name, source=image, prompt=prompt, resolution=resolution),
        kind="image",
    )

"""What a call starts from: parameters that name generations, links and files, looked up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio

from ..errors import InvalidRequest, LumaServerError, StillUploading, refuse
from ..media.references import guess_type, is_data_uri, is_local, parse_reference
from ..models import PURCHASE_PREFIX, Generation, Media, MediaType, Request, media_in
from .call import Call
from .results import wait_for

_A = {"image": "an image", "video": "a video"}

_MARGIN_S = 0.2
"""Seconds that a call keeps to say how far its upload is."""


async def resolve_id(call: Call, text: str, parameter: str = "generation_id") -> str:
    """The generation id that a parameter names, by itself or as a link to a result that was bought here."""
    reference = await _reference(call, text, parameter, media=False)
    if reference.generation_id:
        return reference.generation_id
    raise InvalidRequest(
        f"{parameter} is a link to no generation that was bought here. Nothing was bought. Use the generation's id "
        "(list_generations). Luma continues only clips that it made: for another, use modify_video, or "
        "generate_video(start_image=…) with an image of its last frame."
    )


async def resolve_clip(call: Call, text: str, parameter: str) -> Media:
    """A finished video of Luma's own, to go on from."""
    with before_purchase(call):
        made = await _finished(call, await resolve_id(call, text, parameter), parameter, "video")
        return _media(made)


async def resolve_media(
    call: Call, text: str, parameter: str, kind: MediaType | None, *, weighted: bool = False
) -> tuple[Media, MediaType]:
    """What a media parameter names, and whether it is a video or an image."""
    with before_purchase(call):
        settings = call.services.settings
        if "agents" in settings.apis and is_local(text.partition("#weight=")[0], settings.output_dir, settings.home):
            return await _local(call, text, parameter, kind)
        reference = await _reference(call, text, parameter, weighted=weighted)
        if reference.generation_id:
            made = await _finished(call, reference.generation_id, parameter, kind)
            return _media(made, reference.weight), kind or made.type or "video"
        kind = kind or guess_type(reference.url)
        if kind is None and "dream_machine" not in settings.apis:
            kind = "video"  # what the Agents API reframes
        if kind is None:
            raise refuse(
                f"The URL in {parameter} does not show whether it is a video or an image",
                "Add media_type=video or media_type=image.",
            )
        return reference, kind


async def resolve_image(call: Call, text: str | None, parameter: str, *, weighted: bool = False) -> Media | None:
    """The image that a parameter names, if it names one."""
    return None if text is None else (await resolve_media(call, text, parameter, "image", weighted=weighted))[0]


async def resolve_images(
    call: Call, texts: Sequence[str] | None, parameter: str, *, weighted: bool = False
) -> tuple[Media, ...]:
    """The images that a list names."""
    found = [
        await resolve_media(call, text, f"{parameter}[{number}]", "image", weighted=weighted)
        for number, text in enumerate(texts or ())
    ]
    return tuple(media for media, _ in found)


@contextmanager
def before_purchase(call: Call) -> Iterator[None]:
    """What is done before a purchase: it ends in time, and its failures say that nothing was bought."""
    try:
        with anyio.CancelScope(deadline=call.answer_until):
            yield
            return
    except (InvalidRequest, StillUploading):
        raise
    except LumaServerError as error:
        raise LumaServerError(f"Nothing was bought. {error}") from error
    raise LumaServerError("Nothing was bought: Luma did not answer in time about what this starts from. Call again.")


async def upload_files(call: Call, request: Request) -> Request:
    """The request with its large local files at Luma; `StillUploading` if there was no time left."""
    files = call.services.local_files
    if not any(media.file for media in media_in(request)):
        return request

    async def uploaded(media: Media) -> Media:
        if media.file is None:
            return media
        until = max(call.wait_until, call.answer_until) - _MARGIN_S
        return media.model_copy(update={"file": await files.upload(media.file, until=until, say=call.say)})

    changes: dict[str, Media | tuple[Media, ...]] = {}
    for name, value in vars(request).items():
        if isinstance(value, Media):
            changes[name] = await uploaded(value)
        elif isinstance(value, tuple) and all(isinstance(one, Media) for one in value):
            changes[name] = tuple([await uploaded(one) for one in value])
    return request.model_copy(update=changes)


async def _reference(call: Call, text: str, parameter: str, *, media: bool = True, weighted: bool = False) -> Media:
    """What a parameter names; a purchase, and a link to its result, stand for the generation."""
    services, name = call.services, text.strip()
    if name.startswith(PURCHASE_PREFIX):
        purchase = await services.journal.find(name)
        if purchase is None or purchase.generation_id is None:
            raise refuse(
                f"{parameter}: {name[:60]} has no generation yet", f"{wait_for(name[:60])} finds out what became of it."
            )
        name = purchase.generation_id
    reference = parse_reference(name, parameter, media=media, weighted=weighted, own_host=services.own_host)
    if reference.url and (purchase := await services.journal.find(reference.url)):
        return Media(generation_id=purchase.generation_id, weight=reference.weight)
    return reference


async def _local(call: Call, text: str, parameter: str, kind: MediaType | None) -> tuple[Media, MediaType]:
    """A file of the user's, checked and read."""
    if not is_data_uri(text.lstrip()):
        call.services.settings.require("LUMA_MCP_INPUT_DIRS")
        if "#weight=" in text:
            raise refuse(
                f"{parameter}: a local file takes no weight, as no model that takes files has weights",
                "Leave it out and say in the prompt how much the file counts.",
            )
    files = call.services.local_files
    kinds: tuple[MediaType, ...] = (kind,) if kind else ("image", "video")
    file = await files.inspect(text, parameter, kinds, until=call.answer_until)
    return Media(file=file), "video" if file.media_type.startswith("video/") else "image"


async def _finished(call: Call, generation_id: str, parameter: str, kind: MediaType | None) -> Generation:
    """A completed generation of that kind."""
    generation = await call.services.purchases.get(generation_id)
    if generation.state != "completed":
        todo = (
            "It failed: use another one." if generation.state == "failed" else f"Call {wait_for(generation_id)} first."
        )
        raise InvalidRequest(
            f"{parameter}: generation {generation_id} is {generation.state}. Nothing was bought. {todo}"
        )
    if kind and generation.type and generation.type != kind:
        raise InvalidRequest(
            f"{parameter} must be {_A[kind]}, but generation {generation_id} is {_A[generation.type]}. Nothing was "
            "bought. extend_video continues a video, generate_video(start_image=…) begins with an image."
        )
    return generation


def _media(made: Generation, weight: float | None = None) -> Media:
    """A finished generation as something to start from."""
    if made.url is None:
        raise InvalidRequest(f"Luma gives no link for generation {made.generation_id}. Nothing was bought.")
    return Media(
        url=made.url,
        generation_id=made.generation_id,
        api=made.api,
        model=made.model,
        weight=weight,
        aspect_ratio=made.aspect_ratio,
        resolution=made.resolution,
        duration=made.duration,
    )

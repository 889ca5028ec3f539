"""What a call starts from: parameters that name generations, links and files, looked up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from ..errors import InvalidRequest, LumaServerError, StillUploading, refuse
from ..media.frames import can_read, cut, install_line, measure
from ..media.local_files import INLINE_BYTES
from ..media.references import guess_type, is_data_uri, is_local, parse_reference, split_marks
from ..models import PURCHASE_PREFIX, Generation, LocalFile, Media, MediaType, Request, media_in
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
        "generate_video(start_image=…) with its last frame."
    )


async def resolve_clip(call: Call, text: str, parameter: str) -> Media:
    """A finished video of Luma's own, to go on from."""
    with before_purchase(call):
        made = await _finished(call, await resolve_id(call, text, parameter), parameter, "video")
        return _media(made)


async def resolve_media(call: Call, text: str, parameter: str, kind: MediaType | None) -> tuple[Media, MediaType]:
    """What a parameter for a video or an image names, and which of them it is."""
    with before_purchase(call):
        media, found = await _media_named(call, split_marks(text, parameter)[0], parameter, kind)
        found = found or kind
        if found is None and "dream_machine" not in call.services.settings.apis:
            found = "video"  # what the Agents API reframes
        if found is None:
            raise refuse(
                f"The URL in {parameter} does not show whether it is a video or an image",
                "Add media_type=video or media_type=image.",
            )
        return media, found


async def resolve_image(call: Call, text: str, parameter: str, *, weighted: bool = False, first: bool = False) -> Media:
    """The image that a parameter names; of a video the last frame, or the first."""
    with before_purchase(call):
        value, marks = split_marks(text, parameter, ("weight", "at") if weighted else ("at",))
        return await _image(call, value, parameter, marks, first=first)


async def resolve_optional_image(
    call: Call, text: str | None, parameter: str, *, weighted: bool = False, first: bool = False
) -> Media | None:
    """The same for a parameter that may be left out."""
    return None if text is None else await resolve_image(call, text, parameter, weighted=weighted, first=first)


async def resolve_images(
    call: Call, texts: Sequence[str] | None, parameter: str, *, weighted: bool = False
) -> tuple[Media, ...]:
    """The images that a list names."""
    found = [
        await resolve_image(call, text, f"{parameter}[{number}]", weighted=weighted)
        for number, text in enumerate(texts or ())
    ]
    return tuple(found)


async def resolve_keyframes(
    call: Call, texts: Sequence[str] | None, rate: float | None, seconds: float | None
) -> tuple[Media, ...]:
    """Images with their places among the frames of a clip, in order.

    Args:
        call: the call.
        texts: each an image with `#at=` seconds or `#frame=` behind it.
        rate: frames a second of the clip; None where that is not known, and only `#frame=` is possible.
        seconds: how long the clip is, where that is known.
    """
    found: dict[int, Media] = {}
    last = None if rate is None or seconds is None else round(rate * seconds)
    for number, text in enumerate(texts or ()):
        name = f"keyframes[{number}]"
        value, marks = split_marks(text, name, ("at", "frame"))
        if (marks.at_s is None) == (marks.frame is None):
            raise refuse(f"{name} does not say where it belongs", "Write #at=1.5 (seconds) or #frame=36 behind it.")
        if marks.at_s is not None and rate is None:
            raise refuse(
                f"{name}: how many frames a second the source has is not known here", "Use #frame= in place of #at=."
            )
        frame = marks.frame if marks.at_s is None else round(marks.at_s * (rate or 0.0))
        if frame is None or (last is not None and frame > last):
            raise refuse(
                f"{name} is past the end of the clip", f"Use a time up to {seconds:g}, or a frame up to {last}."
            )
        if frame in found:
            raise refuse(f"{name} falls on frame {frame}, as another keyframe does", "Move one of them.")
        with before_purchase(call):
            image = await _image(call, value, name, Media())
        if image.url.lower().partition("?")[0].endswith(".gif") or (image.file and "gif" in image.file.media_type):
            raise refuse(f"{name} is a GIF, and keyframes must be still images", "Use a JPEG, PNG or WebP.")
        found[frame] = image.model_copy(update={"frame": frame})
    return tuple(found[frame] for frame in sorted(found))


async def _image(call: Call, value: str, parameter: str, marks: Media, *, first: bool = False) -> Media:
    """An image, or a frame of what is a video."""
    can_cut = "agents" in call.services.settings.apis
    media, kind = await _media_named(call, value, parameter, None if can_cut else "image")
    media = media.model_copy(update={"weight": marks.weight})
    if kind == "video" and can_cut:
        return await _frame_of(call, media, parameter, marks.at_s, first=first)
    if marks.at_s is not None:
        raise refuse(f"#at= works only on videos, and {parameter} is an image", "Leave it out.")
    return media


async def _frame_of(call: Call, video: Media, parameter: str, at_s: float | None, *, first: bool) -> Media:
    if not can_read():
        raise refuse(f"{parameter} names a video, and this installation can't cut frames out of one", install_line())
    source: LocalFile | Path | bytes | None = video.file
    shown = video.file.path if video.file else video.generation_id or f"the video in {parameter}"
    if source is None and video.generation_id:
        source = call.services.downloads.saved(video.generation_id)
    if source is None:
        source = await call.services.downloads.content(video.url, shown)
    file = await anyio.to_thread.run_sync(lambda: cut(source, shown, at_s, first=first), abandon_on_cancel=True)
    return Media(
        file=file, generation_id=video.generation_id, at_s=at_s, weight=video.weight, aspect_ratio=video.aspect_ratio
    )


async def _media_named(
    call: Call, value: str, parameter: str, kind: MediaType | None
) -> tuple[Media, MediaType | None]:
    """What a media parameter names, and what it is, as far as that can be seen."""
    settings = call.services.settings
    if "agents" in settings.apis and is_local(value, settings.output_dir, settings.home):
        return await _local(call, value, parameter, kind)
    reference = await _reference(call, value, parameter)
    if reference.generation_id:
        made = await _finished(call, reference.generation_id, parameter, kind)
        return _media(made), kind or made.type
    looks = guess_type(reference.url)
    if kind and looks and looks != kind:
        raise refuse(f"{parameter} must be {_A[kind]}, and its URL ends like {_A[looks]}", f"Name {_A[kind]}.")
    return reference, kind or looks


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
    """The request with its local files at Luma if they are too large together to travel inside it.

    Raises `StillUploading` if there was no time left.
    """
    files = call.services.local_files
    if not any(media.file for media in media_in(request)):
        return request

    inline = sum(media.file.size for media in media_in(request) if media.file) <= INLINE_BYTES
    until = max(call.wait_until, call.answer_until) - _MARGIN_S
    sent: dict[str, LocalFile] = {}
    failures: list[Exception] = []

    async def send(file: LocalFile) -> None:
        try:
            sent[file.digest] = await files.upload(file, until=until, say=call.say)
        except LumaServerError as error:
            failures.append(error)

    def with_sent(value: Any) -> Any:
        match value:
            case Media(file=LocalFile() as file) if file.digest in sent:
                return value.model_copy(update={"file": sent[file.digest]})
            case tuple():
                return tuple(map(with_sent, value))
        return value

    async with anyio.create_task_group() as tasks:
        for file in {media.file.digest: media.file for media in media_in(request) if media.file}.values():
            if not inline:
                tasks.start_soon(send, file)
    if failures:
        raise failures[0]
    return request.model_copy(update={name: with_sent(value) for name, value in request})


async def _reference(call: Call, text: str, parameter: str, *, media: bool = True) -> Media:
    """What a parameter names; a purchase, and a link to its result, stand for the generation."""
    services, name = call.services, text.strip()
    if name.startswith(PURCHASE_PREFIX):
        purchase = await services.journal.find(name)
        if purchase is None or purchase.generation_id is None:
            raise refuse(
                f"{parameter}: {name[:60]} has no generation yet", f"{wait_for(name[:60])} finds out what became of it."
            )
        name = purchase.generation_id
    paths = "agents" in services.settings.apis
    reference = parse_reference(name, parameter, media=media, paths=paths, own_host=services.own_host)
    if reference.url and (purchase := await services.journal.find(reference.url)):
        return Media(generation_id=purchase.generation_id)
    return reference


async def _local(call: Call, text: str, parameter: str, kind: MediaType | None) -> tuple[Media, MediaType]:
    """A file of the user's, checked and read."""
    if not is_data_uri(text.lstrip()):
        call.services.settings.require("LUMA_MCP_INPUT_DIRS")
    files = call.services.local_files
    kinds: tuple[MediaType, ...] = (kind,) if kind else ("image", "video")
    file = await files.inspect(text, parameter, kinds)
    if file.media_type.startswith("image/"):
        return Media(file=file), "image"
    if can_read():
        with suppress(InvalidRequest):  # what can't be measured here, Luma may still read
            clip = await anyio.to_thread.run_sync(measure, file, parameter, abandon_on_cancel=True)
            return Media(file=file, duration=f"{round(clip.seconds, 2):g}s", rate=clip.rate), "video"
    return Media(file=file), "video"


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


_FRAMES_PER_SECOND = 24.0
"""Of Luma's clips. Source: luma-agents 0.5.0, types/video_options_param.py."""


def _media(made: Generation) -> Media:
    """A finished generation as something to start from."""
    if made.url is None:
        several = "consists of layers: give the file_path of one" if made.outputs else "has no link at Luma"
        raise InvalidRequest(f"Generation {made.generation_id} {several}. Nothing was bought.")
    return Media(
        url=made.url,
        generation_id=made.generation_id,
        api=made.api,
        model=made.model,
        rate=_FRAMES_PER_SECOND if made.type == "video" else None,
        aspect_ratio=made.aspect_ratio,
        resolution=made.resolution,
        duration=made.duration,
    )

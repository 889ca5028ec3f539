"""Luma's Dream Machine API, through its official SDK `lumaai`. No other module imports that SDK."""

from operator import attrgetter
from typing import Any

import httpx
import lumaai

from .. import models
from ..catalog import check_maker, check_values
from ..errors import AnswerLost, quote, refuse
from ..models import Api, Generation, Media, MediaType, Page, Request, media_in
from .sdk import WORD, Answer, SdkClient, Unusable, answer_time, cleaned, no_generation

_SMALL_PAGE = 20
"""Entries that are asked for where Luma fails to give 100. Source: lumaai-python issue 153, 2025-04-19."""

Body = dict[str, Any]


class DreamMachine(SdkClient):
    """The Dream Machine API with one key; `instead` says what to do if Luma has retired it.

    The SDK would close the shared `http` with itself, so the SDK is never closed.
    """

    name: Api = "dream_machine"

    def __init__(
        self, key: str, key_variable: str, keys_page: str, base_url: str, http: httpx.AsyncClient, instead: str
    ) -> None:
        super().__init__(key, key_variable, keys_page, lumaai.APIError)
        self._hint = f"Luma may have retired this API: {instead}."
        self._sdk = lumaai.AsyncLumaAI(auth_token=key, base_url=base_url, http_client=http, max_retries=0)

    def check(self, request: Request) -> None:
        """See `LumaApi.check`."""
        to_call(request)

    async def create(self, request: Request, purchase_id: str) -> Generation:  # noqa: ARG002 - this API takes none
        """Send one paid request, once. See `LumaApi.create`."""
        operation, body = to_call(request)
        send = attrgetter(operation)(self._sdk.generations)
        with self._translated(paid=True, hint=self._hint):
            return self._parsed(await send(**body))

    async def get(self, generation_id: str) -> Generation:
        """Ask how a generation stands. See `LumaApi.get`."""
        with self._translated(missing=no_generation(generation_id)):
            return self._parsed(await self._sdk.generations.get(generation_id))

    async def list(self, limit: int, offset: int) -> Page:
        """A page of the account's generations.

        Neither Luma's largest `limit` nor its order is documented: a page may be shorter than asked for.
        """
        try:
            return await self._page(limit, offset)
        except AnswerLost as error:
            if limit <= _SMALL_PAGE or (error.status or 0) < 500:
                raise
        return await self._page(_SMALL_PAGE, offset)

    async def _page(self, limit: int, offset: int) -> Page:
        with self._translated(missing=("Luma gives no list", "It may have none any more."), hint=self._hint):
            answer = await self._sdk.generations.with_raw_response.list(limit=limit, offset=offset)
            page = await answer.parse()
            data = Answer.of(page)
            entries, has_more = data.list("generations"), data.data.get("has_more")
            if entries is None:
                raise Unusable(page)
            found = [parse(entry, self._key) for entry in map(Answer.of, entries) if entry.id]
            return Page(
                generations=tuple(found),
                has_more=bool(entries) and (has_more if isinstance(has_more, bool) else len(entries) >= limit),
                answered_at=answer_time(answer.headers),
                unusable=len(entries) - len(found),
            )

    async def delete(self, generation_id: str) -> None:
        """Delete a generation at Luma; 204 without a body is success."""
        if_lost = "It may have been deleted: call again to make sure."
        with self._translated(missing=no_generation(generation_id), if_lost=if_lost):
            await self._sdk.generations.delete(generation_id)

    async def ping(self) -> None:
        """Raise if the API does not answer."""
        with self._translated(missing=("Luma does not answer", "It may be gone."), hint=self._hint):
            await self._sdk.ping.check()

    async def balance_usd(self) -> float:
        """Credit left, in US dollars; Luma counts in cents. Source: Luma's openapi.yaml and changelog v1.1.0."""
        with self._translated():
            answer = await self._sdk.credits.get()
            cents = Answer.of(answer).data.get("credit_balance")
            if isinstance(cents, bool) or not isinstance(cents, int | float):
                raise Unusable(answer)
            return round(cents / 100, 2)

    async def concepts(self) -> tuple[str, ...]:
        """Keys of the concepts that videos can be asked for with."""
        with self._translated():
            answer = await self._sdk.generations.concepts.list()
            words = cleaned(answer)
            if isinstance(words, list) and words and all(isinstance(one, str) and WORD.fullmatch(one) for one in words):
                return tuple(words)
            raise Unusable(answer)

    def _parsed(self, answer: object) -> Generation:
        return parse(Answer.of_generation(answer), self._key)


_SAME = ("model", "prompt", "negative_prompt", "mode", "resolution", "duration", "aspect_ratio", "callback_url")
"""Fields of requests that Luma calls by the same names."""


def to_call(request: Request) -> tuple[str, Body]:
    """A request as the SDK's method (below `client.generations`) and its arguments. Pure.

    Source: lumaai 1.21.0, resources/generations/*.py.
    """
    check(request)
    match request:
        case models.VideoRequest():
            operation, kind, body = "video.create", "video", _video(request)
        case models.ImageRequest():
            operation, kind, body = "image.create", "image", _image(request)
        case models.ModifyVideoRequest():
            operation, kind = "video.modify", "modify_video"
            body = {"media": _link(request.source), "first_frame": _link(request.start_image)}
        case models.ReframeRequest():
            operation, kind = f"{request.media_type}.reframe", f"reframe_{request.media_type}"
            body = {
                "media": _link(request.source),
                "format": request.output_format,
                "first_frame": _link(request.start_image),
                **request.pixels,
            }
        case models.UpscaleRequest():
            operation, kind, body = "upscale", "upscale_video", {"id": request.source.generation_id}
        case models.AudioRequest():
            operation, kind, body = "audio", "add_audio", {"id": request.source.generation_id}
        case models.LayersRequest():
            raise refuse("Luma's Dream Machine API extracts no layers", "That takes an Agents model.")
    body |= {"generation_type": kind} | {name: getattr(request, name, None) for name in _SAME}
    return operation, {name: value for name, value in body.items() if value is not None}


def _video(request: models.VideoRequest) -> Body:
    frames = {
        "frame0": _frame(request.start_image, request.start_video),
        "frame1": _frame(request.end_image, request.end_video),
    }
    return {
        "keyframes": {name: frame for name, frame in frames.items() if frame} or None,
        "loop": request.loop or None,
        "concepts": [{"key": key} for key in request.concepts] or None,
    }


def _frame(image: Media | None, video: Media | None) -> Body | None:
    if video is not None:
        return {"type": "generation", "id": video.generation_id}
    return {"type": "image", "url": image.url} if image else None


def _image(request: models.ImageRequest) -> Body:
    people = {"identity0": {"images": [media.url for media in request.character_refs]}}
    return {
        "format": request.output_format,
        "image_ref": [_link(media) for media in request.image_refs] or None,
        "style_ref": [_link(request.style_ref)] if request.style_ref else None,
        "character_ref": people if request.character_refs else None,
        "modify_image_ref": _link(request.source),
    }


def _link(media: Media | None) -> Body | None:
    if media is None or media.weight is None:
        return {"url": media.url} if media else None
    return {"url": media.url, "weight": media.weight}


MIN_PROMPT, MAX_PROMPT = 3, 5000
"""Characters. Source: Luma's Dream Machine API documentation, error messages."""

_MOST_REFS = {"image_refs": 8, "character_refs": 4}
"""Source: Luma's Dream Machine API documentation, character reference. For images it says 4, and Luma's own MCP server
says 8: what is contradictory is left for Luma to refuse."""


def check(request: Request) -> None:
    """Refuse what Luma documents as refused.

    Source: Luma's Dream Machine API documentation, pre-submission messages, except where another is named.
    """
    prompt = getattr(request, "prompt", None) or ""
    # The lower bound is documented for what is made from a prompt, not where one may be left out.
    optional = isinstance(request, models.AudioRequest | models.ReframeRequest | models.UpscaleRequest)
    if not (0 if optional else MIN_PROMPT) <= len(prompt) <= MAX_PROMPT:
        long = f"{len(prompt):,} characters long" if prompt else "empty"
        raise refuse(
            f"prompt is {long}; Luma takes {MIN_PROMPT} to {MAX_PROMPT:,} characters",
            "Describe the subject, what it does, the setting and the camera in a sentence or two.",
            "prompt",
        )
    for name, off in _AGENTS_ONLY.items():
        if getattr(request, name, off) != off:
            raise refuse(f"{getattr(request, 'model', 'ray-2')} does not support {name}", "Leave it out.", name)
    if getattr(request, "mode", None) == "auto":
        raise refuse("Dream Machine models have no mode=auto", "Use flex_2, the middle of the nine strengths.", "mode")
    for media in media_in(request):
        if media.file:
            raise refuse(
                f"{media.file.path} is no URL, and Dream Machine models fetch media by URL alone",
                "Give a public https URL.",
            )
    match request:
        case models.UpscaleRequest() | models.AudioRequest() if request.source.api != "dream_machine":
            does, instead = "adds sound only to", "Or lay a sound track over it for free: join_videos(audio=…)."
            if isinstance(request, models.UpscaleRequest):
                does, instead = "upscales only", "Or make it again with resolution=1080p."
            raise refuse(
                f"Luma {does} clips made by ray-2 and ray-flash-2, and this one was made by "
                f"{request.source.model or 'another model'}",
                f"Making the clip again with one of them costs as much as a new clip. {instead}",
            )
        case models.ModifyVideoRequest() | models.ReframeRequest() if request.resolution:
            raise refuse(
                f"{request.model} keeps the source's resolution",
                "Leave resolution out; upscale_video makes a finished clip larger.",
                "resolution",
            )
        case models.VideoRequest():
            _check_video(request)
        case models.ImageRequest():
            for name, most in _MOST_REFS.items():
                if len(getattr(request, name)) > most:
                    raise refuse(f"{name} takes at most {most} images", "Leave some out.")
    if not isinstance(request, models.UpscaleRequest | models.AudioRequest):
        check_values(request)


_AGENTS_ONLY: dict[str, object] = {
    "keyframes": (),
    "dynamic_range": "sdr",
    "controls": {},
    "placement": None,
    "style": None,
    "web_search": False,
}
"""Fields of requests that this API does not have, and what they are where they ask for nothing."""


def _check_video(request: models.VideoRequest) -> None:
    if request.model == "ray-1-6":
        # Source: lumaai 1.19.0 dropped it; lumaai-node issue 106: it takes no resolution or duration.
        raise refuse("ray-1-6 is no longer offered", "Use model=ray-flash-2 or ray-2.")
    check_maker(request.start_video, request.end_video, request.model)
    starts, ends = request.start_image or request.start_video, request.end_image or request.end_video
    if request.loop and ends and (starts or request.end_video):
        both_images = request.start_image and request.end_image
        what = "two images" if both_images else "two ends" if starts else "a clip extended backward"
        raise refuse(
            f"Luma can't loop {what}",
            "Make the same call without loop, or loop a clip that has only a start image or is extended forward.",
        )


def parse(answer: Answer, key: str) -> Generation:
    """A generation of Luma's as ours, without the key."""
    assets, request = answer.inner("assets"), answer.inner("request")
    state, model = answer.word("state") or "unknown", answer.word("model") or request.word("model")
    said = request.word("generation_type")
    kind = _type(answer.word("generation_type"), f"{said} {model}", assets)
    image, reason, failed = assets.link("image"), answer.text("failure_reason"), state == "failed"
    # A clip that goes on from another is longer than asked for, and Luma does not say how long.
    frames = request.inner("keyframes")
    clips = [frames.inner(name).word("type") for name in frames.data].count("generation")
    changes = request.inner("modify_image_ref").data
    operations = {
        "video": ("generate_video", "extend_video", "interpolate_videos")[min(clips, 2)],
        "image": "modify_image" if changes else "generate_image",
        "reframe_video": "reframe_media",
        "reframe_image": "reframe_media",
    }
    return Generation(
        generation_id=answer.id,
        api="dream_machine",
        type=kind,
        operation=operations.get(said or kind or "", said),
        state=state,
        model=model,
        prompt=request.text("prompt"),
        aspect_ratio=request.word("aspect_ratio"),
        resolution=request.word("resolution"),
        duration=None if clips == 1 else request.word("duration"),
        created_at=answer.time("created_at"),
        video_url=assets.link("video"),
        image_url=image if kind != "video" else None,
        thumbnail_url=image if kind == "video" else None,
        failure_reason=quote(reason, secret=key) if failed and reason else None,
        # Charged when it is taken, refunded when it fails. Source: Luma's Dream Machine API FAQ.
        charged="no" if failed else "yes",
    )


def _type(said: str | None, words: str, assets: Answer) -> MediaType | None:
    if said in ("video", "image"):
        return "video" if said == "video" else "image"
    if assets.link("video") or any(word in words for word in ("video", "ray", "audio")):
        return "video"
    return "image" if "image" in words or "photon" in words else None

"""Luma's Dream Machine API, through its official SDK `lumaai`. No other module imports that SDK."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, cast

import anyio
import httpx
import lumaai
from lumaai.types import Generation as SdkGeneration

from ..errors import AnswerLost, InvalidRequest, NotFound, Refused, quote
from ..models import (
    Api,
    AudioRequest,
    Generation,
    ImageRequest,
    Media,
    MediaType,
    ModifyVideoRequest,
    ReframeRequest,
    Request,
    UpscaleRequest,
    VideoRequest,
)
from ..pricing import DREAM_MACHINE_DURATIONS, DREAM_MACHINE_RATIOS, DREAM_MACHINE_RESOLUTIONS
from ..settings import DREAM_MACHINE_KEYS_PAGE
from . import Lost, medias, one_of, other_api
from .outcomes import NOTHING_LOST, date_of, fits, quiet, text_of, to_time, translate, unusable

quiet("lumaai")

_LOOK_UP_S = 3.0
"""How long an answer may take that the call can do without."""

_PAGE, _MOST_PAGES = 100, 10

_CLOCK_STEP_S = 2.0
"""HTTP dates and Luma's times are cut to whole seconds."""

_CLOCK_OFF_S = 25 * 3600.0
"""A clock that has been set back by so much, since the request was sent, makes it look so much younger than it is."""

Body = dict[str, Any]


class DreamMachine:
    """The Dream Machine API with one key.

    Args:
        key: the API key.
        key_variable: the environment variable it came from, for messages.
        base_url: where the API is.
        http: the shared client. The SDK would close it with itself, so the SDK is never closed.
        if_gone: what to do where Luma says that this API, or a model of it, is retired.
    """

    api: Api = "dream_machine"

    def __init__(self, key: str, key_variable: str, base_url: str, http: httpx.AsyncClient, if_gone: str) -> None:
        self._key, self._key_variable, self.if_gone = key, key_variable, if_gone
        self._sdk = lumaai.AsyncLumaAI(auth_token=key, base_url=base_url, http_client=http, max_retries=0)

    def check(self, request: Request) -> None:
        """See `Backend.check`."""
        to_call(request)

    async def create(self, request: Request, request_id: str) -> Generation:  # noqa: ARG002 - this API takes none
        """Send one paid request, once. See `Backend.create`."""
        operation, body = to_call(request)
        send = attrgetter(operation)(self._sdk.generations)
        try:
            with self._translated(paid=True):
                return self._generation(await send(**body), paid=True)
        except Refused as refusal:
            if refusal.status != 402:
                raise
            balance = await self._balance_words()
            raise Refused(f"{refusal}{balance}", status=402) from refusal

    async def get(self, generation_id: str) -> Generation:
        """Ask how a generation stands. See `Backend.get`."""
        try:
            with self._translated():
                return self._generation(await self._sdk.generations.get(generation_id))
        except NotFound as missing:
            raise NotFound(f"{missing} (asked for {generation_id})", status=missing.status) from missing

    async def list(self, limit: int, offset: int) -> tuple[tuple[Generation, ...], bool]:
        """A page of the account's generations, in Luma's order, and whether there are more.

        Neither Luma's largest `limit` nor its order is documented: a page may be shorter than asked for.
        """
        rows, more, _ = await self._page(limit, offset)
        return tuple(parse(row, self._key) for row in rows), more

    async def find(self, lost: Lost) -> tuple[Generation | None, bool]:
        """Look in Luma's list for a job whose answer was lost. Free.

        A job is the one looked for if its request has every field that was sent, no purchase has its id yet, it was
        created, by Luma's clock, while the request may have been on its way, and it could be nobody else's.

        Returns:
            The job, if there is one; and whether its absence is certain, otherwise.

        Raises:
            LumaServerError: the list can't be read.
        """
        sent = _echoed(lost.request)
        fitting: dict[datetime, Mapping[str, Any]] = {}
        certain, ordered, at, last = True, True, 0, datetime.max.replace(tzinfo=UTC)
        for _ in range(_MOST_PAGES):
            rows, more, date = await self._page(_PAGE, at)
            if date is None:
                return None, False
            since = date - timedelta(seconds=lost.age_s() + _CLOCK_STEP_S)
            until = since + timedelta(seconds=lost.within_s)
            doubtful = since - timedelta(seconds=_CLOCK_OFF_S)
            # Only now: what was sent while the list was on its way may be in it.
            others = [other and _echoed(other) for other in lost.rivals()]
            for row in rows:
                name, created, echo = text_of(row, "id"), to_time(row.get("created_at")), row.get("request")
                # A list in another order than newest first has no end but its last page.
                ordered = ordered and created is not None and created <= last
                last = created or last
                fit = fits(sent, echo)
                if (created is not None and created < doubtful) or (fit is False and _is_another(sent, echo)):
                    continue
                if name and lost.is_known(name):
                    continue
                alone = not any(other is None or fits(other, echo) is not False for other in others)
                if name and fit and alone and created is not None and since <= created <= until:
                    fitting[created] = row
                else:
                    certain = False
            at += len(rows)
            if not more or (ordered and last < doubtful):
                break
        else:
            certain = False
        return (parse(fitting[min(fitting)], self._key), False) if fitting else (None, certain)

    async def _page(self, limit: int, offset: int) -> tuple[Sequence[Mapping[str, Any]], bool, datetime | None]:
        """A page of Luma's list, whether there are more, and the time by Luma's clock."""
        try:
            with self._translated():
                answer = await self._sdk.generations.with_raw_response.list(limit=limit, offset=offset)
                page = await answer.parse()
        except NotFound as missing:
            raise Refused(
                f"Luma's Dream Machine API has no list any more (HTTP 404). {self.if_gone}", status=404
            ) from missing
        with self._translated():
            rows = getattr(page, "generations", None)
            if not isinstance(rows, list):
                raise unusable(page, paid=False, key=self._key)
            has_more = getattr(page, "has_more", None)
            more = bool(rows) and (has_more if isinstance(has_more, bool) else len(rows) >= limit)
            return [as_dict(row) for row in rows], more, date_of(answer.headers)

    async def delete(self, generation_id: str) -> None:
        """Delete a generation at Luma; 204 without a body is success."""
        try:
            with self._translated():
                await self._sdk.generations.delete(generation_id)
        except AnswerLost as lost:
            perhaps = "It may have been deleted: call again to make sure."
            raise AnswerLost(f"{str(lost).removesuffix(NOTHING_LOST)} {perhaps}") from lost

    async def ping(self) -> None:
        """Raise if the API does not answer."""
        with self._translated():
            await self._sdk.ping.check(timeout=_LOOK_UP_S)

    async def balance_usd(self) -> float:
        """Credit left, in US dollars; Luma counts in cents. Source: Luma's openapi.yaml and changelog v1.1.0."""
        with self._translated():
            answer = await self._sdk.credits.get(timeout=_LOOK_UP_S)
            cents = getattr(answer, "credit_balance", None)
            if not isinstance(cents, int | float):
                raise unusable(answer, paid=False, key=self._key)
            return round(cents / 100, 2)

    async def concepts(self) -> tuple[str, ...]:
        """Keys of the concepts that videos can be asked for with."""
        with self._translated():
            return self._words(await self._sdk.generations.concepts.list(timeout=_LOOK_UP_S))

    async def camera_motions(self) -> tuple[str, ...]:
        """Words for camera motions. The SDK lost this call in 1.8.0, so the endpoint is asked through its client."""
        with self._translated():
            path = "/generations/camera_motion/list"
            return self._words(await self._sdk.get(path, cast_to=object, options={"timeout": _LOOK_UP_S}))

    async def _balance_words(self) -> str:
        # A body that trickles in never meets the HTTP client's time-outs.
        with anyio.move_on_after(_LOOK_UP_S), suppress(Exception):  # an extra; the refusal must come through
            return f" The balance is ${await self.balance_usd():.2f}."
        return ""

    def _words(self, answer: object) -> tuple[str, ...]:
        words = tuple(answer) if isinstance(answer, Sequence) and not isinstance(answer, str) else ()
        if words and all(isinstance(word, str) for word in words):
            return words
        raise unusable(answer, paid=False, key=self._key)

    def _generation(self, answer: object, *, paid: bool = False) -> Generation:
        # The SDK hands HTML through as text and `{}` as a generation without an id.
        if not isinstance(answer, SdkGeneration) or not isinstance(answer.id, str) or not answer.id:
            raise unusable(answer if not isinstance(answer, SdkGeneration) else {}, paid=paid, key=self._key)
        return parse(as_dict(answer), self._key)

    @contextmanager
    def _translated(self, *, paid: bool = False) -> Iterator[None]:
        try:
            yield
        except (lumaai.APIError, ValueError, RecursionError) as error:  # the SDK lets what json raises through
            raise translate(
                error,
                paid=paid,
                key=self._key,
                key_variable=self._key_variable,
                keys_page=DREAM_MACHINE_KEYS_PAGE,
                if_gone=self.if_gone,
            ) from error


def to_call(request: Request) -> tuple[str, Body]:
    """A request as the SDK's method (below `client.generations`) and its arguments. Pure.

    Source: lumaai 1.21.0, resources/generations/*.py.

    Raises:
        InvalidRequest: Luma documents that it refuses this.
    """
    check(request)
    match request:
        case VideoRequest():
            operation, body = "video.create", _video(request)
        case ImageRequest():
            operation, body = "image.create", _image(request)
        case ModifyVideoRequest():
            operation = "video.modify"
            body = {
                "generation_type": "modify_video",
                "model": request.model,
                "media": {"url": request.source.url},
                "mode": request.mode,
                "prompt": request.prompt,
                "first_frame": _url(request.start_image),
            }
        case ReframeRequest():
            operation = f"{request.media_type}.reframe"
            body = {
                "generation_type": f"reframe_{request.media_type}",
                "model": request.model,
                "media": {"url": request.source.url},
                "aspect_ratio": request.aspect_ratio,
                "prompt": request.prompt,
                "format": request.output_format,
                "first_frame": _url(request.start_image),
                **request.placement.model_dump(),
            }
        case UpscaleRequest():
            operation = "upscale"
            body = {
                "id": request.source.generation_id,
                "generation_type": "upscale_video",
                "resolution": request.resolution,
            }
        case AudioRequest():
            operation = "audio"
            body = {
                "id": request.source.generation_id,
                "generation_type": "add_audio",
                "prompt": request.prompt,
                "negative_prompt": request.negative_prompt,
            }
    body["callback_url"] = request.callback_url
    return operation, {name: value for name, value in body.items() if value is not None}


def _echoed(request: Request) -> Body:
    """What Luma's list shows of a request."""
    body = to_call(request)[1]
    body.pop("id", None)  # is part of the path
    return body


def _is_another(sent: Body, echo: object) -> bool:
    """Whether an echo that does not fit is another request's beyond doubt: Luma may write a link or a number anew."""
    name = "prompt" if "prompt" in sent else "generation_type"
    return fits(sent[name], text_of(echo, name)) is False


def _video(request: VideoRequest) -> Body:
    frames = {
        "frame0": _frame(request.start_image, request.start_video),
        "frame1": _frame(request.end_image, request.end_video),
    }
    return {
        "generation_type": "video",
        "model": request.model,
        "prompt": request.prompt,
        "resolution": request.resolution,
        "duration": request.duration,
        "aspect_ratio": request.aspect_ratio,
        "keyframes": {name: frame for name, frame in frames.items() if frame} or None,
        "loop": request.loop or None,
        "concepts": [{"key": key} for key in request.concepts] or None,
    }


def _frame(image: Media | None, video: Media | None) -> Body | None:
    if video is not None:
        return {"type": "generation", "id": video.generation_id}
    return {"type": "image", "url": image.url} if image else None


def _image(request: ImageRequest) -> Body:
    people = {"identity0": {"images": [media.url for media in request.character_refs]}}
    return {
        "generation_type": "image",
        "model": request.model,
        "prompt": request.prompt,
        "aspect_ratio": request.aspect_ratio,
        "format": request.output_format,
        "image_ref": [_weighted(media) for media in request.image_refs] or None,
        "style_ref": [_weighted(request.style_ref)] if request.style_ref else None,
        "character_ref": people if request.character_refs else None,
        "modify_image_ref": _weighted(request.source) if request.source else None,
    }


def _weighted(media: Media) -> Body:
    return {"url": media.url} if media.weight is None else {"url": media.url, "weight": media.weight}


def _url(media: Media | None) -> Body | None:
    return {"url": media.url} if media else None


MIN_PROMPT, MAX_PROMPT = 3, 5000
"""Characters. Source: Luma's Dream Machine API documentation, error messages."""

_MOST_IMAGE_REFS = 8
"""Luma's documentation says 4, its own MCP server 8: what is contradictory is left for Luma to refuse."""

_MOST_CHARACTER_REFS = 4
"""Source: Luma's Dream Machine API documentation, character reference."""


def check(request: Request) -> None:
    """Refuse what Luma documents as refused.

    Source: Luma's Dream Machine API documentation, pre-submission messages, except where another is named.

    Raises:
        InvalidRequest: with a call that would work.
    """
    prompt = None if isinstance(request, UpscaleRequest) else request.prompt
    # The lower bound is documented for what is made from a prompt, not where one may be left out.
    least = 0 if isinstance(request, AudioRequest | ReframeRequest) else MIN_PROMPT
    if prompt is not None and not least <= len(prompt.strip()) <= MAX_PROMPT:
        raise InvalidRequest(
            f"prompt is {len(prompt.strip())} characters long; Luma takes {MIN_PROMPT} to {MAX_PROMPT:,}. Nothing was "
            "sent. Describe the subject, what it does, the setting and the camera in a sentence or two."
        )
    if isinstance(request, UpscaleRequest | AudioRequest) and request.source.api != "dream_machine":
        raise InvalidRequest(
            "Luma upscales and gives sound to clips of its Dream Machine models alone; this one is of its Agents API. "
            "Nothing was sent. Make the clip with model=ray-2 or ray-flash-2."
        )
    for media in medias(request):
        if media.file:
            raise InvalidRequest(
                f"{media.file.path} is a local file, but Dream Machine models fetch media by URL alone. Nothing was "
                "sent. Put it at a public https URL, or use an Agents model (ray-3.2, uni-1) with its key."
            )
    if isinstance(request, ModifyVideoRequest | ReframeRequest) and request.resolution:
        raise InvalidRequest(
            f"{request.model} keeps the source's resolution. Nothing was sent. Leave resolution out; upscale_video "
            "makes a finished clip larger."
        )
    if isinstance(request, VideoRequest | ImageRequest | ReframeRequest):
        one_of(request.model, "aspect_ratio", request.aspect_ratio, DREAM_MACHINE_RATIOS)
    if isinstance(request, VideoRequest):
        _check_video(request)
    if isinstance(request, ImageRequest):
        if len(request.image_refs) > _MOST_IMAGE_REFS:
            raise InvalidRequest(
                f"image_refs takes at most {_MOST_IMAGE_REFS} images. Nothing was sent. Leave some out."
            )
        if len(request.character_refs) > _MOST_CHARACTER_REFS:
            raise InvalidRequest(
                f"character_refs takes at most {_MOST_CHARACTER_REFS} images, all of one person. Nothing was sent. "
                "Leave some out."
            )


def _check_video(request: VideoRequest) -> None:
    if request.model == "ray-1-6":
        # Source: lumaai 1.19.0 dropped it; lumaai-node issue 106: it takes no resolution or duration.
        raise InvalidRequest("ray-1-6 is no longer offered. Nothing was sent. Use model=ray-flash-2 or ray-2.")
    one_of(request.model, "resolution", request.resolution, DREAM_MACHINE_RESOLUTIONS)
    one_of(request.model, "duration", request.duration, DREAM_MACHINE_DURATIONS)
    if any(clip.api != "dream_machine" for clip in (request.start_video, request.end_video) if clip):
        raise other_api("Agents", request.model)
    if not request.loop:
        return
    both_images = request.start_image and request.end_image
    between = (request.start_video or request.end_video) and (
        request.start_image or request.end_image or (request.start_video and request.end_video)
    )
    if both_images or between or request.end_video:
        what = "two images" if both_images else "two ends" if between else "a clip extended backward"
        raise InvalidRequest(
            f"Luma can't loop {what}. Nothing was sent. Make the same call without loop, or loop a clip that has only "
            "a start image or is extended forward."
        )


def as_dict(answer: Any) -> Mapping[str, Any]:
    """An SDK value as plain data, whatever its fields turned out to hold."""
    data = answer.to_dict(mode="python", warnings=False) if isinstance(answer, lumaai.BaseModel) else answer
    return data if isinstance(data, Mapping) else {}


def parse(raw: Mapping[str, Any], key: str) -> Generation:
    """A generation of Luma's as ours, without the key. Never raises: fields of another shape count as absent."""

    assets, request = raw.get("assets"), raw.get("request")
    state, model = text_of(raw, "state") or "unknown", text_of(raw, "model") or text_of(request, "model")
    operation = text_of(request, "generation_type")
    kind = _type(text_of(raw, "generation_type"), f"{operation} {model}", assets)
    image, reason = text_of(assets, "image"), text_of(raw, "failure_reason")
    return Generation(
        generation_id=text_of(raw, "id"),
        api="dream_machine",
        type=kind,
        operation=operation if operation not in ("video", "image") else None,
        state=state,
        model=model,
        prompt=text_of(request, "prompt"),
        aspect_ratio=text_of(request, "aspect_ratio"),
        resolution=text_of(request, "resolution"),
        duration=None if _extends(request) else text_of(request, "duration"),
        created_at=to_time(raw.get("created_at")),
        video_url=text_of(assets, "video"),
        image_url=image if kind != "video" else None,
        thumbnail_url=image if kind == "video" else None,
        failure_reason=quote(reason, secret=key) if state == "failed" and reason else None,
        # Charged when it is taken, refunded when it fails. Source: Luma's Dream Machine API FAQ.
        charged="no" if state == "failed" else "yes",
    )


def _extends(request: object) -> bool:
    """Whether the clip goes on from another: it is then longer than asked for, and Luma does not say how long."""
    frames = request.get("keyframes") if isinstance(request, Mapping) else None
    kinds = (
        [frame.get("type") for frame in frames.values() if isinstance(frame, Mapping)]
        if isinstance(frames, Mapping)
        else []
    )
    return kinds.count("generation") == 1


def _type(said: str | None, words: str, assets: object) -> MediaType | None:
    if said in ("video", "image"):
        return cast("MediaType", said)
    if isinstance(assets, Mapping) and assets.get("video"):
        return "video"
    if any(word in words for word in ("video", "ray", "audio")):
        return "video"
    return "image" if "image" in words or "photon" in words else None

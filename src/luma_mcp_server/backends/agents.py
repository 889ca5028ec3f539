"""Luma's Agents API, through its official SDK `luma-agents`. No other module imports that SDK."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpx
import luma_agents
from luma_agents.types import Generation as SdkGeneration

from ..errors import AnswerLost, InvalidRequest, LumaServerError, NotFound, NotSent, Refused, TooManyRequests, quote
from ..models import (
    Api,
    Generation,
    ImageRequest,
    Media,
    MediaType,
    ModifyVideoRequest,
    ReframeRequest,
    Request,
    VideoRequest,
)
from ..pricing import AGENTS_DURATIONS, AGENTS_IMAGE_RATIOS, AGENTS_RESOLUTIONS, AGENTS_VIDEO_RATIOS
from ..settings import AGENTS_KEYS_PAGE, is_loopback
from . import medias, one_of, other_api
from .outcomes import quiet, text_of, to_time, translate, unusable

quiet("luma_agents")

_LOOK_UP_S = 3.0
_LINK_LIFE = timedelta(hours=1)
"""Source: Luma Agents API documentation, image generation guide: links are presigned for one hour."""

_UPLOAD_TIMEOUT = httpx.Timeout(60, connect=5, write=120)
"""Each piece of a file has two minutes to leave: slow lines are common on the way out."""

_INGEST_S = 120.0
"""How long Luma may take to look at an uploaded file."""

Body = dict[str, Any]


class Agents:
    """The Agents API with one key.

    Args:
        key: the API key.
        key_variable: the environment variable it came from, for messages.
        base_url: where the API is.
        http: the shared client. The SDK would close it with itself, so the SDK is never closed.
        now: the time of day, to say when links expire.
    """

    api: Api = "agents"

    def __init__(
        self, key: str, key_variable: str, base_url: str, http: httpx.AsyncClient, now: Callable[[], datetime]
    ) -> None:
        self._key, self._key_variable, self._http, self._now = key, key_variable, http, now
        self._host = httpx.URL(base_url).host
        self._sdk = luma_agents.AsyncLuma(auth_token=key, base_url=base_url, http_client=http, max_retries=0)

    def check(self, request: Request) -> None:
        """See `Backend.check`."""
        to_body(request)

    async def create(self, request: Request, request_id: str) -> Generation:
        """Send one paid request, once. See `Backend.create`."""
        body = to_body(request)
        headers = {"X-Request-Id": request_id}
        with self._translated(paid=True):
            answer = await self._sdk.generations.create(**body, extra_headers=headers)
            return self._generation(answer, paid=True)

    async def get(self, generation_id: str) -> Generation:
        """Ask how a generation stands. See `Backend.get`."""
        try:
            with self._translated():
                return self._generation(await self._sdk.generations.get(generation_id))
        except NotFound as missing:
            raise NotFound(f"{missing} (asked for {generation_id})", status=missing.status) from missing

    async def ping(self) -> None:
        """Raise if the API does not answer or refuses the key. It has no cheaper question than its list of files."""
        with self._translated():
            await self._sdk.files.list(limit=1, timeout=_LOOK_UP_S)

    async def upload(self, size: int, media_type: str, filename: str, chunks: AsyncIterator[bytes]) -> str:
        """Bring a file to Luma, and give its id once requests may name it. Costs nothing.

        It sleeps between its questions, which no other method here does: they belong to one upload, and nobody else
        asks them.

        Args:
            size: bytes that `chunks` gives in all.
            media_type: MIME type of the content.
            filename: what Luma notes as its name.
            chunks: the content, read as fast as it leaves. What it raises ends the upload and comes out here.

        Raises:
            NotSent | Refused | AnswerLost: there is no usable file.
            LumaServerError: Luma looked at the file and does not take it.
        """
        try:
            with self._translated():
                made = _fields(
                    await self._sdk.files.create(
                        mime_type=media_type, size_bytes=size, purpose="input", filename=filename
                    )
                )
                file_id, upload = text_of(made, "id"), made.get("upload")
                if file_id is None or not isinstance(upload, Mapping):
                    raise AnswerLost(f"Luma named no place for the file. {_UPLOAD_AGAIN}")
                await self._put(upload, size, chunks)
                file = _fields(await self._sdk.files.complete(file_id))
            await self._ingested(file_id, file)
        except NotFound as missing:
            # The words for a 404 speak of generations.
            raise NotFound(f"Luma does not know the file (HTTP 404). {_UPLOAD_AGAIN}", status=404) from missing
        return file_id

    async def _put(self, upload: Mapping[str, Any], size: int, chunks: AsyncIterator[bytes]) -> None:
        try:
            url = httpx.URL(text_of(upload, "url") or "")
        except httpx.InvalidURL:
            url = httpx.URL("")
        # Plain http only where the whole API is on this computer; a user in the URL would be sent as Authorization.
        trusted = url.scheme == "https" or (url.host == self._host and is_loopback(url.host))
        if not trusted or not url.host or url.userinfo:
            raise AnswerLost(f"Luma named no https address for the file, so it was not sent. {_UPLOAD_AGAIN}")
        signed = upload.get("headers")
        pairs = signed.items() if isinstance(signed, Mapping) else ()
        headers = httpx.Headers(
            {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, str)}
        )
        headers["Content-Length"] = str(size)  # S3 takes nothing of unknown length
        request = self._http.build_request("PUT", url, headers=headers, content=chunks, timeout=_UPLOAD_TIMEOUT)
        try:
            answer = await self._http.send(request, follow_redirects=False)
        except httpx.HTTPError as error:
            raise luma_agents.APIConnectionError(request=request) from error
        if answer.is_success:
            return
        # Nothing else of the answer: S3 repeats what it was sent, the signature too.
        code = re.search(r"<Code>(\w{1,40})</Code>", answer.text)
        said = f"HTTP {answer.status_code}{': ' + code[1] if code else ''}"
        if answer.is_client_error:
            raise Refused(f"Luma's storage refused the file ({said}). {_UPLOAD_AGAIN}", status=answer.status_code)
        raise AnswerLost(f"Luma's storage did not take the file ({said}). {_UPLOAD_AGAIN}")

    async def _ingested(self, file_id: str, file: Mapping[str, Any]) -> None:
        gap, until = 1.0, anyio.current_time() + _INGEST_S
        while (state := text_of(file, "state")) != "ready":
            if state in ("failed", "deleted"):
                reason = quote(text_of(file, "failure_reason") or f"it is {state}", secret=self._key).rstrip(".")
                raise LumaServerError(f"Luma does not take the file: {reason}. Nothing was bought. Use another file.")
            if anyio.current_time() + gap > until:
                raise AnswerLost(f"Luma has not made the file usable within {_INGEST_S:.0f} seconds. {_UPLOAD_AGAIN}")
            await anyio.sleep(gap)
            gap = min(1.5 * gap, 5.0)
            try:
                with self._translated():
                    file = _fields(await self._sdk.files.get(file_id))
            except (NotSent, AnswerLost, TooManyRequests):
                continue  # one lost answer is no reason to send everything again

    def _generation(self, answer: object, *, paid: bool = False) -> Generation:
        # The SDK hands HTML through as text and `{}` as a generation without an id.
        if not isinstance(answer, SdkGeneration) or not isinstance(getattr(answer, "id", None), str) or not answer.id:
            raise unusable(answer if not isinstance(answer, SdkGeneration) else {}, paid=paid, key=self._key)
        data = answer.to_dict(mode="python", warnings=False)
        return parse(data, self._key, self._now() + _LINK_LIFE)

    @contextmanager
    def _translated(self, *, paid: bool = False) -> Iterator[None]:
        try:
            yield
        except (luma_agents.APIError, ValueError, RecursionError) as error:  # the SDK lets what json raises through
            raise translate(
                error,
                paid=paid,
                key=self._key,
                key_variable=self._key_variable,
                keys_page=AGENTS_KEYS_PAGE,
            ) from error


_UPLOAD_AGAIN = "Nothing was bought. Make the same call again: it sends the file anew."


def _fields(answer: object) -> Mapping[str, Any]:
    """An answer of the SDK as plain data; nothing for HTML, null and the like, which it hands through."""
    return answer.to_dict(mode="python", warnings=False) if isinstance(answer, luma_agents.BaseModel) else {}


def to_body(request: Request) -> Body:
    """A request as the arguments of the SDK's one create call. Pure.

    Source: luma-agents 0.5.0, types/generation_create_params.py and types/video_options_param.py.

    Raises:
        InvalidRequest: Luma documents that it refuses this, or has no such operation in this API.
    """
    check(request)
    match request:
        case VideoRequest():
            body: Body = {"type": "video", "aspect_ratio": request.aspect_ratio, "video": _video(request)}
        case ImageRequest():
            body = {
                "type": "image_edit" if request.source else "image",
                "aspect_ratio": request.aspect_ratio,
                "source": _reference(request.source) if request.source else None,
                "image_ref": [_link(media) for media in request.image_refs] or None,
                "output_format": {"jpg": "jpeg", "png": "png", None: None}[request.output_format],
            }
        case ModifyVideoRequest():
            start = {"start_frame": _link(request.start_image)} if request.start_image else {}
            body = {
                "type": "video_edit",
                "source": _clip(request.source),
                "video": {"resolution": request.resolution, "edit": {"strength": request.mode}, **start},
            }
        case ReframeRequest():
            body = {
                "type": "video_reframe",
                "source": _clip(request.source),
                "aspect_ratio": request.aspect_ratio,
                "video": {"resolution": request.resolution},
            }
        case _:
            raise AssertionError("check() refuses the rest")
    body |= {"model": request.model, "prompt": request.prompt or _REFRAME_PROMPT}
    return {name: value for name, value in body.items() if value is not None}


_REFRAME_PROMPT = "Continue the scene naturally into the new frame"
"""Sent where the caller gives none: this API requires a prompt for everything."""

_FRAMES = {"5s": 120, "10s": 240}
"""Position of the last frame. Source: luma-agents 0.5.0 types/video_options_param.py (24 frames a second)."""


def _video(request: VideoRequest) -> Body:
    video: Body = {"resolution": request.resolution, "duration": request.duration}
    images = {0: request.start_image, _FRAMES.get(request.duration, 0): request.end_image}
    pinned = {index: _link(media) for index, media in images.items() if media}
    if request.duration == "10s" and pinned:
        # start_frame and end_frame are for 5s alone; the same frames as keyframes also work for 10s.
        return video | {"keyframes": list(pinned.values()), "keyframe_indexes": list(pinned)}
    frames = {
        "start_frame": _reference(request.start_video) if request.start_video else _link(request.start_image),
        "end_frame": _reference(request.end_video) if request.end_video else _link(request.end_image),
    }
    return video | {name: frame for name, frame in frames.items() if frame} | ({"loop": True} if request.loop else {})


def _link(media: Media | None) -> Body | None:
    """An image where this API takes no generation id for one: `generation_id` as a frame means extending a clip."""
    if media is None:
        return None
    if media.file is not None:
        return _file(media)
    return {"url": media.url}


def _reference(media: Media) -> Body:
    """A source: by id where it is one of this API's own."""
    if media.generation_id and media.api == "agents":
        return {"generation_id": media.generation_id}
    return _link(media) or {}


def _clip(media: Media) -> Body:
    source = _reference(media)
    if "url" in source:
        # Luma wants to know before it fetches; a wrong subtype is not known to matter.
        source["media_type"] = "video/mp4"
    return source


def _file(media: Media) -> Body:
    assert media.file is not None
    if media.file.file_id:
        return {"file_id": media.file.file_id}
    return {"data": media.file.data, "media_type": media.file.media_type}


MAX_PROMPT = 6000
"""Characters. Source: Luma Agents API documentation, error handling."""

_MOST_REFS = {"image": 9, "image_edit": 8}
"""Source: luma-agents 0.5.0, types/generation_create_params.py."""


def check(request: Request) -> None:
    """Refuse what Luma documents as refused, and what this API does not have.

    Raises:
        InvalidRequest: with a call that would work.
    """
    if not isinstance(request, VideoRequest | ImageRequest | ModifyVideoRequest | ReframeRequest):
        raise _no("This needs a Dream Machine clip", "Luma's Agents API neither upscales nor adds audio.")
    if request.callback_url:
        raise _no("callback_url is for Dream Machine models", "Leave it out, or use model=ray-2.")
    prompt = request.prompt or ""
    optional = isinstance(request, ReframeRequest)
    if len(prompt) > MAX_PROMPT or (not prompt.strip() and not optional):
        raise _no(f"prompt is {len(prompt)} characters long", f"{request.model} takes 1 to {MAX_PROMPT:,}.")
    if any(media.weight is not None for media in medias(request)):
        raise _no("#weight=… is for Dream Machine models", "Leave it out and say in the prompt how much it counts.")
    match request:
        case VideoRequest():
            _check_video(request)
        case ImageRequest():
            _check_image(request)
        case ModifyVideoRequest():
            one_of(request.model, "resolution", request.resolution, AGENTS_RESOLUTIONS)
        case ReframeRequest():
            _check_reframe(request)


def _check_video(request: VideoRequest) -> None:
    model = request.model
    if any(clip.api != "agents" for clip in (request.start_video, request.end_video) if clip):
        raise other_api("Dream Machine", model)
    one_of(model, "resolution", request.resolution, AGENTS_RESOLUTIONS)
    one_of(model, "duration", request.duration, AGENTS_DURATIONS)
    one_of(model, "aspect_ratio", request.aspect_ratio, AGENTS_VIDEO_RATIOS)
    if request.concepts:
        raise _no(f"{model} has no concepts", "Write the camera motion into the prompt, or use model=ray-2.")
    ends = [end for end in (request.start_image, request.end_image, request.start_video, request.end_video) if end]
    if (request.start_video or request.end_video) and len(ends) > 1:
        raise _no(
            f"{model} extends a clip by its prompt alone, to no image and to no other clip",
            "Leave out end_image; for a clip between two images use generate_video(start_image=…, end_image=…).",
        )
    if request.loop and (request.duration == "10s" or request.end_image or request.end_video):
        raise _no(f"{model} loops only 5s clips that have no set end", "Leave out loop.")


def _check_image(request: ImageRequest) -> None:
    model = request.model
    if request.source and request.aspect_ratio and request.aspect_ratio not in AGENTS_IMAGE_RATIOS:
        raise _no(f"{model} can't keep the image's shape, {request.aspect_ratio}", "Use model=photon-1.")
    one_of(model, "aspect_ratio", request.aspect_ratio, AGENTS_IMAGE_RATIOS)
    if request.character_refs:
        raise _no(
            f"{model} has no character_refs", "Put them into image_refs and say in the prompt that it is that person."
        )
    if request.style_ref:
        raise _no(f"{model} has no style_ref", "Put it into image_refs and say in the prompt to take its style.")
    most = _MOST_REFS["image_edit" if request.source else "image"]
    if len(request.image_refs) > most:
        raise _no(f"{model} takes at most {most} reference images here", "Leave some out.")


def _check_reframe(request: ReframeRequest) -> None:
    model = request.model
    if request.media_type == "image":
        raise _no(
            "Luma's Agents API reframes no images", "Use modify_image, or model=photon-1 with a Dream Machine key."
        )
    one_of(model, "resolution", request.resolution, AGENTS_RESOLUTIONS)
    one_of(model, "aspect_ratio", request.aspect_ratio, AGENTS_VIDEO_RATIOS)
    if request.resolution == "1080p" and request.aspect_ratio in ("9:16", "3:4"):
        raise _no(f"{model} reframes to {request.aspect_ratio} up to 720p", "Use resolution=720p.")
    if any(value is not None for value in request.placement.model_dump().values()):
        raise _no(
            f"{model} takes no placement in pixels", "Leave it out to have the source centred, or use model=ray-2."
        )
    if request.start_image:
        raise _no(f"{model} takes no start_image when it reframes", "Leave it out.")


def _no(what: str, instead: str) -> InvalidRequest:
    return InvalidRequest(f"{what}. Nothing was sent. {instead}")


_REFUNDED = ("content_moderated", "generation_failed", "output_not_found")
"""Source: Luma Agents API FAQ, as read 2026-09-27; `budget_exhausted` may be charged in part."""


def parse(raw: Mapping[str, Any], key: str, expires: datetime) -> Generation:
    """A generation of Luma's as ours, without the key. Never raises: fields of another shape count as absent."""

    state = text_of(raw, "state") or "unknown"
    state = "dreaming" if state == "processing" else state
    kind = text_of(raw, "type") or ""
    type_: MediaType | None = "video" if kind.startswith("video") else "image" if kind.startswith("image") else None
    output = raw.get("output")
    link = (
        next((text_of(one, "url") for one in output if text_of(one, "url")), None) if isinstance(output, list) else None
    )
    code, reason = text_of(raw, "failure_code"), text_of(raw, "failure_reason")
    failed = state == "failed"
    return Generation(
        generation_id=text_of(raw, "id"),
        api="agents",
        type=type_,
        operation=kind if kind not in ("video", "image", "") else None,
        state=state,
        model=text_of(raw, "model"),
        created_at=to_time(raw.get("created_at")),
        video_url=link if type_ != "image" else None,
        image_url=link if type_ == "image" else None,
        url_expires_at=expires.replace(microsecond=0) if link else None,
        failure_code=code if failed else None,
        failure_reason=quote(reason, secret=key) if failed and reason else None,
        charged="yes" if not failed else "no" if code in _REFUNDED else "unknown",
    )

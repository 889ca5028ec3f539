"""Luma's Agents API, through its official SDK `luma-agents`. No other module imports that SDK."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpx
import luma_agents

from .. import models
from ..catalog import AGENTS_IMAGE_RATIOS, check_values, wrong_api
from ..errors import AnswerLost, LumaServerError, NotSent, Refused, TooManyRequests, quote, refuse
from ..models import Api, Generation, Media, MediaType, Request, media_in
from .sdk import LOOK_UP_S, Answer, SdkClient, no_generation

_LINK_LIFE = timedelta(hours=1)
"""Source: Luma Agents API documentation, image generation guide: links are presigned for one hour."""

_UPLOAD_TIMEOUT = httpx.Timeout(60, connect=5, write=120)
"""Each piece of a file has two minutes to leave: slow lines are common on the way out."""

_INGEST_S = 120.0
"""How long Luma may take to look at an uploaded file."""

_UPLOAD_AGAIN = "Nothing was bought. Make the same call again: it sends the file again."

Body = dict[str, Any]


class Agents(SdkClient):
    """The Agents API with one key. The SDK would close the shared `http` with itself, so the SDK is never closed.

    Files may be sent to `own_host` over http, because the API runs there; `now` is asked when links expire.
    """

    name: Api = "agents"

    def __init__(
        self,
        key: str,
        key_variable: str,
        keys_page: str,
        base_url: str,
        http: httpx.AsyncClient,
        own_host: str | None,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(key, key_variable, keys_page, luma_agents.APIError)
        self._http, self._own_host, self._now = http, own_host, now
        self._sdk = luma_agents.AsyncLuma(auth_token=key, base_url=base_url, http_client=http, max_retries=0)

    def check(self, request: Request) -> None:
        """See `LumaApi.check`."""
        to_body(request)

    async def create(self, request: Request, purchase_id: str) -> Generation:
        """Send one paid request, once. See `LumaApi.create`."""
        body = to_body(request)
        with self._translated(paid=True):
            return self._parsed(await self._sdk.generations.create(**body, extra_headers={"X-Request-Id": purchase_id}))

    async def get(self, generation_id: str) -> Generation:
        """Ask how a generation stands. See `LumaApi.get`."""
        with self._translated(missing=no_generation(generation_id)):
            return self._parsed(await self._sdk.generations.get(generation_id))

    async def ping(self) -> None:
        """Raise if the API does not answer or refuses the key. It has no cheaper question than its list of files."""
        with self._translated():
            await self._sdk.files.list(limit=1, timeout=LOOK_UP_S)

    async def upload(self, size: int, media_type: str, filename: str, chunks: AsyncIterator[bytes]) -> str:
        """Bring a file of `size` bytes to Luma, and give its id once requests may name it. Costs nothing."""
        with self._translated(missing=_NO_FILE, if_lost=_UPLOAD_AGAIN):
            file = Answer.of(
                await self._sdk.files.create(mime_type=media_type, size_bytes=size, purpose="input", filename=filename)
            )
            file_id, upload = file.id, file.inner("upload")
            if file_id is None or not upload.data:
                raise AnswerLost(f"Luma named no place for the file. {_UPLOAD_AGAIN}")
            await self._put(upload, size, chunks)
            file = Answer.of(await self._sdk.files.complete(file_id))
        await self._wait_for_ingestion(file_id, file)
        return file_id

    async def _put(self, upload: Answer, size: int, chunks: AsyncIterator[bytes]) -> None:
        url = httpx.URL(upload.link("url") or "")
        # A user in the URL would be sent as Authorization.
        if not (url.scheme == "https" or url.host == self._own_host) or not url.host or url.userinfo:
            raise AnswerLost(f"Luma named no https address for the file, so it was not sent. {_UPLOAD_AGAIN}")
        signed = upload.inner("headers")
        headers = httpx.Headers({name: value for name in signed.data if (value := signed.text(name))})
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

    async def _wait_for_ingestion(self, file_id: str, file: Answer) -> None:
        gap, until = 1.0, anyio.current_time() + _INGEST_S
        while (state := file.word("state")) != "ready":
            if state in ("failed", "deleted"):
                reason = quote(file.text("failure_reason") or f"it is {state}", secret=self._key).rstrip(".")
                raise LumaServerError(f"Luma does not take the file: {reason}. Nothing was bought. Use another file.")
            if anyio.current_time() + gap > until:
                raise AnswerLost(f"Luma has not made the file usable within {_INGEST_S:.0f} seconds. {_UPLOAD_AGAIN}")
            await anyio.sleep(gap)
            gap = min(1.5 * gap, 5.0)
            try:
                with self._translated(missing=_NO_FILE, if_lost=_UPLOAD_AGAIN):
                    file = Answer.of(await self._sdk.files.get(file_id))
            except (NotSent, AnswerLost, TooManyRequests):
                continue  # one lost answer is no reason to send everything again

    def _parsed(self, answer: object) -> Generation:
        return parse(Answer.of_generation(answer), self._key, self._now() + _LINK_LIFE)


_NO_FILE = ("Luma does not know the file", _UPLOAD_AGAIN)


def to_body(request: Request) -> Body:
    """A request as the arguments of the SDK's one create call. Pure.

    Source: luma-agents 0.5.0, types/generation_create_params.py and types/video_options_param.py.
    """
    if isinstance(request, models.UpscaleRequest | models.AudioRequest):
        raise refuse("This needs a Dream Machine clip", "Luma's Agents API neither upscales nor adds audio.")
    check(request)
    match request:
        case models.VideoRequest():
            body: Body = {"type": "video", "aspect_ratio": request.aspect_ratio, "video": _video(request)}
        case models.ImageRequest():
            body = {
                "type": "image_edit" if request.source else "image",
                "aspect_ratio": request.aspect_ratio,
                "source": _reference(request.source),
                "image_ref": [_link(media) for media in request.image_refs] or None,
                "output_format": {"jpg": "jpeg", "png": "png", None: None}[request.output_format],
            }
        case models.ModifyVideoRequest():
            start = {"start_frame": _link(request.start_image)} if request.start_image else {}
            body = {
                "type": "video_edit",
                "source": _clip(request.source),
                "video": {"resolution": request.resolution, "edit": {"strength": request.mode}, **start},
            }
        case models.ReframeRequest():
            body = {
                "type": "video_reframe",
                "source": _clip(request.source),
                "aspect_ratio": request.aspect_ratio,
                "video": {"resolution": request.resolution},
            }
    body |= {"model": request.model, "prompt": request.prompt or _REFRAME_PROMPT}
    return {name: value for name, value in body.items() if value is not None}


_REFRAME_PROMPT = "Continue the scene naturally into the new frame"
"""Sent where the caller gives none: this API requires a prompt for everything."""

_FRAMES = {"5s": 120, "10s": 240}
"""Position of the last frame. Source: luma-agents 0.5.0 types/video_options_param.py (24 frames a second)."""


def _video(request: models.VideoRequest) -> Body:
    video: Body = {"resolution": request.resolution, "duration": request.duration}
    images = {0: request.start_image, _FRAMES.get(request.duration, 0): request.end_image}
    pinned = {index: _link(media) for index, media in images.items() if media}
    if request.duration == "10s" and pinned:
        # start_frame and end_frame are for 5s alone; the same frames as keyframes also work for 10s.
        return video | {"keyframes": list(pinned.values()), "keyframe_indexes": list(pinned)}
    frames = {
        "start_frame": _reference(request.start_video) or _link(request.start_image),
        "end_frame": _reference(request.end_video) or _link(request.end_image),
    }
    return video | {name: frame for name, frame in frames.items() if frame} | ({"loop": True} if request.loop else {})


def _link(media: Media | None) -> Body | None:
    """An image where this API takes no generation id for one: `generation_id` as a frame means extending a clip."""
    if media is None or media.file is None:
        return {"url": media.url} if media else None
    if media.file.file_id:
        return {"file_id": media.file.file_id}
    return {"data": media.file.data, "media_type": media.file.media_type}


def _reference(media: Media | None) -> Body | None:
    """A source: by id where it is one of this API's own."""
    if media and media.generation_id and media.api == "agents":
        return {"generation_id": media.generation_id}
    return _link(media)


def _clip(media: Media) -> Body:
    source = _reference(media) or {}
    # Luma wants to know before it fetches; a wrong subtype is not known to matter.
    return source | {"media_type": "video/mp4"} if "url" in source else source


MAX_PROMPT = 6000
"""Characters. Source: Luma Agents API documentation, error handling."""

_MOST_REFS = {"image": 9, "image_edit": 8}
"""Source: luma-agents 0.5.0, types/generation_create_params.py."""


def check(request: models.ModelRequest) -> None:
    """Refuse what Luma documents as refused, and what this API does not have."""
    if request.callback_url:
        raise refuse("callback_url is for Dream Machine models", "Leave it out, or use model=ray-2.")
    prompt = request.prompt or ""
    if len(prompt) > MAX_PROMPT or not (prompt.strip() or isinstance(request, models.ReframeRequest)):
        raise refuse(f"prompt is {len(prompt)} characters long", f"{request.model} takes 1 to {MAX_PROMPT:,}.")
    if any(media.weight is not None for media in media_in(request)):
        raise refuse("#weight=… is for Dream Machine models", "Leave it out and say in the prompt how much it counts.")
    match request:
        case models.VideoRequest():
            _check_video(request)
        case models.ImageRequest():
            _check_image(request)
        case models.ReframeRequest():
            _check_reframe(request)
    check_values(request)


def _check_video(request: models.VideoRequest) -> None:
    model = request.model
    if any(clip.api != "agents" for clip in (request.start_video, request.end_video) if clip):
        raise wrong_api("Dream Machine", model)
    if request.concepts:
        raise refuse(f"{model} has no concepts", "Write the camera motion into the prompt, or use model=ray-2.")
    ends = [end for end in (request.start_image, request.end_image, request.start_video, request.end_video) if end]
    if (request.start_video or request.end_video) and len(ends) > 1:
        raise refuse(
            f"{model} extends a clip by its prompt alone, to no image and to no other clip",
            "Leave out end_image; to lead from one clip to another use generate_video(start_image=…, end_image=…).",
        )
    if request.loop and (request.duration == "10s" or request.end_image or request.end_video):
        raise refuse(f"{model} loops only 5s clips that have no set end", "Leave out loop.")


def _check_image(request: models.ImageRequest) -> None:
    model = request.model
    if request.source and request.aspect_ratio and request.aspect_ratio not in AGENTS_IMAGE_RATIOS:
        raise refuse(f"{model} can't keep the image's shape, {request.aspect_ratio}", "Use model=photon-1.")
    if request.character_refs:
        raise refuse(
            f"{model} has no character_refs", "Put them into image_refs and say in the prompt that it is that person."
        )
    if request.style_ref:
        raise refuse(f"{model} has no style_ref", "Put it into image_refs and say in the prompt to take its style.")
    most = _MOST_REFS["image_edit" if request.source else "image"]
    if len(request.image_refs) > most:
        raise refuse(f"{model} takes at most {most} reference images here", "Leave some out.")


def _check_reframe(request: models.ReframeRequest) -> None:
    model = request.model
    if request.media_type == "image":
        raise refuse(
            "Luma's Agents API reframes no images", "Use modify_image, or model=photon-1 with a Dream Machine key."
        )
    if request.resolution == "1080p" and request.aspect_ratio in ("9:16", "3:4"):
        raise refuse(f"{model} reframes to {request.aspect_ratio} up to 720p", "Use resolution=720p.")
    if request.placement:
        raise refuse(
            f"{model} takes no placement in pixels", "Leave it out to have the source centered, or use model=ray-2."
        )
    if request.start_image:
        raise refuse(f"{model} takes no start_image when it reframes", "Leave it out.")


_REFUNDED = ("content_moderated", "generation_failed", "output_not_found")
"""Source: Luma Agents API FAQ, as read 2026-09-27; `budget_exhausted` may be charged in part."""


def parse(answer: Answer, key: str, expires: datetime) -> Generation:
    """A generation of Luma's as ours, without the key."""
    state, kind = answer.word("state") or "unknown", answer.word("type") or ""
    type_: MediaType | None = "video" if kind.startswith("video") else "image" if kind.startswith("image") else None
    links = (Answer.of(one).link("url") for one in answer.list("output") or ())
    link = next(filter(None, links), None)
    code, reason, failed = answer.word("failure_code"), answer.text("failure_reason"), state == "failed"
    return Generation(
        generation_id=answer.id,
        api="agents",
        type=type_,
        operation=kind if kind not in ("video", "image", "") else None,
        state="dreaming" if state == "processing" else state,
        model=answer.word("model"),
        created_at=answer.time("created_at"),
        video_url=link if type_ != "image" else None,
        image_url=link if type_ == "image" else None,
        url_expires_at=expires.replace(microsecond=0) if link else None,
        failure_code=code if failed else None,
        failure_reason=quote(reason, secret=key) if failed and reason else None,
        charged="yes" if not failed else "no" if code in _REFUNDED else "unknown",
    )

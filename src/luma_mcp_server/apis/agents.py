"""Luma's Agents API, through its official SDK `luma-agents`. No other module imports that SDK."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timedelta

import anyio
import httpx
import luma_agents

from ..errors import AnswerLost, LumaServerError, NotFound, NotSent, Refused, TooManyRequests, quote
from ..models import Api, Generation, MediaType, Output, Request
from .agents_requests import to_body
from .sdk import Answer, SdkClient, no_generation

_LINK_LIFE = timedelta(hours=1)
"""Source: Luma Agents API documentation, image generation guide: links are presigned for one hour."""

_FILE_LIFE = timedelta(hours=24)
"""How long Luma may keep an uploaded file, if this server can't delete it before."""

_UPLOAD_TIMEOUT = httpx.Timeout(60, connect=5, write=120)
"""Each piece of a file has two minutes to leave: slow lines are common on the way out."""

_INGEST_S = 120.0
"""How long Luma may take to look at an uploaded file."""

_UPLOAD_AGAIN = "Nothing was bought. Make the same call again: it sends the file again."


class Agents(SdkClient):
    """The Agents API with one key. The SDK would close the shared `http` with itself, so the SDK is never closed.

    Files may be sent to `own_host` over http, because the API runs there; `now` is asked when links expire; `user` is
    told to Luma as the one who asks.
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
        user: str | None,
    ) -> None:
        super().__init__(key, key_variable, keys_page, luma_agents.APIError)
        self._http, self._own_host, self._now = http, own_host, now
        self._user = user or luma_agents.omit
        self._sdk = luma_agents.AsyncLuma(auth_token=key, base_url=base_url, http_client=http, max_retries=0)

    def check(self, request: Request) -> None:
        """See `LumaApi.check`."""
        to_body(request)

    async def create(self, request: Request, purchase_id: str) -> Generation:
        """Send one paid request, once. See `LumaApi.create`."""
        body = to_body(request)
        with self._translated(paid=True):
            headers = {"X-Request-Id": purchase_id}
            return self._parsed(await self._sdk.generations.create(**body, user_id=self._user, extra_headers=headers))

    async def get(self, generation_id: str) -> Generation:
        """Ask how a generation stands. See `LumaApi.get`."""
        with self._translated(missing=no_generation(generation_id)):
            return self._parsed(await self._sdk.generations.get(generation_id))

    async def count_files(self) -> int:
        """How many uploaded files lie at Luma, up to 100. It is also the cheapest question that this API has."""
        with self._translated():
            page = await self._sdk.files.list(limit=100, state="ready")
            return len(Answer.of(page).list("data") or ())

    async def delete_file(self, file_id: str) -> None:
        """Delete an uploaded file; one that is gone already is no error."""
        with suppress(NotFound), self._translated(missing=_NO_FILE):
            await self._sdk.files.delete(file_id)

    async def upload(self, size: int, media_type: str, filename: str, chunks: AsyncIterator[bytes]) -> str:
        """Bring a file of `size` bytes to Luma, and give its id once requests may name it. Costs nothing."""
        with self._translated(missing=_NO_FILE, if_lost=_UPLOAD_AGAIN):
            file = Answer.of(
                await self._sdk.files.create(
                    mime_type=media_type,
                    size_bytes=size,
                    purpose="input",
                    filename=filename,
                    expires_at=self._now() + _FILE_LIFE,
                    user_id=self._user,
                )
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


_REFUNDED = ("content_moderated", "generation_failed", "output_not_found")
"""Source: Luma Agents API FAQ, as read 2026-09-27; `budget_exhausted` may be charged in part."""


def parse(answer: Answer, key: str, expires: datetime) -> Generation:
    """A generation of Luma's as ours, without the key."""
    state, kind = answer.word("state") or "unknown", answer.word("type") or ""
    operation, type_ = _OPERATIONS.get(kind, (None, None))
    outputs = [_output(one) for one in map(Answer.of, answer.list("output") or ()) if one.link("url")]
    outputs.sort(key=lambda one: one[0])  # layers may come in any order
    shown = tuple(output for _, output in outputs)
    is_layers = kind == "layering"
    link = next((one.url for one in shown if one.type == type_), shown[0].url if shown else None)
    code, reason, failed = answer.word("failure_code"), answer.text("failure_reason"), state == "failed"
    return Generation(
        generation_id=answer.id,
        api="agents",
        type=type_,
        operation=operation,
        state="dreaming" if state == "processing" else state,
        model=answer.word("model"),
        created_at=answer.time("created_at"),
        video_url=link if type_ != "image" else None,
        image_url=link if type_ == "image" and not is_layers else None,
        outputs=(shown or None) if len(shown) > 1 or is_layers else None,
        url_expires_at=expires.replace(microsecond=0) if link else None,
        failure_code=code if failed else None,
        failure_reason=quote(reason, secret=key) if failed and reason else None,
        charged="yes" if not failed else "no" if code in _REFUNDED else "unknown",
    )


_OPERATIONS: dict[str, tuple[str | None, MediaType]] = {
    "video": (None, "video"),  # new or extended: only who bought it knows
    "video_edit": ("modify_video", "video"),
    "video_reframe": ("reframe_media", "video"),
    "image": ("generate_image", "image"),
    "image_edit": ("modify_image", "image"),
    "layering": ("extract_layers", "image"),
}


_BOUNDS = ("x", "y", "width", "height", "canvas_width", "canvas_height")
"""Source: luma-agents-go 0.6.0, `output[].layer.bounds`; luma-agents 0.5.0 hands it through."""


def _output(answer: Answer) -> tuple[int, Output]:
    """One result, and its place among the layers."""
    layer = answer.inner("layer")
    index, bounds = layer.data.get("index"), layer.inner("bounds").data
    numbers = {name: bounds[name] for name in _BOUNDS if isinstance(bounds.get(name), int)}
    label, description = layer.text("label"), layer.text("description")
    return index if isinstance(index, int) else 0, Output(
        type=answer.word("type") or "file",
        url=answer.link("url"),
        label=quote(label)[:64] if label else None,
        description=quote(description) if description else None,
        edge=layer.word("alpha_hint"),
        bounds=numbers if len(numbers) == len(_BOUNDS) else None,
    )

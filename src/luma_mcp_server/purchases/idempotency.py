"""What makes two calls the same purchase: the request normalized, its key, and its form without secrets."""

import hashlib
import json
from typing import Any

from ..models import ImageRequest, Media, ReframeRequest, Request, VideoRequest, media_in, plain_text, plain_url


def normalized(request: Request) -> Request:
    """A request with its defaults filled in and its texts stripped: what is sent, and what the key digests.

    Source of the defaults: Luma's Dream Machine API documentation (16:9 for text alone; jpg).
    """
    changes: dict[str, Any] = {
        name: text.strip() or None
        for name in ("prompt", "negative_prompt")
        if isinstance(text := getattr(request, name, None), str)
    }
    if isinstance(request, VideoRequest | ImageRequest) and not request.aspect_ratio and not any(media_in(request)):
        # Manga is made in portrait shapes, of which Luma picks one.
        changes["aspect_ratio"] = None if getattr(request, "style", None) == "manga" else "16:9"
    if isinstance(request, ImageRequest | ReframeRequest) and request.model.startswith("photon-"):
        changes["output_format"] = request.output_format or "jpg"
    return request.model_copy(update=changes)


def idempotency_key(request: Request) -> str:
    """Digest of a normalized request.

    A link to a generation changes each time it is made, and a local file may move: they count by generation id and by
    content.
    """

    def identified(value: Any) -> Any:
        if isinstance(value, tuple):
            return [identified(one) for one in value]
        if not isinstance(value, Media):
            return value
        source = value.generation_id or (value.file.digest if value.file else value.url)
        return {"source": source, "weight": value.weight, "at_s": value.at_s, "frame": value.frame}

    # A field at its default counts as absent, so that a new field changes no key.
    fields = {name: identified(value) for name, value in request if value != type(request).model_fields[name].default}
    text = json.dumps([type(request).__name__, fields], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def redacted(request: Request) -> Request:
    """A request as the journal keeps it: links without queries, files without content or place, no callback address."""

    def plain(value: Any) -> Any:
        match value:
            case tuple():
                return tuple(plain(one) for one in value)
            case str():
                return plain_text(value)
            case Media(file=file):
                file = file and file.model_copy(update={"data": None, "path": ""})
                return value.model_copy(update={"url": plain_url(value.url), "file": file})
            case _:
                return value

    changes = {name: plain(value) for name, value in vars(request).items()} | {"callback_url": None}
    return request.model_copy(update=changes)

"""What a media parameter names: a generation, a URL, a local file or the content itself."""

import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import refuse
from ..models import Media, MediaType

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
CLIENT_SIDE = re.compile(r"/mnt/(user-data|data|skills)/|/home/(claude|oai)/")
"""Where clients keep files that only they can see."""

VIDEO_ENDINGS = ("mp4", "mov", "webm", "m4v", "mkv", "avi")
IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif", "avif", "heic")

_SAVED_NAME = re.compile(rf"(?:.*-)?({UUID.pattern})\.\w+", re.IGNORECASE)
_PATH = re.compile(r"[A-Za-z]:[\\/]|[/~\\.]|file:", re.IGNORECASE)


def parse_reference(
    text: str, parameter: str, *, media: bool = True, weighted: bool = False, own_host: str | None = None
) -> Media:
    """Read a parameter that holds a generation id, a URL or the path of a saved file.

    Args:
        text: its value; `#weight=0.8` may follow if it is `weighted`.
        parameter: its name, for messages.
        media: whether it may name media that Luma did not make.
        weighted: whether a weight is allowed.
        own_host: a loopback host that is allowed, because the API runs on it.
    """
    value, marker, number = text.strip().partition("#weight=")
    if marker and not weighted:
        raise refuse(f"{parameter} takes no weight", "Leave out #weight=….")
    weight = None
    if marker or (weighted and re.search(r"#\w+=", value)):  # a misspelled one would cost money and do nothing
        weight = _weight(number, parameter)
    if UUID.fullmatch(value):
        return Media(generation_id=value.lower(), weight=weight)
    is_path = _PATH.match(value)
    if is_path and (saved := _SAVED_NAME.fullmatch(re.split(r"[\\/]", value)[-1])):
        return Media(generation_id=saved[1].lower(), weight=weight)
    if media and (is_path or is_data_uri(value)):
        what = "is a local file" if is_path else "contains the media itself"
        if CLIENT_SIDE.match(value):
            what = "is a file inside your client's own sandbox"
        raise refuse(
            f"{parameter} {what}, but Luma's Dream Machine API only fetches media by URL",
            "Use a public https URL, or an Agents key (ray-3.2 and uni-1 take local files).",
        )
    _check_url(value, parameter, own_host)
    return Media(url=value, weight=weight)


def is_local(text: str, saved_in: Path | None, home: Path | None) -> bool:
    """Whether a parameter is a `data:` URI or the path of a file that this server did not save into `saved_in`."""
    value = text.strip()
    if is_data_uri(value):
        return True
    if not _PATH.match(value):
        return False
    path = expand_home(value, home)
    return not (saved_in and _SAVED_NAME.fullmatch(path.name) and path.parent.resolve() == saved_in.resolve())


def expand_home(text: str, home: Path | None) -> Path:
    """The path that a text writes, with `~` replaced where it stands for the user's home."""
    return home / text[2:] if home and text.startswith(("~/", "~\\")) else Path(text)


def is_data_uri(text: str) -> bool:
    """Whether a text is a `data:` URI, by how it begins."""
    return text[:5].lower() == "data:"


def guess_type(url: str) -> MediaType | None:
    """Whether a URL leads to a video or an image, by its ending."""
    ending = urlsplit(url).path.rpartition(".")[2].lower()
    return "video" if ending in VIDEO_ENDINGS else "image" if ending in IMAGE_ENDINGS else None


def _weight(number: str, parameter: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = float("nan")
    if not 0 <= weight <= 1:  # Source: ComfyUI's Luma nodes; Luma publishes no range.
        raise refuse(f"{parameter} has an invalid weight", "Write a number from 0 to 1, as in #weight=0.8.")
    return weight


def _check_url(url: str, parameter: str, own_host: str | None) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"\s", url):
        raise refuse(
            f"{parameter} is neither a generation id nor an https URL", "list_generations shows ids (36 characters)."
        )
    if host != own_host and not _is_public(host):
        raise refuse(
            f"{parameter} is an address that only your own network can reach, so Luma can't fetch it",
            "Use a public https URL.",
        )


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return host != "localhost" and not host.endswith((".localhost", ".local", ".internal"))

"""What a media parameter names: a generation, a URL, a local file or the content itself."""

import ipaddress
import re
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import refuse
from ..models import Media, MediaType

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
CLIENT_SIDE = re.compile(r"/mnt/(user-data|data|skills)/|/home/(claude|oai)/")
"""Where clients keep files that only they can see."""

VIDEO_ENDINGS = ("mp4", "mov", "webm", "m4v", "mkv", "avi")
IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif", "avif", "heic")

_MARK = re.compile(r"(.*)#(\w+)=([^#]*)", re.DOTALL)
_MARKS: dict[str, tuple[str, Callable[[str], float], str]] = {
    # Source of the range: ComfyUI's Luma nodes; Luma publishes none.
    "weight": ("weight", float, "a number from 0 to 1, as in #weight=0.8"),
    "at": ("at_s", float, "seconds from the start, as in #at=1.5"),
    "frame": ("frame", int, "a frame's number from the start, as in #frame=36"),
}
"""What may follow a reference: the field of `Media`, how it is read, and an example."""

SAVED_NAME = re.compile(rf"(?:.*-)?({UUID.pattern})(?:-(all|\d\d)\b.*)?\.(\w+)", re.IGNORECASE)
"""The name of a file that was saved under its own: the generation's id, the part (`all` is the whole), the ending."""

_PATH = re.compile(r"[A-Za-z]:[\\/]|[/~\\.]|file:", re.IGNORECASE)


def split_marks(text: str, parameter: str, allowed: Collection[str] = ()) -> tuple[str, Media]:
    """A reference without what is written behind it after a `#`, and that as fields of a `Media`.

    Args:
        text: the value of a parameter, such as `https://example.com/lake.jpg#weight=0.8`.
        parameter: its name, for messages.
        allowed: which of `weight`, `at` (seconds) and `frame` it takes.
    """
    value, marks = text.strip(), Media()
    while found := _MARK.fullmatch(value):
        value, name, number = found[1], found[2].lower(), found[3].strip()
        if name in _MARKS and name not in allowed:
            raise refuse(f"{parameter} takes no #{name}=…", f"Leave out #{name}={number[:20]}.")
        field, read, example = _MARKS.get(name, ("", float, ""))
        try:
            number_read = read(number)
        except ValueError:
            number_read = -1.0
        # One that is misspelled would cost money and do nothing. Elsewhere it belongs to the URL.
        if name not in _MARKS and not allowed:
            return text.strip(), marks
        if name not in _MARKS or not 0 <= number_read <= (1 if name == "weight" else 100_000):
            takes = " or ".join(_MARKS[one][2] for one in allowed)
            raise refuse(f"{parameter}: #{name[:20]}={number[:20]} can't be used", f"Write {example or takes}.")
        marks = marks.model_copy(update={field: number_read})
    return value, marks


def parse_reference(
    value: str, parameter: str, *, media: bool = True, paths: bool = False, own_host: str | None = None
) -> Media:
    """Read a parameter that holds a generation id, a URL or the path of a saved file.

    Args:
        value: its value, without marks.
        parameter: its name, for messages.
        media: whether it may name media that Luma did not make.
        paths: whether it could be the path of a local file.
        own_host: a loopback host that is allowed, because the API runs on it.
    """
    if UUID.fullmatch(value):
        return Media(generation_id=value.lower())
    is_path = _PATH.match(value)
    if is_path and (saved_id := _generation_of(re.split(r"[\\/]", value)[-1])):
        return Media(generation_id=saved_id)
    if media and (is_path or is_data_uri(value)):
        what = "is a local file" if is_path else "contains the media itself"
        if CLIENT_SIDE.match(value):
            what = "is a file inside your client's own sandbox"
        raise refuse(
            f"{parameter} {what}, but Luma's Dream Machine API only fetches media by URL",
            "Use a public https URL, or an Agents key (ray-3.2 and uni-1 take local files).",
        )
    if media and paths and guess_type(value) and "/" not in value:
        raise refuse(f"{parameter} is a file name without its folder", "Give the file's absolute path.")
    _check_url(value, parameter, own_host, "absolute path or " if media and paths else "")
    return Media(url=value)


def is_local(text: str, saved_in: Path | None, home: Path | None) -> bool:
    """Whether a parameter is a `data:` URI or the path of a file that this server did not save into `saved_in`."""
    value = text.strip()
    if is_data_uri(value):
        return True
    if not _PATH.match(value):
        return False
    path = expand_home(value, home)
    return not (saved_in and _generation_of(path.name) and path.parent.resolve() == saved_in.resolve())


def _generation_of(filename: str) -> str | None:
    """The id of the generation that a saved file stands for; a part of one is a file like any other."""
    name = SAVED_NAME.fullmatch(filename)
    return name[1].lower() if name and name[2] is None else None


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


def _check_url(url: str, parameter: str, own_host: str | None, also: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or re.search(r"\s", url):
        raise refuse(
            f"{parameter} is neither a generation id nor an {also}https URL",
            "list_generations shows ids (36 characters).",
        )
    if host != own_host and not is_public(host):
        raise refuse(
            f"{parameter} is an address that only your own network can reach, so Luma can't fetch it",
            "Use a public https URL.",
        )


def is_public(host: str) -> bool:
    """Whether a host is one that anybody can reach, as far as its name tells."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return host != "localhost" and not host.endswith((".localhost", ".local", ".internal"))

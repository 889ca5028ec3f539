"""Every field of both SDKs' requests is sent by some tool, or stands on a short list with the reason why not."""

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import luma_agents
import lumaai
import pytest
from luma_agents.types import GenerationCreateParams, file_create_params
from lumaai.types import generations as lumaai_types

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY

pytestmark = pytest.mark.anyio

URL = "https://example.com/lake.jpg"
CLIP = "https://example.com/lake.mp4"


def fields(type_: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields of a typed dictionary, through lists and options."""
    for name, inner in get_type_hints(type_).items():
        yield f"{path}{name}"
        for part in parts(inner):
            yield from fields(part, f"{path}{name}.")


def parts(type_: Any) -> Iterator[Any]:
    if hasattr(type_, "__required_keys__"):  # the SDKs' typed dictionaries are those of typing_extensions
        yield type_
    elif get_origin(type_):
        for argument in get_args(type_):
            yield from parts(argument)


def sent(body: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields of a body."""
    if isinstance(body, list):
        for one in body:
            yield from sent(one, path)
    elif isinstance(body, dict):
        for name, inner in body.items():
            yield f"{path}{name}"
            yield from sent(inner, f"{path}{name}.")


async def test_every_field_of_luma_agents_is_sent_by_some_tool_or_left_out_for_a_reason(open_desk, tmp_path) -> None:
    (tmp_path / "small.png").write_bytes(b"\x89PNG\r\n\x1a\nred")
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 5 * 1024**2)
    pictures = [URL, "~/small.png", "~/large.png"]
    pinned = [f"{picture}#frame={number}" for number, picture in enumerate(pictures)]
    small = pinned[:2]  # with a large one beside it, a small one is uploaded too
    controls = ["pose=coarse", "depth=0.1", "normals=0.2", "trajectory=0.3", "face"]
    edit = {"source": CLIP, "prompt": "in snow"}
    async with open_desk(LUMA_API_KEY=AGENTS_SANDBOX_KEY, LUMA_MCP_USER="ann", LUMA_MCP_BUDGET_USD="off") as desk:
        clip, image = (await desk.video())["generation_id"], (await desk.image())["generation_id"]
        for tool, arguments in (
            *(("generate_video", {"prompt": "a lake", "start_image": one, "end_image": one}) for one in pictures),
            ("generate_video", {"prompt": "a lake", "keyframes": pinned, "dynamic_range": "hdr_exr"}),
            ("generate_video", {"prompt": "a lake", "keyframes": small}),
            ("generate_video", {"prompt": "a lake", "loop": True}),
            *(
                ("extend_video", {"generation_id": clip, "prompt": "on", "direction": d})
                for d in ("forward", "backward")
            ),
            ("modify_video", edit | {"mode": "auto", "keyframes": small}),
            ("modify_video", edit | {"source": clip, "mode": "flex_1", "controls": controls, "keyframes": pinned}),
            ("reframe_media", {"source": clip, "aspect_ratio": "1:1", "placement": "0,0,1,1"}),
            ("generate_image", {"prompt": "a lake", "image_refs": pictures[:2]}),
            ("generate_image", {"prompt": "a lake", "image_refs": pictures, "style": "auto", "web_search": True}),
            *(
                ("modify_image", {"prompt": "snow", "source": one, "output_format": "png"})
                for one in (image, *pictures)
            ),
            ("extract_layers", {"source": image}),
        ):
            await desk.call(tool, **arguments)
        bodies = [json.loads(one.content) for one in desk.wire.sent if one.url.path == "/v1/generations"]
        uploads = [json.loads(one.content) for one in desk.wire.sent if one.url.path == "/v1/files"]

    left_out = {
        # An image's id is passed on as its link, for in these places an id means a clip, or is not documented.
        "image_ref.generation_id",
        "video.keyframes.generation_id",
        "video.edit.keyframes.generation_id",
    }
    assert set(fields(GenerationCreateParams)) - {path for body in bodies for path in sent(body)} == left_out
    assert set(fields(file_create_params.FileCreateParams)) == set(uploads[0])


async def test_every_field_of_lumaai_is_sent_by_some_tool_or_left_out_for_a_reason(open_desk) -> None:
    async with open_desk(LUMA_MCP_CALLBACK_HOSTS="example.com", LUMA_MCP_BUDGET_USD="off") as desk:
        hook = {"callback_url": "https://example.com/hook"}
        clip, image = (await desk.video())["generation_id"], (await desk.image())["generation_id"]
        pixels = ("x_start", "x_end", "y_start", "y_end", "grid_position_x", "grid_position_y")
        placed = dict.fromkeys((*pixels, "resized_width", "resized_height"), 1) | {"prompt": "sand", **hook}
        for tool, arguments in (
            ("generate_video", {"prompt": "a lake", "start_image": URL, "end_image": URL, "concepts": ["pov"], **hook}),
            ("generate_video", {"prompt": "a lake", "loop": True}),
            ("interpolate_videos", {"start_generation_id": clip, "end_generation_id": clip, "prompt": "a change"}),
            ("modify_video", {"source": clip, "mode": "flex_1", "prompt": "snow", "start_image": URL, **hook}),
            ("reframe_media", {"source": clip, "aspect_ratio": "1:1", "start_image": URL, **placed}),
            ("reframe_media", {"source": image, "aspect_ratio": "1:1", "output_format": "png", **placed}),
            ("upscale_video", {"generation_id": clip, **hook}),
            ("add_audio", {"generation_id": clip, "prompt": "wind", "negative_prompt": "rain", **hook}),
            (
                "generate_image",
                {"prompt": "a lake", "image_refs": [f"{URL}#weight=1"], "style_ref": f"{URL}#weight=1", **hook}
                | {"character_refs": [URL], "output_format": "png"},
            ),
            ("modify_image", {"source": f"{URL}#weight=0.5", "prompt": "snow"}),
        ):
            await desk.call(tool, **arguments)
        found: dict[str, set[str]] = {}
        for request in desk.wire.sent:
            if request.method == "POST":
                body = json.loads(request.content)
                found.setdefault(body["generation_type"], set()).update(sent(body))

    left_out = {
        # The server waits by itself; sync would hold the request open beyond the HTTP client's time.
        "image": {"sync", "sync_timeout"},
    }
    for kind, params in {
        "video": lumaai_types.VideoCreateParams,
        "modify_video": lumaai_types.VideoModifyParams,
        "reframe_video": lumaai_types.VideoReframeParams,
        "reframe_image": lumaai_types.ImageReframeParams,
        "image": lumaai_types.ImageCreateParams,
        "upscale_video": lumaai.types.GenerationUpscaleParams,
        "add_audio": lumaai.types.GenerationAudioParams,
    }.items():
        assert set(fields(params)) - found[kind] == left_out.get(kind, set()), kind


def test_every_operation_of_both_sdks_is_used_or_left_out_for_a_reason() -> None:
    left_out = {
        "LumaAI": {
            "generations.create",  # the old name of generations.video.create
        },
        "Luma": set(),
    }
    used = {
        "LumaAI": {
            "credits.get",
            "ping.check",
            "generations.list",
            "generations.get",
            "generations.delete",
            "generations.audio",
            "generations.upscale",
            "generations.concepts.list",
            "generations.video.create",
            "generations.video.modify",
            "generations.video.reframe",
            "generations.image.create",
            "generations.image.reframe",
        },
        "Luma": {
            "generations.create",
            "generations.get",
            "files.create",
            "files.list",
            "files.get",
            "files.complete",
            "files.delete",
        },
    }

    def operations(resource: Any, path: str = "") -> Iterator[str]:
        for name in dir(resource):
            if name.startswith(("_", "with_")):
                continue
            part = getattr(resource, name)
            if inspect.ismethod(part):
                yield f"{path}{name}"
            elif type(part).__name__.endswith("Resource"):
                yield from operations(part, f"{path}{name}.")

    for client in (lumaai.LumaAI(auth_token="-"), luma_agents.Luma(auth_token="-")):
        found = {one for one in operations(client) if "." in one}
        assert found - used[type(client).__name__] <= left_out[type(client).__name__]
        assert used[type(client).__name__] <= found

"""Every tool, prompt and resource once, through the official client and a real pipe."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from dirty_equals import Contains, IsList, IsOneOf, IsPartialDict, IsPositiveFloat, IsStr
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, ImageContent, TextContent

pytestmark = pytest.mark.anyio

URL, FILE = "https://example.com/lake.jpg", "https://example.com/lake.mp4"


class Desk:
    """The official client before a server of its own, with generations to start from."""

    def __init__(self, client: Client, world, record) -> None:
        self.client, self.world, self.record = client, world, record
        self.ids: dict[str, str] = {}

    async def call(self, tool: str, arguments: dict[str, Any], **options: Any) -> CallToolResult:
        """Call a tool; CLIP, OTHER and WASTE in its arguments are replaced by ids."""
        text = json.dumps(arguments)
        for name, generation_id in self.ids.items():
            text = text.replace(name, generation_id)
        result = await self.client.call_tool(tool, json.loads(text), **options)
        self.record.answers.append(result.model_dump(mode="json", by_alias=True, exclude_none=True))
        assert not result.is_error, result.content
        return result

    def named(self, value: Any) -> Any:
        """A value with the ids replaced by CLIP, OTHER and WASTE."""
        text = json.dumps(value)
        for name, generation_id in self.ids.items():
            text = text.replace(generation_id, name)
        return json.loads(text)


@pytest.fixture(scope="module")
async def desk(anyio_backend, world, record, parameters) -> AsyncIterator[Desk]:
    with record.stderr().open("w") as errors:
        async with Client(stdio_client(parameters, errors)) as client:
            desk = Desk(client, world, record)
            for name in ("CLIP", "OTHER", "WASTE"):
                made = await desk.call("generate_video", {"prompt": f"a clip {name}", "resolution": "540p"})
                assert made.structured_content
                desk.ids[name] = made.structured_content["generation_id"]
            yield desk


VIDEO = {"generation_type": "video", "model": "ray-2", "resolution": "540p", "duration": "5s"}
SHAPED = VIDEO | {"aspect_ratio": "16:9"}
IMAGE = {"generation_type": "image", "model": "photon-1"}
START = {"type": "image", "url": URL}
OF_CLIP, OF_OTHER = {"type": "generation", "id": "CLIP"}, {"type": "generation", "id": "OTHER"}
DONE = {"api": "dream_machine", "state": "completed", "charged": "yes", "sandbox": True, "generation_id": IsStr()}
FILM = DONE | {"type": "video", "video_url": IsStr(), "thumbnail_url": IsStr()}
PICTURE = DONE | {"type": "image", "image_url": IsStr()}

# tool: arguments; its last request to Luma, and what that said; fields of the result
CALLS: dict[str, tuple[dict[str, Any], Any, dict[str, Any] | None, dict[str, Any]]] = {
    "generate_video": (
        {"prompt": "a lake", "resolution": "540p", "start_image": URL, "concepts": ["pov"]},
        "POST /generations/video",
        VIDEO | {"prompt": "a lake", "keyframes": {"frame0": START}, "concepts": [{"key": "pov"}]},
        FILM | {"prompt": "a lake", "estimated_cost_usd": 0.4},
    ),
    "extend_video": (
        {"generation_id": "CLIP", "prompt": "it flies on"},
        "POST /generations/video",
        SHAPED | {"prompt": "it flies on", "keyframes": {"frame0": OF_CLIP}},
        FILM,
    ),
    "interpolate_videos": (
        {"start_generation_id": "CLIP", "end_generation_id": "OTHER", "prompt": "between"},
        "POST /generations/video",
        SHAPED | {"prompt": "between", "keyframes": {"frame0": OF_CLIP, "frame1": OF_OTHER}},
        FILM,
    ),
    "modify_video": (
        {"source": FILE, "mode": "flex_2", "prompt": "of paper"},
        "POST /generations/video/modify",
        {"generation_type": "modify_video", "model": "ray-2", "media": {"url": FILE}, "mode": "flex_2"}
        | {"prompt": "of paper"},
        FILM,
    ),
    "reframe_media": (
        {"source": FILE, "aspect_ratio": "9:16", "x_start": 0},
        "POST /generations/video/reframe",
        {"generation_type": "reframe_video", "model": "ray-2", "media": {"url": FILE}, "aspect_ratio": "9:16"}
        | {"x_start": 0},
        FILM | {"aspect_ratio": "9:16"},
    ),
    "upscale_video": (
        {"generation_id": "CLIP"},
        "POST /generations/CLIP/upscale",
        {"generation_type": "upscale_video", "resolution": "720p"},
        FILM | {"resolution": "720p"},
    ),
    "add_audio": (
        {"generation_id": "CLIP", "prompt": "waves"},
        "POST /generations/CLIP/audio",
        {"generation_type": "add_audio", "prompt": "waves"},
        FILM,
    ),
    "generate_image": (
        {"prompt": "a lake", "image_refs": [f"{URL}#weight=0.8"], "aspect_ratio": "1:1"},
        "POST /generations/image",
        IMAGE
        | {"prompt": "a lake", "image_ref": [{"url": URL, "weight": 0.8}], "aspect_ratio": "1:1", "format": "jpg"},
        PICTURE | {"aspect_ratio": "1:1", "estimated_cost_usd": 0.015},
    ),
    "modify_image": (
        {"source": URL, "prompt": "make it red", "output_format": "png"},
        "POST /generations/image",
        IMAGE | {"prompt": "make it red", "modify_image_ref": {"url": URL}, "format": "png"},
        PICTURE,
    ),
    "get_generation": ({"generation_id": "CLIP"}, "GET /generations/CLIP", None, FILM | {"generation_id": "CLIP"}),
    "wait_for_generations": (
        {"generation_ids": ["CLIP"]},
        "GET /generations/CLIP",
        None,
        {"finished": True, "generations": [IsPartialDict(FILM | {"generation_id": "CLIP"})]},
    ),
    "list_generations": (
        {"limit": 1},
        "GET /generations",
        None,
        {"has_more": True, "next_offset": 1, "generations": IsList(length=1)},
    ),
    "delete_generations": (
        {"generation_ids": ["WASTE"]},
        "DELETE /generations/WASTE",
        None,
        {"deleted": ["WASTE"]},
    ),
    "download_generation": (
        {"generation_id": "CLIP", "filename": "kept"},
        "GET /media/CLIP/video.mp4",
        None,
        FILM | {"file_path": IsStr(regex=r".+kept\.mp4")},
    ),
    "preview_generations": (
        {"generation_ids": ["CLIP"]},
        IsOneOf("GET /generations/CLIP", "GET /media/CLIP/video.mp4"),  # saved by then, or not
        None,
        {},
    ),
    "join_videos": (
        {"sources": ["CLIP", "OTHER"], "filename": "film"},
        "GET /media/OTHER/video.mp4",
        None,
        {"file_path": IsStr(regex=r".+film\.mp4"), "seconds": 10.0, "clips": 2, "reencoded": False},
    ),
    "list_models": ({}, None, None, {"models": IsList(length=4), "prices": IsStr(regex="US dollars.+")}),
    "list_camera_motions": (
        {},
        "GET /generations/concepts/list",
        None,
        {"camera_motions": Contains("orbit left"), "concepts_source": "Luma, now", "concepts": Contains("pov")},
    ),
    "get_account": (
        {},
        "GET /credits",
        None,
        {"sandbox": True, "apis": [IsPartialDict(configured=True, key_accepted=True, balance_usd=IsPositiveFloat)]},
    ),
}


async def test_no_listed_tool_goes_uncalled(desk) -> None:
    assert [tool.name for tool in (await desk.client.list_tools()).tools] == list(CALLS)
    assert len(CALLS) == 19


@pytest.mark.parametrize("tool", CALLS)
async def test_a_tool_sends_what_was_asked_for_and_its_text_says_what_its_structure_says(desk, tool: str) -> None:
    arguments, request, body, expected = CALLS[tool]
    before = len(desk.world.requests())

    result = await desk.call(tool, arguments)

    made = desk.named(desk.world.requests()[before:])
    asked = [f"{one['method']} {one['path'].removeprefix('/dream-machine/v1')}" for one in made]
    assert asked[-1:] == ([request] if request else [])
    assert [one["body"] for one in made if one["method"] == "POST"] == ([body] if body else [])
    if tool == "preview_generations":  # a picture and its link, for people; clients that prefer structure would drop it
        picture, text = result.content
        assert isinstance(picture, ImageContent)
        assert isinstance(text, TextContent)
        assert picture.mime_type == "image/jpeg"
        assert text.text == IsStr(regex=r"video [0-9a-f-]{36}; get_generation gives links")
        assert result.structured_content is None
        return
    [block] = result.content
    assert isinstance(block, TextContent)
    assert json.loads(block.text) == result.structured_content
    assert desk.named(result.structured_content) == IsPartialDict(expected)
    if tool == "download_generation":
        file = anyio.Path(result.structured_content["file_path"])
        assert (await file.read_bytes())[4:8] == b"ftyp"


async def test_progress_grows_while_a_call_waits_and_the_call_answers_at_its_limit(desk) -> None:
    reports: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, message))

    arguments = {"prompt": "a lake [sandbox:stuck]", "wait_s": 2.5}
    result = await desk.call("generate_image", arguments, progress_callback=note)

    assert result.structured_content == IsPartialDict(
        state="dreaming", next_step=IsStr(regex=r'wait_for_generations\(generation_ids=\["[0-9a-f-]{36}"\]\)')
    )
    values = [value for value, _ in reports]
    assert len(values) >= 2
    assert values == sorted(set(values))
    assert all(message for _, message in reports)


async def test_the_prompts_are_listed_and_filled_in(desk) -> None:
    given = {"enhance_prompt": {"idea": "a shy robot"}, "storyboard": {"idea": "a shy robot", "shots": "3"}}

    assert [prompt.name for prompt in (await desk.client.list_prompts()).prompts] == list(given)
    for name, arguments in given.items():
        [message] = (await desk.client.get_prompt(name, arguments)).messages
        assert "a shy robot" in message.content.text


async def test_the_resources_say_what_the_tools_say(desk) -> None:
    assert [str(one.uri) for one in (await desk.client.list_resources()).resources] == [
        "ui://luma/player",
        "luma://models",
    ]
    template, _ = (await desk.client.list_resource_templates()).resource_templates
    for uri, tool, arguments in (
        ("luma://models", "list_models", {}),
        (
            template.uri_template.replace("{generation_id}", desk.ids["CLIP"]),
            "get_generation",
            {"generation_id": "CLIP"},
        ),
    ):
        [content] = (await desk.client.read_resource(uri)).contents
        said, shown = json.loads(content.text), (await desk.call(tool, arguments)).structured_content
        assert said.keys() == shown.keys()
        assert said.get("models") == shown.get("models")
        assert said.get("generation_id") == shown.get("generation_id")

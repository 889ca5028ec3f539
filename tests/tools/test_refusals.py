"""What is refused before anything is sent, and in which words."""

import json
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault
from luma_mcp_server.schema import failure
from luma_mcp_server.server import create_server
from luma_mcp_server.settings import Settings

pytestmark = pytest.mark.anyio

URL = "https://example.com/lake.jpg"
ID = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_a_misspelled_argument_is_refused_with_the_right_name(open_desk, era: str) -> None:
    async with open_desk(era) as desk:
        said = await desk.refusal("generate_video", prompt="a lake", aspect="9:16")

        assert "has no parameter 'aspect' (did you mean aspect_ratio?)" in said
        assert "Nothing was sent" in said
        assert desk.wire.sent == []


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("generate_video", {}, "prompt is required"),
        ("generate_video", {"prompt": 7}, "prompt must be text"),
        ("generate_video", {"prompt": "a lake", "resolution": "8k"}, "resolution must be one of '540p', '720p'"),
        ("generate_video", {"prompt": "a lake", "duration": 9}, "must be one of '5s', '9s' (did you mean 9s?)"),
        ("generate_video", {"prompt": "a lake", "resolution": "1080"}, "(did you mean 1080p?)"),
        ("generate_video", {"prompt": "a lake", "seconds": 9}, "no parameter 'seconds' (did you mean duration?)"),
        ("generate_video", {"prompt": "a lake", "image_url": URL}, "'image_url' (did you mean start_image?)"),
        ("generate_video", {"prompt": "a lake", "negative_prompt": "x"}, "no parameter 'negative_prompt'. Nothing"),
        ("generate_video", {"prompt": "a lake", "loop": "perhaps"}, "loop must be true or false"),
        ("generate_video", {"prompt": "a lake", "take": 0}, "take must be at least 1"),
        ("generate_video", {"prompt": "a lake", "take": 1.5}, "take must be a whole number"),
        ("generate_video", {"prompt": "a lake", "wait_s": "soon"}, "wait_s must be a number"),
        ("generate_video", {"prompt": "a lake", "wait_s": -1}, "wait_s must be at least 0. Nothing"),
        ("generate_video", {"prompt": "a lake", "concepts": "pov"}, "concepts must be a list of texts, as in"),
        ("generate_video", {"prompt": "a lake", "concepts": ["pov", 7]}, "concepts[1] must be text"),
        ("wait_for_generations", {"generation_ids": []}, "generation_ids needs at least 1 item."),
        ("wait_for_generations", {"generation_ids": [ID] * 51}, "generation_ids takes at most 50 items."),
        ("list_generations", {"limit": 101}, "limit must be at most 100"),
        ("list_generations", {"state": "processing"}, "state must be one of 'queued'"),
    ],
)
async def test_a_wrong_argument_is_refused_in_plain_words(
    desk, tool: str, arguments: dict[str, Any], words: str
) -> None:
    said = await desk.refusal(tool, **arguments)

    assert words in said
    assert "pydantic" not in said
    assert "Nothing was sent" in said
    assert desk.wire.sent == []


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("generate_video", {"prompt": "  a "}, "prompt is 1 characters long; Luma takes 3 to 5,000"),
        ("generate_video", {"prompt": "   "}, "prompt is empty"),
        ("generate_video", {"prompt": "a" * 5001}, "prompt is 5,001 characters"),
        ("generate_image", {"prompt": ""}, "prompt is empty"),
        ("generate_video", {"prompt": "a lake", "start_image": URL, "end_image": URL, "loop": True}, "without loop"),
        ("generate_video", {"prompt": "a lake", "model": "ray-3.2"}, "ray-3.2 needs a key for Luma's Agents API"),
        ("generate_video", {"prompt": "a lake", "model": "ray-1-6"}, "ray-1-6 is no longer offered"),
        ("generate_video", {"prompt": "a lake", "resolution": "360p"}, "ray-2 does not support resolution=360p"),
        ("generate_video", {"prompt": "a lake", "duration": "10s"}, "Use duration=9s ($1.27)"),
        ("generate_image", {"prompt": "a lake", "aspect_ratio": "3:2"}, "Use aspect_ratio=4:3 ($0.0150)"),
        ("generate_video", {"prompt": "a lake", "model": "sora"}, "Use model=ray-2 or ray-flash-2"),
        ("generate_video", {"prompt": "a lake", "model": "photon-1"}, "is not a video model"),
        (
            "generate_video",
            {"prompt": "a lake", "model": "ray2"},
            "is not a video model. Nothing was sent. Did you mean ray-2?",
        ),
        ("generate_image", {"prompt": "a lake", "model": "uni-1"}, "uni-1 needs a key for Luma's Agents API"),
        ("generate_image", {"prompt": "a lake", "image_refs": [URL] * 9}, "at most 8 images"),
        ("generate_image", {"prompt": "a lake", "character_refs": [URL] * 5}, "at most 4 images"),
        (
            "generate_image",
            {"prompt": "a lake", "image_refs": [f"{URL}#weight=2"]},
            "a number from 0 to 1, as in #weight=0.8",
        ),
        (
            "generate_image",
            {"prompt": "a lake", "image_refs": [f"{URL}#weight=x"]},
            "a number from 0 to 1, as in #weight=0.8",
        ),
        (
            "generate_image",
            {"prompt": "a lake", "image_refs": [f"{URL}#wieght=0.3"]},
            "a number from 0 to 1, as in #weight=0.8",
        ),
        (
            "generate_image",
            {"prompt": "a lake", "image_refs": [f"{URL}#weight="]},
            "a number from 0 to 1, as in #weight=0.8",
        ),
        ("generate_video", {"prompt": "a lake", "start_image": f"{URL}#weight=0.5"}, "start_image takes no #weight=…"),
        ("generate_video", {"prompt": "a lake", "start_image": "/home/me/a.png"}, "start_image is a local file"),
        ("generate_video", {"prompt": "a lake", "start_image": "~/a.png"}, "is a local file"),
        ("generate_video", {"prompt": "a lake", "start_image": "C:\\Users\\me\\a.png"}, "is a local file"),
        ("generate_video", {"prompt": "a lake", "start_image": "\\\\host\\a.png"}, "is a local file"),
        ("generate_video", {"prompt": "a lake", "start_image": "file:///a.png"}, "is a local file"),
        (
            "generate_video",
            {"prompt": "a lake", "start_image": "/mnt/user-data/uploads/a.png"},
            "inside your client's own sandbox",
        ),
        (
            "generate_video",
            {"prompt": "a lake", "start_image": "data:image/png;base64,AAAA"},
            "contains the media itself",
        ),
        ("generate_video", {"prompt": "a lake", "start_image": "http://localhost/a.png"}, "only your own network"),
        ("generate_video", {"prompt": "a lake", "start_image": "https://192.168.1.4/a.png"}, "only your own network"),
        (
            "generate_video",
            {"prompt": "a lake", "start_image": "ftp://example.com/a.png"},
            "is neither a generation id",
        ),
        ("generate_video", {"prompt": "a lake", "start_image": "https://[::1/a.png"}, "is neither a generation id"),
        ("generate_video", {"prompt": "a lake", "start_image": "lake"}, "is neither a generation id"),
        ("get_generation", {"generation_id": "12345"}, "generation_id is neither a generation id"),
        ("get_generation", {"generation_id": f"{ID}/../x"}, "generation_id is neither a generation id"),
        ("delete_generations", {"generation_ids": [ID, ""]}, "generation_ids[1] is neither a generation id"),
        ("extend_video", {"generation_id": "last one", "prompt": "it goes on"}, "is neither a generation id"),
        ("wait_for_generations", {"generation_ids": ["12345"]}, "generation_ids[0] is neither a generation id"),
        ("reframe_media", {"source": "https://example.com/x", "aspect_ratio": "1:1"}, "Add media_type=video"),
        ("reframe_media", {"source": URL, "aspect_ratio": "1:1", "start_image": URL}, "start_image is for videos"),
        (
            "reframe_media",
            {"source": "https://example.com/a.mp4", "aspect_ratio": "1:1", "output_format": "png"},
            "output_format is for images",
        ),
    ],
)
async def test_what_luma_documents_as_refused_is_refused_before_anything_is_sent(
    desk, tool: str, arguments: dict[str, Any], words: str
) -> None:
    said = await desk.refusal(tool, **arguments)

    assert words in said
    assert "Nothing was sent" in said
    assert desk.wire.sent == []


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("dolly zoom", "Did you mean dolly_zoom?"),
        ("dolly_zooom", "Did you mean dolly_zoom?"),
        ("nope", "list_camera_motions has them all."),
    ],
)
async def test_a_concept_that_is_not_in_luma_s_list_is_refused(desk, key: str, hint: str) -> None:
    said = await desk.refusal("generate_video", prompt="a lake", concepts=["pov", key])

    assert said == f"Luma has no concept {key!r}. Nothing was sent. {hint}"
    assert desk.posts == []


async def test_a_concept_that_luma_s_list_alone_has_is_sent(desk) -> None:
    class Newer(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/concepts/list"):
                return httpx.Response(200, json=["pov", "crane_left"])
            return await inner.handle_async_request(request)

    inner, desk.wire.inner = desk.wire.inner, Newer()

    await desk.call("generate_video", prompt="a lake", concepts=["crane_left"])

    assert desk.posts[0].body["concepts"] == [{"key": "crane_left"}]


async def test_luma_s_list_of_concepts_is_not_asked_for_what_is_known(desk) -> None:
    await desk.call("generate_video", prompt="a lake", concepts=["pov", "dolly_zoom"])

    assert not [request for request in desk.wire.sent if request.url.path.endswith("/concepts/list")]


@pytest.mark.parametrize("kind", ["status", "hang"])
async def test_while_luma_s_list_of_concepts_can_t_be_read_only_what_looks_misspelled_is_refused(
    desk, kind: str
) -> None:
    desk.world.faults.append(Fault(kind, "GET", path="concepts", times=1000))

    said = await desk.refusal("generate_video", prompt="a lake", concepts=["dolly_zooom"])
    await desk.call("generate_video", prompt="a lake", concepts=["moonwalk"])

    assert "Did you mean dolly_zoom?" in said
    assert [post.body["concepts"] for post in desk.posts] == [[{"key": "moonwalk"}]]


async def test_a_loop_is_refused_where_two_clips_meet_or_one_is_led_up_to(desk) -> None:
    clip = (await desk.video())["generation_id"]

    for arguments in ({"direction": "backward"}, {"end_image": URL}):
        said = await desk.refusal("extend_video", generation_id=clip, prompt="it goes on", loop=True, **arguments)
        assert "can't loop" in said
    await desk.call("extend_video", generation_id=clip, prompt="it goes round", loop=True)
    assert desk.posts[-1].body["loop"] is True
    assert desk.charges == 2


async def test_a_job_does_not_start_from_an_unfinished_a_failed_or_a_wrong_generation(desk) -> None:
    unfinished = (await desk.video("a lake [sandbox:stuck]", wait_s=0))["generation_id"]
    failed = (await desk.video("a lake [sandbox:fail]", wait_s=0))["generation_id"]
    await desk.call("wait_for_generations", generation_ids=[failed])
    image = (await desk.image())["generation_id"]
    clip = (await desk.video())["generation_id"]
    charges = desk.charges

    async def extend(generation_id: str) -> str:
        return await desk.refusal("extend_video", generation_id=generation_id, prompt="it goes on")

    assert f'wait_for_generations(generation_ids=["{unfinished}"])' in await extend(unfinished)
    assert "It failed: use another one" in await extend(failed)
    assert "generate_video(start_image=" in await extend(image)
    assert "Nothing was bought" in await extend(ID)
    said = await desk.refusal("generate_video", prompt="a lake", start_image=clip)
    assert "extend_video continues a video" in said
    assert desk.charges == charges


@pytest.mark.parametrize(
    ("tool", "name", "meant"),
    [
        ("generate_video", "user_prompt", "prompt"),
        ("generate_video", "model_name", "model"),
        ("generate_video", "start_image_url", "start_image"),
        ("generate_video", "end_image_url", "end_image"),
        ("generate_video", "image_end_url", "end_image"),
        ("generate_video", "ratio", "aspect_ratio"),
        ("generate_video", "image_url", "start_image"),
        ("extend_video", "video_id", "generation_id"),
        ("generate_video", "expand_prompt", "prompt"),
        ("generate_video", "image", "start_image"),
        ("generate_video", "id", None),
        ("modify_image", "image", "source"),
        ("extract_layers", "image", "source"),
        ("reframe_media", "image", "source"),
        ("reframe_media", "video", "source"),
        ("modify_video", "video", "source"),
        ("modify_video", "video_url", "source"),
        ("extend_video", "video", "generation_id"),
        ("join_videos", "videos", "sources"),
        ("join_videos", "clips", "sources"),
        ("join_videos", "ids", "sources"),
        ("get_generation", "id", "generation_id"),
        ("delete_generations", "id", "generation_ids"),
        ("wait_for_generations", "ids", "generation_ids"),
    ],
)
async def test_a_name_that_others_use_is_refused_with_that_of_the_tool(
    both_desk, tool: str, name: str, meant: str | None
) -> None:
    said = await both_desk.refusal(tool, **{name: "x"})

    hint = f" (did you mean {meant}?)" if meant else ""
    assert f"no parameter {name!r}{hint}. Nothing was sent." in said
    assert both_desk.wire.sent == []


async def test_a_name_that_others_use_means_a_parameter_that_the_call_lacks(desk) -> None:
    said = await desk.refusal("modify_video", source="x", image="x")

    assert "no parameter 'image' (did you mean start_image?)" in said


async def test_the_relays_name_for_a_callback_is_refused_with_ours_where_one_is_allowed(open_desk) -> None:
    async with open_desk(LUMA_MCP_CALLBACK_HOSTS="hooks.example.com") as desk:
        said = await desk.refusal("generate_video", prompt="a lake", notify_hook="https://hooks.example.com/")
        assert "(did you mean callback_url?)" in said


@pytest.mark.parametrize("key", ["luma-sandbox-key", "luma-api-sandbox-key"])
async def test_a_clip_that_luma_did_not_make_is_not_extended_and_the_way_is_named(open_desk, key: str) -> None:
    async with open_desk(LUMA_API_KEY=key) as desk:
        said = await desk.refusal("extend_video", generation_id="https://example.com/lake.mp4", prompt="it goes on")

        assert "use modify_video" in said
        assert "generate_video(start_image=…)" in said
        assert desk.charges == 0


async def test_null_for_an_optional_argument_means_that_it_was_left_out(desk) -> None:
    await desk.video(start_image=None, duration=None, loop=None, wait_s=None)

    assert desk.posts[0].body["duration"] == "5s"


async def test_text_that_looks_like_json_stays_text_and_a_list_sent_as_text_becomes_a_list(desk) -> None:
    await desk.call("generate_video", prompt='["a lake"]', concepts='["pov"]')

    assert desk.posts[0].body["prompt"] == '["a lake"]'
    assert desk.posts[0].body["concepts"] == [{"key": "pov"}]
    assert "is neither a generation id" in await desk.refusal("generate_video", prompt="a lake", start_image="null")


async def test_a_call_without_a_key_says_what_to_set(open_desk) -> None:
    async with open_desk(LUMA_API_KEY=None) as desk:
        for tool, arguments in (
            ("generate_video", {"prompt": "a lake"}),
            ("get_generation", {"generation_id": ID}),
            ("list_generations", {}),
        ):
            said = await desk.refusal(tool, **arguments)
            assert "No Luma API key is set" in said
            assert "LUMA_API_KEY" in said
        assert desk.wire.sent == []


@pytest.mark.parametrize("variable", ["LUMA_MCP_BUDGET_USD", "LUMA_MCP_CONFIRM_USD", "LUMA_MCP_JOURNAL"])
async def test_a_limit_that_can_t_be_read_stops_what_costs_money_and_nothing_else(open_desk, variable: str) -> None:
    async with open_desk(**{variable: "what I can afford"}) as desk:
        assert f"{variable} must be an a" in await desk.refusal("generate_video", prompt="a lake")
        assert desk.wire.sent == []
        await desk.call("list_generations")


def _schemas() -> dict[str, dict[str, Any]]:
    server = create_server(Settings.from_env({}), lambda: pytest.fail("no network"))
    return {tool.name: tool.input_schema for tool in anyio.run(server.list_tools)}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXT = st.text(max_size=20) | st.sampled_from([ID, URL, f"{URL}#weight=0.2", "request-1", "a lake", "/a.png", "data:,"])


def _fitting(property_: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in property_:
        return st.sampled_from(property_["enum"])
    return {
        "string": TEXT,
        "array": st.lists(TEXT, max_size=3),
        "boolean": st.booleans(),
        "integer": st.integers(),
        "number": st.floats(0, 5),
    }[property_["type"]]


@pytest.mark.parametrize(("name", "schema"), _schemas().items())
async def test_no_junk_makes_a_tool_crash_or_buys_more_than_one_job(
    open_desk, name: str, schema: dict[str, Any]
) -> None:
    cases: list[dict[str, Any]] = []
    properties, required = schema["properties"], schema.get("required", [])
    fitting = {key: _fitting(value) for key, value in properties.items()}
    arguments = st.fixed_dictionaries(
        {key: fitting[key] for key in required},
        optional={key: fitting[key] for key in fitting if key not in required},
    ) | st.dictionaries(st.sampled_from([*properties, "x"]), JUNK, max_size=4)

    @settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(arguments)
    def collect(example: dict[str, Any]) -> None:
        cases.append(example)

    collect()
    async with open_desk(LUMA_MCP_WAIT_S="5", LUMA_AGENTS_API_KEY=AGENTS_SANDBOX_KEY) as desk:
        for case in cases:
            charges = desk.charges
            result = await desk.raw(name, **case)
            text = "".join(block.text for block in result.content if block.type == "text")
            assert text
            assert "itself failed" not in text, json.dumps(case)
            assert "pydantic" not in text
            assert desk.charges <= charges + 1


def test_a_failure_is_text_alone_since_clients_show_nothing_else() -> None:
    assert failure("no").structured_content is None

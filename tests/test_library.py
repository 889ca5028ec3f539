"""Looking at, finding, keeping and deleting what was made."""

import base64
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server.sandbox import Fault

pytestmark = pytest.mark.anyio

ID = "00000000-0000-4000-8000-000000000000"


async def test_a_generation_is_found_by_its_id_in_any_case_and_by_its_link(desk) -> None:
    made = await desk.video()

    for name in (made["generation_id"], made["generation_id"].upper(), f" {made['video_url']} "):
        shown = await desk.call("get_generation", generation_id=name)
        assert shown["generation_id"] == made["generation_id"]
        assert "file_path" not in shown


async def test_a_link_made_before_this_server_started_is_found_in_luma_s_list(open_desk) -> None:
    async with open_desk() as first:
        made = await first.video()
        sandbox = first.wire.inner
    async with open_desk() as desk:
        desk.wire.inner = sandbox
        link = made["video_url"].partition("?")[0]

        assert (await desk.call("get_generation", generation_id=link))["generation_id"] == made["generation_id"]
        said = await desk.refusal("get_generation", generation_id="https://example.com/other.mp4")
        assert "of none of your newest 100 generations" in said


async def test_the_list_has_neither_links_nor_long_prompts(desk) -> None:
    await desk.video("a lake " * 100)

    listed = await desk.call("list_generations")

    [row] = listed["generations"]
    assert set(row) == {
        "generation_id",
        "api",
        "type",
        "state",
        "model",
        "prompt",
        "aspect_ratio",
        "resolution",
        "duration",
        "created_at",
    }
    assert len(row["prompt"]) == 200
    assert listed["has_more"] is False
    assert "next_offset" not in listed


async def _ids(desk: Any, **arguments: Any) -> tuple[list[str], dict[str, Any]]:
    listed = await desk.call("list_generations", **arguments)
    return [row["generation_id"] for row in listed["generations"]], listed


async def test_paging_shows_every_generation_once(desk) -> None:
    made = [(await desk.image(f"lake {n}", wait_s=0))["generation_id"] for n in range(7)]

    first, page = await _ids(desk, limit=3)
    assert (page["has_more"], page["next_offset"]) == (True, 3)
    second, page = await _ids(desk, limit=3, offset=page["next_offset"])
    assert (page["has_more"], page["next_offset"]) == (True, 6)
    third, page = await _ids(desk, limit=3, offset=page["next_offset"])
    assert page["has_more"] is False
    assert [*first, *second, *third] == made[::-1]


async def test_a_state_filters_before_it_is_counted(desk) -> None:
    for n in range(3):
        await desk.image(f"lake {n}", wait_s=0)
    stuck = [(await desk.image(f"lake [sandbox:stuck] {n}", wait_s=0))["generation_id"] for n in range(3)]
    await anyio.sleep(30)

    rows, page = await _ids(desk, state="dreaming", limit=2)
    assert (rows, page["has_more"], page["next_offset"]) == (stuck[:0:-1], True, 2)
    rows, page = await _ids(desk, state="dreaming", limit=2, offset=2)
    assert (rows, page["has_more"]) == (stuck[:1], False)
    assert (await _ids(desk, state="failed"))[0] == []


async def test_short_pages_are_put_together(desk) -> None:
    made = [(await desk.image(f"lake {n}", wait_s=0))["generation_id"] for n in range(5)]
    inner = desk.wire.inner

    class Short(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await inner.handle_async_request(
                httpx.Request(request.method, request.url.copy_set_param("limit", 2), headers=request.headers)
            )

    desk.wire.inner = Short()

    assert (await _ids(desk, limit=5))[0] == made[::-1]


async def test_a_filter_looks_through_a_thousand_at_most_and_says_so(desk) -> None:
    row = {"id": ID, "state": "completed", "generation_type": "image"}

    class Endless(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"generations": [row] * 100, "has_more": True})

    desk.wire.inner = Endless()

    listed = await desk.call("list_generations", state="failed")

    assert len(desk.wire.sent) == 10
    assert listed["warnings"] == ["Only the first 1000 generations of the account were looked through."]


async def test_a_deleted_generation_is_gone_and_its_file_stays(desk) -> None:
    made = await desk.video()

    assert await desk.call("delete_generation", generation_id=made["generation_id"]) == {
        "generation_id": made["generation_id"],
        "deleted": True,
        "sandbox": True,
    }
    assert "knows no such generation" in await desk.refusal("get_generation", generation_id=made["generation_id"])
    assert "knows no such generation" in await desk.refusal("delete_generation", generation_id=made["generation_id"])
    assert Path(made["file_path"]).is_file()


async def test_a_preview_is_a_picture_with_words_and_no_structured_content(desk) -> None:
    for made in (await desk.video(), await desk.image(), await desk.image(output_format="png")):
        result = await desk.raw("preview_generation", generation_id=made["generation_id"])

        picture, words = result.content
        assert picture.type == "image"
        assert picture.mime_type in ("image/jpeg", "image/png")
        assert base64.b64decode(picture.data)[:3] in (b"\xff\xd8\xff", b"\x89PN")
        assert made["generation_id"] in words.text
        assert result.structured_content is None
        assert not result.is_error


async def test_a_large_preview_is_made_smaller(desk) -> None:
    from io import BytesIO

    from PIL import Image

    made = await desk.image(output_format="png")
    noise = BytesIO()
    Image.effect_noise((1500, 1000), 90).save(noise, "PNG")
    inner = desk.wire.inner

    class Large(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "/media/" in request.url.path:
                return httpx.Response(200, content=noise.getvalue())
            return await inner.handle_async_request(request)

    desk.wire.inner = Large()

    result = await desk.raw("preview_generation", generation_id=made["generation_id"])

    data = base64.b64decode(result.content[0].data)
    assert len(noise.getvalue()) > 1_000_000 > len(data)
    assert Image.open(BytesIO(data)).size == (1024, 683)


async def test_nothing_is_shown_or_saved_of_what_is_not_completed(desk) -> None:
    stuck = (await desk.video("a lake [sandbox:stuck]", wait_s=0))["generation_id"]
    failed = (await desk.video("a lake [sandbox:fail]", wait_s=0))["generation_id"]
    await anyio.sleep(30)

    for tool in ("preview_generation", "download_generation"):
        assert f'wait_for_generations(generation_ids=["{stuck}"])' in await desk.refusal(tool, generation_id=stuck)
        assert "failed, so it has no file" in await desk.refusal(tool, generation_id=failed)


async def test_both_resources_can_be_read(desk) -> None:
    made = await desk.video()

    models = await desk.client.read_resource("luma://models")
    assert '"ray-2"' in models.contents[0].text
    shown = await desk.client.read_resource(f"luma://generations/{made['generation_id']}")
    assert made["generation_id"] in shown.contents[0].text
    with pytest.raises(Exception, match="knows no such generation"):
        await desk.client.read_resource(f"luma://generations/{ID}")


async def test_both_prompts_can_be_filled_in(desk) -> None:
    prompts = {prompt.name for prompt in (await desk.client.list_prompts()).prompts}
    assert prompts == {"enhance_prompt", "storyboard"}

    enhanced = await desk.client.get_prompt("enhance_prompt", {"idea": "a red kite"})
    assert "a red kite" in enhanced.messages[0].content.text
    planned = await desk.client.get_prompt("storyboard", {"idea": "a red kite", "shots": "6"})
    assert "6 shots" in planned.messages[0].content.text


async def test_a_file_name_with_a_hash_stands_for_its_own_generation(desk) -> None:
    made = [await desk.video(f"kite {n}") for n in range(2)]
    paths = [
        (await desk.call("download_generation", generation_id=one["generation_id"], filename=f"kite #{n}"))["file_path"]
        for n, one in enumerate(made)
    ]

    for path, one in zip(paths, made, strict=True):
        assert (await desk.call("get_generation", generation_id=path))["generation_id"] == one["generation_id"]


async def test_a_broken_large_preview_is_an_error_in_words(desk) -> None:
    made = await desk.image(output_format="png")
    inner = desk.wire.inner

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if "/media/" in request.url.path:
                return httpx.Response(200, content=b"\x89PNG\r\n\x1a\n" + b"x" * 800_000)
            return await inner.handle_async_request(request)

    desk.wire.inner = Broken()

    said = await desk.refusal("preview_generation", generation_id=made["generation_id"])
    assert "could not be read" in said


async def test_an_unreadable_list_is_an_error_and_not_an_empty_list(desk) -> None:
    desk.world.faults.append(Fault("status", "GET", status=200, detail="no list"))

    assert "Nothing was lost" in await desk.refusal("list_generations")

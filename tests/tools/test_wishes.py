"""Twenty everyday wishes, each as the calls that a reader of the tool list would make: no purchase in vain."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitResult

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY

from ..conftest import Desk, OpenDesk

pytestmark = pytest.mark.anyio

HOUSE = "https://example.com/house.jpg"


class Reader:
    """One who knows the tool list and the answers alone."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.refusals = desk, list[str]()

    async def __call__(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        return await self.desk.call(tool, **arguments)

    async def refused(self, tool: str, /, **arguments: Any) -> str:
        """A call that is refused before anything is bought."""
        self.refusals.append(await self.desk.refusal(tool, **arguments))
        return self.refusals[-1]

    async def price(self, tool: str, /, **arguments: Any) -> float:
        """What a call would cost."""
        quote = await self(tool, **arguments, dry_run=True)
        assert quote["allowed"]
        return float(quote["counts_usd"])

    async def bought(self, tool: str, /, **arguments: Any) -> str:
        """Ask the price, then buy at it; the generation's id."""
        price = await self.price(tool, **arguments)
        made = await self(tool, **arguments)
        assert made["state"] == "completed"
        assert made.get("estimated_cost_usd", price) == price
        return str(made["generation_id"])


async def three_versions_of_a_kite(ask: Reader) -> None:
    clip = {"prompt": "a red kite over green dunes"}
    assert await ask.price("generate_video", **clip) == 0.30
    made = [(await ask("generate_video", **clip, take=take))["generation_id"] for take in (1, 2, 3)]
    assert len(set(made)) == 3


async def a_photo_that_moves(ask: Reader) -> None:
    await ask.bought("generate_video", prompt="the camera orbits left around the house", start_image=HOUSE)


async def nine_seconds(ask: Reader) -> None:
    said = await ask.refused("generate_video", prompt="a quiet lake", duration="9s", dry_run=True)
    assert "Use duration=10s ($0.90). Or use model=ray-2 ($1.27)" in said
    await ask.bought("generate_video", prompt="a quiet lake", duration="9s", model="ray-2")


async def the_price_of_a_clip_in_4k(ask: Reader) -> None:
    said = await ask.refused("generate_video", prompt="a quiet lake", resolution="4k", dry_run=True)
    assert "model=ray-2 ($6.37) or ray-flash-2 ($2.19)" in said


async def yesterday_s_clip_goes_on(ask: Reader) -> None:
    await ask.bought("generate_video", prompt="a kite rises")
    [row] = (await ask("list_generations"))["generations"]
    await ask.bought("extend_video", generation_id=row["generation_id"], prompt="it dives")


async def one_clip_leads_to_another(ask: Reader) -> None:
    first, second = [await ask.bought("generate_video", prompt=prompt) for prompt in ("a lake", "a hill")]
    ids = {"start_generation_id": first, "end_generation_id": second}
    said = await ask.refused("interpolate_videos", **ids, prompt="the lake becomes a hill")
    assert "start_image=<its id> means its last frame, end_image=<its id> its first" in said
    await ask.bought("generate_video", prompt="the lake becomes a hill", start_image=first, end_image=second)


async def a_clip_for_a_phone(ask: Reader) -> None:
    clip = await ask.bought("generate_video", prompt="a quiet lake")
    await ask.bought("reframe_media", source=clip, aspect_ratio="9:16")


async def a_sharper_clip(ask: Reader) -> None:
    clip = await ask.bought("generate_video", prompt="a quiet lake")
    said = await ask.refused("upscale_video", generation_id=clip, dry_run=True)
    assert "make it again with resolution=1080p" in said
    assert await ask.price("generate_video", prompt="a quiet lake", resolution="1080p") == 1.20
    await ask("generate_video", prompt="a quiet lake", resolution="1080p")


async def wind_for_a_clip(ask: Reader) -> None:
    clip = await ask.bought("generate_video", prompt="a windy lake", model="ray-2")
    await ask.bought("add_audio", generation_id=clip, prompt="wind")


async def four_pictures_in_one_clip(ask: Reader) -> None:
    frames = [f"https://example.com/{number}.jpg#at={at}" for number, at in enumerate((0, 1.5, 3, 5))]
    await ask.bought("generate_video", prompt="through the seasons", keyframes=frames)


async def a_clip_as_a_watercolor(ask: Reader) -> None:
    clip = await ask.bought("generate_video", prompt="a quiet lake")
    await ask.bought("modify_video", source=clip, mode="flex_2", prompt="a watercolor", controls=["depth=0.3"])


async def a_clip_to_grade(ask: Reader) -> None:
    await ask.bought("generate_video", prompt="a quiet lake", dynamic_range="hdr_exr")


async def a_picture_of_a_real_building(ask: Reader) -> None:
    await ask.bought("generate_image", prompt="the Eiffel Tower in snow", web_search=True)


async def a_page_of_manga(ask: Reader) -> None:
    await ask.bought("generate_image", prompt="a duel in the rain", style="manga")


async def the_same_person_twice(ask: Reader) -> None:
    face = await ask.bought("generate_image", prompt="a sailor with a red beard")
    await ask.bought("generate_image", prompt="the same sailor at the market", image_refs=[face])


async def a_picture_in_parts(ask: Reader) -> None:
    image = await ask.bought("generate_image", prompt="a kite over dunes")
    layers = await ask.bought("extract_layers", source=image)
    assert len((await ask("get_generation", generation_id=layers))["outputs"]) > 1


async def what_it_looks_like(ask: Reader) -> None:
    image = await ask.bought("generate_image", prompt="a kite over dunes")
    picture, _ = (await ask.desk.raw("preview_generations", generation_ids=[image])).content
    assert picture.type == "image"


async def a_file_by_a_name(ask: Reader) -> None:
    clip = await ask.bought("generate_video", prompt="a kite")
    saved = await ask("download_generation", generation_id=clip, filename="kite.mov")
    assert Path(saved["file_path"]).name == "kite.mp4"
    assert "Saved as kite.mp4" in saved["warnings"][0]


async def what_was_spent(ask: Reader) -> None:
    await ask.bought("generate_video", prompt="a kite")
    account = await ask("get_account")
    assert (account["spent_today_usd"], account["budget_left_usd"]) == (0.30, 19.70)


async def away_with_it(ask: Reader) -> None:
    clip = await ask.bought("generate_video", prompt="a kite", model="ray-2")
    assert (await ask("delete_generations", generation_ids=[clip]))["deleted"] == [clip]
    assert "has been deleted" in await ask.desk.refusal("get_generation", generation_id=clip)


WISHES: dict[Callable[[Reader], Awaitable[None]], int] = {
    three_versions_of_a_kite: 3,
    a_photo_that_moves: 1,
    nine_seconds: 1,
    the_price_of_a_clip_in_4k: 0,
    yesterday_s_clip_goes_on: 2,
    one_clip_leads_to_another: 3,
    a_clip_for_a_phone: 2,
    a_sharper_clip: 2,
    wind_for_a_clip: 2,
    four_pictures_in_one_clip: 1,
    a_clip_as_a_watercolor: 2,
    a_clip_to_grade: 1,
    a_picture_of_a_real_building: 1,
    a_page_of_manga: 1,
    the_same_person_twice: 2,
    a_picture_in_parts: 2,
    what_it_looks_like: 1,
    a_file_by_a_name: 1,
    what_was_spent: 1,
    away_with_it: 1,
}
"""The wishes, and how many purchases each needs."""


@pytest.mark.parametrize(("wish", "purchases"), WISHES.items(), ids=lambda one: getattr(one, "__name__", None))
async def test_a_wish_comes_true_without_a_purchase_in_vain_and_with_one_refusal_at_most(
    open_desk: OpenDesk, wish: Callable[[Reader], Awaitable[None]], purchases: int
) -> None:
    async def user(*_: object) -> ElicitResult:
        return ElicitResult(action="accept")

    async with open_desk(answer=user, LUMA_AGENTS_API_KEY=AGENTS_SANDBOX_KEY) as desk:
        desk.world.draw = wish in (one_clip_leads_to_another, a_picture_in_parts)
        reader = Reader(desk)
        await wish(reader)

        assert desk.charges == purchases
        assert len(reader.refusals) <= 1
        tools = {tool.name: tool.input_schema["properties"] for tool in (await desk.client.list_tools()).tools}
        for said in reader.refusals:
            assert {name for name, _ in re.findall(r"\b([a-z]+_[a-z_]+)(=)", said)} <= {
                parameter for properties in tools.values() for parameter in properties
            }
            assert "Nothing was" in said

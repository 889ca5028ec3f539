"""The gallery in a real browser, on a journal of 300 purchases whose files the sandbox has drawn."""

import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from dirty_equals import IsPartialDict
from PIL import Image
from playwright.sync_api import Page, expect

from luma_mcp_server.gallery import running_gallery
from luma_mcp_server.models import ImageRequest, Media, VideoRequest
from luma_mcp_server.purchases.journal import Journal
from luma_mcp_server.purchases.purchase import Purchase
from luma_mcp_server.sandbox.pictures import Picture, draw
from luma_mcp_server.settings import Settings

NOON = datetime(2026, 1, 20, 12).astimezone()  # days begin where the test runs
DAYS, PER_DAY = 30, 10
TOTAL, PAGE_SIZE = DAYS * PER_DAY, 60
RUNNING, LOST, MISSING, IMAGE, HOSTILE, FAILED_EVERY = 0, 2, 4, 5, 6, 25
HERON = 137
HTML = "<img src=x onerror=alert(1)>"


@dataclass(frozen=True)
class Shelf:
    """A journal with its files, and the gallery that shows them."""

    url: str
    settings: Settings
    purchases: list[Purchase]

    @property
    def output(self) -> Path:
        assert self.settings.output_dir
        return self.settings.output_dir

    def file_of(self, number: int) -> Path:
        [path] = self.output.glob(f"*-{self.purchases[number].generation_id}.*")
        return path

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, trust_env=False)


def write(path: Path | None, *purchases: Purchase) -> None:
    """Enter purchases, whatever has become of them."""

    async def reserve() -> None:
        journal = Journal(path, lambda: NOON, None, budget_usd=None, budget_spans_accounts=True)
        for purchase in purchases:
            await journal.reserve(purchase)

    with ThreadPoolExecutor(1) as thread:  # Playwright keeps this one's event loop
        thread.submit(anyio.run, reserve).result()


takes = count(1)


def purchase(at: datetime, prompt: str, *, video: bool = True, **changes: Any) -> Purchase:
    """A completed purchase."""
    request = (
        VideoRequest(model="ray-3.2", prompt=prompt, resolution="720p", duration="5s", aspect_ratio="16:9")
        if video
        else ImageRequest(
            model="photon-1", prompt=prompt, source=Media(url="https://example.com/a.jpg?Signature=secret")
        )
    )
    bought = Purchase.from_request(
        request,
        account=f"account {next(takes) % 2}",
        api="agents" if video else "dream_machine",
        tool="generate_video" if video else "modify_image",
        take=next(takes),
        max_usd=0.30 if video else 0.02,
        price_usd=0.30 if video else 0.02,
        user="ana",
    ).submitted(at)
    made = {"status": "completed", "state": "completed", "generation_id": str(uuid.uuid4()), "took_s": 60.0}
    return replace(bought, **{**made, "media_url": "https://storage.example.com/secret.mp4", **changes})


def three_hundred() -> Iterator[Purchase]:
    """Ten a day, newest first: every other one a clip, every 25th failed."""
    for number in range(TOTAL):
        at = NOON - timedelta(days=number // PER_DAY, seconds=30 + 60 * (number % PER_DAY))
        special: dict[str, Any] = {}
        if number == RUNNING:
            special = {"status": "accepted", "state": "dreaming", "took_s": None}
        elif number == LOST:
            special = {"status": "unknown", "state": None, "generation_id": None, "took_s": None, "note": "No answer."}
        elif number % FAILED_EVERY == FAILED_EVERY - 1:
            special = {"status": "failed", "state": "failed", "refunded": True}
        prompts = {HERON: "a heron over the marsh", HOSTILE: HTML}
        yield purchase(at, prompts.get(number, f"shot {number}"), video=number % 2 == 0, **special)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("gallery")
    output = folder / "Luma"
    output.mkdir()
    clip, picture = folder / "clip.mp4", folder / "picture.jpg"
    clip.write_bytes(draw(Picture("a clip", resolution="360p", seconds=5.0), "clip.mp4"))
    picture.write_bytes(draw(Picture("a picture"), "picture.jpg"))
    purchases = list(three_hundred())
    for number, one in enumerate(purchases):
        if one.status == "completed" and number != MISSING:
            source = clip if number % 2 == 0 else picture
            (output / f"shot-{one.generation_id}{source.suffix}").hardlink_to(source)
    settings = Settings(journal=folder / "journal.sqlite3", output_dir=output, budget_usd=5.0)
    write(settings.journal, *purchases)
    with running_gallery(settings, now=lambda: NOON) as url:
        yield Shelf(url, settings, purchases)


@pytest.fixture
def page(open_page, shelf: Shelf) -> Page:
    """The gallery, with its first cards."""
    page = open_page(shelf.url)
    expect(page.locator(".card")).to_have_count(PAGE_SIZE)
    return page


def card(page: Page, number: int) -> Any:
    return page.locator(".card").nth(number)


def test_sixty_are_shown_newest_first_and_more_when_one_scrolls(page: Page, shelf: Shelf) -> None:
    cards = page.locator(".card")
    expect(cards.first).to_contain_text("shot 0")
    assert "60 of" not in page.inner_text("#matching")

    page.get_by_role("button", name="Show more").scroll_into_view_if_needed()

    expect(cards).to_have_count(2 * PAGE_SIZE)
    shown = page.eval_on_selector_all(".card .prompt", "all => all.map((one) => one.textContent)")
    assert shown == [one.prompt for one in shelf.purchases[: 2 * PAGE_SIZE]]


def test_the_last_page_has_no_more_button(page: Page) -> None:
    cards, more = page.locator(".card"), page.get_by_role("button", name="Show more")
    for pages in range(2, TOTAL // PAGE_SIZE + 1):
        more.scroll_into_view_if_needed()
        expect(cards).to_have_count(pages * PAGE_SIZE)

    expect(more).to_be_hidden()


def test_a_card_says_prompt_model_size_price_state_buyer_and_file(page: Page, shelf: Shelf) -> None:
    text = card(page, 8).inner_text()

    for part in ("shot 8", "ray-3.2 · 16:9 · 720p · 5s · take 18 · $0.30", "completed", "ana", shelf.file_of(8).name):
        assert part in text


def test_a_search_finds_words_of_a_prompt_and_says_when_there_are_none(page: Page) -> None:
    search = page.get_by_role("searchbox")

    search.fill("HERON over")
    expect(page.locator(".card .prompt")).to_have_text(["a heron over the marsh"])
    expect(page.locator("#matching")).to_have_text(f"1 of {TOTAL} match")

    search.fill("100%_")
    expect(page.get_by_text("Nothing matches")).to_be_visible()


def test_filters_by_state_model_and_day_work_together_and_are_cleared_at_once(page: Page) -> None:
    cards = page.locator(".card")
    page.get_by_label("State").select_option("failed")
    expect(cards).to_have_count(TOTAL // FAILED_EVERY)
    expect(page.locator('.card .badge[data-state="failed"]')).to_have_count(TOTAL // FAILED_EVERY)
    page.get_by_label("Model", exact=True).select_option("ray-3.2")
    expect(cards).to_have_count(sum(number % 2 == 0 for number in range(FAILED_EVERY - 1, TOTAL, FAILED_EVERY)))

    page.get_by_role("button", name="Clear").click()
    expect(cards).to_have_count(PAGE_SIZE)
    page.get_by_label("Day", exact=True).fill("2026-01-18")
    expect(page.locator(".card .prompt")).to_have_text([f"shot {number}" for number in range(20, 30)])


def test_the_chart_shows_each_day_by_model_against_the_budget(page: Page) -> None:
    days = page.locator("button.day")
    expect(days).to_have_count(DAYS)
    expect(days.last).to_have_attribute("aria-label", "Jan 20: $1.60 (ray-3.2 $1.50, photon-1 $0.10). Show this day")
    heights = days.last.locator("span").evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert heights[0] == pytest.approx(15 * heights[1], rel=0.05)
    expect(page.locator(".plot .limit")).to_be_visible()
    expect(page.get_by_text("budget $5.00 in any 24 hours")).to_be_visible()

    days.last.click()
    expect(page.locator(".card")).to_have_count(PER_DAY)
    expect(days.last).to_have_attribute("aria-pressed", "true")


def test_totals_say_what_was_spent_of_the_budget(page: Page) -> None:
    assert page.inner_text("#totals").split("\n") == [
        *("Generations", "300"),
        *("Spent in 24 hours", "$1.60 of $5.00"),
        *("Total spent", "$46.08"),
    ]


def test_what_runs_is_shown_with_its_time_of_the_usual_time(page: Page) -> None:
    running = page.locator("#running li")

    expect(running).to_have_count(1)
    expect(running.first).to_contain_text("shot 0")
    expect(running.first).to_contain_text("30 s of about 60 s")
    expect(page.get_by_text("does not contact Luma")).to_be_visible()


def test_a_clip_plays_while_the_pointer_is_on_it(page: Page) -> None:
    if not page.evaluate("""document.createElement("video").canPlayType('video/mp4; codecs="avc1.64001f"')"""):
        pytest.skip("this browser has no H.264")
    card(page, 8).hover()

    expect(page.locator(".preview.playing")).to_be_visible()
    moves = "video => new Promise((done) => video.addEventListener('timeupdate', () => done(video.currentTime)))"
    assert page.locator(".preview").evaluate(moves) > 0

    page.get_by_role("heading", name="Luma gallery").hover()
    expect(page.locator(".preview")).to_have_count(0)


def test_nothing_plays_by_itself_for_who_wants_less_motion(open_page, shelf: Shelf) -> None:
    page = open_page(shelf.url, reduced_motion="reduce")
    card(page, 8).hover()

    expect(page.locator(".preview")).to_have_count(0)
    card(page, 8).click()
    expect(page.locator("dialog video")).to_have_js_property("paused", True)


def test_a_poster_is_small_and_made_once(page: Page, shelf: Shelf) -> None:
    kept = shelf.output / ".posters" / f"{shelf.purchases[8].generation_id}.jpg"
    expect(card(page, 8).locator("img")).to_have_js_property("naturalWidth", 480)

    with Image.open(kept) as picture:
        assert picture.size == (480, 270)
    kept.write_bytes(b"as it was kept")
    assert shelf.get(f"poster/{shelf.purchases[8].generation_id}").content == b"as it was kept"
    kept.unlink()


def test_without_the_media_extra_files_stand_for_themselves(
    open_page, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    page = open_page(shelf.url)

    expect(card(page, 8).locator(".stage > video")).to_have_js_property("videoWidth", 640)
    expect(card(page, IMAGE).locator("img")).to_have_js_property("naturalWidth", 1366)
    assert not any(one["poster"] for one in shelf.get("generations").json()["generations"])
    assert shelf.get(f"poster/{shelf.purchases[8].generation_id}").status_code == 404


def test_the_layers_of_an_image_are_shown_below_it(open_page, tmp_path: Path) -> None:
    settings = Settings(journal=tmp_path / "journal.sqlite3", output_dir=tmp_path)
    layered = purchase(NOON, "layers", video=False)
    for part in ("all", "01-hair", "02-sky"):
        Image.new("RGB", (60, 40), "teal").save(tmp_path / f"layers-{layered.generation_id}-{part}.png")
    write(settings.journal, layered)
    with running_gallery(settings, now=lambda: NOON) as url:
        page = open_page(url)
        expect(card(page, 0)).to_contain_text("-all.png")
        card(page, 0).click()

        expect(page.locator("dialog .stage img")).to_be_visible()
        expect(page.locator("dialog .parts span")).to_have_text(["01-hair.png", "02-sky.png"])
        expect(page.locator("dialog .paths li")).to_have_count(3)


def test_a_missing_file_leaves_a_plain_placeholder(page: Page) -> None:
    expect(card(page, MISSING).locator(".stage")).to_have_text("File not found: never saved, or moved")
    expect(card(page, FAILED_EVERY - 1).locator(".stage")).to_have_text("Failed, not charged")
    expect(card(page, LOST).locator(".stage")).to_have_text("Luma's answer was lost")

    card(page, MISSING).click()
    expect(page.locator("dialog .stage")).to_have_text("File not found: never saved, or moved")


def test_enter_opens_a_generation_and_escape_goes_back_to_its_card(page: Page, shelf: Shelf) -> None:
    card(page, 8).focus()
    page.keyboard.press("Enter")

    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator("video")).to_be_visible()
    for text in ("shot 8", "generate_video", "resolution", str(shelf.file_of(8))):
        expect(dialog.get_by_text(text, exact=True).first).to_be_visible()

    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(card(page, 8)).to_be_focused()


def test_arrow_keys_leaf_through_the_large_generations(page: Page) -> None:
    card(page, 7).click()
    dialog = page.get_by_role("dialog")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".side .prompt")).to_have_text("shot 8")

    dialog.get_by_role("button", name="Previous").click()

    expect(dialog.locator(".side .prompt")).to_have_text("shot 7")
    expect(dialog.locator(".stage img")).to_be_visible()


def test_a_file_path_is_copied(open_page, shelf: Shelf) -> None:
    page = open_page(shelf.url, permissions=["clipboard-read", "clipboard-write"])
    card(page, IMAGE).click()

    page.get_by_role("button", name="Copy the path").click()

    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == str(shelf.file_of(IMAGE))


def test_a_prompt_is_never_read_as_html(page: Page) -> None:
    expect(card(page, HOSTILE).locator(".prompt")).to_have_text(HTML)
    card(page, HOSTILE).click()
    expect(page.locator("dialog .side .prompt")).to_have_text(HTML)


def test_a_dark_system_gets_a_dark_page(open_page, shelf: Shelf) -> None:
    back = "getComputedStyle(document.body).backgroundColor"

    assert open_page(shelf.url, color_scheme="light").evaluate(back) == "rgb(255, 255, 255)"
    assert open_page(shelf.url, color_scheme="dark").evaluate(back) == "rgb(31, 31, 35)"


def test_a_small_phone_never_scrolls_sideways(open_page, shelf: Shelf) -> None:
    page, wide = open_page(shelf.url, width=360), "document.scrollingElement.scrollWidth"
    expect(page.locator(".card")).to_have_count(PAGE_SIZE)
    assert page.evaluate(wide) == 360

    card(page, 8).click()

    expect(page.locator("dialog video")).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 360
    assert page.evaluate(wide) == 360


def test_a_new_purchase_appears_by_itself(open_page, tmp_path: Path) -> None:
    settings = Settings(journal=tmp_path / "journal.sqlite3", output_dir=tmp_path)
    with running_gallery(settings, now=lambda: NOON) as url:
        page = open_page("about:blank")
        page.clock.install()
        page.goto(url)
        expect(page.get_by_text("Nothing has been made yet")).to_be_visible()
        expect(page.get_by_text("luma-mcp-server demo", exact=True)).to_be_visible()

        write(settings.journal, purchase(NOON, "the first"))
        page.clock.fast_forward(6000)

        expect(page.locator(".card .prompt")).to_have_text(["the first"])
        expect(page.get_by_text("Nothing has been made yet")).to_be_hidden()


def test_a_page_whose_journal_cannot_be_read_says_why(open_page, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    journal.write_text("This is a text, and long enough to be taken for a database. " * 20)
    with running_gallery(Settings(journal=journal, output_dir=tmp_path)) as url:
        page = open_page(url)

        expect(page.get_by_role("alert")).to_contain_text(f"The journal of purchases, {journal}, is not a database.")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/overview", {}),
        ("/a-guess/overview", {}),
        ("{token}overview", {"Host": "gallery.example.com"}),
        ("{token}overview", {"Host": "127.0.0.1:1"}),
        ("{token}overview", {"Origin": "https://example.com"}),
        ("{token}overview", {"Origin": "http://localhost:1"}),
    ],
    ids=str,
)
def test_who_lacks_the_token_or_comes_from_elsewhere_is_refused(
    shelf: Shelf, path: str, headers: dict[str, str]
) -> None:
    url = httpx.URL(shelf.url)
    answer = httpx.get(url.join(path.format(token=url.path)), headers=headers, trust_env=False)

    assert answer.status_code == 403
    assert answer.text.startswith(("Open the gallery by the address", "The gallery answers its own page only."))


def test_the_page_may_load_nothing_from_elsewhere(shelf: Shelf) -> None:
    answer = shelf.get("")

    assert dict(answer.headers) == IsPartialDict(
        {"referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
    )
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'nonce-")
    assert "http" not in answer.headers["content-security-policy"]


def test_a_file_is_served_in_parts_by_its_generation_alone(shelf: Shelf) -> None:
    shelf.get("generations")
    name = shelf.purchases[8].generation_id

    part = shelf.get(f"file/{name}/0", Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, shelf.file_of(8).read_bytes()[10:20])
    assert part.headers["content-security-policy"].startswith("sandbox"), "a file must not run as a page"
    for path in (f"file/{name}/1", f"file/{uuid.uuid4()}/0", "file/..%2Fjournal.sqlite3/0", "file/journal.sqlite3/0"):
        assert shelf.get(path).status_code == 404


@pytest.mark.parametrize("query", ["day=0001-01-01", "day=9999-12-31", "day=x", "offset=x", f"offset={10**30}"])
def test_a_day_or_an_offset_that_makes_no_sense_finds_nothing(shelf: Shelf, query: str) -> None:
    answer = shelf.get(f"generations?{query}")

    assert answer.status_code == 400 or answer.json()["generations"] == []


def test_no_link_of_lumas_is_told(shelf: Shelf) -> None:
    told = shelf.get("generations").text + shelf.get("overview").text

    assert "storage.example.com" not in told
    assert "Signature" not in told


def test_the_sandbox_has_its_own_gallery_of_all_its_starts(tmp_path: Path) -> None:
    settings = Settings(journal=tmp_path / "journal.sqlite3").on_sandbox("http://127.0.0.1:1", "http://127.0.0.1:2")
    write(settings.journal, purchase(NOON, "real"))
    write(settings.journal_file, purchase(NOON, "one start"), purchase(NOON, "another start"))
    with running_gallery(settings, now=lambda: NOON) as url, httpx.Client(base_url=url, trust_env=False) as http:
        assert http.get("overview").json() == IsPartialDict(sandbox=True, budget_usd=None, states={"completed": 2})
        shown = http.get("generations").json()["generations"]

    assert {one["prompt"] for one in shown} == {"one start", "another start"}

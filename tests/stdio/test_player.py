"""The player in a real browser, in a small host that speaks the Apps protocol to a real server."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

HOST = Path(__file__).with_name("host.html").read_text()
ALL = {"serverTools": {}, "serverResources": {}, "openLinks": {}, "downloadFile": {}, "updateModelContext": {}}


@dataclass
class Player:
    """The page in its host, and the server behind it."""

    page: Page
    server: Any
    frame: FrameLocator
    urls: list[str]

    def open(self, *results: Any, can: dict[str, Any] = ALL, **context: Any) -> None:
        """Open the page as a host does, and hand it these results."""
        [content] = self.server.result(self.server.ask("resources/read", uri="ui://luma/player"))["contents"]
        assert content["mimeType"] == "text/html;profile=mcp-app"
        domains = " ".join(content["_meta"]["ui"]["csp"]["resourceDomains"])
        options = {"hostCapabilities": can, "hostContext": context, "results": results}
        self.page.evaluate(
            "([html, domains, options]) => open(html, domains, options)", [content["text"], domains, options]
        )

    def make(self, prompt: str = "a lake", tool: str = "generate_video", **arguments: Any) -> Any:
        """What a tool answers, as the host gets it."""
        return self.server.result(self.server.begin(tool, prompt=prompt, **arguments))

    def heard(self, method: str) -> list[Any]:
        """What the page sent to its host."""
        return self.page.evaluate("method => heard.filter(one => one.method === method)", method)

    def shown(self) -> str:
        """Where that comes from which is shown: the video, or its poster where the browser can't play it."""
        shown = self.frame.locator(".stage > video, .stage > img")
        expect(shown).to_be_visible()
        if shown.evaluate("one => one.tagName") == "VIDEO":
            shown.evaluate("one => one.play()")
        return str(shown.evaluate("one => one.currentSrc"))


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Any:
    return serve(LUMA_MCP_BUDGET_USD="off")


@pytest.fixture
def player(browser: Browser, server: Any) -> Iterator[Player]:
    page = browser.new_page(viewport={"width": 720, "height": 700})
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))

    def rpc(method: str, params: dict[str, Any]) -> dict[str, Any]:
        answer = server.answer(server.ask(method, **params))
        return {name: answer[name] for name in ("result", "error") if name in answer}

    page.expose_function("rpc", rpc)
    page.set_content(HOST)
    yield Player(page, server, page.frame_locator("iframe[title=player]"), urls)
    page.close()


def test_a_finished_clip_plays_from_its_link(player: Player) -> None:
    player.open(player.make())

    assert player.shown().startswith("http://127.0.0.1")
    expect(player.frame.locator(".prompt")).to_have_text("a lake")
    expect(player.frame.locator(".facts")).to_have_text("ray-2 · 16:9 · 720p · 5s · $0.71")
    expect(player.frame.locator(".badge")).to_have_text("completed")


def test_an_unfinished_clip_is_asked_about_until_it_plays(player: Player) -> None:
    made = player.make("a dune")
    wait = f'wait_for_generations(generation_ids=["{made["structuredContent"]["generation_id"]}"])'
    made["structuredContent"] |= {"state": "dreaming", "elapsed_s": 3, "expected_s": 60, "next_step": wait}
    player.open(made)  # as a chat is opened again, with a result of earlier

    expect(player.frame.get_by_role("progressbar")).to_be_visible()
    expect(player.frame.locator(".row .note")).to_contain_text("of about 60 s")
    expect(player.frame.locator(".badge")).to_have_text("completed", timeout=20_000)
    player.shown()
    assert {one["params"]["name"] for one in player.heard("tools/call")} == {"get_generation"}


def test_a_host_that_blocks_the_link_gets_the_saved_file(player: Player) -> None:
    made = player.make()
    [content] = player.server.result(player.server.ask("resources/read", uri="ui://luma/player"))["contents"]
    options = {"hostCapabilities": ALL, "hostContext": {}, "results": [made]}
    player.page.evaluate("([html, options]) => open(html, '', options)", [content["text"], options])

    assert player.shown().startswith("data:video/mp4")
    assert [one["params"]["uri"].endswith("/media") for one in player.heard("resources/read")] == [True]
    assert not any(".mp4" in url and url.startswith("http") for url in player.urls)


def test_a_link_to_another_host_is_not_followed(player: Player) -> None:
    made = player.make()
    made["structuredContent"] |= {"video_url": "https://elsewhere.example/clip.mp4", "thumbnail_url": None}
    player.open(made, can={})

    expect(player.frame.locator(".stage")).to_contain_text("Open the link")
    assert not any("elsewhere.example" in url for url in player.urls)


@pytest.mark.parametrize("link", ["http://elsewhere.example/a.mp4", "javascript:alert(1)", "file:///etc/passwd"])
def test_only_https_links_are_offered(player: Player, link: str) -> None:
    made = player.make()
    made["structuredContent"] |= {"video_url": link, "thumbnail_url": None}
    player.open(made, can={})

    expect(player.frame.locator(".stage")).to_contain_text("can't show it here")
    expect(player.frame.get_by_role("button", name="Copy link")).to_have_count(0)


def test_what_luma_or_a_model_wrote_is_no_markup(player: Player) -> None:
    player.open(player.make("<img src=x onerror=parent.postMessage(1,'*')><b>bold</b>"))

    expect(player.frame.locator(".prompt")).to_have_text("<img src=x onerror=parent.postMessage(1,'*')><b>bold</b>")
    assert player.frame.locator(".prompt *").count() == 0


def test_another_take_shows_its_price_and_is_bought_by_a_second_click_only(player: Player) -> None:
    made = player.make("a harbor")
    player.open(made)
    player.shown()

    player.frame.get_by_role("button", name="Another take").click()
    expect(player.frame.locator(".ask")).to_contain_text("Another take: $0.71.")
    assert all(one["params"]["arguments"].get("dry_run") for one in player.heard("tools/call"))
    player.frame.get_by_role("button", name="Buy for $0.71").dblclick()

    expect(player.frame.locator("article")).to_have_count(2)
    bought = [one for one in player.heard("tools/call") if one["params"]["arguments"].get("wait_s") == 0]
    assert len(bought) == 1
    assert bought[0]["params"]["arguments"]["take"] == 2
    [told] = player.heard("ui/update-model-context")
    assert "generate_video" in told["params"]["content"][0]["text"]


def test_a_clip_is_extended_with_a_prompt_by_keyboard_alone(player: Player) -> None:
    player.open(player.make("a bridge"))
    player.shown()

    player.frame.get_by_role("button", name="Extend").focus()
    player.page.keyboard.press("Enter")
    expect(player.frame.get_by_label("What happens next")).to_be_focused()
    player.page.keyboard.type("the bridge opens")
    player.page.keyboard.press("Enter")
    expect(player.frame.get_by_role("button", name="Cancel")).to_be_focused()
    player.page.keyboard.press("Shift+Tab")
    expect(player.frame.get_by_role("button", name="Buy for")).to_be_focused()
    player.page.keyboard.press("Enter")

    expect(player.frame.locator("article")).to_have_count(2)
    expect(player.frame.locator(".prompt").first).to_have_text("the bridge opens")


def test_a_refusal_is_shown_and_nothing_is_bought(player: Player) -> None:
    made = player.make("a tower")
    made["structuredContent"]["arguments"]["resolution"] = "8k"
    player.open(made)
    player.shown()

    player.frame.get_by_role("button", name="Another take").click()

    expect(player.frame.locator(".ask")).to_contain_text("resolution")
    expect(player.frame.get_by_role("button", name="Buy")).to_have_count(0)


def test_an_image_and_a_failure_are_shown(player: Player) -> None:
    image = player.make("a pear", "generate_image")
    failed = player.server.result(player.server.begin("generate_video", prompt="x [sandbox:moderation]"))
    player.open(image, failed)

    expect(player.frame.get_by_role("img", name="a pear")).to_be_visible()
    expect(player.frame.locator("#said")).to_contain_text("moderat")


def test_several_generations_stand_one_above_the_other(player: Player) -> None:
    ids = [player.make(prompt)["structuredContent"]["generation_id"] for prompt in ("one boat", "two boats")]
    player.open(player.server.result(player.server.begin("wait_for_generations", generation_ids=ids)))

    expect(player.frame.locator("article")).to_have_count(2)


@pytest.mark.parametrize("width", [360, 720])
def test_a_narrow_page_does_not_scroll_sideways(player: Player, width: int) -> None:
    player.page.set_viewport_size({"width": width, "height": 700})
    player.open(player.make("a" * 300))
    player.shown()

    assert player.frame.locator("html").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert player.heard("ui/notifications/size-changed")


def test_the_host_says_whether_it_is_dark_and_in_which_colors(player: Player) -> None:
    made = player.make()
    player.open(made, theme="dark", styles={"variables": {"--color-text-primary": "rgb(1, 2, 3)"}})
    player.shown()

    body = player.frame.locator("body")
    assert body.evaluate("one => getComputedStyle(one).color") == "rgb(1, 2, 3)"
    dark = body.evaluate("one => getComputedStyle(one).backgroundColor")
    player.page.evaluate("send({ method: 'ui/notifications/host-context-changed', params: { theme: 'light' } })")
    assert body.evaluate("one => getComputedStyle(one).backgroundColor") != dark


def test_messages_from_elsewhere_are_not_heard(player: Player) -> None:
    player.open(player.make())
    player.shown()

    player.page.evaluate(
        """() => {
          const other = document.createElement("iframe");
          other.srcdoc = `<script>parent.frames[0].postMessage({ jsonrpc: "2.0", method: "ui/notifications/tool-result",
            params: { isError: true, content: [{ text: "planted" }] } }, "*"); parent.done = true</` + `script>`;
          document.body.append(other);
        }"""
    )
    player.page.wait_for_function("window.done")
    player.frame.get_by_role("button", name="Extend").click()

    expect(player.frame.locator("#said")).not_to_contain_text("planted")


def test_enter_that_is_held_does_not_buy(player: Player) -> None:
    player.open(player.make("a meadow"))
    player.shown()
    player.frame.get_by_role("button", name="Another take").focus()

    player.page.keyboard.down("Enter")
    for _ in range(20):
        player.page.keyboard.down("Enter")  # again and again, as a key that is held
    player.page.keyboard.up("Enter")
    player.frame.get_by_role("button", name="Extend").focus()

    assert all(one["params"]["arguments"].get("dry_run") for one in player.heard("tools/call"))


def test_a_job_that_is_answered_with_a_task_is_followed_like_any_other(player: Player) -> None:
    made = player.make("a glacier")["structuredContent"]["generation_id"]
    player.open({"resultType": "task", "taskId": made, "status": "working", "statusMessage": "dreaming, 5 s"})

    expect(player.frame.locator("article .note").last).to_contain_text("dreaming, 5 s")
    expect(player.frame.locator(".badge")).to_have_text("completed", timeout=20_000)
    assert player.shown()


def test_a_task_that_waits_for_several_jobs_has_a_card_for_each(player: Player) -> None:
    made = [player.make(prompt)["structuredContent"]["generation_id"] for prompt in ("a glacier", "a geyser")]
    player.open(
        {"resultType": "task", "taskId": f"wait:{','.join(made)}", "status": "working", "statusMessage": "0 of 2"}
    )

    expect(player.frame.locator(".badge")).to_have_text(["completed", "completed"], timeout=20_000)
    expect(player.frame.locator(".prompt")).to_have_text(["a geyser", "a glacier"])


def test_a_job_made_of_a_local_file_is_not_offered_again(player: Player) -> None:
    made = player.make("a valley")
    made["structuredContent"]["arguments"]["start_image"] = "a local file (image/png)"
    player.open(made)
    player.shown()

    expect(player.frame.get_by_role("button", name="Extend")).to_be_visible()
    expect(player.frame.get_by_role("button", name="Another take")).to_have_count(0)

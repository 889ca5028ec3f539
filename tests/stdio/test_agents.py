"""The tools of Luma's Agents API through a real pipe, local files among them."""

from pathlib import Path

import pytest

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0" + b"\0" * 100
MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0" * 5 * 1024**2


@pytest.fixture(scope="module")
def server(serve, world):
    return serve(
        LUMA_API_KEY="luma-api-sandbox-key",
        LUMA_BASE_URL=world.base_url.replace("/dream-machine", ""),
        LUMA_MCP_SAVE="off",
        LUMA_LOG="debug",
    )


def test_what_this_api_can_not_do_is_not_listed(server) -> None:
    tools = server.result(server.ask("tools/list"))["tools"]

    names = {tool["name"] for tool in tools}
    assert len(names) == 16
    assert not names & {"interpolate_videos", "upscale_video", "add_audio", "delete_generations"}


def test_a_clip_is_made_extended_modified_reframed_and_found_again(server, world) -> None:
    clip = server.call("generate_video", prompt="a kite", resolution="360p")["generation_id"]
    longer = server.call("extend_video", generation_id=clip, prompt="it dives", direction="backward")
    changed = server.call("modify_video", source=clip, mode="adhere_2", prompt="in winter")
    square = server.call("reframe_media", source=clip, aspect_ratio="1:1")

    assert [post["body"]["type"] for post in world.state()["requests"] if post["path"] == "/v1/generations"] == [
        "video",
        "video",
        "video_edit",
        "video_reframe",
    ]
    made = {clip, *(one["generation_id"] for one in (longer, changed, square))}
    assert {row["generation_id"] for row in server.call("list_generations")["generations"]} == made
    assert server.call("get_generation", generation_id=clip)["prompt"] == "a kite"
    assert server.call("wait_for_generations", generation_ids=sorted(made))["finished"] is True
    saved = server.call("download_generation", generation_id=clip, filename="kite")["file_path"]
    assert Path(saved).read_bytes()[4:8] == b"ftyp"


def test_an_image_is_made_and_changed(server) -> None:
    image = server.call("generate_image", prompt="a kite", aspect_ratio="1:3")["generation_id"]

    changed = server.call("modify_image", source=image, prompt="make it red")

    assert changed["operation"] == "modify_image"
    assert server.result(server.begin("preview_generations", generation_ids=[image]))["content"][0]["type"] == "image"


def test_local_files_are_sent_inside_the_request_or_uploaded_first(server, world, tmp_path) -> None:
    home = Path(server.call("get_account")["output_dir"]).parent
    picture, clip = home / "kite.png", home / "kite.mp4"
    picture.write_bytes(PNG)
    clip.write_bytes(MP4)

    shown = server.call("generate_video", prompt="it flies", start_image="~/kite.png")
    assert shown["files_sent"] == [str(picture)]
    changed = server.call("modify_video", source=str(clip), mode="flex_3", prompt="in winter")
    assert changed["files_sent"] == [str(clip)]
    sent = [(request["method"], request["path"]) for request in world.state()["requests"]]
    assert sent.count(("POST", "/v1/files")) == 1
    (tmp_path / "kite.png").write_bytes(PNG)
    said = server.refusal("generate_video", prompt="it flies", start_image=str(tmp_path / "kite.png"))
    assert "LUMA_MCP_INPUT_DIRS" in said


def test_the_account_speaks_of_this_api(server) -> None:
    [standing] = server.call("get_account")["apis"]
    assert standing["files_at_luma"] >= 0
    assert {name: value for name, value in standing.items() if name != "files_at_luma"} == {
        "api": "agents",
        "configured": True,
        "reachable": True,
        "key_accepted": True,
        "balance_note": "Luma's Agents API does not tell the balance: platform.lumalabs.ai shows it.",
    }


def test_without_the_media_extra_what_needs_it_says_how_to_get_it(serve, server, world, tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules |= {'av': None, 'PIL': None}")
    bare = serve(
        PYTHONPATH=str(tmp_path),
        home=server.home,
        LUMA_API_KEY="luma-api-sandbox-key",
        LUMA_BASE_URL=world.base_url.replace("/dream-machine", ""),
    )
    clip = server.call("generate_video", prompt="a kite", resolution="360p")["generation_id"]

    assert "media" in server.call("download_generation", generation_id=clip)
    assert "media" not in bare.call("download_generation", generation_id=clip)
    said = bare.refusal("generate_video", prompt="it goes on", start_image=clip)
    assert "this installation can't cut frames out of one. Nothing was sent." in said
    assert "uv run --no-dev --extra media --directory" in said
    said = bare.refusal("join_videos", sources=[clip, clip])
    assert "Joining videos needs the media extra. Start this server with its media extra: `uv run" in said
    picture = bare.call("generate_image", prompt="a kite")["generation_id"]
    shown, link, words = bare.result(bare.begin("preview_generations", generation_ids=[picture, clip]))["content"]
    assert (shown["type"], link["type"], link["name"]) == ("image", "resource_link", f"video {clip}")
    assert link["uri"].startswith("http")
    assert f"1 = image {picture}. 2 = video {clip}, as a link: Luma has no thumbnail of it." in words["text"]
    assert "--extra media" in words["text"]
    layers = bare.call("extract_layers", source="https://example.com/lake.jpg")
    assert all(Path(one["file_path"]).exists() for one in layers["outputs"])
    assert "file_path" not in layers

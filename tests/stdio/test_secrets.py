"""Neither a key nor a signed link is where it does not belong, in anything that a server ever wrote.

The record of each module is searched when its tests have ended; here is what other modules do not cause.
"""

import json
from pathlib import Path


def test_the_search_finds_what_it_is_looking_for(record, tmp_path) -> None:
    search = type(record)(tmp_path)
    link = "https://cdn.example.com/a.mp4?Expires=1&Signature=x"
    search.lines.append(json.dumps({"text": json.dumps({"video_url": link, "prompt": "a lake"})}).encode())
    assert search.leaks() == []

    for text in (link, f"see {link}", f'{{"file_path": "{link}"}}', "Bearer luma-sandbox-key"):
        search.lines[:] = [json.dumps({"text": text}).encode()]
        assert search.leaks()
        search.lines.clear()
        (tmp_path / "stderr.txt").write_text(text)
        assert search.leaks()
        (tmp_path / "stderr.txt").write_text("")
    (tmp_path / "luma-sandbox-key.sqlite3").touch()
    assert search.leaks()


def test_work_of_all_kinds_leaves_no_secret_behind(serve, world, record) -> None:
    server = serve(LUMA_API_KEY="  'Bearer luma-sandbox-key' ")
    made = server.call("generate_image", prompt="a lake to be kept")
    link, name = made["image_url"], made["generation_id"]
    assert "Signature=" in link

    server.call("get_generation", generation_id=name)
    server.call("get_generation", generation_id=link)
    server.call("modify_image", source=link, prompt="made red")
    server.call("download_generation", generation_id=name, filename="again")
    server.call("list_generations")
    assert not server.result(server.begin("preview_generations", generation_ids=[name])).get("isError")
    server.refusal("generate_image", prompt="a lake", style_ref=f"{link}&more=1", promt="a lake")
    server.refusal("extend_video", generation_id=link, prompt="a lake")
    server.refusal("get_generation", generation_id="https://cdn.example.com/a.mp4?Expires=1&Signature=x")
    server.refusal("generate_image", prompt="a lake", style_ref="ftp://cdn.example.com/a.mp4?Expires=1&Signature=x")
    world.fault(method="GET", path="/media/", kind="status", status=403, detail=link, times=2)
    Path(made["file_path"]).unlink()
    server.refusal("download_generation", generation_id=name, filename="denied")
    world.fault(method="GET", path="/media/", kind="redirect", detail="http://10.0.0.1/a.mp4?Expires=1&Signature=x")
    server.refusal("download_generation", generation_id=name, filename="led astray")
    world.fault(kind="status", status=418, detail={"key": "luma-sandbox-key", "see": link})
    server.refusal("generate_image", prompt="a lake")
    for detail in ([{"loc": [link], "msg": "Bearer luma-sandbox-key"}], "luma-sandbox-key"):
        world.fault(method="GET", path="/credits", kind="status", status=401, detail=detail)
        server.call("get_account")
    server.answer(server.ask("resources/read", uri=f"luma://generations/{name}"))
    server.answer(server.ask("resources/read", uri="luma://generations/luma-sandbox"))
    assert server.hang_up() == 0
    assert server.errors.read_bytes() == b""
    assert len(record.lines) > 10
    assert any(path.suffix == ".jpg" for path in record.files)
    assert record.leaks() == []


def test_a_refusals_detail_shows_no_signature(serve, world) -> None:
    server = serve()
    for link in (
        "GET /media/a.mp4?Expires=1&Signature=c2Vj failed",
        "cdn.example.com/a.mp4?Expires=1&Signature=c2Vj",
        "s3://bucket/a.mp4?Expires=1&Signature=c2Vj",
        "HTTPS://CDN.EXAMPLE.COM/a.mp4?Expires=1&Signature=c2Vj",
    ):
        world.fault(kind="status", status=422, detail=link)
        assert "Signature" not in server.refusal("generate_image", prompt="a lake")


def test_a_failure_reason_shows_no_signature(serve, world) -> None:
    server = serve()
    job = server.call("generate_image", prompt="a lake", wait_s=0)["generation_id"]
    body = {
        "id": job,
        "state": "failed",
        "failure_reason": "can't read https://a.example/b?Signature=x luma-sandbox-key",
    }
    for tool in (
        {"name": "get_generation", "arguments": {"generation_id": job}},
        {"name": "wait_for_generations", "arguments": {"generation_ids": [job]}},
        {"name": "list_generations", "arguments": {}},
    ):
        page = {"generations": [body], "has_more": False} if tool["name"] == "list_generations" else body
        world.fault(
            method="GET",
            path="/generations",
            kind="status",
            status=200,
            body=json.dumps(page),
            headers={"content-type": "application/json"},
        )
        said = json.dumps(server.result(server.ask("tools/call", **tool)))
        assert "Signature" not in said, tool["name"]
        assert "luma-sandbox-key" not in said, tool["name"]


def test_a_key_cut_in_the_middle_is_not_shown(serve, world) -> None:
    server = serve(LUMA_MCP_WAIT_S="1")
    world.fault(kind="html", status=200, body="x" * 70 + "luma-sandbox-key")
    assert "luma-s" not in str(server.call("generate_image", prompt="a lake")["warnings"])

"""Neither a key nor a signed link is where it does not belong, in anything that this folder's servers ever wrote.

`conftest.py` puts this file last, so that the search goes through what all the other tests caused.
"""

import json
import re
from typing import Any

SECRET = re.compile(rb"luma-sandbox-key|luma-api-sandbox-key|luma-planted|luma-api-planted|[?&](?:Expires|Signature)=")
URL_FIELDS = ("video_url", "image_url", "thumbnail_url")


def without_links(value: Any) -> Any:
    """What a server said, without the links that it may give: those of generations."""
    if isinstance(value, dict):
        return {name: without_links(one) for name, one in value.items() if name not in URL_FIELDS}
    if isinstance(value, list):
        return [without_links(one) for one in value]
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return without_links(json.loads(value))
        except ValueError:
            return value
    return value


def leaks(data: bytes) -> list[bytes]:
    for key in (b"luma-sandbox-key", b"luma-api-sandbox-key"):
        data = data.replace(b"LUMA_API_KEY=" + key + b" luma-mcp-server check", b"")  # `sandbox` tells how to use it
    return [data[max(0, found.start() - 200) : found.end() + 20] for found in SECRET.finditer(data)]


def test_the_search_finds_what_it_is_looking_for() -> None:
    link = "https://cdn.example.com/a.mp4?Expires=1&Signature=x"
    inner = {"video_url": link, "prompt": "a lake"}

    assert without_links([{"text": json.dumps(inner)}]) == [{"text": {"prompt": "a lake"}}]
    for text in (link, f"see {link}", f'{{"file_path": "{link}"}}', "Bearer luma-sandbox-key"):
        assert leaks(json.dumps(without_links(text)).encode())


def test_work_of_all_kinds_is_done_for_the_search(serve, world) -> None:
    server = serve(LUMA_API_KEY="  'Bearer luma-sandbox-key' ")
    made = server.call("generate_image", prompt="a lake to be kept")
    link, name = made["image_url"], made["generation_id"]
    assert "Signature=" in link

    server.call("get_generation", generation_id=link)
    server.call("modify_image", source=link, prompt="made red")
    server.call("download_generation", generation_id=name, filename="again")
    server.call("list_generations")
    assert not server.result(server.begin("preview_generation", generation_id=name)).get("isError")
    server.refusal("generate_image", prompt="a lake", style_ref=f"{link}&more=1", promt="a lake")
    server.refusal("extend_video", generation_id=link, prompt="a lake")
    server.refusal("get_generation", generation_id="https://cdn.example.com/a.mp4?Expires=1&Signature=x")
    server.refusal("generate_image", prompt="a lake", style_ref="ftp://cdn.example.com/a.mp4?Expires=1&Signature=x")
    world.fault(method="GET", path="/media/", kind="status", status=403, detail=link)
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


def test_nothing_on_stdout_is_a_secret_but_the_links_of_generations(record) -> None:
    assert len(record.lines) > 10
    for line in record.lines:
        assert not leaks(json.dumps(without_links(json.loads(line))).encode())
    for answer in record.answers:
        assert not leaks(json.dumps(without_links(answer)).encode())


def test_nothing_on_stderr_and_in_no_file_is_a_secret(record) -> None:
    files = [path for path in record.folder.rglob("*") if path.is_file()]

    assert any(path.suffix == ".jpg" for path in files)
    for path in files:
        assert not leaks(path.read_bytes()), path.name
        assert not leaks(path.name.encode())

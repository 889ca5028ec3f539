"""No words of Luma's carry a signature or the key into an answer."""

import json

import pytest


@pytest.mark.parametrize(
    "detail",
    [
        "GET /media/a.mp4?Expires=1&Signature=c2Vj failed",
        "cdn.example.com/a.mp4?Expires=1&Signature=c2Vj",
        "s3://bucket/a.mp4?Expires=1&Signature=c2Vj",
        "HTTPS://CDN.EXAMPLE.COM/a.mp4?Expires=1&Signature=c2Vj",
    ],
)
def test_a_refusals_detail_shows_no_signature(serve, world, detail: str) -> None:
    server = serve()
    world.fault(kind="status", status=422, detail=detail)
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

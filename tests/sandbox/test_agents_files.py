"""Files of the sandbox's Agents API: registered, uploaded, ingested, used."""

import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import luma_agents
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, Fault

from .conftest import JPEG, MP4, PNG, Agency

pytestmark = pytest.mark.anyio


async def test_a_file_is_pending_until_it_is_ingested(agency: Agency) -> None:
    made = await agency.luma.files.create(mime_type="image/png", size_bytes=len(PNG), filename="lake.png")
    assert (made.state, made.file.filename, made.file.purpose) == ("pending", "lake.png", "input")
    assert (await agency.put(made.upload, PNG)).status_code == 200
    completed = await agency.luma.files.complete(made.id)
    agency.clock.now += 1.9
    states = [completed.state, (await agency.luma.files.get(made.id)).state]
    agency.clock.now += 0.1
    assert [*states, (await agency.luma.files.get(made.id)).state] == ["pending", "pending", "ready"]
    assert agency.world.files[made.id].sha256 == hashlib.sha256(PNG).hexdigest()


@pytest.mark.parametrize(
    ("content", "mime_type", "state"),
    [
        (JPEG, "image/jpeg", "ready"),
        (b"GIF89a", "image/gif", "ready"),
        (b"RIFF....WEBPVP8 ", "image/webp", "ready"),
        (MP4, "video/mp4", "ready"),
        (MP4, "video/quicktime", "ready"),
        (b"\x1a\x45\xdf\xa3", "video/webm", "ready"),
        (PNG, "image/jpeg", "failed"),
        (PNG, "video/mp4", "failed"),
        (b"%PDF-1.7", "application/pdf", "failed"),
    ],
)
async def test_the_bytes_decide_whether_a_file_is_ready(
    agency: Agency, content: bytes, mime_type: str, state: str
) -> None:
    file = await agency.file(content, mime_type)
    assert (file.state, bool(file.failure_reason)) == (state, state == "failed")


async def test_a_ready_file_can_be_used_as_any_input_of_its_kind(agency: Agency) -> None:
    picture = {"file_id": (await agency.file(PNG, "image/png")).id}
    clip = {"file_id": (await agency.file(MP4, "video/mp4")).id}
    made = [
        await agency.start(image_ref=[picture]),
        await agency.start("image_edit", source=picture),
        await agency.start("video", video={"start_frame": picture}),
        await agency.start("video_edit", source=clip),
    ]
    assert {one.state for one in made} == {"queued"}
    refused = (422, "source: content-type is not an image")
    assert await agency.refusal(type="image_edit", prompt="red", source=clip) == refused


async def test_a_file_that_is_not_ready_cannot_be_used(agency: Agency) -> None:
    pending = await agency.luma.files.create(mime_type="image/png", size_bytes=9)
    failed = await agency.file(b"plain text", "image/png")
    reasons = {pending.id: "file is pending", failed.id: "file is failed", "x": "File not found"}
    for file_id, why in reasons.items():
        body = {"prompt": "red", "image_ref": [{"file_id": file_id}]}
        assert await agency.refusal(**body) == (400, f"image_ref[0]: {why}")


# The upload


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({"Content-Type": "image/jpeg"}, PNG, 403, "SignatureDoesNotMatch"),
        ({"x-amz-meta-file-id": "another"}, PNG, 403, "SignatureDoesNotMatch"),
        ({}, PNG + b"!", 403, "SignatureDoesNotMatch"),
        ({"Content-Length": str(len(PNG))}, PNG[1:], 400, "IncompleteBody"),
        ({"Authorization": f"Bearer {AGENTS_SANDBOX_KEY}"}, PNG, 400, "InvalidArgument"),
    ],
)
async def test_the_storage_takes_nothing_but_what_was_signed(
    agency: Agency, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    made = await agency.luma.files.create(mime_type="image/png", size_bytes=len(PNG))
    answer = await agency.put(made.upload, content, **headers)
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (status, True)
    assert await agency.refusal(f"/files/{made.id}/complete") == (400, "File has not been uploaded")


async def test_an_upload_link_is_good_for_an_hour_and_for_its_own_file(agency: Agency) -> None:
    made = await agency.luma.files.create(mime_type="image/png", size_bytes=len(PNG))
    forged = made.upload.url.replace(made.id, "00000000-0000-4000-8000-000000000000")
    assert (await agency.http.put(forged, content=PNG, headers=made.upload.headers)).status_code == 403
    assert made.upload.expires_at == datetime.fromtimestamp(agency.clock.now + 3600, UTC)
    agency.clock.now += 3601
    assert (await agency.put(made.upload, PNG)).status_code == 403


async def test_an_upload_can_fail_on_demand_and_its_body_is_not_noted(agency: Agency) -> None:
    agency.world.faults.append(Fault("status", method="PUT", path="/uploads/", status=503, body="SlowDown"))
    made = await agency.luma.files.create(mime_type="image/png", size_bytes=len(PNG))
    assert (await agency.put(made.upload, PNG)).text == "SlowDown"
    assert (await agency.put(made.upload, PNG)).status_code == 200
    assert [(noted.method, noted.body) for noted in agency.world.requests[1:]] == [("PUT", None)] * 2


async def test_a_big_upload_is_counted_and_not_kept(agency: Agency) -> None:
    size, piece = 32 * 1024**2, bytes(1024**2)

    async def pieces() -> AsyncIterator[bytes]:
        yield MP4 + piece[len(MP4) :]
        for _ in range(31):
            yield piece

    upload = (made := await agency.luma.files.create(mime_type="video/mp4", size_bytes=size)).upload
    tracemalloc.start()
    try:
        await agency.http.put(upload.url, content=pieces(), headers=upload.headers | {"Content-Length": str(size)})
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024**2
    finally:
        tracemalloc.stop()
    file = agency.world.files[made.id]
    assert (file.size, len(file.head)) == (size, 64)


# Files and lists of files


async def test_the_list_shows_the_newest_and_can_be_narrowed_to_a_state(agency: Agency) -> None:
    ready = await agency.file(PNG, "image/png")
    pending = await agency.luma.files.create(mime_type="image/png", size_bytes=9)
    gone = [await agency.file(PNG, "image/png") for _ in range(2)]
    for file in gone:
        await agency.luma.files.delete(file.id)
    failed = await agency.file(b"plain text", "image/png")

    async def listed(**filters: Any) -> list[str]:
        return [file.id for file in (await agency.luma.files.list(**filters)).data]

    assert await listed() == [failed.id, gone[1].id, gone[0].id, pending.id, ready.id]
    assert await listed(state="ready") == [ready.id]
    assert await listed(state="pending") == [pending.id]
    assert await listed(state="failed") == [failed.id]
    page = await agency.luma.files.list(state="deleted", limit=1)
    assert ([file.id for file in page.data], page.has_more) == ([gone[1].id], True)


async def test_a_deleted_file_can_still_be_read_about_but_not_used(agency: Agency) -> None:
    file = await agency.file(PNG, "image/png", filename="lake.png", user_id="someone")
    used = await agency.start(image_ref=[{"file_id": file.id}])
    deleted = datetime.fromtimestamp(agency.clock.now, UTC)
    for _ in range(2):
        assert (await agency.luma.files.with_raw_response.delete(file.id)).status_code == 204
        agency.clock.now += 5
    known = await agency.luma.files.get(file.id)
    shown = (known.state, known.deleted_at, known.filename, known.user_id)
    assert shown == ("deleted", deleted, "lake.png", "someone")
    body = {"prompt": "red", "image_ref": [{"file_id": file.id}]}
    assert await agency.refusal(**body) == (400, "image_ref[0]: file is deleted")
    assert (await agency.luma.generations.get(used.id)).state == "completed"
    assert [one["state"] for one in agency.world.report()["files"]] == ["deleted"]


async def test_a_file_is_gone_once_it_expires(agency: Agency) -> None:
    end = datetime.fromtimestamp(agency.clock.now + 60, UTC)
    file = await agency.file(PNG, "image/png", expires_at=end)
    assert (file.state, file.expires_at, file.deleted_at) == ("ready", end, None)
    agency.clock.now += 58
    file = await agency.luma.files.get(file.id)
    assert (file.state, file.expires_at, file.deleted_at) == ("deleted", end, end)
    refused = (400, "source: file is deleted")
    assert await agency.refusal(type="layering", prompt="red", source={"file_id": file.id}) == refused


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("limit=101", "limit: Input should be less than or equal to 100"),
        ("state=lost", "state: Input should be 'pending', 'ready', 'failed' or 'deleted'"),
        ("order=asc", "order: Extra inputs are not permitted"),
    ],
)
async def test_a_list_outside_its_bounds_is_refused(agency: Agency, query: str, detail: str) -> None:
    answer = await agency.http.get(f"/v1/files?{query}", headers={"Authorization": f"Bearer {AGENTS_SANDBOX_KEY}"})
    assert (answer.status_code, answer.json()) == (400, {"detail": detail})


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"size_bytes": 9}, "mime_type"),
        ({"mime_type": "image/png", "size_bytes": 5 * 1024**3 + 1}, "size_bytes"),
        ({"mime_type": "picture", "size_bytes": 9}, "mime_type"),
        ({"mime_type": "image/png", "size_bytes": 9, "file": "bytes"}, "file"),
        ({"mime_type": "image/png", "size_bytes": 9, "purpose": "mask"}, "purpose"),
        ({"mime_type": "image/png", "size_bytes": 9, "expires_at": "tomorrow"}, "expires_at"),
    ],
)
async def test_a_file_that_cannot_be_is_refused(agency: Agency, body: dict[str, object], place: str) -> None:
    status, detail = await agency.refusal("/files", **body)
    assert (status, detail.partition(":")[0]) == (400, place)


async def test_an_unknown_file_is_not_found(agency: Agency) -> None:
    for call in (agency.luma.files.get, agency.luma.files.complete, agency.luma.files.delete):
        with pytest.raises(luma_agents.NotFoundError, match="File not found"):
            await call("x/../y")

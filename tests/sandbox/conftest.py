"""A sandbox whose clock is moved by hand, and Luma's own SDKs to talk to it."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import luma_agents
import pytest
from lumaai import AsyncLumaAI
from lumaai.types import Generation
from starlette.applications import Starlette

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, Sandbox, create_sandbox

JPEG = b"\xff\xd8\xff\xe0" + b"a small picture"
PNG = b"\x89PNG\r\n\x1a\n" + b"a small picture"
MP4 = b"\x00\x00\x00\x18ftypisom" + b"a small clip"


def inline(content: bytes, media_type: str) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode(), "media_type": media_type}


@dataclass
class Clock:
    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Studio:
    """The sandbox with everything needed to use it."""

    app: Starlette
    world: Sandbox
    clock: Clock
    http: httpx.AsyncClient
    luma: AsyncLumaAI

    async def post(self, path: str, body: object) -> httpx.Response:
        """For what the SDK would not let through."""
        return await self.http.post(f"/dream-machine/v1{path}", json=body)

    async def refusal(self, path: str, **body: object) -> tuple[int, object]:
        """Status and detail. A list of details becomes the places that it names."""
        answer = await self.post(path, body)
        detail = answer.json()["detail"]
        if isinstance(detail, list):
            assert all(set(one) == {"loc", "msg", "type"} for one in detail)
            detail = [".".join(str(step) for step in one["loc"]) for one in detail]
        return answer.status_code, detail

    async def start(self, prompt: str = "a quiet lake", **fields: object) -> Generation:
        return await self.luma.generations.video.create(**{"model": "ray-2", "prompt": prompt, **fields})

    async def finished(self, generation: Generation) -> Generation:
        self.clock.now += 10
        assert generation.id
        return await self.luma.generations.get(generation.id)

    async def video(self, prompt: str = "a quiet lake", **fields: object) -> Generation:
        """A finished video."""
        return await self.finished(await self.start(prompt, **fields))

    async def image(self, prompt: str = "a quiet lake", **fields: object) -> Generation:
        """A finished image."""
        fields = {"model": "photon-1", "prompt": prompt, **fields}
        return await self.finished(await self.luma.generations.image.create(**fields))


@dataclass
class Agency:
    """The same sandbox, seen through the Agents API."""

    world: Sandbox
    clock: Clock
    http: httpx.AsyncClient
    luma: luma_agents.AsyncLuma

    async def post(
        self, path: str = "/generations", headers: dict[str, str] | None = None, **body: object
    ) -> httpx.Response:
        """For what the SDK would not let through."""
        key = {"Authorization": f"Bearer {AGENTS_SANDBOX_KEY}"}
        return await self.http.post(f"/v1{path}", json=body, headers=key | (headers or {}))

    async def refusal(self, path: str = "/generations", **body: object) -> tuple[int, str]:
        """Status and detail."""
        answer = await self.post(path, **body)
        assert list(answer.json()) == ["detail"], answer.text
        return answer.status_code, answer.json()["detail"]

    async def start(self, type: str = "image", **fields: object) -> luma_agents.types.Generation:  # noqa: A002 - Luma's own word
        model = "uni-1" if type in ("image", "image_edit", "layering") else "ray-3.2"
        return await self.luma.generations.create(**{"prompt": "a quiet lake", "model": model, "type": type, **fields})

    async def made(self, type: str = "image", **fields: object) -> luma_agents.types.Generation:  # noqa: A002 - Luma's own word
        """A finished generation."""
        generation = await self.start(type, **fields)
        self.clock.now += 10
        return await self.luma.generations.get(generation.id)

    async def put(self, upload: luma_agents.types.PresignedUpload, content: bytes, **headers: str) -> httpx.Response:
        return await self.http.put(upload.url, content=content, headers=(upload.headers or {}) | headers)

    async def file(self, content: bytes, mime_type: str, **fields: object) -> luma_agents.types.File:
        """An uploaded file, ingested."""
        made = await self.luma.files.create(mime_type=mime_type, size_bytes=len(content), **fields)
        assert made.upload
        (await self.put(made.upload, content)).raise_for_status()
        await self.luma.files.complete(made.id)
        self.clock.now += 2
        return await self.luma.files.get(made.id)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def studio(anyio_backend: str) -> AsyncIterator[Studio]:
    clock = Clock()
    app = create_sandbox(clock=clock)
    headers = {"Authorization": f"Bearer {SANDBOX_KEY}"}
    wire = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=wire, base_url="http://sandbox", headers=headers) as http:
        luma = AsyncLumaAI(
            auth_token=SANDBOX_KEY,
            base_url="http://sandbox/dream-machine/v1",
            http_client=http,
            max_retries=0,
            _strict_response_validation=True,
        )
        yield Studio(app, app.state.sandbox, clock, http, luma)


@pytest.fixture
async def agency(studio: Studio) -> AsyncIterator[Agency]:
    studio.world.draw = False
    async with httpx.AsyncClient(transport=httpx.ASGITransport(studio.app), base_url="http://sandbox") as http:
        luma = luma_agents.AsyncLuma(
            auth_token=AGENTS_SANDBOX_KEY,
            base_url="http://sandbox/v1",
            http_client=http,
            max_retries=0,
            _strict_response_validation=True,
        )
        yield Agency(studio.world, studio.clock, http, luma)

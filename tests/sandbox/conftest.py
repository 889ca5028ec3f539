"""A sandbox whose clock is moved by hand, and Luma's own SDK to talk to it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from lumaai import AsyncLumaAI
from lumaai.types import Generation
from starlette.applications import Starlette

from luma_mcp_server.sandbox import SANDBOX_KEY, Sandbox, create_sandbox


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

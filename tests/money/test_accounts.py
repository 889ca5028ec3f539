"""Two keys, a changed key, the sandbox beside the real thing: whose a purchase is, and what each may know of others."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from luma_mcp_server.sandbox import AGENTS_SANDBOX_KEY, SANDBOX_KEY, Fault

pytestmark = pytest.mark.anyio

ANN, BOB = "ann-s-own-key", "bob-s-own-key"
AGENTS_ANN, AGENTS_BOB = "luma-api-ann-s-own-key", "luma-api-bob-s-own-key"
OpenAccount = Callable[..., AbstractAsyncContextManager[Any]]


class Exchange(httpx.AsyncBaseTransport):
    """Lets a sandbox take one other key for its own: to the server nothing is a sandbox then."""

    def __init__(self, inner: httpx.AsyncBaseTransport, key: str) -> None:
        self.inner, self.key = inner, key

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "authorization" in request.headers:
            assert request.headers["authorization"] == f"Bearer {self.key}"
            own = AGENTS_SANDBOX_KEY if self.key.startswith("luma-api-") else SANDBOX_KEY
            request.headers["authorization"] = f"Bearer {own}"
        return await self.inner.handle_async_request(request)


@pytest.fixture
def open_account(open_desk) -> OpenAccount:
    """Opens a desk with a key; each key that is not the sandbox's has an account, and so a world, of its own."""
    first_desks: dict[str, Any] = {}

    @asynccontextmanager
    async def opened(key: str, **environ: str) -> AsyncIterator[Any]:
        async with open_desk(beside=first_desks.get(key), LUMA_API_KEY=key, **environ) as desk:
            first_desks.setdefault(key, desk)
            desk.wire.inner = Exchange(desk.wire.inner, key)
            yield desk

    return opened


KEYS = pytest.mark.parametrize(("one", "two"), [(ANN, BOB), (AGENTS_ANN, AGENTS_BOB)], ids=["dream_machine", "agents"])


@KEYS
async def test_a_changed_key_buys_its_own_and_the_key_before_finds_its_purchase_again(open_account, one, two) -> None:
    async with open_account(one) as ann:
        hers = await ann.video()
        assert "sandbox" not in hers
    async with open_account(two) as bob:
        his = await bob.video()
        assert "reused" not in his
        assert (await bob.video())["generation_id"] == his["generation_id"] != hers["generation_id"]
    async with open_account(one) as ann:
        assert (await ann.video())["generation_id"] == hers["generation_id"]
        assert ann.charges == 1


async def test_the_same_key_at_another_address_is_another_account(open_account, open_desk) -> None:
    async with open_account(ANN) as ann:
        await ann.video()
        async with open_desk(LUMA_API_KEY=ANN, LUMAAI_BASE_URL="http://localhost:8642/dream-machine/v1") as elsewhere:
            elsewhere.wire.inner = Exchange(elsewhere.wire.inner, ANN)
            assert "reused" not in await elsewhere.video()


@KEYS
async def test_a_list_shows_what_was_bought_with_this_key(open_account, one, two) -> None:
    async with open_account(one) as ann, open_account(two) as bob:
        hers, his = await ann.video("her lake"), await bob.video("his lake")
        ann.world.faults.append(Fault("status", status=502))
        await ann.video("lost")

        for desk, prompts in ((ann, ["lost", "her lake"]), (bob, ["his lake"])):
            shown = (await desk.call("list_generations"))["generations"]
            assert [row["prompt"] for row in shown] == prompts
        assert hers["generation_id"] != his["generation_id"]


@KEYS
async def test_what_runs_for_one_key_is_not_named_beside_a_purchase_of_another(open_account, one, two) -> None:
    async with open_account(one) as ann, open_account(two) as bob:
        await ann.video("hers [sandbox:stuck]", wait_s=0)
        assert "also_running" not in await bob.video("his", wait_s=0)
        assert "also_running" in await ann.video("hers again", wait_s=0)


@KEYS
@pytest.mark.parametrize("tool", ["get_generation", "wait_for_generations"])
async def test_a_lost_purchase_of_one_key_is_not_looked_for_with_another(open_account, one, two, tool) -> None:
    async with open_account(one) as ann:
        ann.wire.after.append(httpx.ReadTimeout("slow"))
        ann.world.faults.append(Fault("status", method="GET", status=503, times=50))
        lost = await ann.video()
        assert lost["state"] == "unknown"
        ann.world.faults.clear()
        await anyio.sleep(120)
        async with open_account(two) as bob:
            await bob.video()
            name = lost["request_id"]
            for _ in range(4):
                arguments = {"generation_id": name} if tool == "get_generation" else {"generation_ids": [name]}
                assert "knows no purchase" in await bob.refusal(tool, **arguments)
                await anyio.sleep(60)
        again = await ann.video()

        assert ann.charges == 1
        if one == ANN:
            assert again["generation_id"] in ann.world.jobs
        else:
            assert (again["state"], again["request_id"]) == ("unknown", lost["request_id"])


async def test_how_long_jobs_take_is_learnt_from_this_key_s_own(open_account) -> None:
    async with open_account(ANN) as ann, open_account(BOB) as bob:
        for number in range(5):
            await ann.video(f"hers {number}")

        assert (await ann.video("hers", wait_s=0))["expected_s"] == pytest.approx(6, abs=2)
        assert (await bob.video("his", wait_s=0))["expected_s"] == 60, "what others say of such jobs"


@KEYS
async def test_spending_and_budget_are_the_user_s_whatever_the_key(open_account, one, two) -> None:
    async with open_account(one) as ann:
        price = (await ann.video())["estimated_cost_usd"]
    async with open_account(two, LUMA_MCP_BUDGET_USD=str(1.5 * price)) as bob:
        account = await bob.call("get_account")
        assert account["spent_total_usd"] == account["spent_24h_usd"] == pytest.approx(price, abs=0.01)
        assert "LUMA_MCP_BUDGET_USD" in await bob.refusal("generate_video", prompt="one too many")
        assert bob.posts == []


async def test_both_apis_count_in_one_budget(open_desk) -> None:
    async with open_desk(LUMA_AGENTS_API_KEY=AGENTS_SANDBOX_KEY) as desk:
        prices = [(await desk.video(model=model))["estimated_cost_usd"] for model in ("ray-2", "ray-3.2")]
        assert (await desk.call("get_account"))["spent_total_usd"] == pytest.approx(sum(prices), abs=0.01)


async def test_the_sandbox_and_the_real_thing_know_nothing_of_each_other(open_account, open_desk, tmp_path) -> None:
    async with open_desk() as playing:
        tried = await playing.video()
        assert tried["sandbox"] is True
    async with open_account(ANN) as ann:
        assert (await ann.call("get_account"))["spent_total_usd"] == 0
        bought = await ann.video()
        assert "reused" not in bought
        assert "sandbox" not in bought
        assert (await ann.call("get_account"))["journal"].endswith("journal.sqlite3")
    async with open_desk(beside=playing) as playing_on:
        assert (await playing_on.video())["generation_id"] == tried["generation_id"]
        account = await playing_on.call("get_account")

    assert account["spent_total_usd"] == pytest.approx(tried["estimated_cost_usd"], abs=0.01)
    assert account["journal"].endswith("journal-sandbox.sqlite3")
    assert {path.name for path in (tmp_path / ".luma-mcp").glob("*.sqlite3")} == {
        "journal.sqlite3",
        "journal-sandbox.sqlite3",
    }


async def test_one_real_key_makes_all_of_it_real(open_desk) -> None:
    async with open_desk(LUMA_AGENTS_API_KEY=AGENTS_ANN) as desk:
        account = await desk.call("get_account")

    assert account["journal"].endswith("journal.sqlite3")
    assert "sandbox" not in account


@KEYS
async def test_the_file_names_no_key(open_account, tmp_path, one, two) -> None:
    async with open_account(one) as ann, open_account(two) as bob:
        await ann.video()
        await bob.video()
        data = b"".join(path.read_bytes() for path in (tmp_path / ".luma-mcp").iterdir())

    assert b"a quiet lake" in data
    assert b"own-key" not in data


async def test_a_lost_purchase_does_not_take_the_job_of_another_key_of_the_same_account(
    open_account, open_desk
) -> None:
    async with open_account(ANN) as ann, open_desk(beside=ann, LUMA_API_KEY=BOB) as bob:
        inner = Exchange(bob.wire.inner, BOB)

        class Slow(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                answer = await inner.handle_async_request(request)
                await anyio.sleep(25 if request.method == "POST" else 0)
                return answer

        bob.wire.inner = Slow()
        ann.wire.before.append(httpx.ReadError("never arrived"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bob.video)
            lost = await ann.video(wait_s=20)

        assert lost["state"] == "unknown"
        assert (await bob.video())["generation_id"] in ann.world.jobs
        assert len(ann.world.jobs) == 1

"""What a person reads of an account, and of the demo."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from click import ClickException

from .settings import AGENTS_KEYS_PAGE, Settings
from .tools.account import Account, ApiStanding

if TYPE_CHECKING:
    from mcp.client import Client
    from mcp_types import CallToolResult

_RESTART = re.compile(",? (then|and) restart this server")


def account_lines(settings: Settings, found: Account, at_terminal: bool, proxy: str, own_command: str) -> Iterator[str]:
    """What `check` says; there is no server to restart at a terminal.

    Args:
        settings: which the account was asked with.
        found: the account.
        at_terminal: whether a person reads it who can set variables there.
        proxy: which proxy is on the way to Luma, if any.
        own_command: what starts this program in the user's shell.
    """
    for line in _lines(settings, found, at_terminal, proxy, own_command):
        yield _RESTART.sub("", line) if at_terminal else line


def _lines(settings: Settings, found: Account, at_terminal: bool, proxy: str, own_command: str) -> Iterator[str]:
    where = f"saves in {found.output_dir}" if found.output_dir else "saves nowhere"
    if not settings.save:
        where = "buys, saves and deletes nothing" if settings.read_only else f"{where} when asked"
    yield f"Waits up to {settings.wait_s:g} s, {where}."
    if found.spent_24h_usd is not None:
        limit = "no budget is set" if found.budget_usd is None else f"of a budget of ${found.budget_usd:.2f}"
        if settings.wrong("LUMA_MCP_BUDGET_USD"):
            limit = "of a budget that can't be read"
        assumed = f" (${found.assumed_24h_usd:.2f} of it assumed)" if found.assumed_24h_usd else ""
        yield f"Spent in 24 hours: ${found.spent_24h_usd:.2f}{assumed}, {limit}. Journal: {found.journal}."
        for user, usd in (found.spent_24h_by_user_usd or {}).items():
            yield f"  {user}: ${usd:.2f}"
    for purchase in found.in_flight or ():
        yield f"Being bought now: {purchase}"
    for purchase in found.unknown or ():
        yield f"Luma's answer was lost, so this may have been charged: {purchase}"
    for standing in found.apis:
        yield _standing_line(settings, standing, at_terminal)
    if proxy and any(standing.reachable is False for standing in found.apis):
        yield f"Requests to Luma go through the proxy {proxy} (HTTPS_PROXY, or this computer's settings)."
    said = " ".join(standing.message or "" for standing in found.apis)
    yield from (warning for warning in found.warnings or () if warning not in said)
    if at_terminal and (found.warnings or any(standing.message for standing in found.apis)):
        yield (
            "This was checked with the environment of this terminal. A client has one of its own, in its "
            f"configuration: {own_command} install writes it."
        )


def _standing_line(settings: Settings, standing: ApiStanding, at_terminal: bool) -> str:
    if not standing.configured:
        if at_terminal and not (settings.problems or settings.unfilled_keys):
            return f"LUMA_API_KEY is not set in this terminal (keys: {AGENTS_KEYS_PAGE}). --sandbox needs none."
        return standing.message or ""
    name, url, variable = (
        ("Agents API", settings.agents_url, settings.agents_key_variable)
        if standing.api == "agents"
        else ("Dream Machine API", settings.base_url, settings.key_variable)
    )
    key = "the sandbox's own key" if settings.sandbox else f"the key in {variable}"
    balance = "" if standing.balance_usd is None else f" Balance: ${standing.balance_usd:.2f}."
    if standing.files_at_luma:
        balance += f" Uploaded files there: {standing.files_at_luma}."
    return f"{name} at {url}, with {key}: {standing.message or 'it answers and accepts the key.'}{balance}"


async def demo_lines(
    client: "Client", prompt: str, wait: Callable[[list[str]], Awaitable["CallToolResult"]]
) -> AsyncIterator[str]:
    """Make two takes of a clip and a film of them, and say so.

    Args:
        client: of a server that uses its sandbox.
        prompt: for the clip.
        wait: calls `wait_for_generations` for these ids.
    """
    tools = (await client.list_tools()).tools
    yield f"Connected to luma-mcp-server over MCP: {len(tools)} tools. It runs on its sandbox: nothing costs money."
    quote = _said(await client.call_tool("generate_video", {"prompt": prompt, "dry_run": True}))
    price = f"${quote['estimated_cost_usd']:.2f}"
    yield f'generate_video(prompt="{prompt}", dry_run=true): it would cost {price}. Now two takes of it:'
    begun = [
        _said(await client.call_tool("generate_video", {"prompt": prompt, "take": take, "wait_s": 0}))
        for take in (1, 2)
    ]
    ids = [one["generation_id"] for one in begun]
    waited = _said(await wait(ids))
    if not waited["finished"]:
        raise ClickException("The sandbox has not finished in time. Try again when less else runs.")
    for made in waited["generations"]:
        if "file_path" not in made:
            raise ClickException(" ".join(made.get("warnings", ())))
        yield f"{made['state']}: {made['model']}, {made['resolution']}, {made['duration']}: {made['file_path']}"
    if find_spec("av") is None:
        yield "These are stand-ins. luma-mcp-server[media] draws your prompt, and joins clips into a film."
        return
    yield 'join_videos(transition="crossfade"), on this computer:'
    film = _said(await client.call_tool("join_videos", {"sources": ids, "transition": "crossfade"}))
    yield film["file_path"]


def _said(result: "CallToolResult") -> dict[str, Any]:
    """What a tool answered; its error ends the demo."""
    if result.is_error:
        raise ClickException(" ".join(block.text for block in result.content if block.type == "text"))
    return result.structured_content or {}

"""The tools for what was made: look at it, wait for it, keep it, delete it. None of them costs money."""

import base64
from contextlib import suppress
from typing import Annotated

import anyio
from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import Field

from ..errors import InvalidRequest, LumaServerError, NotFound
from ..jobs import REQUEST_PREFIX
from ..media import UUID
from ..models import Generation, GenerationList, State, Value, Waited
from . import App, Call, ToolContext, app_of, calling

GenerationId = Annotated[str, Field(description="Its id or link")]

_PAGE = 100
_MOST_PAGES = 10
_LONGEST_PROMPT = 200


class Deleted(Value):
    """A generation that is gone."""

    generation_id: str
    deleted: bool = True
    sandbox: bool | None = None


async def get_generation(ctx: ToolContext, generation_id: GenerationId) -> Generation:
    """Show a generation: state, fresh links, settings, why it failed. Free."""
    app = app_of(ctx)
    name = generation_id.strip()
    if name.startswith(REQUEST_PREFIX):
        purchase = app.jobs.purchase(name)
        if purchase.error is not None:
            raise purchase.error
        if purchase.generation is None:
            raise LumaServerError(
                f"Luma has not answered {name} yet, so it has no generation id. Nothing is lost: call "
                f'wait_for_generations(generation_ids=["{name}"]).'
            )
        name = str(purchase.generation.generation_id)
    return app.present(await app.get(await app.generation_id(name)))


async def wait_for_generations(
    ctx: ToolContext,
    generation_ids: Annotated[list[str], Field(description="At most 50", min_length=1, max_length=50)],
    wait_s: Annotated[float | None, Field(description="Longest wait in seconds", ge=0)] = None,
) -> Waited:
    """Wait until all of these have completed or failed, and save them. Free; call again to go on waiting."""
    app = app_of(ctx)
    app.settings.require_key()
    async with calling(ctx, app, wait_s) as call:
        names = list(dict.fromkeys(text.strip() for text in generation_ids))
        # All are read before the first question, so that a malformed one is refused at once.
        for number, name in enumerate(names):
            if not name.startswith(REQUEST_PREFIX):
                app.reference(name, f"generation_ids[{number}]", media=False)
        found: dict[str, Generation] = {}
        failed: dict[str, Exception] = {}

        def describe() -> str:
            finished = sum(one.finished for one in found.values())
            return f"{finished} of {len(names)} finished" if len(names) > 1 else "waiting for Luma"

        async def follow(name: str) -> None:
            try:
                found[name] = await _followed(app, call, name)
            except Exception as error:  # noqa: BLE001 - one bad id must not end the wait for the others
                failed[name] = error

        call.describe = describe
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(follow, name)
    if not found:
        raise next(iter(failed.values()))
    unasked = {name for name, error in failed.items() if not isinstance(error, NotFound | InvalidRequest)}
    generations = [app.present(found[name]) if name in found else _missing(name, failed[name]) for name in names]
    unfinished = [f'"{name}"' for name in names if (name in found and not found[name].finished) or name in unasked]
    return Waited(
        generations=tuple(generations),
        finished=not unfinished,
        next_step=f"wait_for_generations(generation_ids=[{','.join(unfinished)}])" if unfinished else None,
    )


def _missing(name: str, error: Exception) -> Generation:
    if not isinstance(error, LumaServerError):
        raise error
    is_id = UUID.fullmatch(name) is not None
    return Generation(generation_id=name if is_id else None, state="unknown", warnings=(str(error),))


async def _followed(app: App, call: Call, name: str) -> Generation:
    if name.startswith(REQUEST_PREFIX):
        purchase = app.jobs.purchase(name)
        with anyio.CancelScope(deadline=call.answer_until):
            await purchase.answered.wait()
        if purchase.error is not None:
            raise purchase.error
        if purchase.generation is None:
            return Generation(request_id=name, state="unknown", charged="unknown")
        name = str(purchase.generation.generation_id)
    generation_id = await app.generation_id(name, "generation_ids")
    async with app.jobs.watch(generation_id) as watch:
        with anyio.CancelScope(deadline=call.answer_until):
            await watch.asked.wait()
        with anyio.CancelScope(deadline=call.wait_until):
            await watch.ended.wait()
    if watch.generation is None:
        raise watch.error or LumaServerError(f"Luma did not answer about {generation_id} in time. Call again.")
    app.remember(watch.generation)
    if watch.error is not None:
        return watch.generation.with_(warnings=(f"The state is old. {watch.error}",))
    return await app.saved(watch.generation, call.answer_until)


async def list_generations(
    ctx: ToolContext,
    limit: Annotated[int, Field(description="How many, up to 100", ge=1, le=100)] = 10,
    offset: Annotated[int, Field(description="How many to skip", ge=0)] = 0,
    state: Annotated[State | None, Field(description="Only these")] = None,
) -> GenerationList:
    """List what was made with this key, without links. Free."""
    app = app_of(ctx)
    app.settings.require_key()
    # One row more than is shown tells whether there are more.
    wanted, warnings = offset + limit + 1, []
    rows: dict[str, Generation] = {}
    if "agents" in app.settings.apis:
        rows |= await _agents_rows(app, state)
        warnings.append("Luma's Agents API has no list: of its generations, these are the ones of this process.")
    cut = False
    if "dream_machine" in app.settings.apis:
        try:
            found, cut = await _dream_machine_rows(app, state, wanted)
            rows |= found
        except LumaServerError as error:
            if "agents" not in app.settings.apis:
                raise
            warnings.append(str(error))
    if cut:
        warnings.append(f"Only the first {_PAGE * _MOST_PAGES} generations of the account were looked through.")
    ordered = sorted(rows.values(), key=_age)
    shown = ordered[offset:][:limit] if "agents" in app.settings.apis else list(rows.values())[offset:][:limit]
    has_more = cut or len(rows) >= wanted
    return GenerationList(
        generations=tuple(map(_row, shown)),
        has_more=has_more,
        next_offset=offset + len(shown) if has_more and shown else None,
        sandbox=app.settings.sandbox or None,
        warnings=tuple(warnings) or None,
    )


async def _dream_machine_rows(app: App, state: str | None, wanted: int) -> tuple[dict[str, Generation], bool]:
    """As many of Luma's rows as wanted, and whether the search ended before it had them."""
    # Luma has no filter by state, and may give shorter pages than it was asked for.
    rows: dict[str, Generation] = {}
    at = 0
    for _ in range(_MOST_PAGES):
        page, more = await app.dream_machine.list(_PAGE if state else min(_PAGE, wanted - len(rows)), at)
        at += len(page)
        for generation in page:
            app.remember(generation)
            if generation.generation_id and state in (None, generation.state):
                rows[generation.generation_id] = generation
        if not more or len(rows) >= wanted:
            return rows, False
    return rows, True


async def _agents_rows(app: App, state: str | None) -> dict[str, Generation]:
    """This process's generations of the Agents API; the unfinished ones are asked about once, together."""

    async def refresh(generation_id: str) -> None:
        with suppress(LumaServerError):  # the row then shows what was last known
            await app.get(generation_id)

    with anyio.move_on_after(app.look_up_s):
        async with anyio.create_task_group() as tasks:
            for name, generation in app.made.items():
                if generation.api == "agents" and not generation.finished:
                    tasks.start_soon(refresh, name)
    rows = {name: row for name, row in app.made.items() if row.api == "agents" and state in (None, row.state)}
    if state is None:
        for purchase in app.jobs.unanswered():
            prompt = getattr(purchase.request, "prompt", None)
            rows[purchase.request_id] = Generation(request_id=purchase.request_id, state="unknown", prompt=prompt)
    return rows


def _age(row: Generation) -> float:
    """Sorts from new to old; a row without a time has only just been bought."""
    return -row.created_at.timestamp() if row.created_at else float("-inf")


def _row(generation: Generation) -> Generation:
    prompt = generation.prompt
    if prompt and len(prompt) > _LONGEST_PROMPT:
        prompt = prompt[: _LONGEST_PROMPT - 1] + "…"
    return generation.with_(
        prompt=prompt, video_url=None, image_url=None, thumbnail_url=None, url_expires_at=None, charged=None
    )


async def delete_generation(ctx: ToolContext, generation_id: GenerationId) -> Deleted:
    """Delete a generation at Luma for good; saved files stay. Free."""
    app = app_of(ctx)
    name = await app.generation_id(generation_id)
    if app.apis_of.get(name) == "agents":
        raise InvalidRequest(f"Generation {name} belongs to Luma's Agents API, which deletes none. Nothing was sent.")
    try:
        await app.dream_machine.delete(name)
    except NotFound:
        if "agents" in app.settings.apis and (await app.get(name)).api == "agents":
            raise InvalidRequest(f"Generation {name} belongs to Luma's Agents API, which deletes none.") from None
        raise
    return Deleted(generation_id=name, sandbox=app.settings.sandbox or None)


async def download_generation(
    ctx: ToolContext,
    generation_id: GenerationId,
    filename: Annotated[str | None, Field(description="Name without folder; its ending is set")] = None,
) -> Generation:
    """Save a completed generation's file and say where. Free."""
    app = app_of(ctx)
    app.settings.require("LUMA_MCP_OUTPUT_DIR")
    async with calling(ctx, app, None) as call:
        generation = await _completed(app, generation_id)
        call.say("downloading")
        path = None
        with anyio.CancelScope(deadline=call.limit):
            path = await app.files.save(generation, filename)
    if path is None:
        raise LumaServerError(
            f"The download did not end within {app.settings.wait_s:.0f} s (LUMA_MCP_WAIT_S) and was given up. Nothing"
            " is lost: call again, raise that limit, or use the link that get_generation gives."
        )
    saved = generation.with_(file_path=str(path))
    app.remember(saved)
    return app.present(saved)


async def preview_generation(ctx: ToolContext, generation_id: GenerationId) -> CallToolResult:
    """See a completed generation: the image, or the picture that Luma made of the video. Free."""
    app = app_of(ctx)
    generation = await _completed(app, generation_id)
    url = generation.thumbnail_url or generation.image_url
    if url is None:
        raise LumaServerError("Luma made no picture of this one. Nothing is lost: get_generation has its link.")
    data, mime_type = await app.files.picture(url)
    picture = ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type=mime_type)
    # No structured content: clients that prefer it would drop the picture.
    what = "still of video" if generation.type == "video" else "image"
    words = f"{what} {generation.generation_id}; get_generation gives its links"
    return CallToolResult(content=[picture, TextContent(type="text", text=words)])


async def _completed(app: App, text: str) -> Generation:
    generation = await app.get(await app.generation_id(text))
    if generation.state == "completed":
        return generation
    if generation.state == "failed":
        raise InvalidRequest(f"Generation {generation.generation_id} failed, so it has no file.")
    raise InvalidRequest(
        f"Generation {generation.generation_id} is {generation.state}, so it has no file yet. Call "
        f'wait_for_generations(generation_ids=["{generation.generation_id}"]).'
    )

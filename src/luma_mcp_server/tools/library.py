"""The tools for what was made: look at it, wait for it, keep it, delete it. None of them costs money."""

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import anyio
from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import Field

from ..errors import InvalidRequest, LumaServerError, NotFound, NotSent, Refused
from ..media import UUID
from ..models import REQUEST_PREFIX, Generation, GenerationList, State, Value, Waited, plain_text
from ..pricing import estimate
from . import LEAST_S, App, Call, ToolContext, app_of, calling
from .showing import shown, told_by, unanswered

if TYPE_CHECKING:
    from ..journal import Row

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
        row = await _purchase(app, name, anyio.current_time() + app.look_up_s)
        if row.generation_id is None:
            return app.present(unanswered(row, None, app.journal.next_take(row)), warnings=app.journal.notices())
        name = row.generation_id
    return app.present(await app.get(await app.generation_id(name)))


async def _purchase(app: App, name: str, until: float) -> "Row":
    """A purchase by our own name for it, once it is known what became of it, or as it stands when time is up.

    Raises:
        NotFound: there is no such purchase.
        InvalidRequest: nothing was bought.
    """
    app.settings.require_key()
    row = await app.jobs.row(name, until)
    try:
        row = await app.jobs.settled(row, until)
    except (Refused, NotSent) as error:
        raise InvalidRequest(f"{name} was not bought. {error}") from error
    if row.status in ("refused", "rejected"):
        why = (row.said if row.status == "refused" else None) or "Luma's list does not show it."
        raise InvalidRequest(
            f"{name} was not bought, and nothing was charged. {why} Make the same call again to buy it."
        )
    return row


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
    lasts = {name for name, one in found.items() if not one.finished and not app.is_overdue(one)}
    open_ = {name for name in lasts if found[name].generation_id or found[name].next_step}
    unfinished = [f'"{name}"' for name in names if name in open_ | unasked]
    return Waited(
        generations=tuple(generations),
        finished=not unfinished,
        next_step=f"wait_for_generations(generation_ids=[{','.join(unfinished)}])" if unfinished else None,
    )


def _missing(name: str, error: Exception) -> Generation:
    if not isinstance(error, LumaServerError):
        raise error
    return Generation(
        generation_id=name if UUID.fullmatch(name) else None,
        request_id=name if name.startswith(REQUEST_PREFIX) else None,
        state="unknown",
        warnings=(str(error),),
    )


async def _followed(app: App, call: Call, name: str) -> Generation:
    if name.startswith(REQUEST_PREFIX):
        row = await _purchase(app, name, call.answer_until)
        if row.generation_id is None:
            return unanswered(row, None, app.journal.next_take(row))
        name = row.generation_id
    generation_id = None
    with anyio.CancelScope(deadline=call.answer_until):
        generation_id = await app.generation_id(name, "generation_ids")
    if generation_id is None:
        raise LumaServerError("Luma's list did not come in time, and which generation that link is of. Call again.")
    if known := app.journal.of(generation_id):
        usual = app.usual_seconds(known)
        call.expect(usual and usual - app.age(known))
    async with app.watches.watch(generation_id) as watch:
        with anyio.CancelScope(deadline=call.answer_until):
            await watch.asked.wait()
        if watch.generation is None or not app.is_overdue(watch.generation):
            with anyio.CancelScope(deadline=call.wait_until):
                await watch.ended.wait()
    if watch.generation is None:
        raise watch.error or LumaServerError(f"Luma did not answer about {generation_id} in time. Call again.")
    app.remember(watch.generation)
    if isinstance(watch.error, NotFound):
        raise watch.error
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
    wanted, warnings = offset + limit + 1, list[str]()
    page = Page()
    if "dream_machine" in app.settings.apis:
        # The rest of the call's time is for asking how jobs of the other API stand.
        with anyio.move_on_after(max(app.settings.wait_s, LEAST_S) - app.look_up_s) as late:
            try:
                page = await _dream_machine_rows(app, state, wanted)
            except LumaServerError as error:
                page = Page(trouble=error)
        if late.cancelled_caught:
            page = Page(trouble=LumaServerError("Luma did not answer in time."))
    if page.trouble:
        warnings.append(f"Luma's list can't be read, so this is what the journal knows. {page.trouble}")
    if page.cut:
        warnings.append(f"Only the first {page.read} generations of Luma's list were looked through.")
    gone: set[str] = set()
    if state and "agents" in app.settings.apis:  # any whose end nobody has seen may be in that state by now
        unfinished = [row for row in app.journal.running(0.0, "") if row.api == "agents"]
        gone = await app.refresh(unfinished[:_PAGE])
    known = _merged(app, page, wanted, state, gone)
    if state is None:
        open_ones = [one for one in known[offset:][:limit] if one.api == "agents" and not one.finished]
        gone = await app.refresh([row for one in open_ones if (row := app.journal.of(str(one.generation_id)))])
        known = _merged(app, page, wanted, state, gone)
    if page.trouble and not known and "agents" not in app.settings.apis:
        raise page.trouble
    matching = [one for one in known if state in (None, one.state)]
    shown_rows = matching[offset:][:limit]
    has_more = (page.cut or len(matching) >= wanted) and bool(shown_rows)
    return GenerationList(
        generations=tuple(map(_row, shown_rows)),
        has_more=has_more,
        next_offset=offset + len(shown_rows) if has_more else None,
        sandbox=app.settings.sandbox or None,
        warnings=tuple(warnings + app.journal.notices()) or None,
    )


@dataclass(frozen=True)
class Page:
    """What was read of Luma's list.

    Attributes:
        rows: those that were asked for, by id.
        read: how many there were in all.
        cut: the search was given up before the list's end.
        oldest: how far back the rows go, if the list does not end there; seconds since 1970, by Luma's clock.
        trouble: why it could not be read.
    """

    rows: Mapping[str, Generation] = field(default_factory=dict)
    read: int = 0
    cut: bool = False
    oldest: float | None = None
    trouble: LumaServerError | None = None


async def _dream_machine_rows(app: App, state: str | None, wanted: int) -> Page:
    """As many of Luma's rows as wanted. It has no filter by state, and may give shorter pages than it was asked for."""
    read: list[Generation] = []
    rows: dict[str, Generation] = {}
    for _ in range(_MOST_PAGES):
        page, more = await app.dream_machine.list(_PAGE, len(read))
        read += page
        rows |= {one.generation_id: one for one in page if one.generation_id and state in (None, one.state)}
        if not more or len(rows) >= wanted:
            break
    app.remember(*read)
    app.saw(*read)
    times = [one.created_at.timestamp() for one in rows.values() if one.created_at]
    return Page(rows, len(read), more and len(rows) < wanted, min(times, default=float("inf")) if more else None)


def _merged(app: App, page: Page, wanted: int, state: str | None, gone: Collection[str]) -> list[Generation]:
    """Luma's rows with what the journal knows of them, and the journal's other ones, newest first.

    Args:
        app: the server.
        page: Luma's.
        wanted: how many are needed of each API.
        state: the state that was asked for.
        gone: ids that Luma does not know any more.
    """
    merged = dict(page.rows)
    for row in (
        row for api in app.settings.apis for row in app.journal.newest(app.settings.account(api), wanted, state)
    ):
        name = row.generation_id or row.id
        if name not in merged:
            due = row.api == "dream_machine" and page.trouble is None and not app.is_new(row)
            if due and page.oldest is not None and (row.generation_id or row.submitted_at <= page.oldest):
                continue  # Luma's list has it further down, or it comes after what that has here
            merged[name] = shown(row)
            if name in gone or (due and row.generation_id):
                merged[name] = merged[name].with_(warnings=("Luma does not know it any more.",))
        if row.asked:
            merged[name] = told_by(row.asked, merged[name]).with_(estimated_cost_usd=estimate(row.asked))
    return sorted(merged.values(), key=_age)


def _age(row: Generation) -> float:
    """Sorts from new to old; a row without a time comes first."""
    return -row.created_at.timestamp() if row.created_at else float("-inf")


def _row(generation: Generation) -> Generation:
    prompt = generation.prompt and plain_text(generation.prompt)
    if prompt and len(prompt) > _LONGEST_PROMPT:
        prompt = prompt[: _LONGEST_PROMPT - 1] + "…"
    return generation.with_(
        prompt=prompt,
        video_url=None,
        image_url=None,
        thumbnail_url=None,
        url_expires_at=None,
        charged=None if generation.charged == "yes" else generation.charged,
        warnings=generation.warnings if generation.generation_id else None,
        next_step=None,
    )


async def delete_generation(ctx: ToolContext, generation_id: GenerationId) -> Deleted:
    """Delete a generation at Luma for good; saved files stay. Free."""
    app = app_of(ctx)
    name = await app.generation_id(generation_id)
    row = app.journal.of(name)
    if (row.api if row else app.apis_of.get(name)) == "agents":
        raise InvalidRequest(f"Generation {name} belongs to Luma's Agents API, which deletes none. Nothing was sent.")
    try:
        await app.dream_machine.delete(name)
    except NotFound:
        if row is None and "agents" in app.settings.apis and (await app.get(name)).api == "agents":
            raise InvalidRequest(f"Generation {name} belongs to Luma's Agents API, which deletes none.") from None
        if row is None:
            raise
        if app.is_new(row) and not row.finished:
            await app.get(name)  # says that it is new, unless Luma finds it by now
            raise
        # What was bought here and is gone was deleted before, here or elsewhere.
    await app.jobs.deleted(name)
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

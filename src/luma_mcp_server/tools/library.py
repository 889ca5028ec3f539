"""The tools for what was made: look at it, wait for it, keep it, delete it. None of them costs money."""

import base64
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import anyio.to_thread
from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from pydantic import Field

from ..errors import InvalidRequest, JournalUnusable, LumaServerError, NotFound, WasDeleted, refuse
from ..media.frames import can_read, install_line, read_picture, spread
from ..media.references import UUID
from ..media.sheet import LARGEST_SIDE, MOST_BYTES, Row, contact_sheet, small_jpeg
from ..models import PURCHASE_PREFIX, Generation, GenerationList, State, Value, Waited, plain_text
from .call import Call
from .results import present, unknown_result, wait_for
from .services import Services
from .sources import resolve_id
from .waiting import refresh, save, wait, with_facts

if TYPE_CHECKING:
    from ..media.links import Follow

GenerationId = Annotated[str, Field(description="Its id or link")]

_PAGE, _MOST_PAGES = 100, 10
_LONGEST_PROMPT = 200


async def get_generation(call: Call, generation_id: GenerationId) -> Generation:
    """Show a generation: state, fresh links, its arguments, price, saved file, why it failed. Free."""
    services = call.services
    services.settings.require_key()
    found = await _find(call, generation_id, "generation_id", anyio.current_time() + services.look_up_s)
    return present(services, found if isinstance(found, Generation) else await services.purchases.get(found))


async def _find(call: Call, text: str, parameter: str, until: float) -> str | Generation:
    """The id of the generation that a parameter names; for a purchase that has none, what is known of it."""
    services = call.services
    if not text.strip().startswith(PURCHASE_PREFIX):
        return await resolve_id(call, text, parameter)
    purchase = await services.purchases.find(text.strip(), until)
    return purchase.generation_id or await unknown_result(services, purchase)


async def wait_for_generations(
    call: Call,
    generation_ids: Annotated[list[str], Field(description="At most 50", min_length=1, max_length=50)],
    wait_s: Annotated[float | None, Field(description="Seconds to wait", ge=0)] = None,
) -> Waited:
    """Wait until all of these have completed or failed, and save them. Free; call again to go on waiting."""
    services = call.services
    services.settings.require_key()
    services.settings.require("LUMA_MCP_WAIT_S")
    names = list(dict.fromkeys(text.strip() for text in generation_ids))
    found: dict[str, Generation] = {}
    failed: dict[str, LumaServerError] = {}
    # Of several, how many have finished says more than how far a download is.
    follow_download: Follow = call.follow if len(names) == 1 else lambda _: None

    def progress() -> str:
        finished = sum(one.finished for one in found.values())
        return f"{finished} of {len(names)} finished" if len(names) > 1 else "waiting for Luma"

    async def follow(number: int, name: str) -> None:
        try:
            found[name] = await _follow(call, name, f"generation_ids[{number}]", follow_download)
        except LumaServerError as error:  # one bad id must not end the wait for the others
            failed[name] = error

    call.say(progress)
    async with anyio.create_task_group() as tasks:
        for number, name in enumerate(names):
            tasks.start_soon(follow, number, name)
    if not found:
        raise next(iter(failed.values()))
    if len(names) > 1:  # get_generation has the arguments of each
        found = {name: one.replace(arguments=None) for name, one in found.items()}
    shown = {name: present(services, one) for name, one in found.items()}
    shown |= {
        name: _unavailable(name, error, "invalid" if type(error) is InvalidRequest else None)
        for name, error in failed.items()
    }
    unfinished = list(dict.fromkeys(filter(None, (_to_wait_for(name, shown[name]) for name in names))))
    return Waited(
        generations=tuple(shown[name] for name in names),
        finished=not unfinished,
        next_step=wait_for(*unfinished) if unfinished else None,
    )


def _to_wait_for(name: str, shown: Generation) -> str | None:
    """What to go on waiting for by, where the next step is to wait: its id, however the caller named it."""
    known_as = shown.generation_id or shown.request_id or name
    return known_as if shown.next_step == wait_for(known_as) else None


def _unavailable(name: str, error: LumaServerError, state: str | None = None) -> Generation:
    return Generation(
        generation_id=name if UUID.fullmatch(name) else None,
        request_id=name if name.startswith(PURCHASE_PREFIX) else None,
        state=state or _state_of(error),
        warnings=(str(error),),
        next_step=None if isinstance(error, NotFound | InvalidRequest) else wait_for(name),
    )


def _state_of(error: LumaServerError) -> str:
    if isinstance(error, WasDeleted):
        return "deleted"
    return "not found" if isinstance(error, NotFound) else "unknown"


async def _follow(call: Call, name: str, parameter: str, follow: "Follow") -> Generation:
    found = await _find(call, name, parameter, call.answer_until)
    if isinstance(found, Generation):
        return found
    usual = await call.expect(found)
    generation = await save(call, await wait(call, found), call.answer_until, follow)
    return generation.replace(expected_s=round(usual)) if usual and not generation.finished else generation


async def list_generations(
    call: Call,
    limit: Annotated[int, Field(description="How many, up to 100", ge=1, le=100)] = 10,
    offset: Annotated[int, Field(description="How many to skip", ge=0)] = 0,
    state: Annotated[Literal[State, "unfinished"] | None, Field(description="Only these")] = None,
) -> GenerationList:
    """List what was made with this key, newest first, without links. Free."""
    services = call.services
    services.settings.require_key()
    wanted, warnings = offset + limit + 1, list[str]()  # one more than is shown tells whether there are more
    listed, more_at_luma, trouble = await _listed(call, state, wanted)
    if trouble:
        warnings.append(f"Luma's list can't be read, so this is what the journal knows. {trouble}")
    elif more_at_luma and len(listed) < wanted:
        warnings.append(f"Only the first {_MOST_PAGES * _PAGE} generations of Luma's list were looked through.")
    with suppress(JournalUnusable):  # the Agents API has no list: its unfinished jobs are asked for one by one
        unfinished = await services.journal.unfinished()
        await refresh(services, [one for one in unfinished if one.api == "agents"][:_PAGE])
    known = {**listed, **await _purchased(services, listed, state, wanted, warnings)}
    if trouble and not known and services.settings.apis == ("dream_machine",):
        raise trouble
    matching = [one for one in known.values() if _is_in(one, state)]
    matching.sort(key=lambda one: -one.created_at.timestamp() if one.created_at else float("-inf"))
    page = matching[offset:][:limit]
    has_more = len(matching) >= wanted or (more_at_luma and bool(page))
    return GenerationList(
        generations=tuple(map(_row, page)),
        has_more=has_more,
        next_offset=offset + len(page) if has_more else None,
        sandbox=services.settings.sandbox or None,
        warnings=tuple(dict.fromkeys(warnings)) or None,
    )


def _is_in(one: Generation, state: str | None) -> bool:
    return state in (None, one.state) or (state == "unfinished" and not one.finished)


async def _listed(
    call: Call, state: str | None, wanted: int
) -> tuple[dict[str, Generation], bool, LumaServerError | None]:
    """As many of the generations in Luma's list as wanted, by id; whether there are more; why it can't be read.

    Luma has no filter by state, and may give shorter pages than it was asked for.
    """
    services, found, read, more = call.services, dict[str, Generation](), 0, True
    if "dream_machine" not in services.settings.apis:
        return found, False, None
    try:
        with anyio.CancelScope(deadline=call.limit - services.look_up_s):  # what is left is for the other API
            for _ in range(_MOST_PAGES):
                page = await services.dream_machine.list(_PAGE, read)
                read += len(page.generations) + page.unusable
                found |= {str(one.generation_id): one for one in page.generations if _is_in(one, state)}
                more = page.has_more
                if not more or len(found) >= wanted:
                    break
            return found, more, None
    except LumaServerError as error:
        return {}, False, error
    return {}, False, LumaServerError("Luma did not answer in time.")


async def _purchased(
    services: Services, listed: dict[str, Generation], state: str | None, wanted: int, warnings: list[str]
) -> dict[str, Generation]:
    """The newest purchases, by id, with what Luma's list says of them."""
    found = {}
    try:
        await services.journal.record_states(listed.values())
        for api in services.settings.apis:
            for purchase in await services.journal.newest(services.settings.account(api), wanted, state):
                name = purchase.generation_id or purchase.id
                if purchase.generation_id is None:
                    generation = await unknown_result(services, purchase)
                elif name in listed:
                    generation = purchase.fill(listed[name])
                else:
                    generation = purchase.as_generation()
                found[name] = generation
    except JournalUnusable as error:
        warnings.append(error.warning)
    return found


def _row(generation: Generation) -> Generation:
    """A generation as a list shows it."""
    prompt = generation.prompt and plain_text(generation.prompt)
    if prompt and len(prompt) > _LONGEST_PROMPT:
        prompt = prompt[: _LONGEST_PROMPT - 1] + "…"
    return generation.replace(
        prompt=prompt,
        video_url=None,
        image_url=None,
        thumbnail_url=None,
        outputs=None,
        arguments={"take": take} if (take := (generation.arguments or {}).get("take", 1)) > 1 else None,
        url_expires_at=None,
        charged=None if generation.charged == "yes" else generation.charged,
        warnings=generation.warnings if generation.generation_id is None else None,
        next_step=None,
    )


class Deleted(Value):
    """The ids of generations that were deleted, and those that were not, each with the reason in its warnings."""

    deleted: tuple[str, ...]
    failed: tuple[Generation, ...] | None = None
    sandbox: bool | None = None


async def delete_generations(
    call: Call,
    generation_ids: Annotated[list[str], Field(description="At most 50", min_length=1, max_length=50)],
) -> Deleted:
    """Delete generations of Dream Machine models at Luma for good; saved files stay. Free."""
    deleted, failed = list[str](), dict[str, LumaServerError]()
    names = [await resolve_id(call, text, f"generation_ids[{number}]") for number, text in enumerate(generation_ids)]
    for name in names:
        try:
            await _delete(call.services, name)
            deleted.append(name)
        except LumaServerError as error:
            failed[name] = error
    if not deleted:
        raise next(iter(failed.values()))
    return Deleted(
        deleted=tuple(dict.fromkeys(deleted)),
        failed=tuple(_unavailable(name, error, "not deleted") for name, error in failed.items()) or None,
        sandbox=call.services.settings.sandbox or None,
    )


async def _delete(services: Services, name: str) -> None:
    purchase = None
    with suppress(JournalUnusable):
        purchase = await services.journal.find(name)
    if purchase and purchase.api == "agents":
        raise refuse(
            f"Generation {name} belongs to Luma's Agents API, which deletes none", "Delete saved files yourself."
        )
    try:
        await services.dream_machine.delete(name)
    except NotFound as missing:
        # What was bought here and is gone was deleted before, here or elsewhere, unless it is too new to be found.
        explained = purchase and services.purchases.explain_missing(purchase, missing)
        if not isinstance(explained, NotFound):
            raise (explained or missing) from missing
    with suppress(JournalUnusable):
        await services.journal.record_deleted(name)


async def download_generation(
    call: Call,
    generation_id: GenerationId,
    filename: Annotated[str | None, Field(description="Name without folder; its extension is set")] = None,
) -> Generation:
    """Save a completed generation's file and say where. Free."""
    services = call.services
    services.settings.require("LUMA_MCP_WAIT_S", "LUMA_MCP_OUTPUT_DIR")
    generation = await completed(call, generation_id)
    call.say("saving")
    saved = None
    with anyio.CancelScope(deadline=call.limit):
        saved = await services.downloads.save(generation, filename, call.follow)
    if saved is None:
        raise LumaServerError(
            f"The download did not end within {services.settings.wait_s:.0f} s (LUMA_MCP_WAIT_S). It goes on: call "
            "again."
        )
    name = Path(saved.file_path or "").name
    renamed = bool(filename and name) and filename not in (name, name.rpartition(".")[0])
    why = f"Saved as {name}: the content sets the extension, and no file is overwritten."
    return present(services, await with_facts(saved), warnings=(why,) if renamed else ())


async def preview_generations(
    call: Call,
    generation_ids: Annotated[list[str], Field(description="At most 9", min_length=1, max_length=9)],
    frames: Annotated[int, Field(description="Of each video", ge=1, le=9)] = 4,
) -> CallToolResult:
    """See completed generations in one picture, to check or compare them. Free."""
    names = list(dict.fromkeys(text.strip() for text in generation_ids))
    shown = [
        call.services.downloads.find(await completed(call, name, f"generation_ids[{number}]"))
        for number, name in enumerate(names)
    ]
    call.say("looking at it")
    if not can_read():
        return await _stills(call, shown)
    if len(shown) == 1 and shown[0].type != "video":
        data, mime_type = await call.services.downloads.picture(_still(shown[0]))
        if len(data) > MOST_BYTES:
            data, mime_type = await anyio.to_thread.run_sync(lambda: small_jpeg(read_picture(data))), "image/jpeg"
    else:
        side = LARGEST_SIDE // (math.ceil(math.sqrt(frames)) if len(shown) == 1 else frames)
        rows = [await _row_of(call, one, number, frames, side) for number, one in enumerate(shown, 1)]
        data, mime_type = await anyio.to_thread.run_sync(contact_sheet, rows), "image/jpeg"
    numbered = ", ".join(f"{number} = {one.generation_id}" for number, one in enumerate(shown, 1))
    words = numbered if len(shown) > 1 else f"{shown[0].type} {shown[0].generation_id}"
    text = TextContent(type="text", text=f"{words}; get_generation gives links")
    # No structured content: clients that prefer it would drop the picture.
    return CallToolResult(content=[_picture(data, mime_type), text])


async def _stills(call: Call, shown: list[Generation]) -> CallToolResult:
    """Without the `media` extra: images and Luma's thumbnails as they are, and the links of the others."""
    blocks, words = list[ContentBlock](), list[str]()
    for number, one in enumerate(shown, 1):
        name, source = f"{one.type} {one.generation_id}", _still(one)
        data, mime_type = await call.services.downloads.picture(source) if source else (b"", "")
        if 0 < len(data) <= MOST_BYTES:
            blocks.append(_picture(data, mime_type))
            words.append(f"{number} = {name}.")
        else:
            blocks.append(ResourceLink(type="resource_link", name=name, uri=one.url or source or ""))
            why = "its picture is too large to show here" if data else "Luma has no thumbnail of it"
            words.append(f"{number} = {name}, as a link: {why}.")
    words.append(f"To see frames, all in one picture: {install_line()}")
    return CallToolResult(content=[*blocks, TextContent(type="text", text=" ".join(words))])


def _picture(data: bytes, mime_type: str) -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type=mime_type)


def _still(generation: Generation) -> str | None:
    """Where the picture of a generation is: the image, all layers together, or Luma's own still of a video."""
    layers = [one.url for one in generation.outputs or () if generation.type == "image"]
    whole = generation.file_path if layers else None
    return whole or generation.thumbnail_url or generation.image_url or next(filter(None, layers), None)


async def _row_of(call: Call, generation: Generation, number: int, frames: int, side: int) -> Row:
    """A generation in a contact sheet."""
    downloads, name = call.services.downloads, str(generation.generation_id)
    what = generation.prompt or f"{(generation.operation or 'generation').replace('_', ' ')} {name}"
    label = f"{number}  {', '.join(filter(None, (generation.model, generation.resolution)))}: {what}"[:90]
    if generation.type != "video":
        data, _ = await downloads.picture(_still(generation))
        return Row(label, [(await anyio.to_thread.run_sync(read_picture, data), "")])
    path = Path(generation.file_path) if generation.file_path else None
    source = path or await downloads.content(generation.video_url or "", name)
    found = await anyio.to_thread.run_sync(spread, source, name, frames, side, abandon_on_cancel=True)
    return Row(label, [(picture, f"{at_s:.1f} s") for picture, at_s in found])


async def media_of(call: Call, generation_id: str, most_bytes: int) -> bytes:
    """The saved file of a completed generation, or what its link leads to."""
    made = call.services.downloads.find(await completed(call, generation_id))
    if made.file_path is None:
        return await call.services.downloads.content(made.url or "", generation_id, most_bytes)
    path = anyio.Path(made.file_path)
    if (size := (await path.stat()).st_size) > most_bytes:
        raise LumaServerError(f"The file is {size >> 20} MB; this resource serves {most_bytes >> 20} MB. Use its link.")
    return await path.read_bytes()


async def completed(call: Call, text: str, parameter: str = "generation_id") -> Generation:
    """The completed generation that a parameter names."""
    generation = await call.services.purchases.get(await resolve_id(call, text, parameter))
    if generation.state == "completed":
        return generation
    name = str(generation.generation_id)
    if generation.state == "failed":
        raise InvalidRequest(f"Generation {name} failed, so it has no file. Use another one.")
    raise InvalidRequest(f"Generation {name} is {generation.state}, so it has no file yet. Call {wait_for(name)}.")

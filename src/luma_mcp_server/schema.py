"""What the model reads: compact schemas, plain words for bad arguments, and one shape of result.

The SDK's own schemas are twice as long, it ignores arguments that it does not know, and its validation errors show
pydantic's words and the caller's values. `StrictTool` is the SDK's public `Tool` with those three things changed.
"""

import inspect
import json
import logging
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata, func_metadata
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from .errors import LumaServerError

logger = logging.getLogger("luma_mcp_server")

OpenCall = Callable[[Context[Any, Any], str, Mapping[str, Any]], AbstractAsyncContextManager[Any]]
"""Opens a call, with how the client is reached, the name of the tool, and the arguments."""


class InputRequired(Exception):
    """Ends a call with a question for the user: the client answers it by calling again, with the answer."""

    def __init__(self, question: InputRequiredResult) -> None:
        super().__init__(question)
        self.question = question


class StrictTool(Tool):
    """A tool that refuses unknown arguments, words its errors for the model that called it, and always answers."""

    open_call: OpenCall

    @classmethod
    def of(
        cls,
        fn: Callable[..., Any],
        *,
        title: str,
        annotations: ToolAnnotations,
        open_call: OpenCall,
        hidden: Collection[str],
        values: Mapping[str, Collection[str]],
        words: Mapping[str, str],
        notes: Mapping[str, str],
        meta: Mapping[str, Any],
    ) -> "StrictTool":
        """Make a tool of an async function; its docstring is the description.

        Args:
            fn: gets the open call first; its other parameters are `Annotated[..., Field(description=...)]`.
            hidden: parameters that nothing configured can serve: not listed, and refused.
            values, words: fixed values and descriptions of parameters, where they depend on the keys.
            notes: said before the descriptions of parameters.
            meta: what clients read, and no model.
        """
        return cls(
            fn=fn,
            name=fn.__name__,
            title=title,
            description=" ".join((fn.__doc__ or "").split()),
            parameters=_schema(fn, hidden, values, words, notes),
            fn_metadata=FuncMetadata(arg_model=ArgModelBase),  # what the SDK would use; `arguments` takes its place
            is_async=True,
            context_kwarg=None,
            annotations=annotations,
            meta=dict(meta) or None,
            open_call=open_call,
        )

    @cached_property
    def arguments(self) -> type[ArgModelBase]:
        """What checks the arguments. Made at the first call: the list of tools does not need it."""
        return func_metadata(self.fn, skip_names=["call"], structured_output=False).arg_model

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002 - the SDK's signature; the result is always converted
    ) -> Any:
        """Call the function; its frozen value, or what went wrong, becomes the result."""
        known = self.parameters["properties"]
        if strange := [name for name in arguments if name not in known]:
            return failure(_unknown(self.name, strange, arguments, known))
        given = {
            name: _list_from_text(value) if known[name]["type"] == "array" else value
            for name, value in arguments.items()
            if value is not None
        }
        try:
            valid = self.arguments.model_validate(given).model_dump_one_level()
        except ValidationError as error:
            return failure(_plain(error, self.name, given, known))
        try:
            async with self.open_call(context, self.name, valid) as call:
                value = await self.fn(call, **valid)
                return value if isinstance(value, CallToolResult) else success(value)
        except InputRequired as stop:
            return stop.question
        except LumaServerError as error:
            return failure(str(error))
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever failed, the model gets a sentence
            logger.error("Tool %s failed: %s", self.name, _place(error))  # noqa: TRY400 - a traceback shows values
            return failure(
                f"luma-mcp-server itself failed ({_place(error)}). If this call was to buy something, look at "
                "list_generations before calling it again."
            )


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _list_from_text(value: Any) -> Any:
    """The list that JSON text holds; Claude Desktop is among the clients that send such text.

    The SDK decodes text for all parameters but plain ones, so that the prompt `["a"]` would become a list.
    """
    try:
        decoded = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
    return decoded if isinstance(decoded, list) else value


def _schema(
    fn: Callable[..., Any],
    hidden: Collection[str],
    values: Mapping[str, Collection[str]],
    words: Mapping[str, str],
    notes: Mapping[str, str],
) -> dict[str, Any]:
    """The schema of flat parameters: texts, numbers, booleans, fixed texts, and lists of texts.

    pydantic's own says much that is of no use here (titles, null arms, null defaults, lower bounds that nobody goes
    below), and making it takes half of what our start adds to the SDK's.
    """
    properties, required = {}, []
    _, *parameters = inspect.signature(fn).parameters.values()
    for name, default, annotation in ((one.name, one.default, one.annotation) for one in parameters):
        if name in hidden:
            continue
        type_, field = get_args(annotation)
        description = ". ".join(filter(None, (notes.get(name), words.get(name, field.description))))
        properties[name] = {"description": description, **_type(type_, field, values.get(name))}
        if default is inspect.Parameter.empty:
            required.append(name)
        elif default is not None and default is not False and default not in (0, 1):
            properties[name]["default"] = default
    needs = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **needs, "additionalProperties": False}


def _type(type_of: Any, field: FieldInfo, allowed: Collection[str] | None) -> dict[str, Any]:
    arms = get_args(type_of) if get_origin(type_of) in (Union, UnionType) else (type_of,)
    [annotation] = [arm for arm in arms if arm is not type(None)]
    if get_origin(annotation) is Literal:
        fixed = [value for value in get_args(annotation) if allowed is None or value in allowed]
        return {"type": "string", "enum": fixed}
    type_: dict[str, Any] = {"type": _TYPES.get(annotation, "array")}
    if type_["type"] == "array":
        type_["items"] = {"type": "string"}
    for bound in field.metadata:
        for limit, word in (("le", "maximum"), ("max_length", "maxItems")):
            if hasattr(bound, limit):
                type_[word] = getattr(bound, limit)
    return type_


def success(value: BaseModel) -> CallToolResult:
    """A result: compact JSON as text, and the same object as structured content."""
    data = value.model_dump(mode="json", exclude_none=True)
    return CallToolResult(content=[TextContent(type="text", text=to_json(value))], structured_content=data)


def to_json(value: BaseModel) -> str:
    """A value as compact JSON, absent fields left out."""
    return value.model_dump_json(exclude_none=True)


def failure(text: str) -> CallToolResult:
    """A failed call; clients show a model the text alone, so it is complete."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


_SYNONYMS = {
    "image": ("source", "start_image"),
    "image_url": ("source", "start_image"),
    "first_frame": ("start_image",),
    "last_frame": ("end_image",),
    "seconds": ("duration",),
    "length": ("duration",),
    "count": ("take",),
    "n": ("take",),
    "seed": ("take",),
    "image_end_url": ("end_image",),
    "ratio": ("aspect_ratio",),
    "video": ("source", "generation_id"),
    "video_url": ("source", "generation_id"),
    "videos": ("sources",),
    "clips": ("sources",),
    "video_id": ("generation_id", "source"),
    "id": ("generation_id", "generation_ids"),
    "ids": ("generation_ids", "sources"),
    "notify_hook": ("callback_url",),
}
"""Names that other video tools and relays use, and ours; the first that the tool has and the call lacks is meant."""


def _unknown(tool: str, strange: list[str], given: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    names = []
    for name in strange[:3]:
        ours = (word for word in _SYNONYMS.get(name, ()) if word in known and word not in given)
        names.append(f"{name[:30]!r}{_did_you_mean(next(ours, name), known)}")
    takes = f"It takes {', '.join(known)}." if known else "It takes none."
    return f"{tool} has no parameter {', '.join(names)}. Nothing was sent. {takes}"


def _plain(error: ValidationError, tool: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    problems = [_problem(dict(e), given, known) for e in error.errors(include_url=False, include_input=False)[:3]]
    return f"{tool}: {'; '.join(problems)}. Nothing was sent. Correct that, then call again."


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": 'a list of texts, as in ["…"]'}
"""pydantic's types of errors, up to their first underscore, in words."""


def _problem(error: dict[str, Any], given: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    first, *rest = error["loc"]
    name = str(first) + "".join(f"[{step}]" for step in rest if isinstance(step, int))
    kind, context = str(error["type"]), error.get("ctx", {})
    choices = known.get(str(first), {}).get("enum", ())
    words = {
        "missing": "is required",
        "literal_error": f"must be one of {', '.join(map(repr, choices))}{_did_you_mean(given.get(first), choices)}",
        "greater_than_equal": f"must be at least {context.get('ge', 0):g}",
        "less_than_equal": f"must be at most {context.get('le', 0):g}",
        "too_short": f"needs at least {_items(context.get('min_length'))}",
        "too_long": f"takes at most {_items(context.get('max_length'))}",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
    }.get(kind, f"must be {_KINDS.get(kind.partition('_')[0], 'of another type')}")
    return f"{name} {words}"


def _items(count: object) -> str:
    return f"{count} item{'' if count == 1 else 's'}"


def _did_you_mean(said: object, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(str(said).lower(), known, 1, 0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _place(error: BaseException) -> str:
    """Type and place of a failure, without its message: that may hold what the user wrote."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}, {Path(frame.filename).name}:{frame.lineno}"

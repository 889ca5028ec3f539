"""What the model reads: compact schemas, plain words for bad arguments, and one shape of result.

The SDK's own schemas are twice as long, it ignores arguments that it does not know, and its validation errors show
pydantic's words and the caller's values. `StrictTool` is the SDK's public `Tool` with those three things changed.
"""

import logging
import traceback
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, func_metadata
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from .errors import LumaServerError

logger = logging.getLogger("luma_mcp_server")


GRACE_S = 0.9
"""Seconds that a call may take beyond its limit: with a limit of 0 it must still be able to ask Luma something."""


call_scope: ContextVar[anyio.CancelScope] = ContextVar("call_scope")
"""Ends the running call at its limit. Its deadline may be moved for time that does not count."""


class InputRequired(Exception):
    """Ends a call with a question for the user: the client answers it by calling again, with the answer.

    Attributes:
        result: the question.
    """

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("input required")
        self.result = result


class _ListsFromText(FuncMetadata):
    """Decodes JSON text for list parameters alone.

    Some clients send lists as JSON text. The SDK decodes such text for every parameter that is not exactly a `str`,
    so that the prompt `["a"]` would become a list and the prompt `null` nothing.
    """

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        fields = self.arg_model.model_fields
        lists = {
            name for name, field in fields.items() if any(get_origin(arm) is list for arm in _arms(field.annotation))
        }
        return {**data, **super().pre_parse_json({name: value for name, value in data.items() if name in lists})}


def _arms(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation is a union of; itself, if it is none."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


class StrictTool(Tool):
    """A tool that refuses unknown arguments, words its errors for the model that called it, and always answers."""

    limit_s: float
    """Seconds after which a call is ended that has not ended by itself."""

    @classmethod
    def of(
        cls,
        fn: Callable[..., Any],
        *,
        title: str,
        annotations: ToolAnnotations,
        limit_s: float,
        hidden: Collection[str],
        values: Mapping[str, Collection[str]],
        words: Mapping[str, str],
    ) -> "StrictTool":
        """Make a tool of an async function; its docstring is the description.

        Args:
            fn: the function; parameters are described by `Annotated[..., Field(description=...)]`.
            title: name for people.
            annotations: what the tool may do.
            limit_s: see the attribute.
            hidden: parameters that nothing configured can serve: not listed, and refused.
            values: what parameters with fixed values can be, where that is less than their type says.
            words: descriptions of parameters, where they depend on the keys.
        """
        description = " ".join((fn.__doc__ or "").split())
        metadata = func_metadata(fn, skip_names=["ctx"], structured_output=False)
        return cls(
            fn=fn,
            name=fn.__name__,
            title=title,
            description=description,
            parameters=_schema(metadata.arg_model, hidden, values, words),
            fn_metadata=_ListsFromText(arg_model=metadata.arg_model),
            is_async=True,
            context_kwarg="ctx",
            annotations=annotations,
            limit_s=limit_s,
        )

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002 - the SDK's signature; the result is always converted
    ) -> Any:
        """Call the function; its frozen value, or what went wrong, becomes the result."""
        known = self.parameters["properties"]
        if strange := [name for name in arguments if name not in known]:
            return failure(_unknown(self.name, strange, known))
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            with anyio.move_on_after(self.limit_s + GRACE_S) as scope:
                call_scope.set(scope)  # each call has a context of its own, which ends with it
                value = await super().run(given, context)
                return value if isinstance(value, CallToolResult | InputRequiredResult) else success(value)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, InputRequired):
                return cause.result
            if isinstance(cause, LumaServerError):
                return failure(str(cause))
            if isinstance(cause, ValidationError):
                return failure(_plain(cause, self.name, given, known))
            logger.error("Tool %s failed: %s", self.name, _place(cause or error))  # noqa: TRY400 - a traceback shows values
            return failure(
                f"luma-mcp-server itself failed ({_place(cause or error)}). If this call was to buy something, look at "
                "list_generations before calling it again."
            )
        marks = self.annotations
        paid = marks is None or not (marks.read_only_hint or marks.idempotent_hint)
        todo = "It may have been bought: look at list_generations first." if paid else "Nothing is lost: call again."
        if marks and marks.destructive_hint:
            todo = "It may have been done: call again to make sure."
        return failure(f"{self.name} had no answer within {self.limit_s:g} s (LUMA_MCP_WAIT_S). {todo}")


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _schema(
    arguments: type[BaseModel],
    hidden: Collection[str],
    values: Mapping[str, Collection[str]],
    words: Mapping[str, str],
) -> dict[str, Any]:
    """The schema of flat parameters: texts, numbers, booleans, fixed texts, and lists of texts.

    pydantic's own says much that is of no use here (titles, null arms, null defaults, lower bounds that nobody goes
    below), and making it takes half of what our start adds to the SDK's.
    """
    properties, required = {}, []
    for name, field in arguments.model_fields.items():
        if name not in hidden:
            properties[name] = {"description": words.get(name, field.description), **_type(field, values.get(name))}
            if field.is_required():
                required.append(name)
            elif field.default is not None and field.default is not False and field.default not in (0, 1):
                properties[name]["default"] = field.default
    needs = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **needs, "additionalProperties": False}


def _type(field: FieldInfo, allowed: Collection[str] | None) -> dict[str, Any]:
    [annotation] = [arm for arm in _arms(field.annotation) if arm is not type(None)]
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
    "image": "start_image",
    "image_url": "start_image",
    "first_frame": "start_image",
    "last_frame": "end_image",
    "seconds": "duration",
    "length": "duration",
    "count": "take",
    "n": "take",
    "seed": "take",
    "image_end_url": "end_image",
    "ratio": "aspect_ratio",
    "video_id": "generation_id",
    "notify_hook": "callback_url",
}
"""Names that other video tools and relays use, and ours."""


def _unknown(tool: str, strange: list[str], known: Mapping[str, Any]) -> str:
    import difflib  # here, because most servers never need it

    names = []
    for name in strange[:3]:
        close = [_SYNONYMS[name]] if _SYNONYMS.get(name) in known else difflib.get_close_matches(name, known, 1, 0.6)
        names.append(f"{name[:30]!r}" + (f" (did you mean {close[0]}?)" if close else ""))
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
    words = {
        "missing": "is required",
        "literal_error": f"must be one of {_choices(known.get(str(first), {}).get('enum', ()), given.get(str(first)))}",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "too_short": f"needs at least {context.get('min_length')}",
        "too_long": f"takes at most {context.get('max_length')}",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
    }.get(kind)
    if words is None:
        words = f"must be {_KINDS.get(kind.partition('_')[0], 'of another type')}"
    return f"{name} {words}"


def _choices(listed: Collection[str], said: object) -> str:
    """What a parameter can be, and which of these was most likely meant."""
    import difflib

    close = difflib.get_close_matches(str(said).lower(), listed, 1, 0.6)
    return ", ".join(map(repr, listed)) + (f" (did you mean {close[0]}?)" if close else "")


def _place(error: BaseException) -> str:
    """Type and place of a failure, without its message: that may hold what the user wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f"{type(error).__name__}, {Path(frames[-1].filename).name}:{frames[-1].lineno}"
        if frames
        else type(error).__name__
    )

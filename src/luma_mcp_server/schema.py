"""What the model reads: compact schemas, plain words for bad arguments, and one shape of result.

The SDK's own schemas are twice as long, it ignores arguments that it does not know, and its validation errors show
pydantic's words and the caller's values. `StrictTool` is the SDK's public `Tool` with those three things changed.
"""

import logging
import re
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, func_metadata
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from .errors import LumaServerError

logger = logging.getLogger("luma_mcp_server")


class _ListsFromText(FuncMetadata):
    """Decodes JSON text for list parameters alone.

    Some clients send lists as JSON text. The SDK decodes such text for every parameter that is not exactly a `str`,
    so that the prompt `["a"]` would become a list and the prompt `null` nothing.
    """

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        fields = self.arg_model.model_fields
        lists = {name for name, field in fields.items() if list in map(_origin, _arms(field.annotation))}
        return {**data, **super().pre_parse_json({name: value for name, value in data.items() if name in lists})}


def _arms(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is not list else (annotation,)


def _origin(annotation: Any) -> Any:
    return get_origin(annotation) or annotation


class _PlainDefaults(GenerateJsonSchema):
    """Takes defaults as they are: all of ours are JSON. pydantic makes a serialiser for each, a fifth of our start."""

    def encode_default(self, dft: Any) -> Any:
        return dft


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
        hidden: Collection[str] = (),
    ) -> "StrictTool":
        """Make a tool of an async function; its docstring is the description.

        Args:
            fn: the function; parameters are described by `Annotated[..., Field(description=...)]`.
            title: name for people.
            annotations: what the tool may do.
            limit_s: see the attribute.
            hidden: parameters that nothing configured can serve: not listed, and refused.
        """
        description = " ".join((fn.__doc__ or "").split())
        metadata = func_metadata(fn, skip_names=["ctx"], structured_output=False)
        return cls(
            fn=fn,
            name=fn.__name__,
            title=title,
            description=description,
            parameters=compact(metadata.arg_model.model_json_schema(schema_generator=_PlainDefaults), hidden),
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
            with anyio.move_on_after(self.limit_s):
                value = await super().run(given, context)
                return value if isinstance(value, CallToolResult) else success(value)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, LumaServerError):
                return failure(str(cause))
            if isinstance(cause, ValidationError):
                return failure(_plain(cause, self.name, given))
            logger.error("Tool %s failed: %s", self.name, _place(cause or error))  # noqa: TRY400 - a traceback shows values
            return failure(
                f"luma-mcp-server itself failed ({_place(cause or error)}). If this call was to buy something, look at "
                "list_generations before calling it again."
            )
        return failure(
            f"Luma did not answer {self.name} within {self.limit_s:.0f} s (LUMA_MCP_WAIT_S). Nothing is lost: "
            "call again."
        )


def compact(schema: Mapping[str, Any], hidden: Collection[str] = ()) -> dict[str, Any]:
    """The schema without what says nothing: titles, null arms, natural defaults, lower bounds."""
    properties = {
        name: _compact_property(property_) for name, property_ in schema["properties"].items() if name not in hidden
    }
    required = {"required": schema["required"]} if schema.get("required") else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def _compact_property(property_: dict[str, Any]) -> dict[str, Any]:
    arms = [arm for arm in property_.get("anyOf", ()) if arm != {"type": "null"}]
    merged = {**(arms[0] if len(arms) == 1 else {}), **property_}
    if len(arms) == 1:
        del merged["anyOf"]
    # Nobody asks for -1 of anything; it is refused without being listed.
    dull = {"title", "minimum", "minItems"} | ({"default"} if merged.get("default") in (None, False, 0, 1) else set())
    return {name: value for name, value in merged.items() if name not in dull}


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
}
"""Names that other video tools use, and ours."""


def _unknown(tool: str, strange: list[str], known: Mapping[str, Any]) -> str:
    import difflib  # here, because most servers never need it

    names = []
    for name in strange[:3]:
        close = [_SYNONYMS[name]] if _SYNONYMS.get(name) in known else difflib.get_close_matches(name, known, 1, 0.6)
        names.append(f"{name[:30]!r}" + (f" (did you mean {close[0]}?)" if close else ""))
    takes = f"It takes {', '.join(known)}." if known else "It takes none."
    return f"{tool} has no parameter {', '.join(names)}. Nothing was sent. {takes}"


def _plain(error: ValidationError, tool: str, given: Mapping[str, Any]) -> str:
    problems = [_problem(dict(e), given) for e in error.errors(include_url=False, include_input=False)[:3]]
    return f"{tool}: {'; '.join(problems)}. Nothing was sent. Correct that, then call again."


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": 'a list, as in ["…"]'}
"""pydantic's types of errors, up to their first underscore, in words."""


def _problem(error: dict[str, Any], given: Mapping[str, Any]) -> str:
    first, *rest = error["loc"]
    name = str(first) + "".join(f"[{step}]" for step in rest if isinstance(step, int))
    kind, context = str(error["type"]), error.get("ctx", {})
    words = {
        "missing": "is required",
        "literal_error": f"must be one of {_choices(str(context.get('expected', '')), given.get(str(first)))}",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "too_short": f"needs at least {context.get('min_length')}",
        "too_long": f"takes at most {context.get('max_length')}",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
    }.get(kind)
    if words is None:
        wanted = {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "list": 'a list of texts, as in ["…"]',
        }
        words = f"must be {wanted.get(kind.partition('_')[0], 'of another type')}"
    return f"{name} {words}"


def _choices(expected: str, said: object) -> str:
    """What a parameter can be, and which of these was most likely meant."""
    import difflib

    close = difflib.get_close_matches(str(said).lower(), re.findall(r"'([^']*)'", expected), 1, 0.6)
    return expected.replace(" or ", ", ") + (f" (did you mean {close[0]}?)" if close else "")


def _place(error: BaseException) -> str:
    """Type and place of a failure, without its message: that may hold what the user wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f"{type(error).__name__}, {Path(frames[-1].filename).name}:{frames[-1].lineno}"
        if frames
        else type(error).__name__
    )

"""JSON with comments and trailing commas, as people keep it: read it, and change one entry without touching the rest.

Every change is read back before it is returned; a `ValueError` says why a text can't be read or changed.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_STRING = r'"(?:[^"\\]|\\.)*"'
_COMMENT = re.compile(rf"{_STRING}|//[^\r\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_BETWEEN = re.compile(r"[\s,:]*")


@dataclass(frozen=True)
class _Member:
    """Where a member of an object stands: its name, its value, and the end of that."""

    start: int
    value: int
    end: int


def loads(text: str) -> dict[str, Any]:
    """The object in a text; an empty text is an empty object."""
    data = json.loads(_plain(text)) if text.strip() else {}
    if not isinstance(data, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one error for every text that can't be used
    return data


def with_entry(text: str, section: str, name: str, entry: dict[str, Any]) -> str:
    """The text with this entry in this section; either is added where it is missing."""
    expected = loads(text)
    text = text if text.strip() else "{}\n"
    place = _find(text, section)
    if place is None:
        changed = _inserted(text, _plain(text).index("{"), section, {name: entry})
    else:
        members, _ = _members(_plain(text), place.value)
        if name in members:
            member = members[name]
            written = _rendered(entry, text, _indent(text, member.start))
            changed = text[: member.value] + written + text[member.end :]
        else:
            changed = _inserted(text, place.value, name, entry)
    expected[section] = {**expected.get(section, {}), name: entry}
    return _checked(changed, expected)


def without_entry(text: str, section: str, name: str) -> str:
    """The text without this entry, and without the comma that it needed."""
    expected = loads(text)
    place = _find(text, section)
    members, _ = _members(_plain(text), place.value) if place else ({}, 0)
    if name not in members:
        return text
    member, commas = members[name], _without_comments(text)
    start = len(text[: member.start].rstrip())
    if following := re.match(r"\s*,", commas[member.end :]):
        changed = text[:start] + text[member.end + following.end() :]
    elif len(members) == 1:
        rest = text[member.end :]
        changed = text[:start] + (rest.lstrip() if text[:start].endswith("{") else rest)
    else:
        comma = len(commas[: member.start].rstrip()) - 1
        changed = text[:comma] + text[comma + 1 : start] + text[member.end :]
    del expected[section][name]
    return _checked(changed, expected)


def _checked(text: str, expected: dict[str, Any]) -> str:
    with suppress(ValueError):
        if loads(text) == expected:
            return text
    raise ValueError("it can't be changed without touching the rest")


def _without_comments(text: str) -> str:
    """The text with comments as spaces: every position stays."""
    return _COMMENT.sub(lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\r\n]", " ", found[0]), text)


def _plain(text: str) -> str:
    """The text with comments and trailing commas as spaces."""
    return _TRAILING_COMMA.sub(lambda found: found[0] if found[0][0] == '"' else " ", _without_comments(text))


def _find(text: str, section: str) -> _Member | None:
    plain = _plain(text)
    place = _members(plain, plain.index("{"))[0].get(section) if plain.strip() else None
    if place and plain[place.value] != "{":
        raise ValueError(f"its {section} is not an object")
    return place


def _members(plain: str, start: int) -> tuple[dict[str, _Member], int]:
    """The members of the object that begins here, and where it ends."""
    read, found, position = json.JSONDecoder().raw_decode, dict[str, _Member](), start + 1
    while True:
        position = _skipped(plain, position)
        if plain[position] == "}":
            return found, position
        name, name_end = read(plain, position)
        value = _skipped(plain, name_end)
        _, end = read(plain, value)
        found[name] = _Member(position, value, end)
        position = end


def _skipped(plain: str, position: int) -> int:
    found = _BETWEEN.match(plain, position)
    return found.end() if found else position


def _inserted(text: str, start: int, name: str, value: dict[str, Any]) -> str:
    """The text with a member at the end of the object that begins here, indented as its neighbors are."""
    members, end = _members(_plain(text), start)
    last = len(text[:end].rstrip())  # behind the last member and its comment
    outer, newline = _indent(text, start), _newline(text)
    if not members:
        indent = outer + _unit(text)
        written = f"{newline}{indent}{json.dumps(name)}: {_rendered(value, text, indent)}"
        return text[:last] + written + (text[last:] if "\n" in text[last:end] else newline + outer + text[end:])
    first, before = next(iter(members.values())), max(member.end for member in members.values())
    indent = _indent(text, first.start)
    trailing = "," in _without_comments(text)[before:end]
    written = f"{newline}{indent}{json.dumps(name)}: {_rendered(value, text, indent)}"
    comma, again = ("", ",") if trailing else (",", "")
    return text[:before] + comma + text[before:last] + written + again + text[last:]


def _rendered(value: dict[str, Any], text: str, indent: str) -> str:
    """A value as JSON on lines of its own, the first of which is indented like this."""
    return json.dumps(value, ensure_ascii=False, indent=_unit(text)).replace("\n", _newline(text) + indent)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent(text: str, position: int) -> str:
    """The indentation of the line of this position."""
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line[: len(line) - len(line.lstrip())]


def _unit(text: str) -> str:
    """One step of indentation, as the text has it."""
    found = re.search(r"^([ \t]+)\S", _plain(text), re.MULTILINE)
    return found[1] if found else "  "

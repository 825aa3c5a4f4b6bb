"""Whether a changed message still understands its neighbours: JSON Schemas compared field by field.

What we read may learn to accept more, what we write may add fields; nothing is ever taken away (INTERFACES, first lines).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Schema = dict[str, Any]
Direction = Literal["incoming", "outgoing", "both"]
"""`incoming`: others write it; `outgoing`: others read it; `both`: old and new versions of ours write and read it."""


@dataclass(frozen=True, slots=True)
class _Field:
    kinds: frozenset[str]  # JSON types, and the allowed values where they are listed
    required: bool


def breaks(old: Schema, new: Schema, direction: Direction) -> list[str]:
    """What a change from `old` to `new` breaks, one sentence per field, in the order of the fields' names."""
    before, after = _fields(old), _fields(new)
    broken = []
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if now is None:
            broken.append(f"{path}: removed")
        elif was is None:
            if now.required and direction != "outgoing" and _parent_known(path, before):
                broken.append(f"{path}: new and required")
        else:
            broken.extend(f"{path}: {change}" for change in _changes(was, now, direction))
    return broken


def _changes(was: _Field, now: _Field, direction: Direction) -> Iterator[str]:
    reads, writes = direction != "outgoing", direction != "incoming"
    if (reads and was.kinds - now.kinds) or (writes and _types(now.kinds) - _types(was.kinds)):
        yield f"type changed from {_words(was.kinds)} to {_words(now.kinds)}"
    if reads and now.required and not was.required:
        yield "became required"
    if writes and was.required and not now.required:
        yield "may be missing now"


def _parent_known(path: str, before: dict[str, _Field]) -> bool:
    """A required field of an object that is itself new breaks nobody: who leaves the object out is still understood."""
    parent = path.rpartition(".")[0].removesuffix("[]")
    return not parent or parent in before


def _types(kinds: frozenset[str]) -> frozenset[str]:
    """Without the listed values: a reader must expect a new value of a list, but not a new JSON type."""
    return frozenset("string" if kind.startswith("=") else kind for kind in kinds)


def _words(kinds: frozenset[str]) -> str:
    return " or ".join(sorted(kinds)) or "anything"


def _fields(schema: Schema) -> dict[str, _Field]:
    found: dict[str, _Field] = {}
    _collect(schema, schema.get("$defs", {}), "", found, ())
    return found


def _collect(node: Schema, defs: Schema, path: str, found: dict[str, _Field], open_refs: tuple[str, ...]) -> None:
    for option, refs in _options(node, defs, open_refs):
        required = set(option.get("required", ()))
        for name, child in option.get("properties", {}).items():
            child_path = f"{path}.{name}" if path else name
            found[child_path] = _Field(_kinds(child, defs), name in required)
            _collect(child, defs, child_path, found, refs)
        if isinstance(option.get("items"), dict):
            items = option["items"]
            found[f"{path}[]"] = _Field(_kinds(items, defs), required=False)
            _collect(items, defs, f"{path}[]", found, refs)


def _options(node: Schema, defs: Schema, open_refs: tuple[str, ...] = ()) -> Iterator[tuple[Schema, tuple[str, ...]]]:
    """The node itself, or each schema it stands for; a reference inside of itself is not followed again."""
    reference = node.get("$ref")
    if reference is not None:
        name = reference.rpartition("/")[2]
        if name not in open_refs:
            yield from _options(defs[name], defs, (*open_refs, name))
    elif "anyOf" in node or "oneOf" in node:
        for option in node.get("anyOf", node.get("oneOf")) or ():
            yield from _options(option, defs, open_refs)
    else:
        yield node, open_refs


def _kinds(node: Schema, defs: Schema) -> frozenset[str]:
    kinds: set[str] = set()
    for option, _ in _options(node, defs):
        values = [option["const"]] if "const" in option else option.get("enum")
        if values is not None:
            kinds.update(f"={value}" for value in values)
        elif "type" in option:
            kinds.add(option["type"])
    return frozenset(kinds)

"""Mending a message that could not be read: a person sees it masked and changes what is wrong in it, never whose it is, which
order or hold it is about, or an amount (DESIGN section 8). What stays masked stays as it was."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from pipeline.operations_errors import Refused

MASK: Final = "***"
_SECRET_KEY: Final = re.compile(r"pass|pw|secret|token|hmac|sealed", re.IGNORECASE)
_PERSONAL_KEY: Final = re.compile(r"id_?no|phone|mobile|email|cert", re.IGNORECASE)
_PERSONAL: Final = re.compile(r"\d{15}|\d{17}[\dXx]|1\d{10}")
_FIXED_KEY: Final = re.compile(
    r"order_no|subject|agent|account|held_order_no|ticket_no|refund_id|\w*password\w*|\w*_fen|type|id|source|specversion"
)
_LOOSE_SECRET: Final = re.compile(
    r"""((?:pass|pw|secret|token|hmac)\w*["']?\s*[:=]\s*["']?)[^&"',\s}]+""", re.IGNORECASE
)
_LOOSE_NUMBER: Final = re.compile(r"\d{11,}[Xx]?")
_LONGEST_LOOSE: Final = 4_000
_DEEPEST: Final = 50  # of lists and objects in each other; a message of ours has five
Leaves = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Edit:
    """A mended message. `changes`: path -> before and after, masked, None for what is not there."""

    body: bytes
    changes: dict[str, dict[str, Any]]

    def __repr__(self) -> str:
        return f"Edit({', '.join(self.changes)})"


def masked_text(body: bytes) -> str:
    """For a screen: JSON with secrets, ID numbers and phones masked; what is no JSON as far as it can be shown."""
    try:
        return json.dumps(_masked(_read(body)), ensure_ascii=False, indent=2)
    except Refused:
        text = body.decode("utf-8", "replace")[:_LONGEST_LOOSE].replace("\0", "�")
        return _LOOSE_NUMBER.sub(lambda found: _middle(found[0]), _LOOSE_SECRET.sub(rf"\1{MASK}", text))


def edited(body: bytes, text: str) -> Edit:
    """`text` is `masked_text(body)` with changes. Raises Refused: not JSON, nothing changed, or what must not change."""
    original, wanted = _read(body), _read(text.encode("utf-8", "surrogatepass"))
    before = _leaves(original)
    whole = _unmasked(wanted, before, _leaves(_masked(original)), "")
    after = _leaves(whole)
    changed = [
        path for path in [*before, *(path for path in after if path not in before)] if _differ(path, before, after)
    ]
    if not changed:
        raise Refused("unchanged", "内容没有修改")
    fixed = [path for path in changed if _is_fixed(path, before)]
    if fixed:
        raise Refused(
            "fixed_field", f"{', '.join(fixed)}: 订单、代理商、账号、12306订单号、金额和消息标识不能修改, 请AM重新发送"
        )
    changes = {path: {"before": _shown(path, before), "after": _shown(path, after)} for path in changed}
    return Edit(json.dumps(whole, ensure_ascii=False).encode(), changes)


def _read(body: bytes) -> Any:
    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name comes twice")
        return found

    try:
        value = json.loads(body, object_pairs_hook=no_twins, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is in no page, and in no message
        if _is_deep(value):
            raise ValueError("nested too deep")
    except (ValueError, RecursionError):
        raise Refused("not_json", "不是完整的 JSON (或有重复的字段), 不能在这里修改: 请AM重新发送") from None
    return value


def _is_deep(value: Any) -> bool:
    """Deeper than what is read here step by step may be."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _leaves(value: Any, path: str = "") -> Leaves:
    """Every value that holds no other, by its path: `data.passengers[0].id_no`."""
    if isinstance(value, dict) and value:
        steps = [(f"{path}.{key}" if path else key, inner) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        steps = [(f"{path}[{place}]", inner) for place, inner in enumerate(value)]
    else:
        return {path: value}
    return {name: leaf for step, inner in steps for name, leaf in _leaves(inner, step).items()}


def _key(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path).rpartition(".")[2]


def _differ(path: str, before: Leaves, after: Leaves) -> bool:
    """As JSON: `1`, `1.0` and `true` are three things."""
    if (path in before) != (path in after):
        return True
    return json.dumps(before[path]) != json.dumps(after[path])


def _is_fixed(path: str, before: Leaves) -> bool:
    if _FIXED_KEY.fullmatch(_key(path)):
        return True
    return path == "time" and _is_time(before.get(path))  # when the agent asked: the deadline hangs on it


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _shown(path: str, leaves: Leaves) -> Any:
    return _masked_leaf(_key(path), leaves[path]) if path in leaves else None


def _masked(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _masked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, key) for inner in value]
    return _masked_leaf(key, value)


def _masked_leaf(key: str, value: Any) -> Any:
    if isinstance(value, bool) or value in (None, "", {}, []) or not isinstance(value, str | int | float):
        return value
    text = str(value)
    if _SECRET_KEY.search(key):
        return MASK
    return _middle(text) if _PERSONAL_KEY.search(key) or _PERSONAL.fullmatch(text) else value


def _middle(text: str) -> str:
    """138****5678; what is too short to keep ends of is all hidden."""
    return f"{text[:3]}****{text[-4:]}" if len(text) >= 11 else "*" * max(len(text), 2)


def _unmasked(value: Any, before: Leaves, masked: Leaves, path: str) -> Any:
    """What still looks as it was shown is what it was. Raises Refused for a mask at another place."""
    if isinstance(value, dict) and value:
        return {key: _unmasked(inner, before, masked, f"{path}.{key}" if path else key) for key, inner in value.items()}
    if isinstance(value, list) and value:
        return [_unmasked(inner, before, masked, f"{path}[{place}]") for place, inner in enumerate(value)]
    if path in before and json.dumps(masked[path]) == json.dumps(value):
        return before[path]
    if isinstance(value, str) and "**" in value:
        raise Refused("masked", f"{path}: 遮盖的内容不能移动或修改一部分, 请保持原样或填写完整的内容")
    return value

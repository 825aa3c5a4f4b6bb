"""How property tests run here: the same examples every time, no clock, and values that JSON and forms can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


def repeatable(max_examples: int, **more: Any) -> settings:
    """Derandomised, so that a commit fails or passes for good; a bug that was found stays as an `@example`."""
    return settings(
        max_examples=max_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        **more,
    )


TEXT = st.text(max_size=24)
T = TypeVar("T")
E = TypeVar("E", bound=Exception)


def tried(work: Callable[[], T], error: type[E]) -> tuple[T | None, E | None]:
    """What `work` gave, or the `error` that it raised; any other is raised on."""
    try:
        return work(), None
    except error as caught:
        return None, caught


NUMBER = st.one_of(
    st.integers(), st.integers(-3, 3), st.floats(), st.sampled_from([10**30, -(10**30), 2**63, 1e300, 0.5, -0.0])
)
ATOM = st.one_of(st.none(), st.booleans(), NUMBER, TEXT)


def json_values(leaves: int = 12) -> SearchStrategy[Any]:
    """Any JSON value, NaN and Infinity included, which Python writes and others do not read."""
    return st.recursive(
        ATOM,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
        max_leaves=leaves,
    )


@st.composite
def damaged(draw: st.DrawFn, sample: Any, most: int = 3) -> Any:
    """`sample`, a JSON object, with up to `most` of its values replaced, removed, or repeated somewhere in it."""
    found = _copy(sample)
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(found))
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        what = draw(st.sampled_from(["replace", "remove", "add", "repeat"]))
        if what == "remove":
            del holder[key]
        elif what == "repeat" and isinstance(holder, list):
            holder.append(holder[key])
        elif what == "add" and isinstance(holder, dict):
            holder[draw(TEXT)] = draw(json_values(4))
        else:
            holder[key] = draw(json_values(4))
    return found


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(one) for name, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _places(value: Any) -> Any:
    """Every (holder, key) in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in list(pairs):
        yield value, key
        yield from _places(one)
